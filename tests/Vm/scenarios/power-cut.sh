#!/usr/bin/env bash
# title: power cuts under the files of a replica on ext4 and xfs: the disk drops all writes from some moment on
# disk: 1G
# timeout: 600
# full-timeout: 1800
# kernels: newest
# full-kernels: 7.2 6.18 6.12
. "$(dirname "$0")/lib.sh"

rounds=$(pick 5 30)
RANDOM=$seed
export DM_DISABLE_UDEV=1
modprobe dm-flakey || fail 'this kernel has no dm-flakey'
guest=$root/artifacts/guest/qublk-guest
disk=/dev/mapper/power
sectors=$(blockdev --getsz /dev/vda)
image=$store/replica
ids=(--cluster "$(printf %032x 1)" --volume "$(printf %032x 2)" --replica 3)
mkdir -p "$store"

# power on|off: off, every write is answered well and dropped.
power() {
    local table="0 $sectors linear /dev/vda 0"
    [[ $1 == on ]] || table="0 $sectors flakey /dev/vda 0 0 3600 1 drop_writes"
    dmsetup suspend --nolockfs power
    dmsetup load power --table "$table"
    dmsetup resume power
}

# restart: what the disk has after the cut is mounted anew, with nothing left in memory.
restart() {
    umount "$store"
    power on
    echo 3 >/proc/sys/vm/drop_caches
    mount -t "$fs" "$disk" "$store"
}

has_lines() { (($(wc -l </tmp/report) >= $1)); }

# Cuts the power after so many lines of the report; it goes on for a while, in vain, and is killed.
cut_work() {
    : >/tmp/report
    # It waits for its input, which never comes, when it has done all of its work.
    "$guest" crash-work "$image" "$((seed + $1))" 120 "$(($1 * 100000))" >>/tmp/report </dev/null &
    local pid=$! before=$((20 + RANDOM % 1500)) certain
    until has_lines "$before" || is_gone "$pid"; do :; done
    certain=$(stat -c %s /tmp/report)
    power off
    local after=$(($(wc -l </tmp/report) + RANDOM % 100))
    until has_lines "$after" || is_gone "$pid"; do :; done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" || true
    restart
    "$guest" crash-check "$image" /tmp/report "$certain" || fail "$fs, round $1"
    "$qublk" replica check "$image" >/dev/null
}

# A format is there as a whole, or it is refused, and can be made again.
cut_format() {
    "$qublk" replica format "$store/new" --size 64M "${ids[@]}" >/dev/null &
    local pid=$! turns=$((RANDOM % 400)) code=0
    while ((turns-- > 0)) && ! is_gone "$pid"; do :; done
    power off
    wait "$pid" || true
    restart
    message=$("$qublk" replica check "$store/new" 2>&1) || code=$?
    case $code in
        0) formatted=$((formatted + 1)) ;;
        5 | 7) says 'qublk replica format' ;;
        *) fail "check of a format that was cut short ended with $code: $message" ;;
    esac
    rm -f "$store"/new*
    "$qublk" replica format "$store/new" --size 64M "${ids[@]}" >/dev/null
    "$qublk" replica check "$store/new" >/dev/null
    rm -f "$store"/new*
    sync
}

for fs in ext4 xfs; do
    dmsetup create power --table "0 $sectors linear /dev/vda 0"
    make_fs "$fs" "$disk"
    mount -t "$fs" "$disk" "$store"
    "$qublk" replica format "$image" --size 4M "${ids[@]}" >/dev/null
    for ((round = 1; round <= rounds; round++)); do cut_work "$round"; done
    formatted=0
    for ((round = 1; round <= rounds; round++)); do cut_format; done
    umount "$store"
    check_fs "$fs" "$disk"
    dmsetup remove power
    say "$fs: $rounds cuts of a replica at work, $rounds of a format, of which $formatted had come to its end"
done
