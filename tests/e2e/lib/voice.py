"""A telephone's sound, in Python: says tones and keys as RTP, and tells what it heard.

Independent of voipd's own code: RFC 3550, RFC 3551 and RFC 4733 by the letter, keys in the sound by
Goertzel's filter.
"""

import math
import random
import socket
import struct
import threading
import time
import warnings

from lib.tone import power

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

RATE, FRAME = 8000, 160
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
PAD = ("123A", "456B", "789C", "*0#D")
CODES = "0123456789*#ABCD"
KEY_FRAMES, PAUSE_FRAMES = 8, 6
CODECS = {
    "PCMU": (0, lambda pcm: audioop.lin2ulaw(pcm, 2), lambda data: audioop.ulaw2lin(data, 2)),
    "PCMA": (8, lambda pcm: audioop.lin2alaw(pcm, 2), lambda data: audioop.alaw2lin(data, 2)),
}


def frequencies(key):
    row = next(r for r, line in enumerate(PAD) if key in line)
    return ROWS[row], COLUMNS[PAD[row].index(key)]


def tone(pitches, start):
    """A frame of some pitches together."""
    def sample(n):
        return sum(8000 * math.sin(2 * math.pi * f * (start + n) / RATE) for f in pitches)
    return struct.pack(f"<{FRAME}h", *(int(sample(n)) for n in range(FRAME)))


class Voice:
    """One side's stream. What it has to say is queued: pitches for so many frames, or a key as
    event. While nothing is queued it says its own pitch, or nothing at all."""

    def __init__(self, case, codec, events=None, pitch=()):
        self.codec, self.events, self.pitch = codec, events, pitch
        self.port = case.port()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", self.port))
        self.socket.setblocking(False)
        self.queue, self.packets = [], []
        self.peer, self.over = None, threading.Event()
        self.ssrc, self.sequence = random.getrandbits(32), random.getrandbits(16)
        self.time, self.samples = random.getrandbits(32), 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        case.defer(self.stop)

    def sdp(self, direction="sendrecv", version=1):
        number = CODECS[self.codec][0]
        types, lines = str(number), f"a=rtpmap:{number} {self.codec}/8000\r\n"
        if self.events:
            types += f" {self.events}"
            lines += f"a=rtpmap:{self.events} telephone-event/8000\r\na=fmtp:{self.events} 0-15\r\n"
        return (f"v=0\r\no=- {self.port} {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n"
                f"t=0 0\r\nm=audio {self.port} RTP/AVP {types}\r\n{lines}a=ptime:20\r\n"
                f"a={direction}\r\n")

    def talk(self, description):
        """Talks to where a message's description says."""
        self.peer = description.media()
        self.thread.start()

    def stop(self):
        self.over.set()
        if self.thread.ident:
            self.thread.join(5)
        self.socket.close()

    def press_events(self, keys):
        for key in keys:
            self.queue += [("event", key, n) for n in range(KEY_FRAMES + 3)]
            self.queue += [("tone", self.pitch)] * PAUSE_FRAMES

    def press_tones(self, keys):
        for key in keys:
            self.queue += [("tone", frequencies(key))] * KEY_FRAMES
            self.queue += [("tone", ())] * PAUSE_FRAMES

    def said(self):
        """Waits until all that was queued is said."""
        while self.queue:
            time.sleep(0.05)
        time.sleep(0.5)

    def run(self):
        due = time.monotonic()
        while not self.over.is_set():
            self.speak()
            due += FRAME / RATE
            while (left := due - time.monotonic()) > 0:
                self.hear()
                time.sleep(min(left, 0.005))

    def speak(self):
        what = self.queue.pop(0) if self.queue else ("tone", self.pitch)
        if what[0] == "event":
            _, key, number = what
            if number == 0:
                self.began = self.time
            end = number >= KEY_FRAMES
            length = FRAME * min(number + 1, KEY_FRAMES)
            payload = struct.pack("!BBH", CODES.index(key), 0x80 * end | 10, length)
            self.send(self.events, payload, self.began, number == 0)
        else:
            number, encode, _ = CODECS[self.codec]
            self.send(number, encode(tone(what[1], self.samples)), self.time, False)
        self.time = (self.time + FRAME) & 0xFFFFFFFF
        self.samples += FRAME

    def send(self, payload_type, payload, timestamp, mark):
        header = struct.pack("!BBHII", 0x80, 0x80 * mark | payload_type, self.sequence, timestamp,
                             self.ssrc)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.socket.sendto(header + payload, self.peer)

    def hear(self):
        try:
            while True:
                data = self.socket.recv(2048)
                self.packets.append((data[1] & 0x7F, struct.unpack("!I", data[4:8])[0], data[12:]))
        except BlockingIOError:
            pass

    # -- what was heard

    def heard_events(self):
        """The keys that came as events, each once."""
        keys, last = "", None
        for payload_type, timestamp, payload in list(self.packets):
            if payload_type == self.events and timestamp != last:
                keys, last = keys + CODES[payload[0]], timestamp
        return keys

    def pcm(self):
        number, _, decode = CODECS[self.codec]
        data = b"".join(decode(p) for kind, _, p in list(self.packets) if kind == number)
        return struct.unpack(f"<{len(data) // 2}h", data)

    def heard_tones(self, frames=2):
        """The keys that came as sound for so many whole frames: a tone is none before it lasts 40 ms
        (ITU-T Q.24)."""
        data, keys, last, count = self.pcm(), "", "", 0
        for at in range(0, len(data) - FRAME + 1, FRAME):
            key = self.key_in(data[at:at + FRAME])
            last, count = key, count + 1 if key == last else 1
            if key and count == frames:
                keys += key
        return keys

    @staticmethod
    def key_in(piece):
        if max(map(abs, piece)) < 1000:
            return ""
        shares = [{f: power(piece, RATE, f) for f in group} for group in (ROWS, COLUMNS)]
        row, column = (max(group, key=group.get) for group in shares)
        if shares[0][row] + shares[1][column] < 0.8 or min(shares[0][row], shares[1][column]) < 0.2:
            return ""
        return PAD[ROWS.index(row)][COLUMNS.index(column)]

    def level(self, pitch):
        """How loud a pitch was in the last second, in decibel below full scale."""
        data = self.pcm()[-RATE:]
        assert len(data) == RATE, f"{len(data)} samples are too few to judge"
        total = sum(x * x for x in data) / len(data)
        return 10 * math.log10(max(power(data, RATE, pitch) * total, 1e-9) / 32768 ** 2)
