#!/usr/bin/env bash
# title: ext4, xfs and btrfs on a device: copy a tree, fsck clean, same content from the raw image
# disk: 3G
# timeout: 400
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

make_store
# Small files from the system's headers, and a few large ones of our own.
tree=/tmp/tree
mkdir -p "$tree"
cp -r /usr/include/linux "$tree/linux"
cp "$qublk" "$tree/program"
head -c 20M /dev/urandom >"$tree/random"
tree_sums "$tree" >/tmp/want.sums
say "tree of $(wc -l </tmp/want.sums) files"

for fs in ext4 xfs btrfs; do
    image=$(new_image "$fs.img" 700M)
    dev=$(attach "$image")
    make_fs "$fs" "$dev"
    mkdir -p /mnt/fs
    mount -t "$fs" "$dev" /mnt/fs
    cp -r "$tree" /mnt/fs/tree
    sync
    # Drop the cache: what is compared next comes through the device.
    echo 3 >/proc/sys/vm/drop_caches
    tree_sums /mnt/fs/tree | cmp - /tmp/want.sums || fail "$fs: content differs through the device"
    rm -rf /mnt/fs/tree/linux
    cp -r "$tree/linux" /mnt/fs/tree/linux
    fstrim /mnt/fs
    umount /mnt/fs
    check_fs "$fs" "$dev"
    detach "$dev"

    modprobe loop 2>/dev/null || true
    mount -t "$fs" -o loop,ro "$image" /mnt/fs
    tree_sums /mnt/fs/tree | cmp - /tmp/want.sums || fail "$fs: content differs in the raw image"
    umount /mnt/fs
    rm "$image"
    say "$fs ok"
done
no_io_errors
