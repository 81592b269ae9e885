"""What answers calls itself, heard by a phone."""

import subprocess
import time

from lib.case import Skip, wait_for
from lib.net import Hosts
from lib.phone import Phone
from lib.tone import hears, holds, speech_seconds
from lib.voipd import DOMAIN, Voipd

LOW, HIGH = 440, 880


def echo(case, voipd, alice):
    """Alice, who plays 440 Hz, calls *130 and hears it."""
    alice.wait_registered()
    alice.dial("*130")
    up = wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    assert f"alice@{DOMAIN}" in up[0]["from"] and "*130@" in up[0]["to"], up
    time.sleep(1)
    # A key cuts the introduction short.
    alice.press("5")
    time.sleep(4)
    during = voipd.calls()[0]
    alice.hangup()
    wait_for("the call to be gone", lambda: voipd.calls() == [])
    hears(alice.recording(), LOW, [HIGH])
    caller = during["legs"][0]
    assert caller["packets_in"] > 100 and caller["packets_out"] > 100, during
    return during


def test_echo(case):
    voipd = Voipd(case)
    voipd.add_user("alice")
    echo(case, voipd, Phone(case, "alice", voipd, LOW))


def test_echo_tcp(case):
    voipd = Voipd(case, transports=("udp", "tcp"))
    voipd.add_user("alice")
    echo(case, voipd, Phone(case, "alice", voipd, LOW, transport="tcp"))


def test_echo_srtp(case):
    """A phone that speaks nothing but SRTP, keyed by its description (RFC 4568)."""
    voipd = Voipd(case)
    voipd.add_user("alice")
    alice = Phone(case, "alice", voipd, LOW, secure=True)
    echo(case, voipd, alice)
    said = alice.process.text()
    assert "RTP/SAVP" in said and "a=crypto:" in said, said[-2000:]


def test_echo_behind_nat(case):
    hosts = Hosts(case)
    voipd = Voipd(case, address=hosts.CORE, netns=hosts.core)
    voipd.add_user("alice")
    echo(case, voipd, Phone(case, "alice", voipd, LOW, address=hosts.HOME, netns=hosts.home))


def test_echo_tells_what_it_measured(case):
    voipd = Voipd(case, node={"locale": "es"})
    voipd.add_user("alice")
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("*130")
    wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    time.sleep(1)
    alice.press("1")
    time.sleep(1)
    alice.press("#")
    wait_for("the call to be over", lambda: voipd.calls() == [], 30)
    # Loss and jitter in words, each with its number, and the end.
    assert 4 < speech_seconds(alice.recording(), LOW) < 25
    record = voipd.records()[0]
    assert (record["way_out"], record["cause"]) == ("service:echo", "callee_hung_up"), record


SPECIAL_INFORMATION = (950, 1400, 1800)


def announced(case, number, **tables):
    """Alice calls a number that fails, and hears why before it does."""
    voipd = Voipd(case, services={"announcements": True}, **tables)
    voipd.add_user("alice")
    voipd.add_user("bob")
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial(number)
    wait_for("the call to ring", lambda: [c for c in voipd.calls() if c["state"] != "up"])
    wait_for("the call to be gone", lambda: voipd.calls() == [], 15)
    return voipd, alice


def test_unknown_number(case):
    voipd, alice = announced(case, "777")
    holds(alice.recording(), *SPECIAL_INFORMATION)
    assert speech_seconds(alice.recording(), *SPECIAL_INFORMATION) > 0.8
    record = voipd.records()[0]
    assert (record["status"], record.get("answer_ms")) == (404, None), record
    assert record["way_out"] == "service:announce", record
    assert "404 Not Found" in alice.process.text()


def test_not_registered(case):
    voipd, alice = announced(case, "bob")
    holds(alice.recording(), *SPECIAL_INFORMATION)
    assert voipd.records()[0]["status"] == 480


def test_spanish(case):
    _, alice = announced(case, "bob", node={"locale": "es"})
    assert speech_seconds(alice.recording(), *SPECIAL_INFORMATION) > 0.8


def test_announcement_is_cut_short(case):
    voipd = Voipd(case, services={"announcements": True})
    voipd.add_user("alice")
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("777")
    wait_for("the call to ring", voipd.calls)
    time.sleep(0.5)
    alice.hangup()
    wait_for("the call to be gone", lambda: voipd.calls() == [], 2)
    assert voipd.records()[0]["status"] == 487


def test_code_is_confirmed(case):
    voipd = Voipd(case, services={"announcements": True}, node={"locale": "es"})
    voipd.add_user("alice")
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("*78")
    wait_for("the call to be over", lambda: "session closed" in alice.process.text(), 10)
    holds(alice.recording(), 425)
    assert speech_seconds(alice.recording(), 425) > 0.3
    assert "dnd" in voipd.ctl("feature", "show", "alice").lower()


def test_media_restarts(case):
    """Only with several processes: who was in a service when media died is hung up, and can call again."""
    voipd = Voipd(case)
    if "--processes" not in voipd.flags:
        raise Skip("media is no process of its own here")
    voipd.add_user("alice")
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("*130")
    wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    media = subprocess.run(["pgrep", "-f", "-P", str(voipd.process.pid), "media"], check=True,
                           capture_output=True, text=True).stdout.split()
    assert len(media) == 1, media
    subprocess.run(["kill", "-9", *media], check=True)
    wait_for("the call to be over", lambda: voipd.calls() == [], 15)
    echo(case, voipd, alice)
