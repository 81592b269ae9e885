"""Asterisk as an ITSP that demands registration and digest (as a branch PBX: scenarios.py), and as an
end of calls that are transcoded.

Needs the Asterisk of tests/peers/asterisk: tests/e2e/run --asterisk, not an ordinary run.
"""

import math
import re
import time

from lib.asterisk import Asterisk, account, peer
from lib.case import wait_for
from lib.net import Network
from lib.phone import Phone
from lib.tone import hears, power, samples
from lib.voipd import DOMAIN, Voipd

ACCOUNT, PASSWORD = "5700020326", "itsp-secret"
CORE, INSIDE, ITSP, BACKUP = "198.18.0.1", "198.18.0.30", "198.18.0.50", "198.18.0.51"
DID = "917770000"
LOW, HIGH = 440, 880
TALK_SECONDS = 3
# What the route allows each way out, and what a loaded machine may add.
RING_S, PATIENCE_S = 4, 3
EXTENSIONS = """\
[from-customer]
exten => 915550101,1,Answer()
 same => n,Echo()
exten => 915550102,1,Answer()
 same => n,Playtones(880)
 same => n,Wait(60)
exten => 915550103,1,Ringing()
 same => n,Wait(60)
exten => 915550104,1,Hangup(17)
exten => 915550105,1,Answer()
 same => n,Playtones(880)
 same => n,Wait(2)
 same => n,Hangup()
[backup]
exten => _X.,1,Answer()
 same => n,Playtones(880)
 same => n,Wait(60)
[world]
exten => _X.,1,Set(CALLERID(all)="" <916660002>)
 same => n,Dial(PJSIP/${EXTEN}@5700020326,60)
"""


def server(case, network, name, address, algorithms="MD5", context="from-customer"):
    pjsip = account(ACCOUNT, PASSWORD, algorithms).replace("context=from-customer",
                                                           f"context={context}")
    files = {"pjsip.conf": pjsip, "extensions.conf": EXTENSIONS}
    return Asterisk(case, name, files, address, 5060, network.host(name, address))


class Office:
    """voipd with two softphones, and trunks to Asterisks."""

    def __init__(self, case, network, *servers):
        office = {"address": INSIDE, "netns": network.host("office", INSIDE)}
        secret = case.folder / "itsp.secret"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD + "\n")
        self.servers = servers
        trunks = [{
            "name": server.name, "uri": f"sip:{server.address}:{server.port}",
            "username": ACCOUNT, "password_file": secret.name, "domain": "itsp.test",
            "register": True, "hide_topology": True, "identity": "asserted",
        } for server in servers]
        names = [f"trunk:{server.name}" for server in servers]
        self.voipd = Voipd(case, CORE, network.core, rtp={"relay": "always"}, trunk=trunks, route=[
            {"match": DID, "from": names, "to": ["user:bob"]},
            {"match": "91555XXXX", "from": ["user:*"], "ring_s": RING_S, "to": names},
        ])
        for name in ("alice", "bob"):
            self.voipd.add_user(name)
        self.bob = Phone(case, "bob", self.voipd, HIGH, **office)
        self.alice = Phone(case, "alice", self.voipd, LOW, **office)
        for phone in (self.alice, self.bob):
            phone.wait_registered()
        for server in servers:
            wait_for(f"the registration at {server.name}", server.contacts, 15)

    def up(self):
        return [call for call in self.voipd.calls() if call["state"] == "up"]

    def idle(self):
        wait_for("the calls to be gone", lambda: self.voipd.calls() == [], 15)
        for server in self.servers:
            if server.process.alive():
                wait_for(f"{server.name} to be idle", lambda: server.channels() == 0, 15)
                hidden(server, self.voipd)

    def talk(self, number):
        """Alice calls a number; both sides are up for some time."""
        self.alice.dial(number)
        wait_for("the call to be up", self.up, 15)
        time.sleep(TALK_SECONDS)
        self.alice.hangup()
        self.idle()


def hidden(server, voipd):
    """Nothing that Asterisk received tells of the inside: no address anywhere, no domain in a
    header (baresip writes its user into SDP, as the name of its stream)."""
    for block in server.messages().split("<--- Received SIP ")[1:]:
        text = block.partition("\n[")[0]
        assert INSIDE not in text, f"{INSIDE} reached {server.name}:\n{text}"
        assert DOMAIN not in text.partition("\nv=0")[0], f"{DOMAIN} reached {server.name}:\n{text}"
        if text.startswith("request"):
            assert len(re.findall(r"^Via:", text, re.M)) == 1, text


def calls_both_ways(case, algorithms):
    network = Network(case, CORE)
    itsp = server(case, network, "itsp", ITSP, algorithms)
    office = Office(case, network, itsp)
    # Its echo proves the audio there and back, its tone that it is its own.
    office.talk("915550101")
    hears(office.alice.recording(), LOW, [HIGH])
    office.talk("915550102")
    hears(office.alice.recording(), HIGH, [LOW])
    itsp.console(f"channel originate Local/{DID}@world extension 915550101@from-customer")
    (call,) = wait_for("the call from outside", office.up, 15)
    assert "916660002" in call["from"], call
    time.sleep(TALK_SECONDS)
    itsp.console("channel request hangup all")
    office.idle()
    hears(office.bob.recording(), HIGH, [LOW])


def asterisk_itsp_md5(case):
    calls_both_ways(case, "MD5")


def asterisk_itsp_sha256(case):
    calls_both_ways(case, "SHA-256")


def asterisk_itsp_both_algorithms(case):
    calls_both_ways(case, "SHA-256,MD5")


def asterisk_itsp_ends_calls(case):
    """It is busy; it hangs up; the caller gives up while it rings: nothing stays behind."""
    network = Network(case, CORE)
    itsp = server(case, network, "itsp", ITSP)
    office = Office(case, network, itsp)
    office.alice.dial("915550104")
    wait_for("busy", lambda: "486 Busy" in office.alice.process.text(), 10)
    office.idle()
    office.alice.dial("915550105")
    wait_for("the call to be up", office.up, 15)
    office.idle()
    office.alice.dial("915550103")
    wait_for("the ringing", lambda: itsp.channels() == 1, 10)
    office.alice.hangup()
    office.idle()


def asterisk_itsp_is_killed_in_set_up(case):
    """It rings and dies: the backup has the call within the time that the route allows."""
    network = Network(case, CORE)
    itsp = server(case, network, "itsp", ITSP)
    backup = server(case, network, "backup", BACKUP, context="backup")
    office = Office(case, network, itsp, backup)
    office.alice.dial("915550103")
    wait_for("the ringing", lambda: itsp.channels() == 1, 10)
    began = time.monotonic()
    itsp.kill()
    wait_for("the backup", office.up, RING_S + PATIENCE_S)
    assert time.monotonic() - began < RING_S + PATIENCE_S
    assert backup.channels() == 1
    time.sleep(TALK_SECONDS)
    office.alice.hangup()
    office.idle()
    hears(office.alice.recording(), HIGH, [LOW])


def asterisk_itsp_is_restarted(case):
    """It forgets whom it knew: calls to it are challenged and pass; the registration comes back."""
    network = Network(case, CORE)
    itsp = server(case, network, "itsp", ITSP)
    office = Office(case, network, itsp)
    itsp.kill()
    for path in (itsp.home / "lib").glob("astdb*"):
        path.unlink()
    itsp.start()
    office.talk("915550101")
    hears(office.alice.recording(), LOW, [HIGH])


# ---------------------------------------------------------------- transcoded calls

# What a tone may lose or win on its way through a bridge, in decibel.
LEVEL_DB = 1.0
# At most so many pieces of a recording may hold anything but the tone: where a jitter buffer takes
# out or puts in a packet.
CUTS_MAX = 2
SOUNDS = """\
[from-core]
exten => 4101,1,Answer()
 same => n,Echo()
exten => 4102,1,Answer()
 same => n,Playtones(440)
 same => n,Wait(60)
[world]
exten => _X.,1,Dial(PJSIP/${EXTEN}@core,60)
"""


class Neighbours:
    """A phone that knows PCMA alone, and an Asterisk that knows one codec alone, with voipd between
    them."""

    def __init__(self, case, codec):
        network = Network(case, CORE, f"v{codec}")
        self.voipd = Voipd(case, CORE, network.core, f"voipd-{codec}", rtp={
            "relay": "always",
        }, trunk=[
            {"name": "pbx", "uri": f"sip:{ITSP}:5060", "addresses": [f"{ITSP}/32"]},
        ], route=[
            {"match": "200", "from": ["trunk:pbx"], "to": [f"user:bob-{codec}"]},
            {"match": "41XX", "from": ["user:*"], "to": ["trunk:pbx"]},
        ])
        pjsip = peer("core", CORE, self.voipd.port)
        files = {
            "pjsip.conf": pjsip.replace("allow=ulaw,alaw", f"allow={codec}"),
            "extensions.conf": SOUNDS,
        }
        modules = "codec_g722 codec_resample"
        self.pbx = Asterisk(case, f"pbx-{codec}", files, ITSP, 5060, network.host("pbx", ITSP),
                            modules)
        self.voipd.add_user(f"bob-{codec}")
        self.bob = Phone(case, f"bob-{codec}", self.voipd, LOW, address=INSIDE, codecs="PCMA",
                         netns=network.host("office", INSIDE))
        self.bob.wait_registered()

    def up(self):
        return [call for call in self.voipd.calls() if call["state"] == "up"]

    def heard(self, number):
        """How loud 440 Hz come back from a number of Asterisk's."""
        self.bob.dial(number)
        return self.listen(self.bob.hangup)

    def rung(self):
        """How loud they come from an Asterisk that calls."""
        self.pbx.console("channel originate Local/200@world extension 4102@from-core")
        return self.listen(lambda: self.pbx.console("channel request hangup all"))

    def listen(self, end):
        wait_for("the call to be up", self.up, 15)
        time.sleep(TALK_SECONDS + 2)
        legs = len(self.up())
        end()
        wait_for("the calls to be gone", lambda: self.voipd.calls() == [], 15)
        wait_for("Asterisk to be idle", lambda: self.pbx.channels() == 0, 15)
        return legs, level(self.bob.recording(), LOW)


def level(path, pitch):
    """How loud a tone is in a recording's last seconds, in decibel below full scale; it is alone
    there."""
    data, rate = samples(path)
    size = rate // 5
    data = data[-3 * rate - size:-size]
    pieces = [data[at:at + size] for at in range(0, len(data) - size + 1, size)]
    assert len(pieces) == 15, f"{path}: {len(data) / rate:.2f} s are too short to judge"
    shares = sorted(power(piece, rate, pitch) for piece in pieces)
    assert shares[CUTS_MAX] > 0.98, f"{path} holds other things than {pitch} Hz: {shares}"
    loudness = sorted(math.sqrt(sum(x * x for x in piece) / size) for piece in pieces)
    return 20 * math.log10(loudness[len(pieces) // 2] / 32768)


def asterisk_transcoded(case):
    """G.722 there and PCMA here: a tone of Asterisk's is as loud as without a bridge, whoever calls;
    and one of the phone's that goes there and comes back."""
    levels = {}
    for codec, bridge in (("alaw", 1), ("g722", 2)):
        home = Neighbours(case, codec)
        for way, (legs, loud) in {
            "there and back": home.heard("4101"), "called": home.heard("4102"), "calls": home.rung(),
        }.items():
            assert legs == bridge, f"{way} with {codec}: {legs} calls"
            levels[way, codec] = loud
        if codec == "g722":
            records = home.voipd.json("cdr")
            assert len(records) == 3, records
            assert all("bridged" in record["note"] for record in records), records
    for way in ("there and back", "called", "calls"):
        plain, bridged = levels[way, "alaw"], levels[way, "g722"]
        print(f"        {way}: {plain:.2f} dB without a bridge, {bridged:.2f} dB with it")
        assert abs(plain - bridged) < LEVEL_DB, levels
