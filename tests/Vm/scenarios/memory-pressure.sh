#!/usr/bin/env bash
# title: little memory and buffered writes of twice its size finish, without a deadlock through us
# disk: 3G
# memory: 384M
# timeout: 500
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

make_store
image=$(new_image data.img 1500M)
dev=$(attach "$image" --memory 16M)
make_fs ext4 "$dev"
mkdir -p /mnt/fs
mount "$dev" /mnt/fs
free -m | head -n 2

run_fio --name=fill --directory=/mnt/fs --ioengine=psync --rw=write --bs=1M --size=768M \
    --verify=pattern --verify_pattern=%o --verify_fatal=1 --end_fsync=1
say '768 MiB through the page cache of a 384 MiB machine, verified'
umount /mnt/fs
check_fs ext4 "$dev"
detach "$dev"
no_io_errors
