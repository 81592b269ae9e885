"""Codecs on the wire of independent peers, converted to PCMA and back: what one side says reaches the
other as loud as it was, and without clicks.

The far side is a voice of ours, whose packets are judged as they come: neither a jitter buffer nor a
sound card of a peer is between. What wants the cargo feature `opus` begins with `opus_`.
"""

import time

from lib.case import wait_for
from lib.phone import Phone
from lib.sip import Agent
from lib.softphone import Linphone, Pjsua, tone_file
from lib.tone import samples, steady
from lib.voice import Voice
from lib.voipd import Voipd

LOW, HIGH = 440, 880
# How loud the peers' files are, baresip's sine, and a voice of ours.
FILE, SINE, VOICE = 9000, 16384, 8000
# What else may be heard beside a tone, as a share of it.
CLEAN, CODED = 0.1, 0.3


def converted(case, make, coding, own, rest):
    """A peer, which says LOW so loud, calls a voice that knows PCMA alone."""
    voipd = Voipd(case)
    for user in ("alice", "bob"):
        voipd.add_user(user)
    alice, bob = make(voipd), Agent(case, voipd, "bob")
    alice.wait_registered()
    bob.register()
    voice = Voice(case, "PCMA", pitch=(HIGH,))
    alice.dial("bob")
    bob.reply(bob.expect("INVITE", 10), 488)
    bob.expect("ACK")
    invite = bob.expect("INVITE")
    bob.answer(invite, voice.sdp())
    bob.expect("ACK")
    voice.talk(invite)
    time.sleep(6)
    heard = voice.pcm()
    alice.hangup()
    bob.reply(bob.expect("BYE"), 200)
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    (record,) = wait_for("the call's record", lambda: voipd.json("cdr"))
    assert record["codecs"].replace(",telephone-event", "") == f"{coding}/PCMA", record
    steady(heard, 8000, LOW, own, rest)
    data, rate = samples(alice.recording())
    steady(data, rate, HIGH, VOICE, rest)


def baresip(case, codec, rate):
    """Its sound has the codec's rate: it converts worse than we judge."""
    (case.folder / "sound").mkdir()
    file = tone_file(case.folder / "sound" / "tone.wav", LOW, rate=rate)
    return lambda voipd: Phone(case, "alice", voipd, LOW, codecs=codec, file=file, rate=rate,
                               channels=1)


def test_linear_8_baresip(case):
    converted(case, baresip(case, "L16/8000/1", 8000), "L16", FILE, CLEAN)


def test_linear_16_baresip(case):
    converted(case, baresip(case, "L16/16000/1", 16000), "L16", FILE, CLEAN)


def test_linear_44_baresip(case):
    converted(case, baresip(case, "L16/44100/1", 44100), "L16", FILE, CLEAN)


def test_linear_44_pjsua(case):
    """It offers two channels, too, and sends nothing at all if packets that do not fit are asked
    for."""
    converted(case, lambda voipd: Pjsua(case, "alice", voipd, LOW, "L16"), "L16", FILE, CLEAN)


def opus_baresip(case):
    """It sends two channels."""
    converted(case, lambda voipd: Phone(case, "alice", voipd, LOW, codecs="opus/48000/2"), "opus",
              SINE, CODED)


def opus_linphone(case):
    converted(case, lambda voipd: Linphone(case, "alice", voipd, LOW, "opus"), "opus", FILE, CODED)
