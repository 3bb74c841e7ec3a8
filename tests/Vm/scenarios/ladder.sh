#!/usr/bin/env bash
# title: the whole way on an older kernel: filesystem, verify, kill and take-over, discard, detach
# disk: 1G
# memory: 1G
# timeout: 300
# kernels: 6.12
# full-kernels: 6.16 6.17 6.18 7.2
. "$(dirname "$0")/lib.sh"

say "kernel $(uname -r)"
"$qublk" doctor
make_store
image=$(new_image data.img 256M)
dev=$(attach "$image")
make_fs ext4 "$dev"
mkdir -p /mnt/fs
mount "$dev" /mnt/fs
cp -r /usr/include/linux /mnt/fs/tree
run_fio --name=file --directory=/mnt/fs --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite \
    --bsrange=4k-128k --size=32M --verify=xxhash --verify_fatal=1
tree_sums /mnt/fs/tree >/tmp/want.sums

kill -9 "$(field "$dev" pid)"
cp -r /usr/include/linux /mnt/fs/more &
writer=$!
"$qublk" local recover --background
wait "$writer"
sync
echo 3 >/proc/sys/vm/drop_caches
tree_sums /mnt/fs/tree | cmp - /tmp/want.sums || fail 'content differs after the take-over'
tree_sums /mnt/fs/more | cmp - /tmp/want.sums || fail 'what was written meanwhile differs'
fstrim /mnt/fs
umount /mnt/fs
check_fs ext4 "$dev"

path=$(field "$dev" dataPath)
copied=$(field "$dev" readsThroughMemory)
case $path in
    auto-buffers) [[ $copied == 0 ]] || fail "$copied reads were copied" ;;
    user-copy) [[ $(field "$dev" readsIntoRequest) == 0 ]] || fail 'zero copy on a kernel without it' ;;
    *) fail "data path $path" ;;
esac
if [[ $path == user-copy ]]; then
    expect_code 3 "$qublk" local resize "$dev" 512M
    says '6.16'
fi
blkdiscard -z "$dev"
cmp -n $((64 << 20)) "$dev" /dev/zero || fail 'not zero'
detach "$dev"
no_io_errors
say "data path $path: ok"
