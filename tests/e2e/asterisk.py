"""Asterisk as an ITSP that demands registration and digest (as a branch PBX: scenarios.py).

Needs the Asterisk of tests/peers/asterisk: tests/e2e/run --asterisk, not an ordinary run.
"""

import re
import time

from lib.asterisk import Asterisk, account
from lib.case import wait_for
from lib.net import Network
from lib.phone import Phone
from lib.tone import hears
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
