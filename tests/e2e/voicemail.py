"""Voicemail: left, told of, fetched and deleted by phones; what full disks, kills and strangers bring."""

import re
import time

from lib.case import wait_for
from lib.phone import Phone
from lib.tone import holds, speech_seconds, tone_seconds
from lib.voipd import DOMAIN, Voipd

LOW, HIGH = 440, 880
# What says that it is the caller's turn, in English (440 Hz sounds in it, too).
BEEP = 350


def up(voipd, count=1):
    return wait_for(f"{count} calls to be up",
                    lambda: len([c for c in voipd.calls() if c["state"] == "up"]) >= count, 20)


def press(phone, keys):
    for key in keys:
        phone.press(key)
        time.sleep(0.3)


def shown(voipd, user):
    """The mailbox and its messages, as voipctl shows them."""
    shown = voipd.json("mailbox", "show", user)
    return shown["mailbox"], shown["messages"]


def counts(voipd, user):
    box = shown(voipd, user)[0]
    return box["new"], box["saved"]


def lamp(phone):
    """What baresip was told last (RFC 3842)."""
    told = re.findall(r"Messages-Waiting: (\w+)\s(?:.*\s)*?Voice-Message: (\d+/\d+)",
                      phone.process.text())
    return " ".join(told[-1]) if told else None


def test_left_told_of_fetched_deleted(case):
    """The whole way, by two of people's phones: bob does not answer, alice leaves her tone, bob's lamp
    goes on, he hears her, deletes it, and the lamp goes out."""
    voipd = Voipd(case, voicemail={"ring_s": 5})
    for name in ("alice", "bob"):
        voipd.add_user(name)
    alice = Phone(case, "alice", voipd, LOW)
    bob = Phone(case, "bob", voipd, HIGH, answers=False, modules=["mwi"])
    alice.wait_registered()
    bob.wait_registered()
    wait_for("bob's phone to be told of no messages", lambda: lamp(bob) == "no 0/0")
    alice.dial("bob")
    up(voipd)
    wait_for("a message to be recorded",
             lambda: list(voipd.state.glob("spool/voicemail/bob@*/*.wav.part")), 30)
    time.sleep(3)
    press(alice, "#")
    time.sleep(1)
    press(alice, "1")
    wait_for("the message to be there", lambda: counts(voipd, "bob") == (1, 0), 20)
    wait_for("alice to be hung up", lambda: voipd.calls() == [], 20)
    heard = alice.recording()
    holds(heard, BEEP)
    assert speech_seconds(heard, BEEP, LOW) > 3, "alice heard no greeting"
    wait_for("bob's lamp", lambda: lamp(bob) == "yes 1/0")
    message, = shown(voipd, "bob")[1]
    assert message["number"] == "alice" and 2 < message["duration_ms"] / 1000 < 8, message
    record = voipd.json("cdr")[0]
    assert record["way_out"] == "service:voicemail", record

    bob.dial("*123")
    up(voipd)
    time.sleep(1)
    press(bob, "1")
    wait_for("the message to be heard", lambda: counts(voipd, "bob") == (0, 1), 20)
    time.sleep(10)
    press(bob, "7")
    time.sleep(2)
    bob.hangup()
    wait_for("bob's call to be over", lambda: voipd.calls() == [])
    assert tone_seconds(bob.recording(), LOW) > 2, "bob did not hear alice"
    wait_for("the message to be gone", lambda: shown(voipd, "bob")[1] == [])
    wait_for("its file to be gone", lambda: not list(voipd.state.glob("spool/**/*.wav*")))
    wait_for("bob's lamp to go out", lambda: lamp(bob) == "no 0/0")
