#!/usr/bin/env bash
# title: in steady state nothing is allocated, and reads are not copied
# disk: 1G
# timeout: 200
# kernels: newest
# full-kernels: 7.2 6.18 6.16
. "$(dirname "$0")/lib.sh"

make_store
image=$(new_image data.img 256M)
dev=$(attach "$image")

load() {
    run_fio --name=load --filename="$dev" --ioengine=libaio --direct=1 --iodepth=32 --rw=randrw \
        --bs=4k --size=256M --number_ios="$1" --norandommap
}

load 3000
before=$(field "$dev" loopAllocatedBytes)
requests=$(($(field "$dev" reads) + $(field "$dev" writes)))
load 12000
after=$(field "$dev" loopAllocatedBytes)
served=$(($(field "$dev" reads) + $(field "$dev" writes) - requests))
((served >= 10000)) || fail "only $served requests"
((before > 0 && after == before)) || fail "$((after - before)) bytes allocated over $served requests"
say "0 bytes allocated over $served requests"

reads=$(field "$dev" reads)
[[ $(field "$dev" readsIntoRequest) == "$reads" ]] || fail 'a read did not go straight to its pages'
[[ $(field "$dev" readsThroughMemory) == 0 ]] || fail 'a read was copied'
[[ $(field "$dev" writesFromCopy) == $(field "$dev" writes) ]] || fail 'a write was not copied'
say "$reads reads, all into the request's own pages"
detach "$dev"
