"""The fast path: calls over AF_XDP between network namespaces, and all else on the same interface."""

import os
import socket
import threading
import time

from lib.case import Skip, wait_for
from lib.net import Network, sh, socket_in
from lib.phone import Phone
from lib.tone import hears
from lib.voipd import Voipd, to_toml

LOW, HIGH = 440, 880
CORE, ALICE, BOB, GATE = "198.18.0.1", "198.18.0.3", "198.18.0.4", "198.18.0.2"
HOME = "192.168.77.10"


class House(Network):
    """voipd's host and phones' on one switch, one of them behind a NAT."""

    def __init__(self, case, **settings):
        if os.environ.get("VOIPD_FLAGS"):
            raise Skip("a daemon of several processes has no fast path yet")
        super().__init__(case, CORE, switch=True)
        self.hosts = {"alice": self.host("alice", ALICE), "bob": self.host("bob", BOB)}
        self.hosts["home"] = self.home("gate", GATE, "192.168.77.1", "home", HOME)
        self.real_checksums(self.core, *self.hosts.values(), f"{self.tag}-gate")
        rtp = {"relay": "always", "fastpath": "xdp:eth0"} | settings.pop("rtp", {})
        self.voipd = Voipd(case, address=CORE, netns=self.core, rtp=rtp, **settings)
        for user in ("alice", "bob"):
            self.voipd.add_user(user)

    def phone(self, name, tone, at=None, **options):
        host = at or name
        address = {"alice": ALICE, "bob": BOB, "home": HOME}[host]
        phone = Phone(self.case, name, self.voipd, tone, address=address, netns=self.hosts[host],
                      **options)
        phone.wait_registered()
        return phone

    def figure(self, name):
        return self.voipd.json("status")["counters"]["other"][f"fast_path_{name}"]

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

    def ends(self, phone):
        phone.hangup()
        wait_for("the call to be gone", lambda: self.voipd.calls() == [])
        assert self.figure("flows") == 0

    def rest_passes(self):
        """Ping both ways, and a megabyte of TCP, over the interface of the calls."""
        sh("ip", "netns", "exec", self.hosts["alice"], "ping", "-qc", "3", "-i", "0.1", CORE)
        sh("ip", "netns", "exec", self.core, "ping", "-qc", "3", "-i", "0.1", BOB)
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
        return "xdp" in sh("ip", "-n", self.core, "link", "show", "dev", "eth0")


def test_call(case):
    house = House(case)
    assert house.program()
    alice, bob = house.phone("alice", LOW), house.phone("bob", HIGH)
    house.talks(alice, bob)
    (call,) = house.voipd.calls()
    assert min(leg["packets_in"] for leg in call["legs"]) > 100, call
    house.ends(alice)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    assert house.figure("dropped") == 0, house.voipd.json("status")["counters"]
    # The record has every packet, however it came: 50 a second from either side.
    (record,) = house.voipd.records()
    for leg in record["legs"]:
        sent = (record["end_ms"] - record["answer_ms"]) / 20
        assert 0.9 * sent < leg["packets_in"] < 1.1 * sent, record
        assert leg["lost"] == 0, record


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


def test_rights_are_given_up(case):
    """Root is needed for the start alone."""
    within = ["sh", "-c", 'chown nobody "$0" && exec "$@"', case.folder / "voipd"]
    house = House(case, flags=["-u", "nobody"], within=within)
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
    house = House(case)
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
