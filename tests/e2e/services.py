"""What answers calls itself, heard by a phone."""

import time

from lib.case import wait_for
from lib.net import Hosts
from lib.phone import Phone
from lib.tone import hears
from lib.voipd import DOMAIN, Voipd

LOW, HIGH = 440, 880


def echo(case, voipd, alice):
    """Alice, who plays 440 Hz, calls *130 and hears it."""
    alice.wait_registered()
    alice.dial("*130")
    up = wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    assert f"alice@{DOMAIN}" in up[0]["from"] and "*130@" in up[0]["to"], up
    time.sleep(4)
    during = voipd.calls()[0]
    alice.hangup()
    wait_for("the call to be gone", lambda: voipd.calls() == [])
    hears(alice.recording(), LOW, [HIGH])
    caller = during["legs"][0]
    assert caller["packets_in"] > 100 and caller["packets_out"] > 100, during
    return during


def test_echo(case):
    voipd = Voipd(case, admin={"log": "debug"})
    voipd.add_user("alice")
    echo(case, voipd, Phone(case, "alice", voipd, LOW))


def test_echo_tcp(case):
    voipd = Voipd(case, transports=("udp", "tcp"))
    voipd.add_user("alice")
    echo(case, voipd, Phone(case, "alice", voipd, LOW, transport="tcp"))


def test_echo_behind_nat(case):
    hosts = Hosts(case)
    voipd = Voipd(case, address=hosts.CORE, netns=hosts.core)
    voipd.add_user("alice")
    echo(case, voipd, Phone(case, "alice", voipd, LOW, address=hosts.HOME, netns=hosts.home))
