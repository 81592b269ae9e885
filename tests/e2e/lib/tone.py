"""Finds which of some tones a recording holds (Goertzel's filter)."""

import array
import math
import pathlib
import struct
import wave


ALAW = 6


def samples(path, channel=0):
    """One channel of a recording of 16 bits or A-law, and its rate."""
    data = pathlib.Path(path).read_bytes()
    (kind,) = struct.unpack_from("<H", data, 20)
    if kind == ALAW:
        return alaw(data, channel)
    with wave.open(str(path)) as recording:
        assert recording.getsampwidth() == 2, f"{path}: not 16 bits a sample"
        data = array.array("h", recording.readframes(recording.getnframes()))
        return data[channel :: recording.getnchannels()], recording.getframerate()


def alaw(data, channel):
    """A WAV file of A-law, ITU-T G.711 table 1a."""
    channels, rate = struct.unpack_from("<HI", data, 22)
    at = 12
    while data[at : at + 4] != b"data":
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
    size = struct.unpack_from("<I", data, at + 4)[0]
    body = data[at + 8 : at + 8 + size]
    assert len(body) == size, f"{size} bytes promised, {len(body)} there"

    def sample(byte):
        byte ^= 0x55
        exponent, mantissa = byte >> 4 & 7, (byte & 15) << 4
        value = mantissa + 8 if exponent == 0 else mantissa + 0x108 << exponent - 1
        return value if byte & 0x80 else -value

    table = [sample(byte) for byte in range(256)]
    return array.array("h", (table[byte] for byte in body[channel::channels])), rate


def power(data, rate, frequency):
    """The power of one frequency, as a share of all power: 1.0 for a pure tone."""
    total = sum(x * x for x in data)
    if not total:
        return 0.0
    turn = 2 * math.cos(2 * math.pi * frequency / rate)
    last = before = 0.0
    for x in data:
        last, before = x + turn * last - before, last
    bin_power = last * last + before * before - turn * last * before
    return 2 * bin_power / (len(data) * total)


def median_share(data, rate, tone):
    """A tone's share of all power, in the middle one of a second's short pieces: where a phone's
    buffer takes out or puts in a packet, a tone's phase jumps. Silence holds no tone."""
    size = rate // 5
    pieces = [data[at : at + size] for at in range(0, rate, size)]
    shares = (power(p, rate, tone) if max(map(abs, p)) > 300 else 0.0 for p in pieces)
    return sorted(shares)[len(pieces) // 2]


def judge(path, wanted, others, last, least, most):
    """Checks what sounds in the second that ends so many seconds before a recording's end."""
    data, rate = samples(path)
    length = f"{path}: {len(data) / rate:.2f} s is too short to judge"
    assert len(data) >= (last + 1) * rate, length
    data = data[-(last + 1) * rate : len(data) - last * rate]
    shares = {tone: median_share(data, rate, tone) for tone in (*wanted, *others)}
    said = ", ".join(f"{tone} Hz {share:.2f}" for tone, share in shares.items())
    for tone in wanted:
        assert shares[tone] > least, f"{path} should hold {tone} Hz: {said}"
    for tone in others:
        assert shares[tone] < most, f"{path} should not hold {tone} Hz: {said}"


def hears(path, wanted, others):
    """Checks that a recording's last second holds the tone and none of the others."""
    judge(path, [wanted], others, last=0, least=0.5, most=0.1)


def hears_all(path, wanted, others):
    """Checks that a recording's last second but one, as in the last those who are heard hang up, holds
    each of some tones and none of the others."""
    judge(path, wanted, others, last=1, least=0.6 / max(1, len(wanted)), most=0.05)


def windows(path, seconds=0.1):
    """The recording in pieces; silent ones are left out."""
    data, rate = samples(path)
    size = int(rate * seconds)
    pieces = [data[at : at + size] for at in range(0, len(data) - size + 1, size)]
    return [piece for piece in pieces if max(map(abs, piece)) > 500], rate


def holds(path, *tones):
    """Checks that each of some tones sounds somewhere in a recording, alone or in a pair."""
    pieces, rate = windows(path)
    assert pieces, f"{path} is silent"
    for tone in tones:
        best = max(power(piece, rate, tone) for piece in pieces)
        assert best > 0.4, f"{path} should hold {tone} Hz somewhere: {best:.2f}"


def speech_seconds(path, *tones):
    """For how long something sounds that is none of the tones."""
    pieces, rate = windows(path)
    spoken = [p for p in pieces if all(power(p, rate, tone) < 0.4 for tone in tones)]
    return len(spoken) * 0.1


def tone_seconds(path, tone):
    """For how long a tone sounds alone."""
    pieces, rate = windows(path)
    return len([piece for piece in pieces if power(piece, rate, tone) > 0.7]) * 0.1


def fitted(piece, rate, tone):
    """The amplitude of a tone in a piece of whole periods, and the largest sample beside it, as a
    share of that."""
    turn = 2 * math.pi * tone / rate
    waves = [(math.cos(turn * n), math.sin(turn * n)) for n in range(len(piece))]
    even = 2 / len(piece) * sum(x * c for x, (c, _) in zip(piece, waves))
    odd = 2 / len(piece) * sum(x * s for x, (_, s) in zip(piece, waves))
    amplitude = math.hypot(even, odd)
    rest = max(abs(x - even * c - odd * s) for x, (c, s) in zip(piece, waves))
    return amplitude, rest / max(amplitude, 1e-9)


def steady(data, rate, tone, amplitude, rest, most=0.1):
    """Checks that a tone sounds within 1 dB of an amplitude, and nothing beside it louder than a share
    of that, as a click would be: for more than a second on end, and on the whole but for the beginning,
    and at `most` so much where a jitter buffer takes out or puts in some sound. Pieces are 50 ms:
    whole periods."""
    size = rate // 20
    pieces = [fitted(data[at : at + size], rate, tone) for at in range(0, len(data) - size + 1, size)]
    good = "".join(".x"[abs(20 * math.log10(max(found, 1) / amplitude)) > 1 or beside > rest]
                   for found, beside in pieces)
    said = " ".join(f"{found:.0f}/{beside:.2f}" for found, beside in pieces)
    told = f"{tone} Hz at {amplitude}: {good}\n{said}"
    assert "." * 25 in good and good.count(".") > 50 and good[20:].count("x") < len(good) * most, told
