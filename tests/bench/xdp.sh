#!/bin/bash
# CPU per relayed packet over a cable (veth): our relay with the fast path (AF_XDP, in the driver), our
# relay on sockets, and rtpengine's userspace, in turn. One core for the relay and for what the kernel
# receives for it (threaded NAPI, charged too), the other for the load.
#
#   tests/bench/xdp.sh [STREAMS [SECONDS [ROUNDS]]]         default 500 10 3; needs root, two cores
#
# Packets come in bursts of a millisecond (BENCH_TICKS=20 within 20 ms). Phones know nothing of each
# other: BENCH_TICKS=200 has them come more evenly, which costs any relay more, AF_XDP most.
#
# Prints `metric value unit`, and at the end the medians and their ratios to rtpengine's.
set -euo pipefail
cd "$(dirname "$0")/../.."
STREAMS=${1:-500} SECONDS_EACH=${2:-10} ROUNDS=${3:-3}
RELAY_CPU=${RELAY_CPU:-0} LOAD_CPU=${LOAD_CPU:-1}
# Calls come one after the other in the first half, so that sockets carry few of them at a time; the second
# is long enough for the last ones to be settled and to come onto the fast path.
readonly WARM=$((12 + STREAMS / 80))
TARGET=${CARGO_TARGET_DIR:-target}
readonly NEAR=voip-xdp-$$ FAR=voip-load-$$
export BENCH_RELAY=198.18.5.1 BENCH_PHONES=198.18.5.2
WORK=$(mktemp -d)
PIDS=()

# Real-time priority, so that other work on the machine does not decide the result.
on() { # NETNS CPU COMMAND...
    local netns=$1 cpu=$2
    shift 2
    exec ip netns exec "$netns" taskset -c "$cpu" chrt -f 5 "$@"
}

finish() {
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del "$NEAR" 2>/dev/null || true
    ip netns del "$FAR" 2>/dev/null || true
    rm -rf "$WORK"
}
trap finish EXIT

cable() {
    ip netns add "$NEAR"
    ip netns add "$FAR"
    ip link add near netns "$NEAR" numtxqueues 1 numrxqueues 1 type veth \
        peer name far netns "$FAR" numtxqueues 1 numrxqueues 1
    local end netns
    for end in near far; do
        netns=$NEAR address=$BENCH_RELAY
        [[ $end == near ]] || netns=$FAR address=$BENCH_PHONES
        ip -n "$netns" addr add "$address/24" dev "$end"
        ip -n "$netns" link set lo up
        ip -n "$netns" link set "$end" up
        # As cards do: whole checksums, and packets that come together go up together.
        ip netns exec "$netns" ethtool -K "$end" tx off gro on >/dev/null
    done
    BENCH_RELAY_MAC=$(ip -n "$NEAR" -o link show near | sed 's/.*ether \([0-9a-f:]*\).*/\1/')
    export BENCH_DEVICE=far BENCH_RELAY_MAC
}

# The kernel's thread that receives for an end of the cable, on the core of whose end it is; before all
# programs there, as the interrupts are that do its work elsewhere.
charge() { # NETNS END CPU
    ip netns exec "$1" sh -c "echo 1 > /sys/class/net/$2/threaded"
    local pid
    for pid in $(ps -eo pid,comm | awk -v end="napi/$2-" 'index($2, end) == 1 { print $1 }'); do
        taskset -pc "$3" "$pid" >/dev/null
        chrt -f -p 6 "$pid"
        echo "$pid"
    done
}

measure() { # NAME VIA PID
    local napi
    napi=$(charge "$NEAR" near "$RELAY_CPU" | paste -sd,)
    charge "$FAR" far "$LOAD_CPU" >/dev/null
    (on "$FAR" "$LOAD_CPU" "$BENCH" load "$2" "$3${napi:+,$napi}" "$STREAMS" "$SECONDS_EACH" "$WARM") \
        >"$WORK/round"
    sed "s/^/$1_/" "$WORK/round"
    awk '$1 == "cpu_per_million_packets" { print $2 }' "$WORK/round" >>"$WORK/$1"
    awk '$1 == "loss" && $2 > 0.001 { exit 1 }' "$WORK/round" || {
        echo "$1 lost packets: the measure is void" >&2
        exit 1
    }
}

ours() { # NAME [FASTPATH]
    local name=$1 pid
    shift
    mkfifo "$WORK/leash"
    (on "$NEAR" "$RELAY_CPU" "$BENCH" serve "$STREAMS" "$@") <"$WORK/leash" >"$WORK/ready" &
    pid=$!
    PIDS+=("$pid")
    exec 9>"$WORK/leash"
    for _ in $(seq 100); do grep -q ready "$WORK/ready" && break; sleep 0.1; done
    measure "$name" static:16384 "$pid"
    exec 9>&-
    wait "$pid" || true
    rm "$WORK/leash"
}

theirs() {
    (on "$NEAR" "$RELAY_CPU" rtpengine --config-file=none --foreground --log-stderr --log-level=3 \
        --table=-1 --interface="$BENCH_RELAY" --listen-ng="$BENCH_RELAY:2223" --port-min=20000 \
        --port-max=30000 --num-threads=1 --timeout=3600 --silent-timeout=3600) \
        2>"$WORK/rtpengine.log" >&2 &
    local pid=$!
    PIDS+=("$pid")
    sleep 2
    measure rtpengine "ng:$BENCH_RELAY:2223" "$pid"
    kill "$pid"
    wait "$pid" || true
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

cargo build --quiet --release --example relaybench
BENCH=$(realpath "$TARGET")/release/examples/relaybench
cable
for _ in $(seq "$ROUNDS"); do
    ours xdp xdp:near
    ours sockets
    if command -v rtpengine >/dev/null; then theirs; fi
done
for name in xdp sockets rtpengine; do
    [[ -s $WORK/$name ]] && echo "${name}_median $(median "$WORK/$name") s/Mpacket"
done
[[ -s $WORK/rtpengine ]] || { echo "rtpengine is not installed: no ratios"; exit 0; }
for name in xdp sockets; do
    awk -v a="$(median "$WORK/$name")" -v b="$(median "$WORK/rtpengine")" -v name="$name" \
        'BEGIN { printf "%s_ratio %.3f ratio\n", name, a / b }'
done
