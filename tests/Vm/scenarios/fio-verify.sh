#!/usr/bin/env bash
# title: fio with verify: 512 B to 1 MiB, overlapping, depth 1 to 128, trim
# disk: 2G
# timeout: 600
# full-timeout: 5400
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

make_store "${STORE_FS:-ext4}"
image=$(new_image data.img 512M)
dev=$(attach "$image")
amount=$(pick 96M 6G)

for depth in 1 8 32 128; do
    # Written and checked while it runs, any block again and again; overlapping requests are held
    # back by fio itself, because a checksum of two writes at once has no right value.
    run_fio --name=mix --filename="$dev" --ioengine=libaio --direct=1 --iodepth="$depth" \
        --rw=randwrite --bsrange=512-1M --bs_unaligned=0 --blockalign=512 --norandommap \
        --serialize_overlap=1 --verify=xxhash --verify_backlog=64 --verify_fatal=1 \
        --size=512M --io_size="$amount"
    say "depth $depth: $amount written and verified"
done

# Overlapping writes in flight without a check of their own: the image must equal what the device
# shows, whatever order they took.
run_fio --name=overlap --filename="$dev" --ioengine=libaio --direct=1 --iodepth=128 \
    --rw=randwrite --bsrange=512-256k --blockalign=512 --norandommap --size=16M --io_size=64M
echo 3 >/proc/sys/vm/drop_caches
cmp -n $((16 << 20)) "$dev" "$image" || fail 'device and image differ'
say 'overlapping writes: device and image are equal'

run_fio --name=trim --filename="$dev" --ioengine=libaio --direct=1 --iodepth=32 \
    --rw=trimwrite --bs=64k --size=128M --verify=xxhash --verify_fatal=1
blkdiscard -o $((64 << 20)) -l $((64 << 20)) "$dev"
cmp -n $((64 << 20)) -i $((64 << 20)):0 "$dev" /dev/zero || fail 'discarded range is not zero'
blkdiscard -z -o $((8 << 20)) -l $((1 << 20)) "$dev"
cmp -n $((1 << 20)) -i $((8 << 20)):0 "$dev" /dev/zero || fail 'zeroed range is not zero'
say 'trim, discard and write-zeroes ok'

[[ $(field "$dev" errors) == 0 ]] || fail "device counted errors: $(field "$dev" errors)"
detach "$dev"
no_io_errors
