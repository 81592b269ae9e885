"""Codecs on the wire of independent peers, converted to PCMA and back: what one side says reaches the
other as loud as it was, and without clicks.

The far side is a voice of ours, whose packets are judged as they come: neither a jitter buffer nor a
sound card of a peer is between. What wants the cargo feature `opus` begins with `opus_`.
"""

import os
import pathlib
import signal
import subprocess
import time

from lib.case import Skip, wait_for
from lib.phone import Phone
from lib.sip import Agent
from lib.softphone import PEER, Linphone, Pjsua, tone_file
from lib.tone import hears_all, samples, speech_seconds, steady
from lib.voice import Voice
from lib.voipd import Voipd

LOW, HIGH = 440, 880
# How loud the peers' files are, baresip's sine, and a voice of ours.
FILE, SINE, VOICE = 9000, 16384, 8000
# What else may be heard beside a tone, as a share of it.
CLEAN, CODED, SPOKEN = 0.1, 0.3, 0.6
SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src" / "media" / "codec"


def prepare():
    """Fetches PJSIP's binding."""
    subprocess.run([PEER, "install"])


def converted(case, make, coding, own, rest, **tables):
    """A peer, which says LOW so loud, calls a voice that knows PCMA alone."""
    voipd = Voipd(case, **tables)
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
    # A peer's decoder of G.729 is out of step for a while where its jitter buffer leaves out a packet.
    steady(data, rate, HIGH, VOICE, rest, 0.5 if coding == "G729" else 0.1)


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


def plugin(case, version=1):
    """The plugin for G.729, of the source that voipd comes with, by a version of its header."""
    if not pathlib.Path("/usr/include/bcg729").is_dir():
        raise Skip("libbcg729's headers are missing: apt-get install libbcg729-dev")
    for name in ("bcg729.c", "voip_codec.h"):
        text = (SOURCE / name).read_text()
        text = text.replace("VOIP_CODEC_ABI 1", f"VOIP_CODEC_ABI {version}")
        (case.folder / name).write_text(text)
    library = case.folder / "g729.so"
    case.run("cc", ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC",
                    "-o", library, case.folder / "bcg729.c", "-lbcg729"])
    return {"g729_plugin": str(library)}


def g729(case):
    return lambda voipd: Linphone(case, "alice", voipd, LOW, "G729")


def test_g729_linphone(case):
    converted(case, g729(case), "G729", FILE, SPOKEN, services=plugin(case))


def test_g729_linphone_is_called(case):
    """The bridge offers it."""
    voipd = Voipd(case, services=plugin(case))
    for user in ("alice", "bob"):
        voipd.add_user(user)
    alice, bob = g729(case)(voipd), Agent(case, voipd, "bob")
    alice.wait_registered()
    voice = Voice(case, "PCMA", pitch=(HIGH,))
    dialog = bob.invite("alice", voice.sdp()).established()
    voice.talk(dialog.answer)
    time.sleep(6)
    dialog.send("BYE")
    bob.expect(200)
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    (record,) = wait_for("the call's record", lambda: voipd.json("cdr"))
    assert record["status"] == 200 and record["codecs"].startswith("PCMA/G729"), record
    steady(voice.pcm(), 8000, LOW, FILE, SPOKEN)
    data, rate = samples(alice.recording())
    steady(data, rate, HIGH, VOICE, SPOKEN, 0.5)


def test_g729_echo(case):
    """A service answers in it, and voipd's own voice is there at once."""
    voipd = Voipd(case, services=plugin(case))
    voipd.add_user("alice")
    alice = g729(case)(voipd)
    alice.wait_registered()
    alice.dial("*130")
    wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    time.sleep(2)
    alice.press("5")
    time.sleep(5)
    alice.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    (record,) = wait_for("the call's record", lambda: voipd.json("cdr"))
    assert record["status"] == 200 and record["codecs"].startswith("G729"), record
    heard = alice.recording()
    assert speech_seconds(heard, LOW) > 1
    hears_all(heard, [LOW], [HIGH])


def test_g729_of_the_start(case):
    """Only with several processes: one that begins anew keeps the plugin of the start, as the others
    do, though the file has none any more."""
    voipd = Voipd(case, services=plugin(case))
    if "--processes" not in voipd.flags:
        raise Skip("voipd is one process here")
    voipd.add_user("alice")
    del voipd.tables["services"]
    voipd.write()
    told = voipd.ctl("reload")
    assert "[services] g729_plugin will change at the next start" in told, told
    for role in ("media", "signal"):
        old, = voipd.pids(role)
        os.kill(old, signal.SIGKILL)
        wait_for(f"{role} to be back", lambda: voipd.pids(role) not in ([], [old]), 20)
        wait_for("voipd to serve", voipd.serves, 20)
    alice = g729(case)(voipd)
    alice.wait_registered()
    alice.dial("*130")
    wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    time.sleep(4)
    alice.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    (record,) = wait_for("the call's record", lambda: voipd.json("cdr"))
    assert record["status"] == 200 and record["codecs"].startswith("G729"), record
    assert speech_seconds(alice.recording(), LOW) > 1


def test_g729_without_plugin(case):
    """As before: it is none of ours, and a phone that knows nothing else gets no bridge. Nor is it
    ours by a reload: a plugin is loaded at the start."""
    voipd = Voipd(case)
    for user in ("alice", "bob"):
        voipd.add_user(user)
    voipd.tables["services"] = {"g729_plugin": "missing.so"}
    voipd.write()
    refused = voipd.call_ctl("reload")
    assert refused.returncode and "missing.so cannot be loaded" in refused.stderr, refused
    voipd.tables["services"] = plugin(case)
    voipd.write()
    told = voipd.ctl("reload")
    assert "[services] g729_plugin will change at the next start" in told, told
    alice, bob = g729(case)(voipd), Agent(case, voipd, "bob")
    alice.wait_registered()
    bob.register()
    alice.dial("bob")
    invite = bob.expect("INVITE", 10)
    assert b"RTP/AVP 18" in invite.body, invite.text()
    bob.reply(invite, 488)
    bob.expect("ACK")
    (record,) = wait_for("the call's record", lambda: voipd.json("cdr"))
    assert record["status"] == 488, record
    bob.nothing(0.5)


def test_g729_plugin_is_refused(case):
    """What cannot be used is said at the start, with the remedy, whatever process loads it."""
    other = plugin(case, version=9)
    broken = case.folder / "broken.so"
    broken.write_bytes(b"no library")
    codec = next(pathlib.Path("/usr/lib").rglob("libbcg729.so*"))
    missing = {"g729_plugin": "missing.so"}
    for name, services, *told in (
            ("other", other, "speaks version 9", "build it with this voipd's header"),
            ("broken", {"g729_plugin": str(broken)}, "cannot be loaded", "install it"),
            ("codec", {"g729_plugin": str(codec)}, "no function voip_codec",
             "not the codec's own"),
            ("missing", missing, "missing.so", "cannot be loaded", "install it")):
        try:
            Voipd(case, name=name, services=services)
        except AssertionError as error:
            for word in ("[services] g729_plugin", *told):
                assert word in str(error), f"{word}: {error}"
            continue
        raise AssertionError(f"voipd started with the plugin {name}")


def opus_baresip(case):
    """It sends two channels."""
    converted(case, lambda voipd: Phone(case, "alice", voipd, LOW, codecs="opus/48000/2"), "opus",
              SINE, CODED)


def opus_linphone(case):
    converted(case, lambda voipd: Linphone(case, "alice", voipd, LOW, "opus"), "opus", FILE, CODED)
