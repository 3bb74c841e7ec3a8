# shellcheck shell=bash disable=SC2154 # seconds: length of a measurement, set by the caller
# What every benchmark of devices uses.

# measure DEVICE RW BS DEPTH: prints "IOPS MICROSECONDS_OF_CPU_PER_REQUEST", all processors, the
# client's share included.
measure() {
    local before after ios
    before=$(awk '/^cpu /{print $2+$3+$4+$7+$8}' /proc/stat)
    fio --name=b --filename="$1" --ioengine=libaio --direct=1 --rw="$2" --bs="$3" --iodepth="$4" \
        --time_based --runtime="$seconds" --size=1G --randseed=7 --output-format=terse \
        --terse-version=3 --output=/tmp/bench.log >/dev/null
    after=$(awk '/^cpu /{print $2+$3+$4+$7+$8}' /proc/stat)
    # Terse fields: 8 read IOPS, 49 write IOPS.
    ios=$(awk -F';' '{print ($8 > $49) ? $8 : $49}' /tmp/bench.log)
    awk -v i="$ios" -v s="$seconds" -v t="$((after - before))" \
        'BEGIN{printf "%.0f %.1f\n", i, (i > 0) ? t * 10000 / (i * s) : 0}'
}

median() { sort -n | awk '{v[NR]=$1} END{print v[int((NR + 1) / 2)]}'; }
