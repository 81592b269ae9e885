"""Calls of other proxies that are recorded: what is on the disk, who hears what meanwhile, and that the
replies are rtpengine's."""

import math
import os
import signal
import struct
import time

from lib.case import Skip, wait_for
from lib.phone import Phone as Baresip
from lib.sip import Agent
from lib.tone import power, speech_seconds
from media import Audio
from ng import BASE, FLAGS, Kamailio, Relay, Rtpengine, port_of, read
from recording import holds, sides

LOW, HIGH = 400, 800
LOWER, HIGHER = 300, 1100
LOOPBACK = ["lo/127.0.0.1"]
PCMU, PCMA = 0, 8


def ulaw(sample):
    """G.711 mu-law of one sample."""
    sign, sample = (0x80, -sample) if sample < 0 else (0, sample)
    sample = min(sample, 32635) + 132
    exponent = sample.bit_length() - 8
    return ~(sign | exponent << 4 | sample >> exponent + 3 & 15) & 0xFF


def alaw(sample):
    """G.711 A-law of one sample."""
    sign, sample = (0x55, -sample - 1) if sample < 0 else (0xD5, sample)
    exponent = max(0, sample.bit_length() - 8)
    mantissa = sample >> (4 if exponent == 0 else exponent + 3) & 15
    return (exponent << 4 | mantissa) ^ sign


class Talker(Audio):
    """Says a tone, in mu-law or A-law."""

    def __init__(self, case, hz):
        super().__init__(case)
        self.kind, self.kinds = PCMU, set()
        wave = [int(9000 * math.sin(math.tau * hz * n / 8000)) for n in range(160)]
        self.frames = {PCMU: bytes(map(ulaw, wave)), PCMA: bytes(map(alaw, wave))}

    def _run(self):
        sequence, due = 0, time.monotonic()
        self.socket.settimeout(0.01)
        while not self.done.is_set():
            if time.monotonic() >= due:
                due += 0.02
                sequence += 1
                if self.speaks:
                    head = struct.pack("!BBHII", 0x80, self.kind, sequence & 0xFFFF, 160 * sequence,
                                       self.port)
                    self.socket.sendto(head + self.frames[self.kind], self.target)
            self.socket.settimeout(max(0.001, due - time.monotonic()))
            try:
                data, source = self.socket.recvfrom(2048)
                self.heard += len(data) >= 12
                self.kinds.add(data[1] & 0x7F)
                self.sources.add(source)
            except (TimeoutError, ConnectionRefusedError):
                pass


class House:
    """A relay with a spool of its own."""

    def __init__(self, case, **tables):
        self.spool = case.folder / "spool"
        self.spool.mkdir()
        self.spool.chmod(0o777)
        self.relay = Relay(case, ng_interfaces=LOOPBACK)
        voipd = self.relay.voipd
        voipd.tables["spool"] = {"directory": str(self.spool)}
        voipd.tables["recording"] = {"notice": False}
        voipd.tables.update(tables)
        voipd.write()
        voipd.process.stop()
        voipd.start()
        self.client, self.voipd = self.relay.client, voipd

    def files(self, pattern="*.wav"):
        return sorted(self.spool.rglob(pattern))

    def whole(self, count=1, seconds=10):
        """So many recordings, once nothing more is being written."""
        return wait_for(f"{count} recordings", lambda: not self.files("*.part")
                        and len(self.files()) == count and self.files(), seconds)


class Call:
    """Two that talk through a relay."""

    def __init__(self, case, client, name="call", **options):
        self.client, self.call = client, {"call_id": name, "from_tag": "a"}
        self.a, self.b = Talker(case, LOW), Talker(case, HIGH)
        offer = BASE.replace("4000", str(self.a.port))
        answer = BASE.replace("4000", str(self.b.port))
        offered = self.ask("offer", sdp=offer, **options)
        answered = self.ask("answer", sdp=answer, to_tag="b")
        self.a.talk_to(("127.0.0.1", port_of(answered)))
        self.b.talk_to(("127.0.0.1", port_of(offered)))

    def ask(self, command, **keys):
        reply = self.client.ask(command, **self.call, **keys)
        assert reply["result"] == "ok", reply
        return reply

    def talks(self, seconds=4.0):
        assert self.a.hears(seconds / 2) and self.b.hears(seconds / 2)

    def end(self):
        self.ask("delete", delete_delay=0)
        self.a.speaks = self.b.speaks = False


class TwoStreams:
    """Two who have two streams of sound: each side says a tone of its own in either."""

    def __init__(self, case, client, kinds=(PCMU, PCMU), **options):
        self.client, self.call = client, {"call_id": "two", "from_tag": "a"}
        self.pairs = [(Talker(case, LOW), Talker(case, HIGH)), (Talker(case, LOWER), Talker(case, HIGHER))]
        names = {PCMU: "PCMU", PCMA: "PCMA"}

        def body(side, kind):
            head = BASE.partition("m=audio")[0]
            return head + "".join(f"m=audio {pair[side].port} RTP/AVP {kind}\r\n"
                                  f"a=rtpmap:{kind} {names[kind]}/8000\r\n" for pair in self.pairs)
        offered = self.ask("offer", sdp=body(0, kinds[0]), **options)
        answered = self.ask("answer", sdp=body(1, kinds[1]), to_tag="b", **options)
        told = [[int(section["m"][1]) for section in read(reply["sdp"])["sections"]]
                for reply in (answered, offered)]
        for at, pair in enumerate(self.pairs):
            for side, talker in enumerate(pair):
                talker.kind = kinds[side]
                talker.talk_to(("127.0.0.1", told[side][at]))

    def ask(self, command, **keys):
        reply = self.client.ask(command, **self.call, **keys)
        assert reply["result"] == "ok", reply
        return reply

    def talks(self, seconds):
        time.sleep(seconds)
        for talker in (talker for pair in self.pairs for talker in pair):
            assert talker.hears(0.5)

    def end(self):
        self.ask("delete", delete_delay=0)
        for talker in (talker for pair in self.pairs for talker in pair):
            talker.speaks = False


def both_hold(path, low=LOW, high=HIGH):
    left, right = sides(path)
    holds(left, low, high)
    holds(right, high, low)
    return len(left) / 8000


def each_holds(paths):
    """One file has the one stream, the other the other."""
    assert len(paths) == 2, paths
    left, _ = sides(paths[0])
    rest = left[-20000:-4000]
    first = power(rest, 8000, LOW) > power(rest, 8000, LOWER)
    one, other = paths if first else reversed(paths)
    both_hold(one)
    both_hold(other, LOWER, HIGHER)


def test_commands(case):
    """Begun and ended in the midst of the call, twice: two files, and nobody hears a difference."""
    house = House(case)
    call = Call(case, house.client)
    call.talks(2)
    assert house.files("*") == []
    for _ in range(2):
        assert call.ask("start recording") == {"result": "ok"}
        call.talks()
        (row,) = house.voipd.json("relay", "calls")
        assert (house.spool / (row["recording"] + ".part")).exists(), row
        assert call.ask("stop recording") == {"result": "ok"}
        call.talks(1)
    (row,) = house.voipd.json("relay", "calls")
    assert row["recording"] == "", row
    call.end()
    files = house.whole(2)
    listed = wait_for("the records", lambda: len(rows := house.voipd.json("recording", "list")) == 2
                      and rows)
    assert sorted(row["file"] for row in listed) == [str(f.relative_to(house.spool)) for f in files]
    for row in listed:
        assert (row["call_id"], row["from"], row["to"]) == ("call", "a", "b"), row
        assert 3 <= row["seconds"] < 6 and row["start"].startswith("20"), row
    assert {row["way_in"] for row in house.voipd.json("cdr")} == {"ng"}
    for path in files:
        assert 3 < both_hold(path) < 6, path
        assert path.parent.parent.parent.parent.name == "recordings"
    other = house.voipd.json("status")["counters"]["other"]
    assert (other["ng_recordings"], other["ng_recordings_failed"]) == (2, 0), other


def test_from_the_beginning(case):
    """record-call in the offer; a pause; another codec in the midst of it; the end of the call."""
    house = House(case)
    call = Call(case, house.client, record_call="on")
    call.talks(3)
    call.ask("stop recording", flags=["pause"])
    call.talks(3)
    call.ask("start recording")
    call.a.kind = PCMA
    call.talks(4)
    call.end()
    (path,) = house.whole()
    assert 6 < both_hold(path) < 8.5
    left, _ = sides(path)
    # Mu-law before, A-law after.
    holds(left[: 3 * 8000], LOW, HIGH)


def test_two_streams(case):
    """Each stream of sound has a file of its own, and a record."""
    house = House(case)
    call = TwoStreams(case, house.client, record_call="on")
    call.talks(3)
    (row,) = house.voipd.json("relay", "calls")
    names = row["recording"].split(" ")
    assert all((house.spool / (name + ".part")).exists() for name in names), row
    call.end()
    paths = house.whole(2)
    each_holds(paths)
    listed = wait_for("the records", lambda: len(rows := house.voipd.json("recording", "list")) == 2
                      and rows)
    assert sorted(row["file"] for row in listed) == sorted(names), listed
    assert sorted(names) == [str(path.relative_to(house.spool)) for path in paths]
    assert {row["cause"] for row in house.voipd.json("cdr")} == {"caller_hung_up"}
    other = house.voipd.json("status")["counters"]["other"]
    assert (other["ng_recordings"], other["ng_recordings_failed"]) == (2, 0), other


def test_full_buffers_are_counted(case):
    """What comes while voipd cannot take it, and finds no room: the system drops it, which is known
    while the call goes on."""
    house = House(case)
    call = Call(case, house.client)
    call.talks(2)
    voipd = house.voipd
    several = "--processes" in os.environ.get("VOIPD_FLAGS", "")
    (media,) = voipd.pids("media") if several else [voipd.process.pid]

    def drops():
        (row,) = [row for row in voipd.json("relay") if row["name"] == "sockets"]
        return row["drops"].get("receive_buffer", 0)
    assert drops() == 0
    os.kill(media, signal.SIGSTOP)
    try:
        for number in range(3000):
            packet = struct.pack("!BBHII", 0x80, 0, number, 0, 7) + bytes(1000)
            call.a.socket.sendto(packet, call.a.target)
    finally:
        os.kill(media, signal.SIGCONT)
    wait_for("the loss", lambda: 1000 < drops() < 3000, 10)
    call.talks(2)
    call.end()


def test_names_lead_nowhere(case):
    """What a Call-ID says of directories is none of the disk's business."""
    house = House(case)
    names = ["../../../../tmp/x", "a/b\\c d", "\u00e9", "." * 30, "z" * 400]
    calls = [Call(case, house.client, name, record_call="yes") for name in names]
    time.sleep(1.5)
    for call in calls:
        call.end()
    files = house.whole(len(names))
    day = {path.parent for path in files}
    assert len(day) == 1 and day.pop().relative_to(house.spool).parts[0] == "recordings"
    assert sorted(house.spool.iterdir()) == [house.spool / "recordings"]


def test_the_longest(case):
    """A recording ends as [recording] max_s says, and the call goes on."""
    house = House(case, recording={"max_s": 10, "notice": False})
    call = Call(case, house.client, record_call="on")
    (path,) = house.whole(seconds=15)
    left, _ = sides(path)
    assert len(left) == 10 * 8000
    call.talks(2)
    (row,) = house.voipd.json("relay", "calls")
    assert row["recording"] == "", row
    call.end()


def test_media_begins_anew(case):
    """The process of media dies: what was written stays, and the rest is in a second file."""
    if "--processes" not in os.environ.get("VOIPD_FLAGS", ""):
        raise Skip("of several processes only")
    house = House(case)
    call = Call(case, house.client, record_call="on")
    call.talks()
    (media,) = house.voipd.pids("media")
    os.kill(media, signal.SIGKILL)
    wait_for("media to be there again", lambda: house.voipd.pids("media") not in ([], [media]))
    wait_for("sound", lambda: call.a.hears(0.5) and call.b.hears(0.5))
    call.talks()
    call.end()
    for path in house.whole(2):
        both_hold(path)


def test_voipd_stops(case):
    """A stop in the midst of a call: the file is whole, and its record says why."""
    house = House(case)
    call = Call(case, house.client, record_call="on")
    call.talks(3)
    house.voipd.stop()
    assert house.files("*.part") == []
    (path,) = house.files()
    assert 2 < both_hold(path) < 6
    house.voipd.start()
    (listed,) = house.voipd.json("recording", "list")
    assert listed["file"] == str(path.relative_to(house.spool)), listed
    assert 2 <= listed["seconds"] < 6, listed
    (row,) = house.voipd.json("cdr")
    assert (row["way_in"], row["cause"]) == ("ng", "shutdown"), row
    assert house.files() == [path]


def test_kamailio(case):
    """Kamailio's start_recording() and stop_recording()."""
    house = House(case)
    bob = Agent(case, house.voipd, "bob")
    inside = ('if (is_method("INFO")) { start_recording(); } '
              'if (is_method("UPDATE")) { stop_recording(); }')
    kamailio = Kamailio(case, house.relay, f"127.0.0.1:{bob.port}", inside=inside)
    bob.peer = (kamailio.address, kamailio.port)
    alice = Agent(case, kamailio, "alice")
    a, b = Talker(case, LOW), Talker(case, HIGH)
    call = alice.invite("bob", BASE.replace("4000", str(a.port)))
    request = bob.expect("INVITE")
    called = bob.answer(request, BASE.replace("4000", str(b.port)))
    caller = call.established()
    bob.expect("ACK")
    a.talk_to(caller.answer.media())
    b.talk_to(request.media())
    assert a.hears() and b.hears() and house.files("*") == []
    for method in ("INFO", "UPDATE"):
        caller.send(method)
        bob.reply(bob.expect(method), 200)
        alice.expect(200, skip=("100", "180"))
        assert a.hears(2) and b.hears(2)
    (path,) = house.whole()
    assert 3 < both_hold(path) < 6
    caller.bye(called)


def test_early_media(case):
    """An announcement behind a 183 with a description (RFC 3960) is in the file before what is said."""
    house = House(case)
    bob = Agent(case, house.voipd, "bob")
    kamailio = Kamailio(case, house.relay, f"127.0.0.1:{bob.port}", flags=f"{FLAGS} record-call=on")
    bob.peer = (kamailio.address, kamailio.port)
    alice = Agent(case, kamailio, "alice")
    a, b = Talker(case, LOW), Talker(case, HIGH)
    call = alice.invite("bob", BASE.replace("4000", str(a.port)))
    request = bob.expect("INVITE")
    described = BASE.replace("4000", str(b.port))
    bob.reply(request, 183, body=described)
    progress = call.next()
    assert progress.status == 183, progress.text()
    a.speaks = False
    a.talk_to(progress.media())
    b.talk_to(request.media())
    assert a.hears(4)
    called = bob.answer(request, described)
    caller = call.established()
    bob.expect("ACK")
    assert caller.answer.media() == progress.media()
    a.speaks = True
    assert a.hears(2) and b.hears(2)
    caller.bye(called)
    (path,) = house.whole()
    left, right = sides(path)
    holds(right[: 3 * 8000], HIGH, LOW)
    assert max(map(abs, left[: 3 * 8000])) < 100, "the caller said nothing yet"
    holds(left[-3 * 8000 :], LOW, HIGH)


def through_kamailio(case, flags, notice=False, **phones):
    """Two baresips through Kamailio, which records them, and who are told so."""
    house = House(case, recording={"notice": notice})
    at = case.port()
    kamailio = Kamailio(case, house.relay, f"127.0.0.1:{at}", flags=f"{FLAGS} record-call=on {flags}")
    alice = Baresip(case, "alice", kamailio, LOW, secure=phones.get("alice", False))
    bob = Baresip(case, "bob", kamailio, HIGH, secure=phones.get("bob", False), port=at)
    house.relay.phones_talk((alice, bob), (LOW, HIGH), 6)
    (path,) = house.whole()
    both_hold(path)
    for phone, other in ((alice, HIGH), (bob, LOW)):
        assert (speech_seconds(phone.recording(), other) > 0.7) == notice


def test_phones(case):
    through_kamailio(case, "")


def test_phones_are_told(case):
    """Unless notice = false both hear that they are recorded, before they hear each other again."""
    through_kamailio(case, "", notice=True)


def test_secure_phones_are_told(case):
    through_kamailio(case, "", notice=True, alice=True, bob=True)


def test_one_secure_phone(case):
    """What is SRTP on one side is read by the key."""
    through_kamailio(case, "RTP/SAVP", bob=True)


def test_two_secure_phones(case):
    """Keys are ours on both sides where the call is recorded from its beginning."""
    through_kamailio(case, "", alice=True, bob=True)


def test_beside_rtpengine(case):
    """What both answer, in a row of requests of one call."""
    ours, theirs = House(case).client, Rtpengine(case).client
    offer = {"sdp": BASE, "call_id": "x", "from_tag": "a"}
    for command, keys in [
        ("start recording", {}),
        ("stop recording", {}),
        ("start recording", {"call_id": "x"}),
        ("stop recording", {"call_id": "x"}),
        ("offer", offer | {"call_id": "y", "record-call": "on"}),
        ("offer", offer),
        ("start recording", {"call_id": "x"}),
        ("start recording", {"call_id": "x", "from_tag": "a"}),
        ("start recording", {"call_id": "x", "from_tag": "nobody"}),
        ("answer", offer | {"sdp": BASE.replace("4000", "5000"), "to_tag": "b"}),
        ("start recording", {"call_id": "x"}),
        ("stop recording", {"call_id": "x", "flags": ["pause"]}),
        ("stop recording", {"call_id": "x"}),
        ("stop recording", {"call_id": "x", "from_tag": "b"}),
    ]:
        replies = [client.ask(command, **keys) for client in (ours, theirs)]
        for reply in replies:
            reply.pop("sdp", None)
        assert replies[0] == replies[1], f"{command} {keys}: {replies}"


def test_a_spool_that_refuses(case):
    """A file stands where the directory should be: the recording ends, and nothing else."""
    house = House(case)
    (house.spool / "recordings").write_text("in the way")
    call = Call(case, house.client, record_call="on")
    call.talks(3)
    other = house.voipd.json("status")["counters"]["other"]
    assert (other["ng_recordings"], other["ng_recordings_failed"]) == (1, 1), other
    (row,) = house.voipd.json("relay", "calls")
    assert row["recording"] == "", row
    call.end()
