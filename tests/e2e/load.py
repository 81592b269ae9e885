"""sipp: ten thousand REGISTERs and five thousand calls without a single retransmission. And what takes
long: calls for minutes, and media."""

import collections
import itertools
import os
import socket
import threading
import time

from lib.case import Skip
from lib.sip import sdp
from lib.sipp import Sipp, register
from lib.voipd import Voipd
from ng import Relay, port_of

REGISTERS = 10_000
CALLS = 5_000
# Of phones that send 50 packets a second each way.
STREAMS = 1_000
# How long they talk; a first look at memory is taken after SETTLED seconds.
MEDIA_SECONDS = int(os.environ.get("SOAK_SECONDS", "1200"))
SETTLED = 120
# Calls that are there for a moment, beside them.
GUESTS = 50
ALONE = True


def test_registers(case):
    voipd = Voipd(case)
    users = [f"u{n:05}" for n in range(REGISTERS)]
    voipd.add_users(users)
    counters = Sipp(case, "register", "register", voipd, users=users, count=REGISTERS, rate=1000,
                    seconds=90).finish()
    assert counters["retransmissions"] == 0, counters
    assert voipd.json("status")["registrations"] == REGISTERS


def test_calls(case):
    voipd = Voipd(case)
    calls(case, voipd, CALLS, 250, 120)


def calls(case, voipd, count, rate, seconds, caller="alice", called="bob"):
    for name in (caller, called):
        voipd.add_user(name)
    port = case.port()
    register(case, f"register-{called}", voipd, called, port)
    options = {"count": count, "seconds": seconds}
    phone = Sipp(case, f"answer-{called}", "answer", voipd, port=port, **options)
    calling = Sipp(case, f"call-{called}", "call", voipd, users=[caller], service=called, rate=rate,
                   **options)
    counters = [calling.finish(), phone.finish()]
    assert all(c["retransmissions"] == 0 for c in counters), counters
    assert voipd.calls() == []


def soak_calls(case):
    """Ten minutes of calls: memory settles."""
    voipd = Voipd(case)
    calls(case, voipd, 20_000, 200, 240)
    early = resident_kb(voipd)
    calls(case, voipd, 80_000, 200, 700, "carol", "dave")
    late = resident_kb(voipd)
    print(f"        resident: {early} KB after 20,000 calls, {late} KB after 100,000")
    assert late < 1.2 * early + 8192, (early, late)


def resident_kb(voipd):
    with open(f"/proc/{voipd.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def soak_media(case):
    """Twenty minutes of 100,000 packets a second, while other calls come and go: none is lost, memory
    stays as it is, and each port is there again."""
    bench = case.binaries / "examples" / "relaybench"
    if not bench.exists():
        raise Skip("relaybench is missing: cargo build --release --example relaybench")
    relay = Relay(case, ports="16384-32767")
    load = case.start("relaybench", [bench, "load", f"ng:127.0.0.1:{relay.port}",
                                     relay.voipd.process.pid, STREAMS, MEDIA_SECONDS])
    guests = Guests(relay)
    case.defer(guests.leave)
    time.sleep(min(SETTLED, MEDIA_SECONDS / 2))
    early = resident_kb(relay.voipd)
    load.wait(MEDIA_SECONDS + 60)
    late = resident_kb(relay.voipd)
    said = dict(line.split(" ", 1) for line in load.text().splitlines())
    guests.leave()
    print(f"        {guests.count} calls came and went beside {STREAMS}; {said['sent']} sent, loss "
          f"{said['loss']}; resident: {early} KB, then {late} KB")
    assert guests.count > MEDIA_SECONDS, guests.count
    assert float(said["loss"].split()[0]) < 0.001, said
    assert said["directions_heard"] == f"{2 * STREAMS} of {2 * STREAMS}", said
    assert late < 1.05 * early + 1024, (early, late)
    every_port_is_there(relay)


def every_port_is_there(relay):
    """Ends what is left, and makes as many calls as there are ports for."""
    ask = relay.client.ask
    while calls := ask("list", limit=2 * STREAMS)["calls"]:
        for call in calls:
            assert ask("delete", call_id=call, from_tag="a", delete_delay=0)["result"] == "ok"
    # Half of the ports are the protocol's, four for each call.
    whole = len(relay.ports) // 2 // 4
    for n in range(whole):
        reply = ask("offer", call_id=f"all-{n}", from_tag="a", sdp=sdp("127.0.0.1", 9))
        assert reply["result"] == "ok", (n, reply)
    reply = ask("offer", call_id="more", from_tag="a", sdp=sdp("127.0.0.1", 9))
    assert reply["result"] == "error", reply


class Guests:
    """Calls that come, say a little and go, a score each second."""

    def __init__(self, relay):
        self.client, self.count = relay.client, 0
        self.phones = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for phone in self.phones:
            phone.bind(("127.0.0.1", 0))
            phone.setblocking(False)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.come_and_go, daemon=True)
        self.thread.start()

    def come_and_go(self):
        there = collections.deque()
        for n in itertools.count():
            if self.done.wait(0.05):
                return
            there.append(self.call(f"guest-{n}"))
            if len(there) > GUESTS:
                self.client.ask("delete", call_id=there.popleft(), from_tag="a", delete_delay=0)
                self.count += 1

    def call(self, name):
        near, far = (sdp("127.0.0.1", phone.getsockname()[1]) for phone in self.phones)
        offer = self.client.ask("offer", call_id=name, from_tag="a", ICE="remove", sdp=near)
        answer = self.client.ask("answer", call_id=name, from_tag="a", to_tag="b", ICE="remove",
                                 sdp=far)
        assert "sdp" in offer and "sdp" in answer, (name, offer, answer)
        for number in range(5):
            for phone, reply in zip(self.phones, (answer, offer)):
                packet = b"\x80\x00" + number.to_bytes(2, "big") + bytes(8) + b"\xd5" * 160
                phone.sendto(packet, ("127.0.0.1", port_of(reply)))
                drain(phone)
        return name

    def leave(self):
        self.done.set()
        self.thread.join()


def drain(phone):
    try:
        while True:
            phone.recv(2048)
    except BlockingIOError:
        pass
