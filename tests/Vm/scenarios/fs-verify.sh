#!/usr/bin/env bash
# title: fio with verify in files on ext4, xfs and btrfs on a device, depth 1 to 128
# disk: 3G
# timeout: 500
# full-timeout: 14400
# kernels: newest
. "$(dirname "$0")/lib.sh"

make_store
amount=$(pick 16M 5G)
for fs in ext4 xfs btrfs; do
    # Room for btrfs, which keeps the whole of an extent while any block of it is in use.
    image=$(new_image "$fs.img" 2400M)
    dev=$(attach "$image")
    make_fs "$fs" "$dev"
    mkdir -p /mnt/fs
    mount -t "$fs" "$dev" /mnt/fs
    for depth in 1 8 32 128; do
        run_fio --name="d$depth" --directory=/mnt/fs --ioengine=libaio --direct=1 \
            --iodepth="$depth" --rw=randwrite --bsrange=4k-1M --blockalign=4k --norandommap \
            --serialize_overlap=1 --verify=xxhash --verify_backlog=64 --verify_fatal=1 \
            --size=128M --io_size="$amount"
        rm "/mnt/fs/d$depth".*
    done
    umount /mnt/fs
    check_fs "$fs" "$dev"
    [[ $(field "$dev" errors) == 0 ]] || fail "$fs: the device counted errors"
    detach "$dev"
    rm "$image"
    say "$fs: 4 depths, $amount each, seed $seed"
done
no_io_errors
