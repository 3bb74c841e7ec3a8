#!/usr/bin/env bash
# title: a mirror with checksums: images rot while it is in use and while it is not, nobody reads it, scrubs mend it
# disk: 1G 1G 1G
# timeout: 600
# full-timeout: 1200
# kernels: newest
# full-kernels: 6.12
. "$(dirname "$0")/lib.sh"

step=$(pick 8 1)
cluster=00000000000000000000000000000c02 volume=00000000000000000000000000000702
disks=(/dev/vda /dev/vdb /dev/vdc)
images=(/mnt/d0/data.img /mnt/d1/data.img /mnt/d2/data.img)

serve() { dev=$("$qublk" local mirror --background "$@" "${images[@]}" | awk '{print $1}'); }
are_in_sync() { [[ $("$qublk" local show "$dev" | grep -c '^replica .*: in sync$') == 3 ]]; }
is_scrubbed() { "$qublk" local show "$dev" | grep -q "^scrub .*$1"; }

# Of what was written a moment ago nothing is known to the next process.
are_cold() {
    local image
    for image in "${images[@]}"; do
        "$qublk" replica inspect "$image" --json | grep -q '"intentBytes": 0,' || return 1
    done
}

# rot PLACE OFFSET: three bytes of an image change behind its back.
rot() {
    printf 'rot' | dd of="${images[$1]}" bs=1 seek="$2" conv=notrunc status=none
    sync "${images[$1]}"
}

say 'three replicas with checksums'
for place in 0 1 2; do
    make_fs ext4 "${disks[$place]}"
    mkdir -p "/mnt/d$place"
    mount "${disks[$place]}" "/mnt/d$place"
    "$qublk" replica format "${images[$place]}" --size 256M --cluster "$cluster" --volume "$volume" \
        --replica $((place + 1)) --checksums >/dev/null
    [[ $(stat -c %s "${images[$place]}.qsums") == $((65 * 4096)) ]] || fail 'length of the checksums'
done
"$qublk" replica inspect "${images[0]}" | grep -q '^block .*checksums' || fail 'inspect does not tell'
expect_code 0 "$qublk" replica check --checksums "${images[0]}"
says '65536 blocks sound, 0 unknown, 0 in doubt, 0 damaged'

say 'one without them is refused'
"$qublk" replica format "${images[2]}" --replacement --overwrite --checksums false >/dev/null
[[ ! -e ${images[2]}.qsums ]] || fail 'checksums are left behind'
expect_code 7 "$qublk" local mirror "${images[@]}"
says 'keeps checksums'
"$qublk" replica format "${images[2]}" --replacement --overwrite --checksums >/dev/null
"$qublk" replica format "${images[2]}" --replacement --overwrite >/dev/null
[[ -e ${images[2]}.qsums ]] || fail 'the choice was not kept'

say 'written and read back'
serve --scrub-every 0
within 20 are_in_sync
"$qublk" local show "$dev" | grep -q '^checksums ' || fail 'show does not tell'
expect_code 6 "$qublk" replica check --checksums "${images[0]}"
run_fio --name=verify --filename="$dev" --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite \
    --bsrange=512-64k --size=64M --io_size="$(pick 48M 512M)" --verify=xxhash --verify_fatal=1
make_fs ext4 "$dev"
mkdir -p /mnt/fs
mount "$dev" /mnt/fs
head -c 64M /dev/urandom >/mnt/fs/random
cp -r /usr/include/linux /mnt/fs/linux
sync
tree_sums /mnt/fs >/tmp/want.sums
umount /mnt/fs
sha256sum <"$dev" >/tmp/device.sum
within 60 are_cold

# Wherever the local replica is hit, the host reads what it wrote.
say 'the local replica rots while it is in use'
for ((mib = 1; mib < 256; mib += step)); do rot 0 $((mib * 1048576 + 5000)); done
echo 3 >/proc/sys/vm/drop_caches
sha256sum <"$dev" | cmp - /tmp/device.sum || fail 'the device shows rotten bytes'
mount -o ro "$dev" /mnt/fs
tree_sums /mnt/fs | cmp - /tmp/want.sums || fail 'a file has changed'
umount /mnt/fs
check_fs ext4 "$dev"
detach "$dev"
no_io_errors

say 'and another one while nobody looks'
for ((mib = 1; mib < 256; mib += 2 * step)); do rot 1 $((mib * 1048576 + 300000)); done
expect_code 7 "$qublk" replica check --checksums "${images[1]}"
says 'damaged: 4096 bytes at '
expect_code 7 "$qublk" replica check --checksums --json "${images[0]}"
says '"verdict": "Damaged"'

say 'what a scrub leaves'
serve --scrub-every 0.001
within 60 is_scrubbed ' 256 regions compared, 0 not, 0 blocks repaired, 0 not$'
"$qublk" local show "$dev" | grep '^damage' && fail 'something is still damaged'
[[ $(field "$dev" errors) == 0 ]] || fail "the device counted errors: $(field "$dev" errors)"
sha256sum <"$dev" | cmp - /tmp/device.sum || fail 'the device shows rotten bytes'
detach "$dev"
for place in 0 1 2; do
    expect_code 0 "$qublk" replica check --checksums "${images[$place]}"
    sha256sum <"${images[$place]}" | cmp - /tmp/device.sum || fail "image $place is not the volume"
done
say 'three images, byte for byte the same, and all of them sound'

say 'checksums that are not of this replica'
cp "${images[0]}.qsums" /tmp/kept.qsums
rm "${images[0]}.qsums"
expect_code 7 "$qublk" replica check "${images[0]}"
says 'is not there, and the replica keeps checksums'
cp "${images[1]}.qsums" "${images[0]}.qsums"
expect_code 7 "$qublk" replica check "${images[0]}"
says 'belongs to another replica'
cp /tmp/kept.qsums "${images[0]}.qsums"
expect_code 0 "$qublk" replica check --checksums "${images[0]}"
