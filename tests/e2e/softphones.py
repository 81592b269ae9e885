"""PJSIP and Linphone against what baresip is used for elsewhere: echo, voicemail left, told of, fetched
and deleted, a room, a bridge, hold, blind transfers; and PJSIP's attended transfers."""

import time

from lib.case import wait_for
from lib.phone import Phone
from lib.softphone import Linphone, Pjsua, prepare  # noqa: F401
from lib.tone import hears_all, holds, speech_seconds, tone_seconds
from lib.voipd import Voipd
from voicemail import counts, hear_and_delete

LOW, HIGH, OTHER = 440, 880, 1320
# What says that it is the caller's turn.
BEEP = 350


def up(voipd, count=1):
    return wait_for(f"{count} calls to be up",
                    lambda: sum(c["state"] == "up" for c in voipd.calls()) == count, 20)


def idle(voipd):
    wait_for("the calls to be gone", lambda: voipd.calls() == [], 15)


def with_phone(case, kind, codec="PCMU", **tables):
    voipd = Voipd(case, **tables)
    for name in ("alice", "bob"):
        voipd.add_user(name)
    alice = kind(case, "alice", voipd, LOW, codec)
    alice.wait_registered()
    return voipd, alice


def echo(case, kind):
    voipd, alice = with_phone(case, kind)
    alice.dial("*130")
    up(voipd)
    time.sleep(1)
    alice.press("5")
    time.sleep(4)
    during = voipd.calls()[0]
    alice.hangup()
    idle(voipd)
    assert during["legs"][0]["packets_in"] > 100, during
    hears_all(alice.recording(), [LOW], [HIGH])


def voicemail(case, kind, press=None):
    """Alice finds bob's phone off and leaves a message; his lamp is lit when it is on again, and out
    once he heard and deleted what she left."""
    press = press or kind.press
    voipd, alice = with_phone(case, kind, voicemail={"ring_s": 5})
    alice.dial("bob")
    up(voipd)
    wait_for("a message to be recorded",
             lambda: list(voipd.state.glob("spool/voicemail/bob@*/*.wav.part")), 30)
    time.sleep(4)
    press(alice, "#")
    time.sleep(1)
    press(alice, "1")
    wait_for("the message to be there", lambda: counts(voipd, "bob") == (1, 0), 20)
    idle(voipd)
    heard = alice.recording()
    assert speech_seconds(heard, LOW, BEEP) > 2
    holds(heard, BEEP)
    message, = voipd.json("mailbox", "show", "bob")["messages"]
    assert 2.5 < message["duration_ms"] / 1000 < 8, message

    bob = kind(case, "bob", voipd, HIGH, "PCMU")
    bob.wait_registered()
    wait_for("bob's lamp", lambda: bob.lamp() == "yes 1/0")
    bob.dial("*123")
    up(voipd)
    hear_and_delete(voipd, bob, press)
    idle(voipd)
    assert counts(voipd, "bob") == (0, 0)
    wait_for("bob's lamp to go out", lambda: (bob.lamp() or "").startswith("no 0/0"))
    assert tone_seconds(bob.recording(), LOW) > 2, "bob did not hear what alice left"


def room(case, kind):
    voipd, alice = with_phone(case, kind, conference=[{"name": "board", "number": "8001"}])
    bob = Phone(case, "bob", voipd, HIGH)
    bob.wait_registered()
    for phone in (bob, alice):
        phone.dial("8001")
    up(voipd, 2)
    time.sleep(8)
    alice.hangup()
    up(voipd, 1)
    bob.hangup()
    idle(voipd)
    hears_all(alice.recording(), [HIGH], [LOW])


def bridge(case, kind):
    """It knows PCMA alone, the other PCMU; who calls hears and is heard."""
    voipd, alice = with_phone(case, kind, "PCMA")
    bob = Phone(case, "bob", voipd, HIGH, codecs="PCMU")
    bob.wait_registered()
    alice.dial("bob")
    up(voipd, 2)
    time.sleep(4)
    alice.hangup()
    idle(voipd)
    hears_all(alice.recording(), [HIGH], [LOW])
    hears_all(bob.recording(), [LOW], [HIGH])


def held(case, kind):
    """It holds a bridged call, whose other end hears music meanwhile, and goes on with it."""
    voipd, alice = with_phone(case, kind, "PCMA")
    bob = Phone(case, "bob", voipd, HIGH, codecs="PCMU")
    bob.wait_registered()
    alice.dial("bob")
    up(voipd, 2)
    time.sleep(3)
    alice.hold()
    time.sleep(6)
    alice.resume()
    time.sleep(4)
    assert sum(c["state"] == "up" for c in voipd.calls()) == 2, voipd.calls()
    alice.hangup()
    idle(voipd)
    heard = bob.recording()
    seconds = tone_seconds(heard, LOW)
    assert 4 < seconds < 10, f"bob heard alice for {seconds} s of 13"
    assert speech_seconds(heard, LOW) > 3, "bob heard no music"
    hears_all(alice.recording(), [HIGH], [LOW])


def blind(case, kind):
    """Bob's call with alice goes on with carol, who was never asked."""
    voipd, alice = with_phone(case, kind, "PCMA")
    voipd.add_user("carol")
    bob = Phone(case, "bob", voipd, HIGH, codecs="PCMU")
    carol = Phone(case, "carol", voipd, OTHER, codecs="PCMU")
    for phone in (bob, carol):
        phone.wait_registered()
    alice.dial("bob")
    up(voipd, 2)
    time.sleep(2)
    alice.transfer("carol")
    wait_for("carol's call", lambda: any("carol@" in c["to"] and c["state"] == "up"
                                         for c in voipd.calls()), 15)
    time.sleep(5)
    carol.hangup()
    idle(voipd)
    hears_all(bob.recording(), [OTHER], [HIGH])
    hears_all(carol.recording(), [HIGH], [LOW, OTHER])


def into_services(case, kind, **second):
    """Bob's call with alice goes on in a room; her next one at the mailbox of carol, who is away."""
    voipd, alice = with_phone(case, kind, "PCMA", voicemail={"ring_s": 5},
                              conference=[{"name": "board", "number": "8000"}])
    voipd.add_user("carol")
    bob = Phone(case, "bob", voipd, HIGH, codecs="PCMU")
    bob.wait_registered()
    alice.dial("bob")
    up(voipd, 2)
    time.sleep(1)
    alice.transfer("8000")
    wait_for("bob to be in the room", lambda: voipd.json("conference", "list"), 15)
    up(voipd, 1)
    bob.hangup()
    idle(voipd)
    alice.dial("bob")
    up(voipd, 2)
    time.sleep(1)
    alice.transfer("carol", **second)
    wait_for("a message to be recorded",
             lambda: list(voipd.state.glob("spool/voicemail/carol@*/*.wav.part")), 30)
    time.sleep(4)
    bob.hangup()
    idle(voipd)
    wait_for("the message", lambda: voipd.json("mailbox", "show", "carol")["messages"], 15)


def test_pjsua_blind_transfer_into_services(case):
    into_services(case, Pjsua, call=1)


def test_linphone_blind_transfer_into_services(case):
    into_services(case, Linphone)


def test_pjsua_echo(case):
    echo(case, Pjsua)


def test_pjsua_voicemail(case):
    voicemail(case, Pjsua)


def test_pjsua_voicemail_by_info(case):
    """Keys as SIP INFO instead of telephone events."""
    voicemail(case, Pjsua, Pjsua.send_info)


def test_pjsua_conference(case):
    room(case, Pjsua)


def test_pjsua_bridge(case):
    bridge(case, Pjsua)


def test_linphone_echo(case):
    echo(case, Linphone)


def test_linphone_voicemail(case):
    voicemail(case, Linphone)


def test_linphone_conference(case):
    room(case, Linphone)


def test_pjsua_hold(case):
    held(case, Pjsua)


def test_pjsua_blind_transfer(case):
    blind(case, Pjsua)


def test_linphone_bridge(case):
    bridge(case, Linphone)


def test_linphone_hold(case):
    held(case, Linphone)


def test_linphone_blind_transfer(case):
    blind(case, Linphone)


# ---------------------------------------------------------------- attended transfers


def three(case, codecs, **tables):
    """Three of PJSIP's phones, each with a codec and a tone of its own."""
    voipd = Voipd(case, **tables)
    phones = []
    for (name, codec), tone in zip(codecs.items(), (LOW, HIGH, OTHER)):
        voipd.add_user(name)
        phones.append(Pjsua(case, name, voipd, tone, codec))
    for phone in phones:
        phone.wait_registered()
    return voipd, phones


def attended(case, codecs, before, after, workers):
    """Alice talks to bob, asks carol, and brings them together."""
    voipd, (alice, bob, carol) = three(case, codecs, node={"workers": workers})
    alice.dial("bob")
    up(voipd, before[0])
    time.sleep(1)
    alice.say("hold", 0)
    time.sleep(1)
    alice.dial("carol")
    up(voipd, sum(before))
    time.sleep(1)
    alice.say("join", 0, 1)
    alice.hears_of("closed 0\n")
    alice.hears_of("closed 1\n")
    up(voipd, after)
    time.sleep(4)
    # Bob may have got a call of its own for the one that it had.
    for call in (1, 0):
        bob.say("hangup", call) if f"call {call} " in bob.process.text() else None
    idle(voipd)
    last = int("call 1 " in bob.process.text())
    hears_all(bob.recording(last), [OTHER], [LOW, HIGH])
    last = int("call 1 " in carol.process.text())
    hears_all(carol.recording(last), [HIGH], [LOW, OTHER])


def test_attended_transfer(case):
    """All of it past us: the phones replace a dialog among themselves."""
    attended(case, {"alice": "PCMU", "bob": "PCMU", "carol": "PCMU"}, (1, 1), 1, 3)


def test_attended_transfer_of_two_bridges(case):
    attended(case, {"alice": "PCMA", "bob": "PCMU", "carol": "PCMU"}, (2, 2), 2, 1)


def into_a_room(case, workers):
    """Alice talks to bob over a bridge, looks into a room, and brings bob there; carol comes, too."""
    voipd, (alice, bob, carol) = three(
        case, {"alice": "PCMA", "bob": "PCMU", "carol": "PCMU"}, node={"workers": workers},
        conference=[{"name": "board", "number": "8000", "announce": "none"}])
    alice.dial("bob")
    up(voipd, 2)
    time.sleep(1)
    alice.say("hold", 0)
    time.sleep(1)
    alice.dial("8000")
    up(voipd, 3)
    time.sleep(3)
    alice.say("join", 0, 1)
    alice.hears_of("closed 0\n")
    up(voipd, 1)
    carol.dial("8000")
    up(voipd, 2)
    time.sleep(6)
    for phone in (carol, bob):
        phone.say("hangup", 0)
    idle(voipd)
    hears_all(carol.recording(0), [HIGH], [LOW, OTHER])
    hears_all(bob.recording(0), [OTHER], [HIGH])


def test_attended_transfer_into_a_room(case):
    into_a_room(case, 1)


def test_attended_transfer_into_a_room_of_another_shard(case):
    """Of four workers mostly: then the room takes bob anew, in its own shard."""
    into_a_room(case, 4)


def test_attended_transfer_to_a_bridge(case):
    """Bob's phone takes a place at our side of alice's call with carol, in whatever shard that is."""
    attended(case, {"alice": "PCMA", "bob": "PCMA", "carol": "PCMU"}, (1, 2), 2, 4)
