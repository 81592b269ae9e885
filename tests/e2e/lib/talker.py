"""Phones that speak and hear by a program: many at a time, which press keys and hang up at a moment
of what they hear. SIP is `lib.sip`'s; sound is G.711 in RTP (RFC 3550, 3551), keys are telephone
events (RFC 4733). One thread is the sound of all phones of a case.
"""

import math
import random
import selectors
import struct
import threading
import time
import wave

from lib.case import wait_for
from lib.net import socket_in
from lib.sip import Agent

RATE, FRAME = 8000, 160
EVENT_TYPE = 101
KEYS = "0123456789*#ABCD"
# Packets of 20 ms that a key is pressed for, how often its end is told, and the pause behind it.
KEY_PACKETS, KEY_ENDS, KEY_PAUSE = 5, 3, 4
WINDOW = 400  # 50 ms

SDP = (
    "v=0\r\no=- {port} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    f"m=audio {{port}} RTP/AVP 0 {EVENT_TYPE}\r\na=rtpmap:0 PCMU/8000\r\n"
    f"a=rtpmap:{EVENT_TYPE} telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
)


def ulaw(sample):
    """One sample of 16 bits in G.711's µ-law."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = max(magnitude.bit_length() - 8, 0)
    return ~(sign | exponent << 4 | magnitude >> exponent + 3 & 0x0F) & 0xFF


def linear(byte):
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 132 << (byte >> 4 & 7)) - 132
    return -magnitude if byte & 0x80 else magnitude


LINEAR = [linear(byte) for byte in range(256)]
SILENCE = bytes([0xFF]) * RATE


def tone(hertz, amplitude=9000):
    """A second of a tone; of whole hertz, so that it goes on without a click."""
    step = 2 * math.pi * hertz / RATE
    return bytes(ulaw(round(amplitude * math.sin(step * n))) for n in range(RATE))


def share(sound, hertz):
    """How much of some µ-law's power is in one frequency (Goertzel's filter); silence has none."""
    data = [LINEAR[byte] for byte in sound]
    total = sum(x * x for x in data)
    if total < len(data) * 150 ** 2:
        return 0.0
    turn = 2 * math.cos(2 * math.pi * hertz / RATE)
    last = before = 0.0
    for x in data:
        last, before = x + turn * last - before, last
    return 2 * (last * last + before * before - turn * last * before) / (len(data) * total)


def prompts(folder, names):
    """Puts a site's prompts into a folder: each is 300 ms of a tone of its own, which is what the
    returned dictionary says. So a test knows which prompt it hears."""
    tones = {name: 520 + 60 * n for n, name in enumerate(names)}
    for name, hertz in tones.items():
        path = folder / "en" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        step = 2 * math.pi * hertz / RATE
        samples = (round(9000 * math.sin(step * n)) for n in range(RATE * 3 // 10))
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return tones


class Sound:
    """The thread."""

    def __init__(self, case):
        self.lines = set()
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.over = False
        self.tones = {None: SILENCE}
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        case.defer(self.end, thread)

    def end(self, thread):
        self.over = True
        thread.join()
        self.selector.close()

    def add(self, line):
        with self.lock:
            self.lines.add(line)
            self.selector.register(line.socket, selectors.EVENT_READ, line)

    def remove(self, line):
        with self.lock:
            if line in self.lines:
                self.lines.remove(line)
                self.selector.unregister(line.socket)
                line.socket.close()

    def run(self):
        due = time.monotonic()
        while not self.over:
            due += 0.02
            with self.lock:
                for line in self.lines:
                    line.speak(self.tones)
            while (left := due - time.monotonic()) > 0:
                for key, _ in self.selector.select(left):
                    with self.lock:
                        key.data.hear()


class Line:
    """The sound of one call."""

    def __init__(self, sound, media_socket, peer):
        self.socket, self.peer, self.sound = media_socket, peer, sound
        self.socket.setblocking(False)
        self.tone = None
        self.heard = bytearray()
        self.keys, self.pause = [], 0
        self.sequence = random.getrandbits(16)
        self.timestamp = random.getrandbits(32)
        self.ssrc = random.getrandbits(32)
        self.at = 0
        sound.add(self)

    def speak(self, tones):
        sounds = tones.get(self.tone) or tones.setdefault(self.tone, tone(self.tone))
        kind, stamp, payload = 0, self.timestamp, sounds[self.at : self.at + FRAME]
        self.pause = max(self.pause - 1, 0)
        if self.keys and not self.pause:
            (code, begun, sent), kind = self.keys[0], EVENT_TYPE
            begun = self.timestamp if begun is None else begun
            sent += 1
            ends = sent > KEY_PACKETS
            length = min(sent, KEY_PACKETS) * FRAME
            stamp, payload = begun, struct.pack("!BBH", code, 0x8A if ends else 0x0A, length)
            self.keys[0] = (code, begun, sent)
            if sent == KEY_PACKETS + KEY_ENDS:
                self.keys[0:1], self.pause = [], KEY_PAUSE
        header = struct.pack("!BBHII", 0x80, kind, self.sequence, stamp & 0xFFFFFFFF, self.ssrc)
        self.sequence = self.sequence + 1 & 0xFFFF
        self.timestamp = self.timestamp + FRAME & 0xFFFFFFFF
        self.at = (self.at + FRAME) % RATE
        try:
            self.socket.sendto(header + payload, self.peer)
        except OSError:
            pass  # the far end has closed its port

    def hear(self):
        while True:
            try:
                packet = self.socket.recv(2048)
            except OSError:
                return
            if len(packet) > 12 and packet[1] & 0x7F == 0:
                self.heard += packet[12:]


class Talker(Agent):
    """A phone of `lib.sip` that speaks and hears."""

    def __init__(self, case, server, user, sound, tones=(), **options):
        """`tones` are those of the site's prompts."""
        super().__init__(case, server, user, **options)
        self.sound, self.tones = sound, dict(tones)
        self.netns = options.get("netns")
        self.line = self.dialog = None
        self.mark = 0

    def call(self, number, seconds=20.0):
        """Calls, and waits until somebody answers."""
        media = socket_in(self.netns, 2, bind=(self.address, 0))
        offer = SDP.format(address=self.address, port=media.getsockname()[1])
        self.dialog = self.invite(number, offer).established(seconds)
        self.mark = 0
        self.line = Line(self.sound, media, self.dialog.answer.media())

    def say(self, hertz):
        """Speaks a tone from now on; None: silence."""
        self.line.tone = hertz

    def press(self, keys):
        self.line.keys += [(KEYS.index(key), None, 0) for key in keys]

    def pressed(self):
        """Waits until the keys are out."""
        wait_for(f"{self.user}'s keys", lambda: not self.line.keys)

    def hears(self, what, seconds=20.0):
        """Waits until a tone, or a prompt, sounds behind what was found before."""
        hertz = self.tones.get(what, what)
        level = 0.3 if what == "beep" else 0.7
        hertz = 350 if what == "beep" else hertz
        start = self.mark

        def found():
            while len(self.line.heard) >= self.mark + 2 * WINDOW:
                two = [bytes(self.line.heard[at : at + WINDOW])
                       for at in (self.mark, self.mark + WINDOW)]
                self.mark += WINDOW
                if all(share(piece, hertz) > level for piece in two):
                    return True
            return False

        try:
            wait_for(f"{self.user} to hear {what}", found, seconds)
        except AssertionError as error:
            names = [name for name, tone in self.tones.items() if self.seconds_of(tone, start) > 0.1]
            raise AssertionError(f"{error}; it heard {names}") from None

    def seconds_of(self, hertz, start=0):
        """For how long a tone was heard in this call."""
        heard = bytes(self.line.heard[start:])
        pieces = (heard[at : at + WINDOW] for at in range(0, len(heard) - WINDOW, WINDOW))
        return sum(share(piece, hertz) > 0.7 for piece in pieces) * WINDOW / RATE

    def heard(self, what):
        """Whether a prompt was heard in this call."""
        return self.seconds_of(self.tones.get(what, what)) > 0.1

    def hang_up(self):
        self.dialog.send("BYE")
        self.quiet(lambda: self.final())

    def is_hung_up(self, seconds=20.0):
        """Waits for the far end's BYE."""
        def taken():
            self.reply(self.expect("BYE", seconds), 200)
        self.quiet(taken)

    def quiet(self, act):
        try:
            act()
        finally:
            self.sound.remove(self.line)
