# What e1shim(4) does on a real kernel. make(1) puts atf-sh's line above; kyua(1) runs it as root.
# Each case loads the module and takes it away again, so each also tests that.
# shellcheck shell=sh

readonly LOS=0x1 AIS=0x2 RAI=0x4 LFA=0x8 LMFA=0x10
readonly INJECT_FAS=1 INJECT_CRC=2 INJECT_CODE=3 INJECT_DELETE=5 INJECT_REPEAT=6
readonly INJECT_LOS=16 INJECT_AIS=17 INJECT_RAI=18 INJECT_LFA=19 INJECT_LMFA=20
readonly FOREVER=0xffffffff

probe() { "$(atf_get_srcdir)/e1probe" "$@"; }
check_probe() { atf_check -s exit:0 -o ignore -e empty "$(atf_get_srcdir)/e1probe" "$@"; }

load() {
    kldstat -qm e1shim && atf_skip "e1shim is loaded already: kldunload e1shim first"
    atf_check -s exit:0 kldload e1shim
}

unload() { if kldstat -qm e1shim; then kldunload e1shim; fi; }

# $1 span, $2 counter, $3 what it must be.
check_counter() {
    atf_check -s exit:0 -o inline:"$3\n" "$(atf_get_srcdir)/e1probe" counter "$1" "$2"
}

atf_test_case load cleanup
load_head() { atf_set descr "the module loads, shows /dev/e1/ctl, unloads, ten times"; }
load_body() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        load
        atf_check -s exit:0 -o ignore ls /dev/e1/ctl
        check_probe events
        atf_check -s exit:0 kldunload e1shim
        atf_check -s not-exit:0 -e ignore ls /dev/e1/ctl
    done
}
load_cleanup() { unload; }

atf_test_case pair cleanup
pair_head() { atf_set descr "a pair aligns by itself, and its devices come and go"; }
pair_body() {
    load
    check_probe pair 0 1
    atf_check -s exit:0 -o ignore ls /dev/e1/0 /dev/e1/1
    check_probe wait 0 0 1000
    check_probe wait 1 0 1000
    check_probe errors
    check_probe destroy 1
    atf_check -s not-exit:0 -e ignore ls /dev/e1/0
}
pair_cleanup() { unload; }

atf_test_case transfer cleanup
transfer_head() { atf_set descr "10,000 units cross a pair unharmed in both directions"; }
transfer_body() {
    load
    check_probe pair 0 1
    check_probe wait 0 0 1000
    check_probe transfer 0 1 10000
    check_probe transfer 1 0 10000
    check_counter 0 crc 0
    check_counter 1 crc 0
    check_counter 1 fas 0
}
transfer_cleanup() { unload; }

atf_test_case modes cleanup
modes_head() { atf_set descr "O_NONBLOCK, poll and kqueue"; }
modes_body() {
    load
    check_probe pair 0 1
    check_probe modes 0 1
    check_probe modes 1 0
}
modes_cleanup() { unload; }

atf_test_case alarms cleanup
alarms_head() { atf_set descr "each alarm comes, is told to the far end, and goes"; }
alarms_body() {
    load
    check_probe pair 0 1
    check_probe wait 1 0 1000
    check_probe wait 0 0 1000
    for kind in "$INJECT_LOS $LOS" "$INJECT_AIS $AIS" "$INJECT_LFA $LFA"; do
        check_probe inject 0 "${kind% *}" "$FOREVER"
        check_probe wait 1 "${kind#* }" 500
        check_probe wait 0 "$RAI" 500
        check_probe inject 0 "${kind% *}" 0
        check_probe wait 1 0 500
        check_probe wait 0 0 500
    done
    check_probe inject 0 "$INJECT_RAI" "$FOREVER"
    check_probe wait 1 "$RAI" 500
    check_probe inject 0 "$INJECT_RAI" 0
    check_probe inject 0 "$INJECT_LMFA" "$FOREVER"
    check_probe wait 1 "$LMFA" 2000
    check_probe inject 0 "$INJECT_LMFA" 0
    check_probe wait 1 0 500
}
alarms_cleanup() { unload; }

atf_test_case counters cleanup
counters_head() { atf_set descr "each injected error is counted, exactly"; }
counters_body() {
    load
    check_probe pair 0 1
    check_probe wait 1 0 1000
    check_probe wait 0 0 1000
    before=$(probe counter 0 ebit)
    check_probe inject 0 "$INJECT_FAS" 2
    check_probe inject 0 "$INJECT_CRC" 9
    check_probe inject 0 "$INJECT_CODE" 7
    sleep 1
    check_counter 1 fas 2
    check_counter 1 crc 9
    check_counter 1 code 7
    check_counter 0 ebit "$((before + 9))"
}
counters_cleanup() { unload; }

atf_test_case slip cleanup
slip_head() { atf_set descr "a late reader loses units, and they are counted"; }
slip_body() {
    load
    check_probe pair 0 1
    check_probe late 0
    [ "$(probe counter 0 slip_rx_delete)" -gt 300 ] || atf_fail "a late reader lost nothing"
    before=$(probe counter 0 slip_rx_delete)
    check_probe inject 0 "$INJECT_DELETE" 3
    check_probe inject 0 "$INJECT_REPEAT" 3
    probe hold 0 1
    [ "$(probe counter 0 slip_rx_repeat)" -eq 3 ] || atf_fail "3 repeats were not counted"
    [ "$(probe counter 0 slip_rx_delete)" -ge $((before + 3)) ] || atf_fail "3 deletes were not"
}
slip_cleanup() { unload; }

atf_test_case loops cleanup
loops_head() { atf_set descr "local, payload and line loops bring back what was sent"; }
loops_body() {
    load
    check_probe pair 0 1
    check_probe wait 0 0 1000
    check_probe loop 1 2
    check_probe wait 0 0 1000
    atf_check -s exit:1 -o ignore -e match:busy "$(atf_get_srcdir)/e1probe" loop 0 3
    check_probe loop 1 3
    check_probe wait 0 0 1000
    check_probe loop 1 0
    check_probe wait 1 0 1000
    check_probe loop 0 1
}
loops_cleanup() { unload; }

atf_test_case line cleanup
line_head() { atf_set descr "a span whose line is a program"; }
line_body() {
    load
    check_probe line 5
    check_probe destroy 5
}
line_cleanup() { unload; }

atf_test_case clock cleanup
clock_head() { atf_set descr "the clock keeps real time within a per mille over ten seconds"; }
clock_body() {
    load
    check_probe pair 0 1
    start=$(probe counter 0 rx_units)
    sleep 10
    passed=$(($(probe counter 0 rx_units) - start))
    if [ "$passed" -lt 9950 ] || [ "$passed" -gt 10200 ]; then
        atf_fail "10 s were $passed units"
    fi
    check_counter 0 clock_skip_ms 0
}
clock_cleanup() { unload; }

atf_test_case unload_under_load cleanup
unload_under_load_head() { atf_set descr "kldunload is refused while devices are open"; }
unload_under_load_body() {
    load
    check_probe pair 0 1
    probe hold 0 6 &
    a=$!
    probe hold 1 6 &
    b=$!
    sleep 1
    for _ in 1 2 3 4 5; do
        atf_check -s not-exit:0 -e ignore kldunload e1shim
        atf_check -s not-exit:0 -e ignore kldunload -f e1shim
        atf_check -s exit:1 -o ignore -e match:busy "$(atf_get_srcdir)/e1probe" destroy 0
    done
    wait "$a" || atf_fail "the first holder failed"
    wait "$b" || atf_fail "the second holder failed"
    # Opens race with unload: whoever comes late gets an error, and nothing breaks.
    ( for _ in 1 2 3 4 5 6 7 8 9 10; do probe hold 0 0; done ) 2>/dev/null &
    until kldunload e1shim 2>/dev/null; do :; done
    wait
}
unload_under_load_cleanup() { unload; }

atf_test_case tdmoe cleanup
tdmoe_head() { atf_set descr "two TDMoE spans over an epair(4) align and carry units"; }
tdmoe_body() {
    kldload -n ng_ether || atf_skip "no ng_ether here"
    load
    a=$(ifconfig epair create) || atf_skip "no epair here"
    b=${a%a}b
    echo "$a" >epair
    ifconfig "$a" up
    ifconfig "$b" up
    atf_check -s exit:0 ngctl mkpeer "$a:" e1shim orphans "$a"
    atf_check -s exit:0 ngctl mkpeer "$b:" e1shim orphans "$b"
    mac_a=$(ifconfig "$a" | awk '$1 == "ether" { print $2 }')
    mac_b=$(ifconfig "$b" | awk '$1 == "ether" { print $2 }')
    check_probe tdmoe 10 "$a" "$mac_b" 7
    check_probe tdmoe 11 "$b" "$mac_a" 7
    check_probe wait 10 0 2000
    check_probe wait 11 0 2000
    check_probe transfer 10 11 2000
    check_counter 11 net_bad 0
    check_probe inject 10 "$INJECT_LOS" "$FOREVER"
    check_probe wait 11 "$LOS" 500
    check_probe wait 10 "$RAI" 500
    # A node of ours keeps the module.
    atf_check -s not-exit:0 -e ignore kldunload e1shim
    ngctl shutdown "$a:orphans"
    ngctl shutdown "$b:orphans"
    atf_check -s exit:0 kldunload e1shim
}
tdmoe_cleanup() {
    if [ -e epair ]; then ifconfig "$(cat epair)" destroy; fi
    unload
}

atf_init_test_cases() {
    for test_case in load pair transfer modes alarms counters slip loops line clock \
        unload_under_load tdmoe; do
        atf_add_test_case "$test_case"
    done
}
