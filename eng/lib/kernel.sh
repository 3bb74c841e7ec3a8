# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of debian.sh
# Kernels for eng/vm: which are offered, which are cached, fetching one. Needs debian.sh.
#
# A cached kernel is a directory $kernel_cache/RELEASE_PACKAGEVERSION with
#   vmlinuz, config, release (one line), lib/modules/RELEASE (unpacked .ko files and their index),
#   marker (checksums, written last).

kernel_cache=$qublk_cache/kernels
kernel_flavour=cloud-amd64

# Prints a line "RELEASE_PACKAGEVERSION PACKAGE..." for every complete kernel the suites offer,
# oldest first. Since 6.19 image, modules and configuration are packages of their own, and a
# superseded kernel may have lost its modules. The list is kept until the index changes.
kernel_offered() {
    local list=$debian_home/offered
    if [[ ! $list -nt $debian_home/refreshed ]]; then
        debian_apt "$debian_home" apt-cache dumpavail |
            awk -v RS= -v flavour="$kernel_flavour" '
                !/^Package: linux-(image|binary|modules|base)-[0-9]/ { next }
                {
                    name = version = depends = ""
                    count = split($0, line, "\n")
                    for (i = 1; i <= count; i++) {
                        if (line[i] ~ /^Package: /) name = substr(line[i], 10)
                        if (line[i] ~ /^Version: /) version = substr(line[i], 10)
                        if (line[i] ~ /^Depends: /) depends = substr(line[i], 10)
                    }
                    release = name
                    sub(/^linux-[a-z]+-/, "", release)
                    if (release !~ ("^[0-9.]+[^-]*-" flavour "$")) next
                    packages[release] = packages[release] " " name "=" version
                    if (name ~ /^linux-modules-/) modules[release] = 1
                    if (name ~ /^linux-image-/) {
                        image[release] = version
                        split_up[release] = index(depends, "linux-modules-" release) > 0
                    }
                }
                END {
                    for (release in image)
                        if (modules[release] || !split_up[release])
                            print release "_" image[release] packages[release]
                }' | sort -V >"$list.$$"
        mv "$list.$$" "$list"
    fi
    cat "$list"
}

kernel_cached() {
    local marker
    for marker in "$kernel_cache"/*/marker; do
        [[ -e $marker ]] && basename "$(dirname "$marker")"
    done | sort -V
}

# kernel_select SERIES: reads kernels from standard input, prints the newest of the series
# ("newest", "6.18", or an exact "6.18.15").
kernel_select() {
    local pattern=${1//./\\.}
    [[ $1 != newest ]] || pattern='[0-9]+\.[0-9]+'
    grep -E "^${pattern}[.+]" | cut -d ' ' -f 1 | tail -n 1
}

# What the marker holds: the exact size of the module tree, and checksums of the two files without
# which nothing works. Cheap enough to compare before every boot.
kernel_fingerprint() (
    cd "$1" || exit
    find lib/modules -name '*.ko' -printf '%s\n' | awk '{ n++; s += $1 } END { print n, s }'
    sha256sum vmlinuz release
)

kernel_intact() {
    [[ -e $1/marker ]] && [[ $(kernel_fingerprint "$1" 2>/dev/null) == "$(cat "$1/marker")" ]]
}

# kernel_resolve SERIES: prints the directory of a cached, intact kernel, fetching it when needed.
# Returns 77 when the kernel is neither offered nor cached, 1 when fetching fails.
kernel_resolve() {
    local series=$1 fresh=0 kernel cached directory
    debian_refresh once-a-day && fresh=1
    cached=$(kernel_cached | kernel_select "$series") || true
    kernel=$cached
    if ((fresh)); then
        kernel=$(kernel_offered | kernel_select "$series") || kernel=$cached
    fi
    if [[ -z $kernel ]]; then
        ((fresh)) || return 1
        debian_say "kernel $series is no longer offered"
        return 77
    fi

    directory=$kernel_cache/$kernel
    mkdir -p "$kernel_cache"
    local lock result=0
    exec {lock}>"$kernel_cache/lock"
    flock "$lock"
    if ! kernel_intact "$directory"; then
        kernel_fetch "$kernel" || result=1
    fi
    if ((result)) && [[ -n $cached && $cached != "$kernel" ]]; then
        debian_say "kernel $kernel could not be fetched, using $cached"
        directory=$kernel_cache/$cached
        kernel_intact "$directory" && result=0
    fi
    ((result)) || kernel_index_for_kmod "$directory"
    exec {lock}>&-
    ((result == 0)) || return 1
    printf '%s\n' "$directory"
}

# kernel_fetch RELEASE_PACKAGEVERSION: fetches into a temporary directory, then renames it.
kernel_fetch() {
    local kernel=$1 release=${1%%_*} packages work
    debian_say "fetching kernel $kernel"
    read -r -a packages < <(kernel_offered | awk -v kernel="$kernel" '
        $1 == kernel { $1 = ""; print }') || true
    work=$(mktemp -d "$kernel_cache/.fetch.XXXXXX")
    if ((${#packages[@]})) && debian_unpack "$work/root" "${packages[@]}" &&
        kernel_arrange "$work" "$release"; then
        rm -rf "$work/root" "${kernel_cache:?}/$kernel"
        chmod 755 "$work"
        mv -T "$work" "$kernel_cache/$kernel"
    else
        rm -rf "$work"
        debian_say "fetching kernel $kernel failed"
        return 1
    fi
}

# The image is under /boot in older packages, beside the modules in newer ones.
kernel_arrange() {
    local work=$1 release=$2 modules=$1/root/usr/lib/modules/$2 file
    [[ -d $modules ]] || modules=$work/root/lib/modules/$release
    for file in "$work/root/boot/vmlinuz-$release" "$modules/vmlinuz"; do
        if [[ -e $file ]]; then mv "$file" "$work/vmlinuz"; fi
    done
    for file in "$work/root/boot/config-$release" "$modules/config"; do
        if [[ -e $file ]]; then mv "$file" "$work/config"; fi
    done
    printf '%s\n' "$release" >"$work/release"
    mkdir -p "$work/lib/modules"
    # Chained, since callers test the result and set -e is off there. modules.dep is not part of
    # the package (its installation makes it), so it is made here.
    mv "$modules" "$work/lib/modules/$release" &&
        find "$work/lib/modules" -name '*.ko.xz' -print0 |
        xargs -0 -r -n 32 -P "$(nproc)" xz --decompress &&
        busybox depmod -b "$work" "$release" &&
        kernel_fingerprint "$work" >"$work/marker"
}

# The guest uses the host's modprobe where the host has one; that one wants its own index format.
kernel_index_for_kmod() {
    local directory=$1 release depmod
    release=$(cat "$directory/release")
    [[ -e $directory/lib/modules/$release/modules.dep.bin ]] && return 0
    for depmod in /usr/sbin/depmod /sbin/depmod; do
        if [[ -x $depmod && $(readlink -f "$depmod") != *busybox* ]]; then
            "$depmod" -b "$directory" "$release" || true
            return 0
        fi
    done
}
