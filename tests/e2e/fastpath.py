"""The fast path: calls over AF_XDP between network namespaces, and all else on the same interface."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

from lib.case import Skip, wait_for
from lib.net import Network, sh, socket_in
from lib.ngclient import NgClient
from lib.phone import Phone
from lib.sip import sdp
from lib.tone import hears
from lib.voipd import Voipd, to_toml
from ng import port_of
from ngrecord import Talker, both_hold
from ngsrtp import Call as SrtpCall
from ngsrtp import Phone as SrtpPhone

LOW, HIGH = 440, 880
CORE, ALICE, BOB, GATE = "198.18.0.1", "198.18.0.3", "198.18.0.4", "198.18.0.2"
HOME = "192.168.77.10"
WEB, TOKEN = 8088, "0123456789abcdef0123456789abcdef"


class House(Network):
    """voipd's host and phones' on one switch, one of them behind a NAT."""

    def __init__(self, case, queues=1, upon=None, vlans=None, whole=True, **settings):
        """Without `whole` phones leave the checksums of what they send to a card."""
        super().__init__(case, CORE, switch=True, queues=queues)
        if upon:
            self.put_upon(self.core, upon)
        self.hosts = {"alice": self.host("alice", ALICE), "bob": self.host("bob", BOB)}
        self.addresses, self.vlans = {"alice": ALICE, "bob": BOB, "home": HOME}, set()
        for name, number in (vlans or {}).items():
            self.moves(name, number)
        self.hosts["home"] = self.home("gate", GATE, "192.168.77.1", "home", HOME)
        if whole:
            self.real_checksums(self.core, *self.hosts.values(), f"{self.tag}-gate")
        rtp = {"relay": "always", "fastpath": "xdp:eth0"} | settings.pop("rtp", {})
        self.card = rtp["fastpath"]
        self.voipd = Voipd(case, address=CORE, netns=self.core, rtp=rtp, **settings)
        for user in ("alice", "bob"):
            self.voipd.add_user(user)

    def moves(self, name, number):
        """A host leaves the net without tags for a VLAN, where voipd's host is too."""
        last = list(self.hosts).index(name) + 2
        host, far, near = self.hosts[name], f"198.18.{number}.{last}", f"198.18.{number}.1"
        if number not in self.vlans:
            self.vlan(self.core, number, near)
        self.vlans.add(number)
        self.vlan(host, number, far)
        sh("ip", "-n", host, "addr", "flush", "dev", "eth0")
        sh("ip", "-n", host, "route", "add", CORE, "via", near)
        self.addresses[name] = far
        # As on a cable: the tag is in the frame.
        self.switches(self.bridge, "to-core", "txvlan")
        self.switches(self.core, "eth0", "rxvlan")

    @staticmethod
    def switches(host, name, *features, to="off"):
        words = [word for feature in features for word in (feature, to)]
        sh("ip", "netns", "exec", host, "ethtool", "-K", name, *words)

    def tagged(self, name, number):
        """How many frames came to a host and left it by its VLAN."""
        (link,) = json.loads(sh("ip", "-n", self.hosts[name], "-s", "-j", "link", "show", "dev",
                                f"eth0.{number}"))
        return [link["stats64"][way]["packets"] for way in ("rx", "tx")]

    def heard(self, name):
        """The datagrams that a phone's host took, and those with a wrong checksum."""
        said = sh("ip", "netns", "exec", self.hosts[name], "cat", "/proc/net/snmp")
        names, values = [line.split()[1:] for line in said.splitlines() if line.startswith("Udp:")]
        udp = dict(zip(names, map(int, values)))
        return udp["InDatagrams"], udp["InCsumErrors"]

    def second_cable(self, name):
        """Lays another one between voipd's host and a phone's, eth1 at both ends."""
        host = self.hosts[name]
        self._cable(self.core, "eth1", "198.19.0.1/24", host, "eth1", "198.19.0.2/24")
        self.real_checksums(self.core, host)

    def fails_over(self, name, back=False):
        """Both hosts have each other by the second cable, and the first one is pulled; or back."""
        host, address = self.hosts[name], self.addresses[name]
        verb, state = ("del", "up") if back else ("add", "down")
        if back:
            sh("ip", "-n", self.bridge, "link", "set", f"to-{name}", state)
        sh("ip", "-n", host, "route", verb, CORE, "via", "198.19.0.1", "src", address)
        sh("ip", "-n", self.core, "route", verb, address, "via", "198.19.0.2", "src", CORE)
        if not back:
            sh("ip", "-n", self.bridge, "link", "set", f"to-{name}", state)

    def frames(self, name, link):
        """How many came to a phone's host by an interface."""
        row, = json.loads(sh("ip", "-n", self.hosts[name], "-s", "-j", "link", "show", "dev", link))
        return row["stats64"]["rx"]["packets"]

    def sounds(self, name, link, seconds=2):
        """A phone has what the other says by this interface."""
        before = self.frames(name, link)
        time.sleep(seconds)
        got = self.frames(name, link) - before
        assert got > 40 * seconds, f"{got} frames in {seconds} s by {name}'s {link}"

    def phone(self, name, tone, at=None, **options):
        host = at or name
        address = self.addresses[host]
        phone = Phone(self.case, name, self.voipd, tone, address=address, netns=self.hosts[host],
                      **options)
        phone.wait_registered()
        return phone

    def figure(self, name):
        return self.voipd.json("status")["counters"]["other"][f"fast_path_{name}"]

    def ways(self):
        """What voipctl relay says of the sockets and of the card."""
        sockets, card = self.voipd.json("relay")
        assert (sockets["name"], card["name"]) == ("sockets", self.card)
        return sockets, card

    def threads(self):
        """The driver's threads: for each the CPUs that it may run on."""
        media = self.voipd.pids("media") or [self.voipd.process.pid]
        tasks = [pathlib.Path(f"/proc/{pid}/task") for pid in media]
        drivers = [task for folder in tasks for task in folder.iterdir()
                   if (task / "comm").read_text().startswith("xdp:")]
        return sorted(sorted(os.sched_getaffinity(int(task.name))) for task in drivers)

    def carries(self, flows):
        wait_for(f"{flows} flows on the fast path", lambda: self.figure("flows") == flows, 15)

    def talks(self, alice, bob):
        """A call that comes onto the fast path, while ping and TCP pass."""
        alice.dial("bob")
        wait_for("the call to be up", lambda: self.up() == 1)
        self.carries(2)
        before = self.figure("sent")
        self.rest_passes()
        time.sleep(2)
        sent = self.figure("sent") - before
        assert sent > 150, f"{sent} packets took the fast path"

    def up(self):
        return sum(call["state"] == "up" for call in self.voipd.calls())

    def our_port(self):
        """Where alice's phone sends, by the SDP that it was given."""
        (call,) = self.voipd.calls()
        rows = self.voipd.json("trace", call["id"])
        bodies = [row["text"] for row in rows
                  if row["direction"] == "out" and "m=audio" in row["text"]]
        return int(re.search(r"m=audio (\d+)", bodies[-1])[1])

    def ends(self, phone):
        phone.hangup()
        wait_for("the call to be gone", lambda: self.voipd.calls() == [])
        self.carries(0)

    def ends_whole(self, alice, bob):
        """The same; each heard the other, and nothing was dropped."""
        self.ends(alice)
        hears(alice.recording(), HIGH, [LOW])
        hears(bob.recording(), LOW, [HIGH])
        assert self.figure("dropped") == 0, self.voipd.json("status")["counters"]

    def rest_passes(self):
        """Ping both ways, and a megabyte of TCP, over the interface of the calls."""
        sh("ip", "netns", "exec", self.hosts["alice"], "ping", "-qc", "3", "-i", "0.1", CORE)
        sh("ip", "netns", "exec", self.core, "ping", "-qc", "3", "-i", "0.1",
           self.addresses["bob"])
        listener = socket_in(self.core, socket.SOCK_STREAM, bind=(CORE, 0))
        listener.listen()
        data, got = os.urandom(1 << 20), []

        def serve():
            connection, _ = listener.accept()
            with connection:
                while part := connection.recv(65536):
                    got.append(part)

        thread = threading.Thread(target=serve)
        thread.start()
        with socket_in(self.hosts["alice"], socket.SOCK_STREAM,
                       connect=listener.getsockname()) as client:
            client.sendall(data)
        thread.join(10)
        listener.close()
        assert b"".join(got) == data, "TCP lost something"

    def program(self):
        """The XDP program on voipd's interface, as the system shows it."""
        name = self.card.removeprefix("xdp:")
        return "prog/xdp" in sh("ip", "-n", self.core, "link", "show", "dev", name)


def test_call(case):
    house = House(case)
    assert house.program()
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    (call,) = house.voipd.calls()
    assert min(leg["packets_in"] for leg in call["legs"]) > 100, call
    house.ends_whole(alice, bob)
    # The record has every packet, however it came: 50 a second from either side.
    (record,) = house.voipd.records()
    for leg in record["legs"]:
        sent = (record["end_ms"] - record["answer_ms"]) / 20
        assert 0.9 * sent < leg["packets_in"] < 1.1 * sent, record
        assert leg["lost"] == 0, record


def test_busy(case):
    """Threads that do not sleep carry the same, and stop when they are told to."""
    house = House(case, rtp={"fastpath_mode": "busy"})
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    house.ends_whole(alice, bob)
    house.voipd.stop()
    wait_for("the program to leave the card", lambda: not house.program(), 10)


def generic(case, upon):
    """A call by an interface whose driver has no place for XDP programs."""
    house = House(case, upon=upon)
    # What ip(8) calls a program that hangs behind the driver.
    assert "xdpgeneric" in sh("ip", "-n", house.core, "link", "show", "dev", "eth0")
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    card = house.ways()[1]
    assert card["mode"].startswith("generic") and card["up"], card
    house.ends_whole(alice, bob)
    house.voipd.kill()
    wait_for("the program to be gone", lambda: not house.program())
    house.rest_passes()


def test_generic_over_a_bridge(case):
    generic(case, "bridge")


def test_generic_over_a_macvlan(case):
    generic(case, "macvlan")


def test_vlans(case):
    """A call from one VLAN to another, by one card; then one from a VLAN to where no tags are."""
    house = House(case, vlans={"alice": 100, "bob": 200})
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    before = house.tagged("alice", 100) + house.tagged("bob", 200)
    sent = house.figure("sent")
    time.sleep(2)
    assert house.figure("sent") - sent > 150
    after = house.tagged("alice", 100) + house.tagged("bob", 200)
    for old, new in zip(before, after):
        assert new - old > 75, (before, after)
    house.ends_whole(alice, bob)
    # Every packet of the record came, by whichever way.
    (record,) = house.voipd.records()
    for leg in record["legs"]:
        assert leg["lost"] == 0, record
    rows = doctor(house)
    assert {row["outcome"] for row in rows} == {"ok"}, rows
    assert any("VLANs upon it: 2" in row["finding"] for row in rows), rows


def test_vlan_and_none(case):
    house = House(case, vlans={"bob": 200})
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    card = house.ways()[1]
    house.ends(bob)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    assert card["refused"] == 0 and house.figure("dropped") == 0, card


def test_the_interface_of_a_vlan(case):
    """Named itself it carries calls within its VLAN, as an interface without a place for programs."""
    house = House(case, vlans={"alice": 100, "bob": 100}, rtp={"fastpath": "xdp:eth0.100"})
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    assert house.ways()[1]["mode"].startswith("generic"), house.ways()
    house.ends(bob)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    assert house.figure("dropped") == 0


def test_tags_that_the_card_takes_off(case):
    """The program cannot see which VLAN a frame was in, so it is the kernel's; the call goes on."""
    house = House(case, vlans={"alice": 100, "bob": 200})
    house.switches(house.bridge, "to-core", "txvlan", to="on")
    house.switches(house.core, "eth0", "rxvlan", to="on")
    (bad,) = [row for row in doctor(house) if row["outcome"] != "ok"]
    assert bad["remedy"] == "ethtool -K eth0 rxvlan off", bad
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    alice.dial("bob")
    wait_for("the call to be up", lambda: house.up() == 1)
    time.sleep(6)
    assert house.figure("received") == 0
    house.ends(alice)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    # With the offload out they come to the program.
    house.switches(house.bridge, "to-core", "txvlan")
    house.switches(house.core, "eth0", "rxvlan")
    house.talks(alice, bob)


def test_checksums_that_are_left_to_the_card(case):
    """Between containers and virtual machines of a host packets come without one: where there is a
    card it makes it, and here the fast path does."""
    house = House(case, whole=False)
    for name in ("alice", "bob"):
        said = sh("ip", "netns", "exec", house.hosts[name], "ethtool", "-k", "eth0")
        assert "tx-checksumming: on" in said, said
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    alice.dial("bob")
    house.carries(2)
    before = [house.heard(name) for name in ("alice", "bob")]
    sent = house.figure("sent")
    time.sleep(3)
    assert house.figure("sent") - sent > 200
    for name, (good, bad) in zip(("alice", "bob"), before):
        now = house.heard(name)
        assert now[0] - good > 100 and now[1] == bad, (name, now, good, bad)
    house.ends_whole(alice, bob)


def test_a_route_that_moves(case):
    """The way to a phone fails over to another interface in the midst of a call, and back."""
    house = House(case)
    house.second_cable("bob")
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    house.sounds("bob", "eth0")
    assert house.figure("rerouted") == 0
    quiet = house.frames("bob", "eth1")
    house.fails_over("bob")
    # The system says that the route is another one: hardly a syllable is lost.
    wait_for("sound by the other interface", lambda: house.frames("bob", "eth1") > quiet + 5, 1)
    house.sounds("bob", "eth1")
    house.sounds("alice", "eth0")
    sockets, card = house.ways()
    assert (card["rerouted"], card["flows"], sockets["flows"]) == (1, 1, 1), (sockets, card)
    assert house.figure("rerouted") == 1
    house.fails_over("bob", back=True)
    house.carries(2)
    before = house.figure("sent")
    house.sounds("bob", "eth0")
    assert house.figure("sent") - before > 150, "the call is not on the card again"
    assert house.figure("rerouted") == 1
    house.ends(alice)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    # Each packet that came is counted once, whichever way it took.
    (record,) = house.voipd.records()
    for leg in record["legs"]:
        sent = (record["end_ms"] - record["answer_ms"]) / 20
        assert 0.9 * sent < leg["packets_in"] < 1.1 * sent, record


def test_a_neighbour_that_moves(case):
    """A phone's host, or a pair of routers, goes on with another hardware address."""
    house = House(case)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    host, other = house.hosts["bob"], "02:00:00:00:99:01"
    sh("ip", "-n", host, "link", "set", "eth0", "address", other)
    # What still goes to the old address is not taken by the host.
    before, _ = house.heard("bob")
    sh("ip", "-n", house.core, "neigh", "replace", BOB, "lladdr", other, "dev", "eth0",
       "nud", "reachable")
    wait_for("sound at the new address", lambda: house.heard("bob")[0] > before + 20, 1)
    _, card = house.ways()
    assert (card["rerouted"], card["flows"]) == (0, 2), card
    # One that answers no more, as the system finds: sockets have the call within moments.
    sh("ip", "-n", house.core, "neigh", "replace", BOB, "dev", "eth0", "nud", "failed")
    wait_for("the flow to leave the card", lambda: house.figure("rerouted") == 1, 1)
    # They ask for the neighbour, who is there.
    house.carries(2)
    house.ends(alice)


def test_rules_by_our_address(case):
    """A rule sends what leaves with our address by another interface: that stays on sockets."""
    house = House(case)
    house.second_cable("bob")
    core = ["ip", "-n", house.core]
    rule = ["from", CORE, "lookup", "100"]
    sh(*core, "route", "add", BOB, "via", "198.19.0.2", "src", CORE, "table", "100")
    sh(*core, "rule", "add", *rule)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    alice.dial("bob")
    house.carries(1)
    time.sleep(3)
    house.sounds("bob", "eth1")
    sockets, card = house.ways()
    assert card["refused"] > 0 and (card["flows"], sockets["flows"]) == (1, 1), (sockets, card)
    sh(*core, "rule", "del", *rule)
    house.carries(2)
    house.sounds("bob", "eth0")
    sh(*core, "rule", "add", *rule)
    house.carries(1)
    house.sounds("bob", "eth1")
    assert house.ways()[1]["rerouted"] == 1, house.ways()
    house.ends(alice)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])


def metrics(house):
    """Prometheus' scrape, as names with their labels, and numbers."""
    request = f"GET /metrics HTTP/1.0\r\nHost: voip\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket_in(house.core, socket.SOCK_STREAM, connect=("127.0.0.1", WEB)) as client:
        client.sendall(request.encode())
        got = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    assert got.startswith("HTTP/1.0 200") or got.startswith("HTTP/1.1 200"), got[:200]
    lines = [line.rsplit(" ", 1) for line in got.splitlines() if line.startswith("voip_relay_")]
    return {name: int(value) for name, value in lines}


def test_figures(case):
    """voipctl relay, in numbers that are known: of what phones sent, and of what strangers did."""
    token = case.folder / "web.token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    house = House(case, admin={"web": f"127.0.0.1:{WEB}", "token_file": str(token)})
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    sockets, card = house.ways()
    assert card["flows"] == 2 and sockets["flows"] == 0, (sockets, card)
    assert card["mode"].startswith("native") and card["up"], card
    # 50 packets a second from either side.
    wait_for("the pace", lambda: 80 < house.ways()[1]["received_per_s"] < 120, 10)
    assert 80 < house.ways()[1]["sent_per_s"] < 120, house.ways()
    # A stranger speaks to the port of a flow: each of its packets is seen, and none goes on.
    port = house.our_port()
    packet = bytes([0x80, 0]) + bytes(10) + bytes(160)
    with socket_in(house.hosts["bob"], socket.SOCK_DGRAM, bind=(BOB, 0)) as stranger:
        for _ in range(70):
            stranger.sendto(packet, (CORE, port))
    wait_for("the strays", lambda: house.ways()[1]["drops"].get("stray") == 70, 5)
    house.ends(alice)
    time.sleep(1.5)
    sockets, card = house.ways()
    (queue,) = card["queues"]
    assert card["received"] == card["sent"] + card["punted"] + sum(card["drops"].values()), card
    assert (queue["received"], queue["sent"]) == (card["received"], card["sent"]), card
    assert card["drops"] == {"stray": 70} and card["batch_max"] >= 1, card
    lost = [queue[name] for name in ("overruns", "kernel_dropped", "ring_full", "invalid")]
    assert lost == [0, 0, 0, 0] and queue["room"] > 1000 and queue["sending"] == 0, queue
    # Every packet of the record came by one way or the other; the rest is RTCP.
    (record,) = house.voipd.records()
    rtp = sum(leg["packets_in"] for leg in record["legs"])
    came = sockets["received"] + card["received"] - 70
    assert rtp <= came <= rtp + 40, (rtp, sockets, card, record)
    assert sockets["sent"] + card["sent"] <= came, (sockets, card)
    text = house.voipd.ctl("relay")
    assert "not from the peer of the call" in text and "xdp:eth0" in text, text
    seen = metrics(house)
    way = 'driver="xdp:eth0"'
    assert seen[f'voip_relay_driver_up{{{way}}}'] == 1, seen
    assert seen[f'voip_relay_packets_total{{{way},direction="out"}}'] == card["sent"], seen
    assert seen[f'voip_relay_drops_total{{{way},reason="stray"}}'] == 70, seen
    queue_sent = f'voip_relay_queue_frames_total{{{way},queue="0",direction="out"}}'
    assert seen[queue_sent] == card["sent"], seen


def doctor(house):
    """What voipctl doctor says of the fast path."""
    argv = ["ip", "netns", "exec", house.core, house.case.binaries / "voipctl", "-c",
            house.voipd.file, "--json", "doctor"]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    return [row for row in json.loads(done.stdout) if row["check"] == "fast path"]


def test_doctor(case):
    house = House(case)
    rows = doctor(house)
    assert {row["outcome"] for row in rows} == {"ok"}, rows
    assert any("xdp:eth0 runs, native" in row["finding"] for row in rows), rows
    assert "WARN" not in house.voipd.process.text()
    sh("ip", "-n", house.core, "link", "set", "eth0", "down")
    (bad,) = [row for row in doctor(house) if row["outcome"] != "ok"]
    assert (bad["finding"], bad["outcome"]) == ("eth0 is down", "bad"), bad
    assert bad["remedy"] == "ip link set dev eth0 up", bad


def test_phone_behind_a_nat(case):
    house = House(case)
    alice, bob = house.phone("alice", LOW, at="home"), house.phone("bob", HIGH)
    house.talks(alice, bob)
    house.ends(bob)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])


def test_srtp_passes(case):
    house = House(case)
    alice = house.phone("alice", LOW, secure=True)
    bob = house.phone("bob", HIGH, secure=True)
    house.talks(alice, bob)
    house.ends(bob)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])


def test_srtp_comes_off_and_goes_on(case):
    """Between SRTP and RTP by the card, whose two queues and the sockets have one set of indices: a call
    comes and goes without a packet that is dropped, and what is forged or comes again is."""
    port = case.port()
    house = House(case, queues=2, rtp={"ng": f"udp:{CORE}:{port}"} | Proxy.RTP)
    client = ng_client(house, port)
    for number, suite in enumerate(("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM")):
        phones = [SrtpPhone(case, name, (house.hosts[host], address))
                  for name, host, address in (("plain", "alice", ALICE), ("secure", "bob", BOB))]
        call = SrtpCall(case, client, suite, f"call-{number}", secure_offers=number == 1,
                        phones=phones, relay=CORE)
        house.carries(2)
        before, dropped = house.figure("sent"), drops(house, "srtp")
        assert call.is_heard(2)
        assert house.figure("sent") - before > 150
        for _ in range(3):
            call.ask("block media")
            house.carries(0)
            call.ask("unblock media")
            assert call.is_heard()
            house.carries(2)
            assert call.is_heard()
        assert drops(house, "srtp") == dropped, (number, dropped, house.voipd.json("relay"), call.plain.good, call.secure.good)
        dropped += call.replay()
        wait_for("the replays to be dropped", lambda: drops(house, "srtp") == dropped)
        assert call.is_heard()
        call.end()
        house.carries(0)
        assert drops(house, "srtp") == dropped, (number, dropped, house.voipd.json("relay"), call.plain.good, call.secure.good)


def drops(house, reason):
    return sum(row["drops"].get(reason, 0) for row in house.voipd.json("relay"))


def test_rights_are_given_up(case):
    """Root is needed for the start alone."""
    within = ["sh", "-c", 'chown nobody "$0" && exec "$@"', case.folder / "voipd"]
    house = House(case, queues=2, flags=["-u", "nobody"], within=within)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    house.ends(alice)
    hears(bob.recording(), LOW, [HIGH])


def test_hold_and_resume(case):
    """A re-INVITE takes the call back to sockets; when both speak again it comes back."""
    house = House(case)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    alice.command("hold")
    house.carries(0)
    time.sleep(1)
    alice.command("resume")
    house.carries(2)
    time.sleep(2)
    house.ends(bob)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])


def test_services_stay_on_sockets(case):
    house = House(case)
    alice = house.phone("alice", LOW)
    alice.dial("*130")
    wait_for("the echo to be up", lambda: house.up() == 1)
    time.sleep(7)
    assert house.figure("flows") == 0
    house.ends(alice)


def test_killed(case):
    """The system has its card back at once, and a new start takes it over."""
    house = House(case)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    house.voipd.kill()
    wait_for("the program to be gone", lambda: not house.program())
    house.rest_passes()
    for phone in (alice, bob):
        phone.command("hangup")
    house.voipd.restart()
    assert house.program()
    house.talks(alice, bob)
    house.ends(alice)
    house.voipd.stop()
    assert not house.program()
    house.rest_passes()


def test_media_begins_anew(case):
    """The process of media dies in the midst of a call, which comes back onto the fast path."""
    if "--processes" not in os.environ.get("VOIPD_FLAGS", ""):
        raise Skip("of several processes only")
    house = House(case)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    (media,) = house.voipd.pids("media")
    os.kill(media, signal.SIGKILL)
    wait_for("media to be there again", lambda: house.voipd.pids("media") not in ([], [media]))
    wait_for("the program to be there again", house.program)
    # By sockets until it is settled anew; the figures begin anew, too.
    house.carries(0)
    house.carries(2)
    before = house.figure("sent")
    time.sleep(2)
    assert house.figure("sent") - before > 150, "the call is not carried again"
    house.ends(alice)


def refused(case, network, **rtp):
    """What voipd says that does not start."""
    file = case.folder / "refused.toml"
    file.write_text(to_toml({
        "node": {"domains": ["voip.test"], "state_dir": str(case.folder / "refused")},
        "sip": {"listen": [f"udp:{CORE}:5060"]}, "rtp": rtp}))
    argv = [case.binaries / "voipd", "-c", file, "-f"]
    return case.run("refused", argv, network.core, status=69)


def test_what_cannot_be_is_said(case):
    network = Network(case, CORE, switch=True)
    said = refused(case, network, fastpath="xdp:eth7")
    assert "no Ethernet interface is called eth7; see 'ip link'" in said, said
    said = refused(case, network, fastpath="xdp:lo")
    assert "no Ethernet interface is called lo" in said, said
    # Somebody else's program hangs on the card.
    first = Voipd(case, address=CORE, netns=network.core, rtp={"fastpath": "xdp:eth0"},
                  flags=[])
    said = refused(case, network, fastpath="xdp:eth0")
    assert "'ip link set dev eth0 xdp off'" in said, said
    first.stop()


def test_interface_goes_away(case):
    """The driver ends, and says so once; calls go on by sockets, and their records are whole."""
    house = House(case, queues=2)
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    assert house.figure("up") == 1
    away = house.hosts["home"]
    sh("ip", "-n", house.core, "link", "set", "eth0", "netns", away, "name", "eth9")
    wait_for("the driver to end", lambda: house.figure("up") == 0, 5)
    assert house.figure("flows") == 0
    sh("ip", "-n", away, "link", "set", "eth9", "netns", house.core, "name", "eth0")
    sh("ip", "-n", house.core, "addr", "add", f"{CORE}/24", "dev", "eth0")
    sh("ip", "-n", house.core, "link", "set", "eth0", "up")
    assert not house.program()
    frames = house.figure("sent")

    def packets():
        (call,) = house.voipd.calls()
        return min(leg["packets_in"] for leg in call["legs"])

    before = packets()
    wait_for("sound by sockets", lambda: packets() > before + 100, 10)
    assert house.figure("sent") == frames
    (warning,) = house.voipd.json("status")["warnings"]
    assert "xdp:eth0 ended: the interface is gone" in warning and "restart voipd" in warning, warning
    house.ends(alice)
    said = [line for line in house.voipd.process.text().splitlines() if "xdp:eth0 ended" in line]
    assert len(said) == 1 and "ERROR" in said[0], said
    # What came by the card until then is there, too; what the cable did not bring is not.
    (record,) = house.voipd.records()
    for leg in record["legs"]:
        sent = (record["end_ms"] - record["answer_ms"]) / 20
        assert 0.5 * sent < leg["packets_in"] < 1.1 * sent, record
    house.voipd.stop()
    house.voipd.restart()
    assert house.program() and house.figure("up") == 1


def ng_client(house, port):
    """Asks voipd by the ng protocol from alice's host."""
    client = NgClient(CORE, port)
    client.socket.close()
    client.socket = socket_in(house.hosts["alice"], socket.SOCK_DGRAM, bind=(ALICE, 0))
    client.socket.settimeout(1)
    return client


class Proxy:
    """Another proxy at alice's, which has its calls between her host and bob's relayed."""

    RTP = {"ng_allow": ["198.18.0.0/24"], "ng_interfaces": [f"lan/{CORE}"]}

    def __init__(self, case, house, port):
        self.case, self.house = case, house
        self.client = ng_client(house, port)

    def call(self, name):
        """Two that talk."""
        talkers = Talker(self.case, 400), Talker(self.case, 800)
        for talker, host, address in zip(talkers, ("alice", "bob"), (ALICE, BOB)):
            talker.socket.close()
            talker.socket = socket_in(self.house.hosts[host], socket.SOCK_DGRAM, bind=(address, 0))
            talker.port = talker.socket.getsockname()[1]
        a, b = talkers
        ask, call = self.client.ask, {"call_id": name, "from_tag": "a"}
        offered = ask("offer", sdp=sdp(ALICE, a.port), **call)
        answered = ask("answer", sdp=sdp(BOB, b.port), to_tag="b", **call)
        a.talk_to((CORE, port_of(answered)))
        b.talk_to((CORE, port_of(offered)))
        return talkers


def test_a_recording_of_another_proxy(case):
    """A call of the ng protocol leaves the card while it is recorded, and comes back."""
    spool = case.folder / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    port = case.port()
    house = House(case, rtp={"ng": f"udp:{CORE}:{port}"} | Proxy.RTP,
                  spool={"directory": str(spool)}, recording={"notice": False})
    proxy = Proxy(case, house, port)
    client, (a, b) = proxy.client, proxy.call("x")
    house.carries(2)
    assert client.ask("start recording", call_id="x") == {"result": "ok"}
    house.carries(0)
    assert a.hears(2) and b.hears(2)
    assert client.ask("stop recording", call_id="x") == {"result": "ok"}
    house.carries(2)
    assert a.hears() and b.hears()
    (path,) = wait_for("the recording", lambda: list(spool.rglob("*.wav")))
    both_hold(path)
    client.ask("delete", delete_delay=0, call_id="x", from_tag="a")
    house.carries(0)


def test_queues(case):
    """Of a card with two queues each has a thread of its own, and both carry packets of calls."""
    port = case.port()
    house = House(case, queues=2, rtp={"ng": f"udp:{CORE}:{port}"} | Proxy.RTP)
    proxy = Proxy(case, house, port)
    threads = min(2, os.cpu_count())
    assert house.threads() == [[cpu] for cpu in sorted(os.sched_getaffinity(0))[:2]] or threads == 1
    # Which queue a flow comes by is for its addresses and ports to say.
    pairs = [proxy.call(f"call{number}") for number in range(6)]
    house.carries(12)
    before = house.ways()[1]["queues"]
    for a, b in pairs:
        assert a.hears(0.5) and b.hears(0.5)
    queues = house.ways()[1]["queues"]
    for old, new in zip(before, queues, strict=True):
        assert new["received"] - old["received"] > 50, (old, new)
        assert new["sent"] - old["sent"] > 50, (old, new)
    for number in range(6):
        proxy.client.ask("delete", delete_delay=0, call_id=f"call{number}", from_tag="a")
    house.carries(0)
    for pair in pairs:
        for talker in pair:
            talker.close()
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    house.ends(alice)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    time.sleep(1.5)
    card = house.ways()[1]
    assert card["mode"].endswith(f"{threads} threads") or threads == 1, card
    assert card["drops"] == {} and card["up"], card
    assert card["received"] == card["sent"] + card["punted"], card
    for name in ("received", "sent"):
        assert sum(queue[name] for queue in card["queues"]) == card[name], card
    for queue in card["queues"]:
        lost = [queue[name] for name in ("overruns", "kernel_dropped", "ring_full", "invalid")]
        assert lost == [0, 0, 0, 0] and queue["room"] > 1000 and queue["sending"] == 0, queue
    # Killed, and started again: both queues are taken over.
    house.voipd.kill()
    wait_for("the program to be gone", lambda: not house.program())
    house.rest_passes()
    house.voipd.restart()
    assert house.program() and len(house.threads()) == threads
    for number in range(6):
        proxy.call(f"again{number}")
    house.carries(12)
    wait_for("both queues to carry",
             lambda: min(queue["sent"] for queue in house.ways()[1]["queues"]) > 50, 10)
    house.voipd.stop()
    assert not house.program()
    house.rest_passes()


def test_queues_busy(case):
    """Threads that do not sleep leave a CPU to all else, and serve the queues in turn."""
    port = case.port()
    house = House(case, queues=3, rtp={"ng": f"udp:{CORE}:{port}", "fastpath_mode": "busy"} | Proxy.RTP)
    assert len(house.threads()) == max(1, min(3, os.cpu_count() - 1))
    proxy = Proxy(case, house, port)
    pairs = [proxy.call(f"call{number}") for number in range(8)]
    house.carries(16)
    wait_for("all queues to carry",
             lambda: min(queue["sent"] for queue in house.ways()[1]["queues"]) > 50, 10)
    for a, b in pairs:
        assert a.hears(0.5) and b.hears(0.5)
    house.voipd.stop()
    assert not house.program()
