"""Ends that share no codec, or of which only one encrypts, hear each other all the same."""

import time

from lib.case import wait_for
from lib.phone import Phone
from lib.tone import hears, holds
from lib.voipd import Voipd

LOW, HIGH = 440, 880


def talk(case, voipd, alice, bob):
    """Alice calls bob; each hears the other's tone."""
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("bob")
    wait_for("both calls to be up", lambda: up(voipd) == 2)
    time.sleep(4)
    during = voipd.calls()
    alice.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    return during


def up(voipd):
    return sum(call["state"] == "up" for call in voipd.calls())


def between(case, own, other, **tables):
    """A call from a phone with some options to one with others."""
    voipd = Voipd(case, **tables)
    voipd.add_user("alice")
    voipd.add_user("bob")
    alice = Phone(case, "alice", voipd, LOW, **own)
    bob = Phone(case, "bob", voipd, HIGH, **other)
    return voipd, alice, bob


def test_pcma_and_pcmu(case):
    voipd, alice, bob = between(case, {"codecs": "PCMA"}, {"codecs": "PCMU"})
    talk(case, voipd, alice, bob)
    # One call, one record.
    (record,) = voipd.records()
    assert (record["status"], record["note"]) == (200, "bridged"), record


def test_g722_and_pcma(case):
    voipd, alice, bob = between(case, {"codecs": "G722/16000/1"}, {"codecs": "PCMA"})
    talk(case, voipd, alice, bob)


def test_secure_and_clear(case):
    """A phone that speaks nothing but SRTP calls one that knows none of it."""
    voipd, alice, bob = between(case, {"secure": True}, {})
    talk(case, voipd, alice, bob)


def test_clear_and_secure(case):
    voipd, alice, bob = between(case, {}, {"secure": True})
    talk(case, voipd, alice, bob)


def test_callee_hangs_up(case):
    voipd, alice, bob = between(case, {"codecs": "PCMA"}, {"codecs": "PCMU"})
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("bob")
    wait_for("both calls to be up", lambda: up(voipd) == 2)
    bob.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    wait_for("alice to hear of it", lambda: "session closed" in alice.process.text())


def test_without_transcoding(case):
    voipd, alice, bob = between(
        case, {"codecs": "PCMA"}, {"codecs": "PCMU"}, services={"transcoding": False})
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("bob")
    assert voipd.records()[0]["status"] == 488


def test_ring_back(case):
    """Callers hear what a user has chosen for them while the phone rings, and then the user."""
    voipd, alice, bob = between(case, {}, {"answers": False})
    voipd.ctl("feature", "set", "bob", "ringback", "tone:us")
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("bob")
    wait_for("the phone to ring", lambda: "183 Session Progress" in alice.process.text())
    time.sleep(2.5)
    assert up(voipd) == 0, voipd.calls()
    bob.command("accept")
    wait_for("both calls to be up", lambda: up(voipd) == 2)
    time.sleep(2)
    alice.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    holds(alice.recording(), 440, 480, HIGH)
    hears(bob.recording(), LOW, [HIGH, 480])
