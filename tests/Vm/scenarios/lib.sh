# shellcheck shell=bash
# What every scenario uses. A scenario runs as root in the VM (or on a host with ublk), has the
# scratch disks of its header as /dev/vda, /dev/vdb, ..., and ends with 0 only if all is well.
#
# Environment: QUBLK (the program), SEED (for everything random), FULL (1: the full counts).
set -eEuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
qublk=${QUBLK:-$root/artifacts/qublk/qublk}
seed=${SEED:-1}
full=${FULL:-0}
store=/mnt/store

say() { printf '%s\n' "--- $*"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    dmesg | sed '1,/vm: running the command/d' | tail -n 30 >&2
    exit 1
}

trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# pick SMOKE FULL: the count for this run.
pick() { if [[ $full == 1 ]]; then echo "$2"; else echo "$1"; fi; }

# make_store [FS] [MOUNT OPTIONS]: a filesystem for images on the first scratch disk.
make_store() {
    local fs=${1:-ext4} options=${2:-defaults}
    case $fs in
        ext4) mkfs.ext4 -q -F /dev/vda ;;
        *)
            modprobe "$fs" 2>/dev/null || true
            "mkfs.$fs" -q -f /dev/vda
            ;;
    esac
    mkdir -p "$store"
    mount -t "$fs" -o "$options" /dev/vda "$store"
}

# new_image NAME SIZE: prints the path of a new image.
new_image() {
    truncate -s "$2" "$store/$1"
    echo "$store/$1"
}

# attach ARG...: starts a serving process, prints the device paths, one a line.
attach() { "$qublk" local attach --background "$@" | awk '{print $1}'; }

detach() { "$qublk" local detach "$@" >/dev/null; }

# number DEVICE: 3 for /dev/ublkb3.
number() { echo "${1#/dev/ublkb}"; }

# field DEVICE NAME: a number from the device's report.
field() {
    "$qublk" local show "$1" --json | sed -n "s/^ *\"$2\": \"\\{0,1\\}\\([^\",]*\\).*/\\1/p" | head -n 1
}

# expect_code CODE COMMAND...: the command must end with the code, its messages go to $message.
expect_code() {
    local want=$1 got=0
    shift
    message=$("$@" 2>&1) || got=$?
    [[ $got == "$want" ]] || fail "'$*' ended with $got, not $want: $message"
}

# within SECONDS COMMAND...: waits until the command succeeds.
within() {
    local limit=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < limit)) || fail "not within time: $*"
        sleep 0.05
    done
}

# is_gone PID
is_gone() { [[ ! -d /proc/$1 ]]; }

# says TEXT: the last expect_code must have said it.
says() { [[ $message == *"$1"* ]] || fail "expected '$1' in: $message"; }

# tree_sums DIR: a checksum of every file, by path.
tree_sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

make_fs() {
    case $1 in
        ext4) mkfs.ext4 -q -F "$2" ;;
        *)
            modprobe "$1" 2>/dev/null || true
            "mkfs.$1" -q -f "$2"
            ;;
    esac
}

check_fs() {
    case $1 in
        ext4) e2fsck -fn "$2" >/tmp/fsck.log 2>&1 ;;
        xfs) xfs_repair -n "$2" >/tmp/fsck.log 2>&1 ;;
        btrfs) btrfs check --readonly "$2" >/tmp/fsck.log 2>&1 ;;
    esac || fail "fsck of $1 on $2: $(cat /tmp/fsck.log)"
}

# no_io_errors: the kernel reported no failed I/O since the boot.
no_io_errors() {
    if dmesg | grep -E 'I/O error|Buffer I/O|EXT4-fs error|XFS .*[Ee]rror|BTRFS.*error'; then
        fail 'the kernel reported I/O errors'
    fi
}

# run_fio ARG...: fio with its report on failure.
run_fio() {
    fio --output=/tmp/fio.log --verify_state_save=0 --randseed="$seed" --allrandrepeat=1 "$@" || {
        cat /tmp/fio.log >&2
        fail "fio $*"
    }
}
