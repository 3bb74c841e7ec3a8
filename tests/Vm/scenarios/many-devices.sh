#!/usr/bin/env bash
# title: several devices at once, on one ring and on rings of their own, with verify
# disk: 3G
# timeout: 400
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

make_store
amount=$(pick 32M 1G)
for name in a b c d e; do new_image "$name.img" 128M >/dev/null; done

mapfile -t shared < <(attach "$store"/a.img "$store"/b.img "$store"/c.img --depth 64)
own1=$(attach "$store/d.img")
own2=$(attach "$store/e.img" --queues 2)
((${#shared[@]} == 3)) || fail "three devices expected, got: ${shared[*]}"
pids=$(for d in "${shared[@]}" "$own1" "$own2"; do field "$d" pid; done | sort -u | wc -l)
((pids == 3)) || fail "$pids serving processes, not 3"

jobs=()
for d in "${shared[@]}" "$own1" "$own2"; do
    jobs+=(--name="job$(number "$d")" --filename="$d")
done
run_fio --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bsrange=512-256k \
    --blockalign=512 --norandommap --serialize_overlap=1 --verify=xxhash --verify_backlog=32 \
    --verify_fatal=1 --size=128M --io_size="$amount" "${jobs[@]}"
say 'five devices verified'

# One of three on a shared ring goes; the others go on.
detach "${shared[1]}"
[[ ! -e ${shared[1]} ]] || fail "${shared[1]} is still there"
run_fio --name=rest --filename="${shared[0]}" --ioengine=libaio --direct=1 --iodepth=16 \
    --rw=randwrite --bs=4k --size=8M --verify=xxhash --verify_fatal=1
for d in "${shared[0]}" "${shared[2]}" "$own1" "$own2"; do
    [[ $(field "$d" errors) == 0 ]] || fail "$d counted errors"
    detach "$d"
done
no_io_errors
