#!/usr/bin/env bash
# title: the local verbs: errors and their exit codes, signals, resize in use, thin store, no root
# disk: 2G
# timeout: 300
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

make_store
image=$(new_image data.img 256M)

say 'what cannot be attached'
expect_code 2 "$qublk" local attach
says 'name the image'
expect_code 2 "$qublk" local attach "$image" --depth 0
expect_code 2 "$qublk" local attach "$image" --no-such-option
expect_code 2 "$qublk" local attach "$image" --depth many
expect_code 2 "$qublk" local attach "$image" --target tape
expect_code 2 "$qublk" local attach --target null --size 1.5X
says 'is no size'
expect_code 2 "$qublk" local attach "$image" --target null
expect_code 5 "$qublk" local attach /mnt/store/missing.img
says 'truncate -s'
expect_code 7 "$qublk" local attach /mnt/store
says 'neither a regular file nor a block device'
truncate -s 1000 "$store/odd.img"
expect_code 7 "$qublk" local attach "$store/odd.img"
says 'whole number of blocks'
truncate -s 0 "$store/empty.img"
expect_code 7 "$qublk" local attach "$store/empty.img"
expect_code 6 "$qublk" local attach /dev/vda
says 'in use'
expect_code 5 "$qublk" local show 99
expect_code 5 "$qublk" local detach nonsense
expect_code 5 "$qublk" local recover
expect_code 2 "$qublk" local resize "$image" lots
[[ $("$qublk" local show 99 --json 2>&1) == *'"code": "NotFound"'* ]] || fail 'no JSON error'
[[ ! -e /dev/ublkb0 && ! -e /dev/ublkc0 ]] || fail 'an error left a device behind'

say 'without root'
expect_code 4 setpriv --reuid 65534 --clear-groups "$qublk" local attach "$image"
says 'run as root'
expect_code 3 setpriv --reuid 65534 --clear-groups "$qublk" doctor
says 'not root'

say 'in use'
dev=$(attach "$image" --id 5)
[[ $dev == /dev/ublkb5 ]] || fail "not number 5: $dev"
expect_code 6 "$qublk" local attach "$image"
says 'locked by another process'
other=$(new_image other.img 64M)
expect_code 6 "$qublk" local attach "$other" --id 5
says 'taken'
expect_code 6 "$qublk" local recover 5
mkfs.ext4 -q -F "$dev"
mkdir -p /mnt/fs
mount "$dev" /mnt/fs
echo precious >/mnt/fs/file
sync
expect_code 6 "$qublk" local detach 5
says 'in use'
[[ $(cat /mnt/fs/file) == precious ]] || fail 'content'

if [[ $("$qublk" local show 5 --json) == *UpdateSize* ]]; then
    say 'resize in use'
    "$qublk" local resize "$image" 512M >/dev/null
    [[ $(blockdev --getsize64 "$dev") == $((512 << 20)) ]] || fail 'not grown'
    resize2fs "$dev" >/dev/null 2>&1
    (($(df --output=size -B1 /mnt/fs | tail -n 1) > 400 << 20)) || fail 'filesystem not grown'
    dd if=/dev/urandom of=/mnt/fs/big bs=1M count=300 conv=fsync status=none
    expect_code 2 "$qublk" local resize "$image" 128M
    says 'shrink'
    expect_code 2 "$qublk" local resize "$image" 536870913
fi

say 'SIGTERM while in use leaves the device, a new process takes it over'
pid=$(field 5 pid)
kill -TERM "$pid"
within 20 is_gone "$pid"
[[ $(field 5 state) == 'waiting for a server' ]] || fail "state: $(field 5 state)"
(sync && echo more >/mnt/fs/more && sync) &
writer=$!
"$qublk" local recover --background >/dev/null
wait "$writer"
[[ $(cat /mnt/fs/file /mnt/fs/more) == $'precious\nmore' ]] || fail 'content after take-over'
umount /mnt/fs
check_fs ext4 "$dev"

say 'a wrong image is not taken'
pid=$(field 5 pid)
kill -9 "$pid"
expect_code 7 "$qublk" local recover 5 --image "$other"
says 'wrong image'
rm /run/qublk/local/5.json
expect_code 5 "$qublk" local recover 5
says '--image'
"$qublk" local recover 5 --image "$image" --background >/dev/null
detach 5
expect_code 5 "$qublk" local show 5

say 'Ctrl-C removes the device'
# A shell's background job ignores the signal unless told otherwise.
env --default-signal=INT "$qublk" local attach "$image" >/tmp/attach.log 2>&1 &
server=$!
within 20 grep -q serves /tmp/attach.log
kill -INT "$server"
wait "$server" || fail "ended with $?: $(cat /tmp/attach.log)"
[[ ! -e /dev/ublkb0 ]] || fail 'the device is still there'

say 'a leftover of a dead process is removed'
dev=$(attach "$image")
kill -9 "$(field "$dev" pid)"
detach "$dev"
[[ ! -e $dev ]] || fail 'the device is still there'

say 'twice in a row, with every data path'
for options in '--write-copy off' '--auto-buffers off' '--direct off' '--block-size 4096' \
    '--depth 1' '--queues 2' '--request-timeout 30'; do
    # shellcheck disable=SC2086
    dev=$(attach "$image" $options)
    run_fio --name="path" --filename="$dev" --ioengine=libaio --direct=1 --iodepth=16 \
        --rw=randwrite --bsrange=4k-128k --blockalign=4k --norandommap --serialize_overlap=1 \
        --size=64M --io_size=16M --verify=xxhash --verify_fatal=1 --verify_backlog=32
    [[ $(field "$dev" errors) == 0 ]] || fail "$options: errors"
    detach "$dev"
done

say 'read-only'
dev=$(attach "$image" --read-only)
[[ $(blockdev --getro "$dev") == 1 ]] || fail 'not read-only'
expect_code 1 dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct
cmp -n $((16 << 20)) "$dev" "$image" || fail 'content'
detach "$dev"

say 'a store that is full: the writer is told, what was there stays'
truncate -s 3G "$store/thin.img"
dev=$(attach "$store/thin.img")
dd if=/dev/urandom of="$dev" bs=1M count=16 oflag=direct status=none
cmp -n $((16 << 20)) "$dev" "$store/thin.img" || fail 'content'
expect_code 1 dd if=/dev/urandom of="$dev" bs=1M oflag=direct seek=16
says 'No space left'
cmp -n $((16 << 20)) "$dev" "$store/thin.img" || fail 'content after the store was full'
blkdiscard "$dev"
dd if=/dev/urandom of="$dev" bs=1M count=16 oflag=direct status=none
detach "$dev"

say 'an image that was cut short: reads beyond its end fail, they are never partly filled'
dev=$(attach "$image")
truncate -s 1M "$image"
expect_code 1 dd if="$dev" of=/dev/null bs=1M count=1 skip=4 iflag=direct
says 'Input/output error'
dd if="$dev" of=/dev/null bs=512k count=1 iflag=direct status=none
detach "$dev"

say 'a memory disk'
dev=$(attach --target memory --size 64M)
run_fio --name=memory --filename="$dev" --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite \
    --bs=8k --size=16M --verify=xxhash --verify_fatal=1
detach "$dev"
[[ -z $(pgrep -x qublk || true) ]] || fail 'a serving process is left'
[[ -z $(ls /run/qublk/local) ]] || fail "left in /run/qublk/local: $(ls /run/qublk/local)"
