# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of debian.sh
# The emulator of eng/vm: QEMU and virtiofsd with every library they need, unpacked and run in place,
# so that each machine of the project behaves the same whatever the host's release is. Debian 12's own
# QEMU 7.2 loses a race when a kernel patches its own code (a stale int3 panics the guest, or it hangs
# in early boot), leaves garbage in the flags after cmpxchg16b, and forks at a third of the speed.
# Needs debian.sh.
#
# A cached one is a directory $qemu_cache/VERSION with usr/ and marker (written last); VERSION is without
# the epoch, whose colon would cut the library path in two.

qemu_cache=$qublk_cache/qemu
qemu_suite=trixie-backports
qemu_packages=(qemu-system-x86 virtiofsd)

# qemu_resolve: prints the directory of the newest emulator offered, or cached when none can be had.
qemu_resolve() {
    local version='' directory cached lock result=0
    if debian_refresh once-a-day; then
        version=$(debian_apt "$debian_home" apt-cache show --no-all-versions \
            "${qemu_packages[0]}/$qemu_suite" 2>/dev/null | sed -nE 's/^Version: ([0-9]+:)?//p' | head -n 1)
    fi
    cached=$(qemu_cached | tail -n 1)
    directory=$qemu_cache/${version:-$cached}
    [[ -n $version$cached ]] || return 1
    mkdir -p "$qemu_cache"
    exec {lock}>"$qemu_cache/lock"
    flock "$lock"
    [[ -e $directory/marker ]] || qemu_fetch "$directory" || result=1
    if ((result)) && [[ -n $cached ]]; then
        debian_say "QEMU $version could not be fetched, using $cached"
        directory=$qemu_cache/$cached result=0
    fi
    exec {lock}>&-
    ((result == 0)) || return 1
    printf '%s\n' "$directory"
}

qemu_cached() {
    local marker
    for marker in "$qemu_cache"/*/marker; do
        [[ -e $marker ]] && basename "$(dirname "$marker")"
    done | sort -V
}

# qemu_fetch DIRECTORY: all packages an installation on an empty machine would bring, of which only
# programs, libraries and firmware are kept.
qemu_fetch() {
    local directory=$1 work packages
    debian_say "fetching QEMU ${directory##*/}"
    mapfile -t packages < <(debian_apt "$debian_home" apt-get install --simulate --yes \
        --no-install-recommends -t "$qemu_suite" "${qemu_packages[@]}" |
        sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*/\1=\2/p')
    work=$(mktemp -d "$qemu_cache/.fetch.XXXXXX")
    if ((${#packages[@]})) && debian_unpack "$work/root" "${packages[@]}" &&
        qemu_arrange "$work" && qemu_runs "$work"; then
        rm -rf "$work/root" "$directory"
        chmod 755 "$work"
        touch "$work/marker"
        mv -T "$work" "$directory"
    else
        rm -rf "$work"
        debian_say 'fetching QEMU failed'
        return 1
    fi
}

qemu_arrange() {
    local work=$1 path
    for path in bin/qemu-system-x86_64 libexec/virtiofsd lib/x86_64-linux-gnu lib64 \
        share/qemu share/seabios; do
        mkdir -p "$(dirname "$work/usr/$path")" &&
            mv "$work/root/usr/$path" "$work/usr/$path" || return 1
    done
}

qemu_runs() {
    local command
    qemu_command "$1" qemu && "${command[@]}" --version >/dev/null &&
        qemu_command "$1" virtiofsd && "${command[@]}" --version >/dev/null
}

# qemu_command DIRECTORY qemu|virtiofsd: puts the start of the command line into the array "command".
# The loader is named, since the host's C library may be older than the one they were linked to.
qemu_command() {
    local usr=$1/usr
    command=("$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu")
    case $2 in
        qemu)
            command+=("$usr/bin/qemu-system-x86_64" -L "$usr/share/qemu" -L "$usr/share/seabios")
            ;;
        virtiofsd) command+=("$usr/libexec/virtiofsd") ;;
    esac
}
