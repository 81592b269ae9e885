#!/bin/sh
# Acceptance of the fast path over netmap on a running FreeBSD kernel: run it first on a FreeBSD 14
# or 15 machine whose card may lose its link for a moment. It passed on 14.0-STABLE with WITNESS and
# INVARIANTS over epair (emulated, one and two pairs of rings), vtnet (the same, busy too) and em (by
# their drivers) of a virtual machine, on no real card yet.
#
#   tests/freebsd/netmap.sh VOIPD_DIR          as root; VOIPD_DIR has voipd and voipctl
#
# Needs a kernel with VIMAGE and netmap (GENERIC), python3 (pkg install python3), and best one with
# WITNESS and INVARIANTS (GENERIC of a -CURRENT, or "options WITNESS" and "options INVARIANTS").
# It makes an epair(4), one end in a jail with a network stack of its own: epair knows no netmap,
# so the kernel emulates it (dev.netmap.admode=0). With a card that does, its driver is tested:
#
#   NEAR=ix0 FAR=ix1 tests/freebsd/netmap.sh DIR    a cable between them; ix1 goes into the jail
#   RINGS=4 tests/freebsd/netmap.sh DIR             emulation with so many pairs of rings, hence threads
#   MODE=busy NEAR=ix0 FAR=ix1 tests/freebsd/netmap.sh DIR   threads that do not sleep
#   VALE=1 tests/freebsd/netmap.sh DIR              a VALE switch between two epairs
set -eu

dir=${1:?"usage: netmap.sh DIRECTORY_OF_VOIPD"}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d /tmp/voip-netmap.XXXXXX)
jail=voipnetmap
near=${NEAR-}
far=${FAR-}
rings=${RINGS-}
mode=${MODE-poll}
switch=
made=
rings_before=
failed=0

say() { echo "netmap: $*" >&2; }
check() { # WHAT COMMAND...
    what=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        say "ok: $what"
    else
        say "FAILED: $what"
        sed 's/^/    /' "$work/out" >&2
        failed=$((failed + 1))
    fi
}

clean() {
    [ ! -f "$work/voip.pid" ] || kill "$(cat "$work/voip.pid")" 2>/dev/null || :
    sleep 2
    jail -r "$jail" 2>/dev/null || :
    [ -z "$near" ] || ifconfig "$near" inet 10.99.0.1 delete 2>/dev/null || :
    for end in $switch; do valectl -d "valevoip:$end" 2>/dev/null || :; done
    for end in $made; do ifconfig "$end" destroy 2>/dev/null || :; done
    [ -z "$rings_before" ] || sysctl dev.netmap.generic_rings="$rings_before" >/dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

[ "$(uname -s)" = FreeBSD ] || { say "this is for FreeBSD"; exit 64; }
[ "$(id -u)" = 0 ] || { say "run it as root"; exit 77; }
[ -c /dev/netmap ] || kldload netmap
[ "$(sysctl -n debug.witness.watch 2>/dev/null || echo 0)" -gt 0 ] ||
    say "note: this kernel has no WITNESS; lock orders are not checked"
lines_before=$(dmesg | wc -l)

if [ -n "$rings" ]; then
    rings_before=$(sysctl -n dev.netmap.generic_rings)
    sysctl dev.netmap.generic_rings="$rings" >/dev/null
fi
if [ -z "$near" ]; then
    near=$(ifconfig epair create)
    far=${near%a}b
    made=$near
    if [ -n "${VALE-}" ]; then
        # near - its other end - switch - its other end - far
        end=$(ifconfig epair create)
        made="$near $end"
        switch="$far $end"
        far=${end%a}b
        for end in $switch; do
            ifconfig "$end" -rxcsum -txcsum 2>/dev/null || :
            ifconfig "$end" up
            valectl -a "valevoip:$end"
        done
    fi
fi
jail -c name="$jail" vnet persist vnet.interface="$far"
ifconfig "$near" inet 10.99.0.1/24 -rxcsum -txcsum -tso4 -tso6 -lro -rxcsum6 -txcsum6 -vlanhwtag up \
    2>/dev/null || ifconfig "$near" inet 10.99.0.1/24 up
for address in 10.99.0.2 10.99.0.3; do
    jexec "$jail" ifconfig "$far" inet $address/24 alias
done
jexec "$jail" ifconfig "$far" -txcsum -rxcsum up 2>/dev/null || jexec "$jail" ifconfig "$far" up
reaches() { jexec "$jail" ping -q -c 3 -t 5 10.99.0.1; }
# A card settles with its neighbour for some seconds, also after netmap has opened or left it.
settles() {
    for _ in 1 2 3 4 5 6; do
        ! reaches || return 0
        sleep 1
    done
    return 1
}
check "the pair works without netmap" settles
[ "$failed" -eq 0 ] || exit 1

cat >"$work/voip.toml" <<END
[node]
domains = ["example.com"]
state_dir = "$work"
[sip]
listen = ["udp:10.99.0.1:15060"]
[rtp]
relay = "always"
ports = "16384-16483"
fastpath = "netmap:$near"
fastpath_mode = "$mode"
ng = "udp:10.99.0.1:2223"
ng_allow = ["10.99.0.0/24"]
ng_interfaces = ["near/10.99.0.1"]
[admin]
socket = "$work/voip.sock"
pid_file = "$work/voip.pid"
log = "debug"
END
start() { "$dir/voipd" -c "$work/voip.toml" -p "$work/voip.pid"; }
status() { "$dir/voipctl" -s "$work/voip.sock" status; }
figure() { status | grep -o "[0-9]* $1" | cut -d ' ' -f 1; }

# 1. An offload that is left on is refused, with the command that mends it.
if ifconfig "$near" txcsum 2>/dev/null && ifconfig "$near" | grep -q 'options=.*TXCSUM'; then
    refused() { ! start 2>"$work/said" && grep -q -e -txcsum "$work/said"; }
    check "TXCSUM is refused with the remedy" refused
    ifconfig "$near" -txcsum
fi
# 2. The start; what is not ours reaches the stack, in both directions.
check "voipd starts" start
check "ping passes by the host rings" settles
check "ARP passes, too" sh -c "jexec $jail arp -d -a && jexec $jail ping -q -c 3 -t 5 10.99.0.1"
# 3. The card is taken: a second one is refused.
second() {
    sed -e "s/voip.sock/two.sock/;s/voip.pid/two.pid/;s/15060/15070/;s/2223/2224/" \
        -e "s/16384-16483/17000-17099/" "$work/voip.toml" >"$work/two.toml"
    ! "$dir/voipd" -c "$work/two.toml" -p "$work/two.pid" 2>"$work/said" &&
        grep -q 'fstat /dev/netmap' "$work/said"
}
check "a second voipd is refused" second
# 4. A call: both directions by netmap once it is settled, RTCP by voipd, nothing lost.
call() {
    ports=$(python3 "$here/call.py" open 10.99.0.1:2223 10.99.0.2:4000 10.99.0.3:5000)
    # shellcheck disable=SC2086
    jexec "$jail" python3 "$here/call.py" talk 10.99.0.1 $ports 15
}
check "packets of a call arrive, all of them" call
sleep 6
moved() { n=$(figure fast_path_sent) && echo "$n frames" && [ "$n" -gt 500 ]; }
check "they went by netmap (fast_path_sent)" moved
status | grep fast_path >&2 || :
# Each pair of rings is there, with a thread if the kernel has memory for it.
pairs() {
    "$dir/voipctl" -s "$work/voip.sock" relay
    "$dir/voipctl" -s "$work/voip.sock" --json relay >"$work/relay" &&
        python3 -c "
import json, sys
queues = json.load(open('$work/relay'))[1]['queues']
sys.exit(len(queues) < ${rings:-1} or sum(queue['sent'] for queue in queues) == 0)"
}
check "voipctl relay shows each pair of rings" pairs
sed 's/^/    /' "$work/out" >&2
# 5. What happens when the driver dies: the card is the stack's again, then the driver's.
die() {
    pkill -9 -P "$(cat "$work/voip.pid")" -f -- "--role media" 2>/dev/null ||
        pkill -9 -P "$(cat "$work/voip.pid")" -f "voipd: media"
    sleep 1
    settles && sleep 5 && settles
}
check "kill -9 of media leaves the network alive" die
check "and a call after that passes" call
# 6. The end gives the card back.
end() { kill "$(cat "$work/voip.pid")" && sleep 3 && settles; }
check "the end gives the card back" end
# 7. The kernel had nothing to complain of.
quiet() { ! dmesg | tail -n "+$((lines_before + 1))" | grep -E 'lock order|panic|netmap.*(error|invalid|bad)'; }
check "no lock order reversal, no complaint in dmesg" quiet

[ "$failed" -eq 0 ] && say "all passed" || say "$failed failed"
exit "$failed"
