#!/usr/bin/env bash
# title: as a service: start, restart and kill under a mounted filesystem, stop, failures
# disk: 1G
# memory: 1G
# timeout: 300
# kernels: newest
. "$(dirname "$0")/lib.sh"

# systemd as the first process of a process namespace, in this root; this script again inside.
if [[ ${1:-} != inside ]]; then
    make_store
    mkdir -p /run/systemd/system
    sed "s#^ExecStart=qublk #ExecStart=$qublk #" \
        "$root/deploy/systemd/qublk-local@.service" >/run/systemd/system/qublk-local@.service
    sed "s#^ExecStart=qublk #ExecStart=$qublk #; s#/etc/qublk/#/run/mirrors/#" \
        "$root/deploy/systemd/qublk-mirror@.service" >/run/systemd/system/qublk-mirror@.service
    # systemd shares mounts with the namespaces of its services, but not where it is a container's.
    mount --make-rshared /
    unshare --pid --fork --mount-proc --propagation shared env container=vm \
        /lib/systemd/systemd --system --unit=basic.target --show-status=no >/tmp/systemd.log 2>&1 &
    within 20 pgrep -P $!
    init=$(pgrep -P $!)
    cd /
    nsenter --target "$init" --pid --mount --root "$root/tests/Vm/scenarios/systemd.sh" inside
    exit 0
fi

export SYSTEMD_IGNORE_CHROOT=1
within 60 systemctl is-active basic.target
image=$(new_image disk.img 64M)
unit=qublk-local@$(systemd-escape --path "$image").service
main_pid() { systemctl show --property MainPID --value "$unit"; }

systemctl start "$unit"
# It counts as started only when the device is there.
[[ -b /dev/ublkb0 ]] || fail 'started without a device'
[[ $(readlink "/proc/$(main_pid)/ns/mnt") == "$(readlink /proc/self/ns/mnt)" ]] ||
    fail 'the service has a mount namespace of its own'
say 'started'

make_fs ext4 /dev/ublkb0
mkdir -p /mnt/fs
mount /dev/ublkb0 /mnt/fs
echo first >/mnt/fs/file
sync -f /mnt/fs
before=$(main_pid)
systemctl restart "$unit"
[[ $(main_pid) != "$before" ]] || fail 'not restarted'
echo second >>/mnt/fs/file
sync -f /mnt/fs
say 'restarted under a mounted filesystem'

before=$(main_pid)
kill -KILL "$before"
echo third >>/mnt/fs/file
sync -f /mnt/fs
within 20 systemctl is-active "$unit"
[[ $(main_pid) != "$before" ]] || fail 'the killed process is still the main one'
echo 3 >/proc/sys/vm/drop_caches
[[ $(tr '\n' ' ' </mnt/fs/file) == 'first second third ' ]] || fail "content: $(cat /mnt/fs/file)"
say 'killed and restarted by systemd, no write lost'

umount /mnt/fs
check_fs ext4 /dev/ublkb0
systemctl stop "$unit"
[[ ! -e /dev/ublkb0 ]] || fail 'the device outlives the service'
[[ $(systemctl is-active "$unit") == inactive ]] || fail "state: $(systemctl is-active "$unit")"
say 'stopped'

missing=qublk-local@$(systemd-escape --path /mnt/store/none.img).service
expect_code 1 systemctl start "$missing"
[[ $(systemctl show --property ExecMainStatus --value "$missing") == 5 ]] ||
    fail "exit code for a missing image: $(systemctl show --property ExecMainStatus "$missing")"
[[ $(systemctl is-active "$missing") == failed ]] || fail 'a missing image is tried again'
say 'a missing image fails with the exit code of its kind'

replicas=()
for number in 1 2 3; do
    replicas+=("$store/replica$number.img")
    "$qublk" replica format "$store/replica$number.img" --size 64M --replica "$number" \
        --cluster 00000000000000000000000000000c03 --volume 00000000000000000000000000000703 >/dev/null
done
mkdir -p /run/mirrors
echo "IMAGES=${replicas[*]}" >/run/mirrors/mirror-three.conf
unit=qublk-mirror@three.service
systemctl start "$unit"
make_fs ext4 /dev/ublkb0
mount /dev/ublkb0 /mnt/fs
echo first >/mnt/fs/file
sync -f /mnt/fs
systemctl restart "$unit"
echo second >>/mnt/fs/file
sync -f /mnt/fs
before=$(main_pid)
kill -KILL "$before"
echo third >>/mnt/fs/file
sync -f /mnt/fs
within 20 systemctl is-active "$unit"
[[ $(main_pid) != "$before" && ! -e /dev/ublkb1 ]] || fail 'not taken over'
echo 3 >/proc/sys/vm/drop_caches
[[ $(tr '\n' ' ' </mnt/fs/file) == 'first second third ' ]] || fail "content: $(cat /mnt/fs/file)"
umount /mnt/fs
systemctl stop "$unit"
[[ ! -e /dev/ublkb0 ]] || fail 'the device outlives the service'
cmp "${replicas[0]}" "${replicas[1]}" && cmp "${replicas[0]}" "${replicas[2]}" || fail 'images differ'
say 'a mirror as a service: restarted and killed under a mounted filesystem'
no_io_errors
