"""Relayed audio in its hard cases: hold, moving on by re-INVITE, one-way audio, silence."""

import contextlib
import socket
import struct
import threading
import time

from lib.case import wait_for
from lib.sip import Agent, sdp
from lib.voipd import Voipd

PACKET_SECONDS = 0.02


class Audio:
    """Sends a G.711 packet every 20 ms while it speaks, and counts what it hears."""

    def __init__(self, case):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(PACKET_SECONDS)
        self.port = self.socket.getsockname()[1]
        self.heard, self.sources = 0, set()
        self.target, self.speaks = None, True
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        case.defer(self.close)

    def close(self):
        self.done.set()
        if self.thread.ident:
            self.thread.join()
        self.socket.close()

    def talk_to(self, target):
        self.target = target
        if not self.thread.ident:
            self.thread.start()

    def _run(self):
        sequence, ssrc, due = 0, self.port, time.monotonic()
        while not self.done.is_set():
            if time.monotonic() >= due:
                due += PACKET_SECONDS
                sequence += 1
                if self.speaks:
                    head = struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, 160 * sequence, ssrc)
                    self.socket.sendto(head + b"\xff" * 160, self.target)
            self.socket.settimeout(max(0.001, due - time.monotonic()))
            try:
                data, source = self.socket.recvfrom(2048)
                if len(data) >= 12:
                    self.heard += 1
                    self.sources.add(source)
            except (TimeoutError, ConnectionRefusedError):
                pass

    def hears(self, seconds=1.0):
        """Whether packets come in, at the rate of speech."""
        before = self.heard
        time.sleep(seconds)
        return self.heard - before > seconds / PACKET_SECONDS / 2


class Talk:
    """Alice and Bob in a relayed call, their audio on its way."""

    def __init__(self, case, silent_callee=False, **settings):
        settings.setdefault("rtp", {})["relay"] = "always"
        self.voipd = voipd = Voipd(case, **settings)
        for name in ("alice", "bob"):
            voipd.add_user(name)
        self.alice, self.bob = Agent(case, voipd, "alice"), Agent(case, voipd, "bob")
        self.bob.register()
        self.a, self.b = Audio(case), Audio(case)
        call = self.alice.invite("bob", sdp("127.0.0.1", self.a.port))
        request = self.bob.expect("INVITE")
        assert request.media()[1] not in (self.a.port, self.b.port), "the offer was not rewritten"
        self.called = self.bob.answer(request, sdp("127.0.0.1", self.b.port))
        self.caller = call.established()
        self.bob.expect("ACK")
        self.b.speaks = not silent_callee
        self.b.talk_to(request.media())
        self.a.talk_to(self.caller.answer.media())

    def legs(self):
        (row,) = self.voipd.calls()
        return row, {leg["side"]: leg for leg in row["legs"]}

    def reinvite(self, audio, direction, answer):
        """Alice offers anew; returns Bob's request and Alice's answer."""
        self.caller.send("INVITE", body=sdp("127.0.0.1", audio.port, direction, 2))
        request = self.bob.expect("INVITE")
        self.bob.reply(request, 200, body=sdp("127.0.0.1", self.b.port, answer, 2))
        final = self.alice.expect(200)
        self.caller.send("ACK", cseq=int(final["cseq"].split()[0]))
        self.bob.expect("ACK")
        return request, final


def test_hold_and_resume(case):
    talk = Talk(case)
    assert talk.a.hears() and talk.b.hears()
    talk.b.speaks = False
    request, _ = talk.reinvite(talk.a, "sendonly", "recvonly")
    assert b"a=sendonly" in request.body, request.text()
    assert talk.b.hears() and not talk.a.hears()
    talk.b.speaks = True
    talk.reinvite(talk.a, "sendrecv", "sendrecv")
    assert talk.a.hears() and talk.b.hears()
    talk.caller.bye(talk.called)
    wait_for("the call's end", lambda: talk.voipd.calls() == [])


def test_reinvite_moves_audio(case):
    """Alice moves to another port (another phone, another network): the relay learns anew."""
    talk = Talk(case)
    assert talk.a.hears() and talk.b.hears()
    talk.a.speaks = False
    moved = Audio(case)
    _, final = talk.reinvite(moved, "sendrecv", "sendrecv")
    moved.talk_to(final.media())
    assert moved.hears() and talk.b.hears()
    talk.caller.bye(talk.called)


def test_stray_packets_do_not_hijack(case):
    """Once latched, packets from elsewhere neither move the audio nor reach the other side."""
    talk = Talk(case)
    assert talk.a.hears() and talk.b.hears()
    stranger = Audio(case)
    talk.a.speaks = False
    stranger.talk_to(talk.a.target)
    time.sleep(0.5)
    assert not talk.b.hears(), "a stranger's packets reach the other side"
    assert talk.a.hears() and stranger.heard == 0, "a stranger took the audio over"


def test_one_way_audio_has_an_answer(case):
    """`voipctl calls` tells which side sends nothing."""
    talk = Talk(case, silent_callee=True)
    time.sleep(4)
    row, legs = talk.legs()
    assert legs["caller"]["packets_in"] > 150 and legs["callee"]["packets_out"] > 150, row
    assert legs["callee"]["packets_in"] == 0 and "callee" in row["verdict"], row
    talk.b.speaks = True
    time.sleep(1.5)
    row, legs = talk.legs()
    assert legs["callee"]["packets_in"] > 30 and row["verdict"] == "", row
    assert legs["caller"]["lost"] == 0 and legs["caller"]["jitter_ms"] < 30, row
    # Silence in the middle of a call shows, too.
    talk.a.speaks = False
    time.sleep(2.5)
    row, legs = talk.legs()
    assert legs["caller"]["silent_ms"] > 2000 > legs["callee"]["silent_ms"], row
    talk.caller.bye(talk.called)


def test_who_speaks_from_elsewhere_is_counted(case):
    """In the middle of a call a NAT gives a phone another port: what comes from there is not passed on,
    and `voipctl calls` says so."""
    talk = Talk(case)
    time.sleep(5)
    assert talk.a.hears() and talk.b.hears()
    moved = Audio(case)
    talk.a.speaks = False
    moved.talk_to(talk.a.target)
    row = wait_for("the count", lambda: next((r for r in talk.voipd.calls()
                                              if "came from elsewhere" in r["verdict"]), None), 20)
    assert row["verdict"].startswith("the caller's side has been silent for 1"), row
    assert talk.a.hears() and not talk.b.hears() and moved.heard == 0
    # It has its port again.
    moved.close()
    talk.a.speaks = True
    time.sleep(1)
    assert talk.b.hears() and talk.a.hears()
    wait_for("the end of silence", lambda: "silent" not in talk.legs()[0]["verdict"])
    talk.caller.bye(talk.called)


def test_hangup_by_the_operator(case):
    talk = Talk(case)
    row, _ = talk.legs()
    talk.voipd.ctl("hangup", row["id"])
    for agent in (talk.alice, talk.bob):
        agent.reply(agent.expect("BYE"), 200)
    wait_for("the call's end", lambda: talk.voipd.calls() == [])


def test_silence_ends_the_call(case):
    talk = Talk(case, rtp={"timeout_s": 10})
    talk.a.speaks = talk.b.speaks = False
    for agent in (talk.alice, talk.bob):
        agent.reply(agent.expect("BYE", 16), 200)
    wait_for("the call's end", lambda: talk.voipd.calls() == [])


def test_ports_of_other_programs_are_left_out(case):
    """A call each by the pairs that are left, none by those that somebody else holds."""
    first = int(case.rtp_range(pairs=20).split("-")[0])
    ends = range(first, first + 40)
    with contextlib.ExitStack() as others:
        for port in (ends[0], ends[3], ends[8]):
            other = others.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            other.bind(("127.0.0.1", port))
        talk = Talk(case, rtp={"ports": f"{ends[0]}-{ends[-1]}"})
        assert talk.a.hears() and talk.b.hears()
        for _ in range(3):
            talk.caller.bye(talk.called)
            wait_for("the call's end", lambda: talk.voipd.calls() == [])
            call = talk.alice.invite("bob", sdp("127.0.0.1", talk.a.port))
            request = talk.bob.expect("INVITE")
            talk.called = talk.bob.answer(request, sdp("127.0.0.1", talk.b.port))
            talk.caller = call.established()
            talk.bob.expect("ACK")
            talk.b.talk_to(request.media())
            talk.a.talk_to(talk.caller.answer.media())
            assert talk.a.hears() and talk.b.hears()
        log = talk.voipd.process.text()
        assert f"left out: {ends[0]}, {ends[3]}, {ends[8]}" in log, log


def test_pictures_that_find_no_port_leave_the_sound(case):
    """Others take all ports in the midst of a call: a re-INVITE with video costs the video alone."""
    ports = case.rtp_range(pairs=20)
    first, last = map(int, ports.split("-"))
    talk = Talk(case, rtp={"ports": ports})
    assert talk.a.hears() and talk.b.hears()
    with contextlib.ExitStack() as others:
        for port in range(first, last + 1):
            other = others.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                other.bind(("127.0.0.1", port))
        video = "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n"
        moved = Audio(case)
        talk.caller.send("INVITE", body=sdp("127.0.0.1", moved.port, version=2) + video)
        request = talk.bob.expect("INVITE")
        talk.bob.reply(request, 200, body=sdp("127.0.0.1", talk.b.port, version=2) + video)
        final = talk.alice.expect(200)
        talk.caller.send("ACK", cseq=int(final["cseq"].split()[0]))
        talk.bob.expect("ACK")
        # What else the re-INVITE says holds: Alice's sound is elsewhere.
        talk.a.speaks = False
        moved.talk_to(talk.caller.answer.media())
        assert moved.hears() and talk.b.hears()
        assert "the call goes on without" in talk.voipd.process.text()
    talk.caller.bye(talk.called)
    wait_for("the call's end", lambda: talk.voipd.calls() == [])
