#!/usr/bin/env bash
# title: kill -9 of the server under a mounted filesystem with fio running, take-over, again and again
# disk: 2G
# timeout: 400
# full-timeout: 900
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

rounds=$(pick 5 20)
make_store
image=$(new_image data.img 512M)
dev=$(attach "$image")
make_fs ext4 "$dev"
mkdir -p /mnt/fs
mount "$dev" /mnt/fs

# Every block carries its checksum and is read back; an error or a lost byte ends the load.
load() {
    while [[ ! -e /tmp/stop ]]; do
        fio --name=load --directory=/mnt/fs --ioengine=libaio --direct=1 --iodepth=16 \
            --rw=randwrite --bsrange=4k-64k --size=32M --io_size=24M --numjobs=2 --verify=xxhash \
            --verify_backlog=32 --verify_fatal=1 --verify_state_save=0 --randseed="$seed" \
            --output=/tmp/load.log || return 1
    done
}
load &
load=$!

for ((round = 1; round <= rounds; round++)); do
    before=$(field "$dev" writes)
    # Wait until this server has really served, so that the kill finds requests in its hands.
    for ((i = 0; i < 500; i++)); do
        now=$(field "$dev" writes)
        ((now > before + 50 || (now < before && now > 50))) && break
    done
    pid=$(field "$dev" pid)
    kill -9 "$pid"
    "$qublk" local recover "$dev" --background >/dev/null
    kill -0 "$load" || { cat /tmp/load.log >&2; fail "fio ended in round $round"; }
done
say "$rounds kills and take-overs"

touch /tmp/stop
wait "$load" || { cat /tmp/load.log >&2; fail 'fio reported errors'; }
tree_sums /mnt/fs >/tmp/want.sums
umount /mnt/fs
check_fs ext4 "$dev"
mount "$dev" /mnt/fs
tree_sums /mnt/fs | cmp - /tmp/want.sums || fail 'content changed'
umount /mnt/fs
detach "$dev"
no_io_errors
