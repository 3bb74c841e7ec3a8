#!/usr/bin/env bash
# title: ext4 on a mirror of three disks: each is lost under load and comes back, it grows, images end equal
# disk: 1G 1G 1G
# timeout: 900
# full-timeout: 1800
# kernels: newest
# full-kernels: 6.18 6.12
. "$(dirname "$0")/lib.sh"

rounds=$(pick 1 3)
cluster=00000000000000000000000000000c01 volume=00000000000000000000000000000701
disks=(/dev/vda /dev/vdb /dev/vdc)
kinds=(ext4 xfs xfs)
images=(/mnt/d0/data.img /mnt/d1/data.img /mnt/d2/data.img)

mount_disk() { mount -t "${kinds[$1]}" "${disks[$1]}" "/mnt/d$1"; }

# replica PLACE: the line of the report that tells how far a replica is.
replica() { "$qublk" local show "$dev" | grep "^replica *${images[$1]}: "; }

is_in_sync() { replica "$1" | grep -q ': in sync$'; }
is_closed() { replica "$1" | grep -q ': closed'; }
are_in_sync() { is_in_sync 0 && is_in_sync 1 && is_in_sync 2; }
has_written() { (($(field "$dev" writes) > $1)); }

say 'what cannot be mirrored'
expect_code 2 "$qublk" local mirror
expect_code 2 "$qublk" local mirror a.img b.img --quorum 3
says '1 to 2'
expect_code 2 "$qublk" local mirror a.img a.img
says 'named twice'
expect_code 2 "$qublk" local mirror a.img b.img --scrub-every -1
says '0, or 0.0001 to 1000'
expect_code 5 "$qublk" local mirror /mnt/d0/none.img
for place in 0 1 2; do
    make_fs "${kinds[$place]}" "${disks[$place]}"
    mkdir -p "/mnt/d$place"
    mount_disk "$place"
    "$qublk" replica format "${images[$place]}" --size 256M --cluster "$cluster" --volume "$volume" \
        --replica $((place + 1)) >/dev/null
done
truncate -s 256M /mnt/d0/bare.img
expect_code 5 "$qublk" local mirror /mnt/d0/bare.img
says 'is no replica'
"$qublk" replica format /mnt/d0/other.img --size 256M --cluster "$cluster" --volume "${volume%1}2" \
    --replica 9 >/dev/null
expect_code 7 "$qublk" local mirror "${images[@]:1}" /mnt/d0/other.img
says 'of volume'
rm /mnt/d0/bare.img /mnt/d0/other.img*

say 'a filesystem on three replicas'
# Compared all the time, also while disks are lost and come back.
dev=$("$qublk" local mirror --background --scrub-every 0.001 "${images[@]}" | awk '{print $1}')
expect_code 6 "$qublk" local mirror "${images[@]}"
says 'locked'
within 20 are_in_sync
make_fs ext4 "$dev"
mkdir -p /mnt/fs
mount "$dev" /mnt/fs
mkdir /mnt/fs/kept
cp -r /usr/include/linux /mnt/fs/kept/linux
head -c 20M /dev/urandom >/mnt/fs/kept/random
sync
tree_sums /mnt/fs/kept >/tmp/want.sums

# Every block carries its checksum and is read back; an error or a lost byte ends the load.
load() {
    while [[ ! -e /tmp/stop ]]; do
        fio --name=load --directory=/mnt/fs --ioengine=libaio --direct=1 --iodepth=16 \
            --rw=randwrite --bsrange=4k-64k --size=24M --io_size=16M --numjobs=2 --verify=xxhash \
            --verify_backlog=32 --verify_fatal=1 --verify_state_save=0 --randseed="$seed" \
            --fsync=64 --output=/tmp/load.log || return 1
    done
}
load &
load=$!
loaded() { kill -0 "$load" || { cat /tmp/load.log >&2; fail "fio ended: $*"; }; }

for ((round = 1; round <= rounds; round++)); do
    for place in 0 1 2; do
        say "round $round: the disk of replica $place is lost"
        within 30 has_written $(($(field "$dev" writes) + 30))
        # From now on every access to its filesystem fails, until it is mounted again.
        xfs_io -x -c shutdown "/mnt/d$place"
        within 30 is_closed "$place"
        loaded "$place lost"
        within 30 has_written $(($(field "$dev" writes) + 100))
        tree_sums /mnt/fs/kept | cmp - /tmp/want.sums || fail "content without replica $place"
        within 30 umount "/mnt/d$place"
        mount_disk "$place"
        within 90 is_in_sync "$place"
        loaded "$place back"
    done
done
within 30 are_in_sync
say "$((3 * rounds)) disks lost and back"

size_of() { blockdev --getsize64 "$dev"; }

# come_back PLACE: the filesystem is mounted again, and its replica brought up to date.
come_back() {
    within 30 umount "/mnt/d$1"
    mount_disk "$1"
    within 90 is_in_sync "$1"
}

can_grow=no
if [[ $("$qublk" local show "$dev" --json) == *UpdateSize* ]]; then
    can_grow=yes
    say 'sizes that cannot be'
    expect_code 2 "$qublk" local resize "$dev" 128M
    says 'only grows'
    expect_code 2 "$qublk" local resize "$dev" 128M --shrink
    expect_code 2 "$qublk" local resize "$dev" 268435457
    says 'whole number of blocks'
    expect_code 1 "$qublk" local resize "$dev" 900G
    says '--max-size'
    [[ $(size_of) == $((256 << 20)) ]] || fail "the device has $(size_of) bytes"

    say 'growth under load'
    "$qublk" local resize "$dev" 320M >/dev/null
    [[ $(size_of) == $((320 << 20)) ]] || fail "the device has $(size_of) bytes"
    resize2fs "$dev" >/dev/null 2>&1
    (($(df --output=size -B1 /mnt/fs | tail -n 1) > 280 << 20)) || fail 'the filesystem has not grown'
    loaded grown
    are_in_sync || fail 'a replica was lost in growing'
    within 30 has_written $(($(field "$dev" writes) + 30))

    say 'growth while a replica is away'
    xfs_io -x -c shutdown /mnt/d1
    within 30 is_closed 1
    "$qublk" local resize "${images[0]}" 384M >/dev/null
    [[ $(size_of) == $((384 << 20)) ]] || fail "the device has $(size_of) bytes"
    resize2fs "$dev" >/dev/null 2>&1
    within 30 has_written $(($(field "$dev" writes) + 100))
    come_back 1
    [[ $(stat -c %s "${images[1]}") == $((384 << 20)) ]] || fail 'who was away has not grown'
    loaded 'grown, one away'

    say 'no growth without a quorum'
    xfs_io -x -c shutdown /mnt/d1
    xfs_io -x -c shutdown /mnt/d2
    within 30 is_closed 1
    within 30 is_closed 2
    expect_code 1 "$qublk" local resize "$dev" 416M
    says '1 of 3 replicas'
    come_back 1
    come_back 2
    loaded 'the quorum back'
    for place in 0 1 2; do
        [[ $(stat -c %s "${images[$place]}") == $((384 << 20)) ]] || fail "image $place has grown"
    done
fi

say 'kill -9 of the server, take-over in a new epoch'
pid=$(field "$dev" pid)
kill -9 "$pid"
"$qublk" local recover "$dev" --background >/dev/null
loaded 'taken over'
within 60 are_in_sync

say 'take-over by naming the images, as a service does'
waits() { [[ $(field "$dev" state) == 'waiting for a server' ]]; }
kill -9 "$(field "$dev" pid)"
within 30 waits
expect_code 6 "$qublk" local mirror "${images[@]}"
says '--take-over'
expect_code 6 "$qublk" local mirror --take-over "${images[@]:1}"
says "${images[*]}"
expect_code 6 "$qublk" local attach --take-over "${images[1]}"
says "qublk local recover $(number "$dev")"
expect_code 6 "$qublk" local resize "$dev" 512M
says 'only a live device'
# Named in another order, it is the same mirror.
taken=$("$qublk" local mirror --background --take-over --scrub-every 0.001 \
    "${images[2]}" "${images[0]}" "${images[1]}" | awk '{print $1}')
[[ $taken == "$dev" ]] || fail "$taken instead of $dev"
loaded 'taken over by its images'
within 60 are_in_sync

say 'take-over where nothing is known any more'
kill -9 "$(field "$dev" pid)"
within 30 waits
mv "/run/qublk/local/$(number "$dev").json" /tmp/state.json
expect_code 5 "$qublk" local recover "$dev"
says 'once for each of its images'
expect_code 2 "$qublk" local recover "$dev" --image "${images[0]}"
says 'is replica 1 of a volume'
expect_code 7 "$qublk" local recover "$dev" --image "${images[0]}" --image "${images[1]}"
says 'has 3 replicas, and 2 are named'
"$qublk" local recover "$dev" --background --image "${images[0]}" --image "${images[1]}" \
    --image "${images[2]}" >/dev/null
loaded 'taken over by what was named'
within 60 are_in_sync

say 'signals: what is in use is left waiting'
pid=$(field "$dev" pid)
kill -TERM "$pid"
within 60 is_gone "$pid"
waits || fail "state: $(field "$dev" state)"
"$qublk" local mirror --background --take-over --scrub-every 0.001 "${images[@]}" >/dev/null
loaded 'taken over after SIGTERM'
within 60 are_in_sync

touch /tmp/stop
wait "$load" || { cat /tmp/load.log >&2; fail 'fio reported errors'; }
echo 3 >/proc/sys/vm/drop_caches
tree_sums /mnt/fs/kept | cmp - /tmp/want.sums || fail 'content changed'
umount /mnt/fs
check_fs ext4 "$dev"

say 'a disk that changes by itself'
is_scrubbed() { "$qublk" local show "$dev" | grep -q "^scrub .*$1"; }
within 60 is_scrubbed " $(($(size_of) >> 20)) regions compared, 0 not, 0 blocks repaired, 0 not\$"
"$qublk" local show "$dev" | grep '^difference' && fail 'a scrub found what cannot be'
printf 'rot' | dd of="${images[1]}" bs=1 seek=200000001 conv=notrunc status=none
within 60 is_scrubbed '1 blocks repaired, 0 not$'
"$qublk" local show "$dev" | grep -q "^difference *4096 bytes at 199999488 differ in ${images[1]}: repaired" ||
    fail 'the difference is not told'
sha256sum <"$dev" >/tmp/device.sum
[[ $(field "$dev" errors) == 0 ]] || fail "the device counted errors: $(field "$dev" errors)"
detach "$dev"
for place in 0 1 2; do
    sha256sum <"${images[$place]}" | cmp - /tmp/device.sum || fail "image $place is not the volume"
done
cmp "${images[0]}" "${images[1]}" && cmp "${images[0]}" "${images[2]}" || fail 'images differ'
say 'three images, byte for byte the same'

if [[ $can_grow == yes ]]; then
    say 'the newest size counts at the next start, and who missed it grows'
    umount /mnt/d2
    dev=$("$qublk" local mirror --background "${images[@]}" | awk '{print $1}')
    "$qublk" local resize "$dev" 448M >/dev/null
    dd if=/dev/urandom of="$dev" bs=1M seek=440 count=8 oflag=direct status=none
    sha256sum <"$dev" >/tmp/device.sum
    detach "$dev"
    mount_disk 2
    dev=$("$qublk" local mirror --background "${images[@]}" | awk '{print $1}')
    [[ $(size_of) == $((448 << 20)) ]] || fail "the device has $(size_of) bytes"
    within 60 are_in_sync
    sha256sum <"$dev" | cmp - /tmp/device.sum || fail 'content after the restart'
    detach "$dev"
    for place in 0 1 2; do
        sha256sum <"${images[$place]}" | cmp - /tmp/device.sum || fail "image $place is not the volume"
    done

    say 'one replica without room keeps the others from growing'
    modprobe loop 2>/dev/null || true
    small=(/mnt/d0/small.img /mnt/d1/small.img /mnt/d2/small.img)
    truncate -s 64M /mnt/d2/disk
    disk=$(losetup --find --show /mnt/d2/disk)
    mknod "${small[2]}" b 7 "${disk#/dev/loop}"
    contents=('' '' --replacement)
    for place in 0 1 2; do
        # shellcheck disable=SC2086
        "$qublk" replica format "${small[$place]}" --size 64M --cluster "$cluster" \
            --volume "${volume%1}3" --replica $((place + 1)) ${contents[$place]} >/dev/null
    done
    dev=$("$qublk" local mirror --background "${small[@]}" | awk '{print $1}')
    expect_code 1 "$qublk" local resize "$dev" 96M
    says 'make the device longer'
    [[ $(size_of) == $((64 << 20)) ]] || fail "the device has $(size_of) bytes"
    [[ $(stat -c %s "${small[0]}") == $((64 << 20)) ]] || fail 'an image has grown'
    truncate -s 96M /mnt/d2/disk
    losetup -c "$disk"
    "$qublk" local resize "$dev" 96M >/dev/null
    [[ $(size_of) == $((96 << 20)) ]] || fail "the device has $(size_of) bytes"
    dd if=/dev/urandom of="$dev" bs=1M seek=60 count=36 oflag=direct status=none
    detach "$dev"
    cmp "${small[0]}" "${small[1]}" && cmp "${small[0]}" "$disk" || fail 'small images differ'
    losetup -d "$disk"
fi
if dmesg | grep -E '(ublkb[0-9]+).*(error|I/O)'; then
    fail 'the kernel reported errors of the device'
fi
