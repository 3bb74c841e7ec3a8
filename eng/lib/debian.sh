# shellcheck shell=bash
# Debian packages of newer suites than the machine's own, fetched and unpacked, never installed.
#
# apt does the work with lists and a cache of its own, so signatures and checksums stay checked.
# Where from: the machine's own Debian entry with only the suite changed; hence no server is named
# here, and mirrors, proxies and credentials set up on the machine keep working.
# Needs prereq.sh. Variables: QUBLK_CACHE, QUBLK_APT_SOURCES (a .sources or .list file to use
# instead of the machine's entry; its suite is changed in the same way).

debian_suites=(trixie-backports trixie)

qublk_cache=${QUBLK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/qublk}
mkdir -p "$qublk_cache"
qublk_cache=$(realpath "$qublk_cache")
debian_home=$qublk_cache/apt

debian_say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# debian_entry FILE SUITE...: prints the first Debian entry of the file with its suites replaced,
# in the file's own notation. Only the package index is asked for (no translations, no metadata
# for software centres).
debian_entry() {
    local file=$1
    shift
    if [[ $file == *.sources ]]; then
        awk -v RS= -v suites="$*" '
            {
                count = split($0, line, "\n")
                entry = types = uris = parts = ""
                off = 0
                for (i = 1; i <= count; i++) {
                    if (line[i] ~ /^#/) continue
                    key = tolower(line[i]); sub(/:.*/, "", key)
                    value = line[i]; sub(/^[^:]*:[ \t]*/, "", value)
                    if (key == "types") types = value
                    if (key == "uris") uris = value
                    if (key == "components") parts = value
                    if (key == "enabled" && tolower(value) ~ /^(no|false|0)/) off = 1
                    if (key ~ /^(types|suites|components|architectures)$/) continue
                    if (key ~ /^(targets|languages)$/) continue
                    entry = entry line[i] "\n"
                }
                if (off || types !~ /(^| )deb( |$)/ || parts !~ /(^| )main( |$)/) next
                if (uris !~ /debian/ || uris ~ /debian-security|security\.debian/) next
                printf "Types: deb\nSuites: %s\nComponents: main\nTargets: Packages\n", suites
                printf "Architectures: amd64\n%s", entry
                exit
            }' "$file"
    else
        awk -v suites="$*" '
            $1 == "deb" && / main( |$)/ && /debian/ && !/debian-security|security\.debian/ {
                options = ""
                if (match($0, /\[[^]]*\]/)) {
                    options = substr($0, RSTART + 1, RLENGTH - 2)
                    $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
                    gsub(/(^| )(arch|target|lang)[^ ]*=[^ ]*/, "", options)
                }
                count = split(suites, suite, " ")
                for (i = 1; i <= count; i++)
                    printf "deb [ arch=amd64 target=Packages %s ] %s %s main\n",
                        options, $2, suite[i]
                exit
            }' "$file"
    fi
}

# debian_sources DIRECTORY SUITE...: writes the derived entry as DIRECTORY/debian.{sources,list}.
debian_sources() {
    local directory=$1 file entry candidates
    shift
    candidates=(/etc/apt/sources.list /etc/apt/sources.list.d/*.{sources,list})
    [[ -z ${QUBLK_APT_SOURCES:-} ]] || candidates=("$QUBLK_APT_SOURCES")
    for file in "${candidates[@]}"; do
        [[ -r $file ]] || continue
        entry=$(debian_entry "$file" "$@")
        [[ -n $entry ]] || continue
        mkdir -p "$directory"
        rm -f "$directory"/debian.*
        printf '%s\n' "$entry" >"$directory/debian.${file##*.}"
        return 0
    done
    debian_say 'no Debian package source is set up on this machine; QUBLK_APT_SOURCES can name one'
    return 1
}

# debian_apt HOME TOOL ARG...: apt-get or apt-cache with the state below HOME. The machine's own
# configuration still applies, except its pins and its list of installed packages.
debian_apt() {
    local home=$1 tool=$2
    shift 2
    mkdir -p "$home"/{lists,archives}/partial
    "$tool" -q -o Dir::State::Lists="$home/lists" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$home" -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$home/sources" -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o APT::Architecture=amd64 \
        -o APT::Architectures::=amd64 -o APT::Sandbox::User= -o Acquire::Languages=none \
        -o APT::Update::Error-Mode=any "$@"
}

# A machine whose keyring is older than the suite gets the suite's keys from its own, trusted
# suite: the package debian-archive-keyring is updated in every supported release.
debian_newer_keyring() {
    local own=$debian_home/own codename
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    [[ -n $codename ]] || return 1
    rm -rf "$own"
    debian_sources "$own/sources" "$codename" &&
        debian_apt "$own" apt-get update &&
        (cd "$own" && debian_apt "$own" apt-get download debian-archive-keyring) &&
        dpkg-deb -x "$own"/debian-archive-keyring_*.deb "$own/unpacked" || return 1
    local keyring=$own/unpacked/usr/share/keyrings/debian-archive-keyring.gpg entry
    [[ -r $keyring ]] || return 1
    for entry in "$debian_home"/sources/debian.*; do
        if [[ $entry == *.sources ]]; then
            # An inline key continues on indented lines: they go too.
            awk -v keyring="$keyring" '
                tolower($0) ~ /^signed-by:/ { skip = 1; next }
                skip && /^[ \t]/ { next }
                { skip = 0; if ($0 != "") print }
                END { print "Signed-By: " keyring }' "$entry" >"$entry.new"
        else
            sed -E -e 's/ signed-by=[^] ]*//' -e "s|\[ |[ signed-by=$keyring |" \
                "$entry" >"$entry.new"
        fi
        mv "$entry.new" "$entry"
    done
}

# debian_refresh once-a-day|force: brings the index up to date. A failure is only a
# failure when there is no older index to use.
debian_refresh() {
    local stamp=$debian_home/refreshed log=$debian_home/refresh.log
    need_packages 'apt-get:apt' 'dpkg-deb:dpkg' 'flock:util-linux'
    mkdir -p "$debian_home"
    exec {debian_lock}>"$debian_home/lock"
    flock "$debian_lock"
    if [[ $1 != force && -n $(find "$stamp" -mmin -1440 2>/dev/null) ]]; then
        exec {debian_lock}>&-
        return 0
    fi
    local result=1
    if debian_sources "$debian_home/sources" "${debian_suites[@]}"; then
        if debian_apt "$debian_home" apt-get update >"$log" 2>&1; then
            result=0
        elif grep -q NO_PUBKEY "$log" && debian_newer_keyring >>"$log" 2>&1 &&
            debian_apt "$debian_home" apt-get update >>"$log" 2>&1; then
            result=0
        fi
    fi
    if ((result == 0)); then
        touch "$stamp"
    elif [[ -e $stamp ]]; then
        debian_say 'the package index could not be refreshed, using the one of' \
            "$(date -r "$stamp" +%F)"
        result=0
    else
        debian_say 'the package index could not be fetched:'
        grep -E '^(E|W|Err)' "$log" 2>/dev/null | head -n 5 >&2 || true
    fi
    exec {debian_lock}>&-
    return "$result"
}

# debian_unpack DIRECTORY PACKAGE[=VERSION]...: downloads and unpacks into the directory.
debian_unpack() {
    local directory=$1 downloads deb result=0
    shift
    downloads=$(mktemp -d "$debian_home/download.XXXXXX")
    if (cd "$downloads" && debian_apt "$debian_home" apt-get download "$@") \
        >"$downloads/log" 2>&1; then
        for deb in "$downloads"/*.deb; do
            dpkg-deb -x "$deb" "$directory" || result=1
        done
    else
        tail -n 5 "$downloads/log" >&2
        result=1
    fi
    rm -rf "$downloads"
    return "$result"
}
