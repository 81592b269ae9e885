#!/bin/bash
# CPU per relayed packet, ours and rtpengine's userspace, side by side: one core for the relay, the
# other for the load, rounds taken in turn, all on loopback in a network namespace of its own.
#
#   tests/bench/relay.sh [STREAMS [SECONDS [ROUNDS]]]       default 500 10 3; needs root, two cores
#
# Prints `metric value unit` and fails where the ratio of the medians is above RATIO_MAX (0.60).
# Without rtpengine (Debian: rtpengine-daemon) only ours is measured.
set -euo pipefail
cd "$(dirname "$0")/../.."
STREAMS=${1:-500} SECONDS_EACH=${2:-10} ROUNDS=${3:-3} RATIO_MAX=${RATIO_MAX:-0.60}
# Calls come in the first half; the second is long enough for them to be settled, after which their ports
# are connected.
readonly WARM=12
RELAY_CPU=${RELAY_CPU:-0} LOAD_CPU=${LOAD_CPU:-1}
TARGET=${CARGO_TARGET_DIR:-target} NETNS=voip-relay-$$ CONTROL=127.0.0.1:2223
WORK=$(mktemp -d)
PIDS=()

# Real-time priority, so that other work on the machine does not decide the result.
on() { local cpu=$1; shift; exec ip netns exec "$NETNS" taskset -c "$cpu" chrt -f 5 "$@"; }

finish() {
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del "$NETNS" 2>/dev/null || true
    rm -rf "$WORK"
}
trap finish EXIT

measure() { # NAME VIA PID
    (on "$LOAD_CPU" "$BENCH" load "$2" "$3" "$STREAMS" "$SECONDS_EACH" "$WARM") >"$WORK/round"
    sed "s/^/$1_/" "$WORK/round"
    awk '$1 == "cpu_per_million_packets" { print $2 }' "$WORK/round" >>"$WORK/$1"
    awk '$1 == "loss" && $2 > 0.001 { exit 1 }' "$WORK/round" || {
        echo "$1 lost packets: the measure is void" >&2
        exit 1
    }
}

ours() {
    mkfifo "$WORK/leash"
    (on "$RELAY_CPU" "$BENCH" serve "$STREAMS") <"$WORK/leash" >"$WORK/ready" &
    local pid=$!
    PIDS+=("$pid")
    exec 9>"$WORK/leash"
    for _ in $(seq 100); do grep -q ready "$WORK/ready" && break; sleep 0.1; done
    measure voip static:16384 "$pid"
    exec 9>&-
    wait "$pid" || true
    rm "$WORK/leash"
}

theirs() {
    (on "$RELAY_CPU" rtpengine --config-file=none --foreground --log-stderr --log-level=3 \
        --table=-1 --interface=127.0.0.1 --listen-ng=$CONTROL --port-min=20000 \
        --port-max=30000 --num-threads=1 --timeout=3600 --silent-timeout=3600) \
        2>"$WORK/rtpengine.log" >&2 &
    local pid=$!
    PIDS+=("$pid")
    sleep 2
    measure rtpengine "ng:$CONTROL" "$pid"
    kill "$pid"
    wait "$pid" || true
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

cargo build --quiet --release --example relaybench
BENCH=$(realpath "$TARGET")/release/examples/relaybench
ip netns add "$NETNS"
ip -n "$NETNS" link set lo up
for _ in $(seq "$ROUNDS"); do
    ours
    if command -v rtpengine >/dev/null; then theirs; fi
done
OURS=$(median "$WORK/voip")
echo "relay_voip_median $OURS s/Mpacket"
[ -s "$WORK/rtpengine" ] || { echo "rtpengine is not installed: no ratio"; exit 0; }
THEIRS=$(median "$WORK/rtpengine")
echo "relay_rtpengine_median $THEIRS s/Mpacket"
awk -v a="$OURS" -v b="$THEIRS" -v max="$RATIO_MAX" 'BEGIN {
    printf "relay_ratio %.3f ratio (at most %s)\n", a / b, max
    exit a / b > max }'
