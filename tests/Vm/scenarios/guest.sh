#!/usr/bin/env bash
# title: the frontend's own API on a real kernel: errors, registration, threads, time-outs, life cycle
# timeout: 300
# kernels: newest
# full-kernels: 7.2 6.18 6.16 6.12
. "$(dirname "$0")/lib.sh"

"$root/artifacts/guest/qublk-guest"
[[ -z $("$qublk" local list | grep ublkb || true) ]] || fail 'a device was left behind'
