"""Comfort noise (RFC 3389) and the goodbyes of RTCP (RFC 3550 §6.6), as a phone sees them."""

import socket
import struct
import threading
import time

from lib.case import wait_for
from lib.sip import Agent
from lib.voipd import Voipd

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0{more}\r\na=rtpmap:0 PCMU/8000\r\n{maps}a=ptime:20\r\na=sendrecv\r\n"
)
SOUND, NOISE = 0, 13
SENDER_REPORT, DESCRIPTION, BYE = 200, 202, 203


class Ear:
    """Both ports of a phone's sound: all that comes, and when."""

    def __init__(self, case, noise):
        self.noise, self.rtp, self.rtcp = noise, [], []
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        while True:
            self.port = case.port() & ~1
            try:
                for place, one in enumerate(self.sockets):
                    one.bind(("127.0.0.1", self.port + place))
                break
            except OSError:
                self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.hear, args=pair, daemon=True)
                        for pair in zip(self.sockets, (self.rtp, self.rtcp))]
        for thread in self.threads:
            thread.start()
        case.defer(self.close)

    def offer(self):
        more, maps = (" 13", "a=rtpmap:13 CN/8000\r\n") if self.noise else ("", "")
        return OFFER.format(port=self.port, more=more, maps=maps)

    def hear(self, one, heard):
        one.settimeout(0.1)
        while not self.over.is_set():
            try:
                heard.append((time.monotonic(), one.recv(2048)))
            except TimeoutError:
                pass

    def speak(self, target, frames, noise=b""):
        """Silent frames in time, then a description of noise, if there is one."""
        for n in range(frames):
            head = struct.pack("!BBHII", 0x80, SOUND, n, n * 160, 77)
            self.sockets[0].sendto(head + b"\xff" * 160, target)
            time.sleep(0.02)
        if noise:
            head = struct.pack("!BBHII", 0x80, NOISE, frames, frames * 160, 77)
            self.sockets[0].sendto(head + noise, target)

    def close(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        for one in self.sockets:
            one.close()

    def heads(self, since=0):
        """When it came, payload type, mark, number, timestamp, source and payload of each packet."""
        for at, packet in self.rtp[since:]:
            kind, number, stamp, source = struct.unpack("!xBHII", packet[:12])
            yield at, kind & 0x7F, bool(kind & 0x80), number, stamp, source, packet[12:]

    def goodbyes(self):
        """The kinds of packets of each compound that ends with a BYE, and who leaves."""
        for _, compound in self.rtcp:
            kinds, at, leaving = [], 0, None
            while at < len(compound):
                kind, words = struct.unpack_from("!xBH", compound, at)
                kinds.append(kind)
                if kind == BYE:
                    leaving, = struct.unpack_from("!I", compound, at + 4)
                at += 4 * words + 4
            if leaving is not None:
                yield kinds, leaving


def message(case, noise):
    """Alice gets Bob's mailbox, and says nothing for some seconds; what she heard."""
    voipd = Voipd(case, voicemail={})
    for name in ("alice", "bob"):
        voipd.add_user(name)
    alice, ear = Agent(case, voipd, "alice"), Ear(case, noise)
    call = alice.invite("bob", ear.offer()).established(40)
    assert ("CN/8000" in call.answer.body.decode()) == noise, call.answer.text()
    ear.speak(call.answer.media(), 25, b"\x2d" if noise else b"")
    silent = lambda: ear.rtp and time.monotonic() - ear.rtp[-1][0] > 1
    described = lambda: sum(head[1] == NOISE for head in ear.heads()) > 8
    wait_for("the silence of a recording", described if noise else silent, 40)
    if noise:
        # Nothing came from her for longer than a phone that speaks is silent.
        (row,) = voipd.calls()
        assert row["verdict"] == "", row
    call.send("BYE")
    assert alice.final().status == 200
    wait_for("the call's end", lambda: voipd.calls() == [])
    return ear


def test_silence_is_told_to_who_understands_it(case):
    ear = message(case, True)
    heads = list(ear.heads())
    assert {head[1] for head in heads} == {SOUND, NOISE}
    numbers = [head[3] for head in heads]
    assert all(b - a & 0xFFFF == 1 for a, b in zip(numbers, numbers[1:])), numbers
    # Timestamps are those of the time at which packets came, whatever was said between them.
    drift = [(head[4] - heads[0][4] & 0xFFFFFFFF) / 8000 - (head[0] - heads[0][0]) for head in heads]
    assert all(abs(seconds) < 0.15 for seconds in drift), (min(drift), max(drift))
    noises = [head for head in heads if head[1] == NOISE]
    assert not any(head[2] for head in noises), "noise is marked"
    last = [head[0] for head in noises[-4:]]
    assert all(0.4 < b - a < 0.6 for a, b in zip(last, last[1:])), last
    # What is said behind noise is marked as the beginning of a talk spurt.
    spurts = [b for a, b in zip(heads, heads[1:]) if (a[1], b[1]) == (NOISE, SOUND)]
    assert all(head[2] for head in spurts), spurts


def test_silence_is_not_told_unasked_and_a_call_ends_with_goodbye(case):
    ear = message(case, False)
    heads = list(ear.heads())
    assert {head[1] for head in heads} == {SOUND}
    wait_for("a goodbye", lambda: list(ear.goodbyes()), 3)
    (kinds, leaving), = ear.goodbyes()
    assert kinds[1:] == [DESCRIPTION, BYE] and leaving == heads[0][5], (kinds, leaving)
    assert kinds[0] in (SENDER_REPORT, SENDER_REPORT + 1), kinds
