"""Between RTP and SRTP by the ng protocol: libsrtp's phones and plain ones, through Kamailio, through
rtpengine, and beside it."""

import os
import signal
import socket
import struct
import threading
import time

from lib.case import Skip, wait_for
from lib.libsrtp import SUITES, Context, Crypto
from lib.net import socket_in
from lib.phone import Phone as Baresip
from lib.sip import Agent
from ng import BASE, Kamailio, Relay, Rtpengine, port_of, read

PACKET_SECONDS = 0.02
RTCP_EVERY = 5
LOW, HIGH = 440, 880
LOOPBACK = ["lo/127.0.0.1"]


class Phone:
    """Sends RTP and RTCP, and checks what it gets against what the other phone sends. With keys
    (what it sends with, what it hears with) it speaks SRTP and nothing else. `at` is its network
    namespace and its address."""

    def __init__(self, case, name, at=(None, "127.0.0.1")):
        self.name, (netns, self.address) = name, at
        while True:
            self.port = case.port()
            try:
                self.rtp, self.rtcp = (
                    socket_in(netns, socket.SOCK_DGRAM, bind=(self.address, port))
                    for port in (self.port, self.port + 1))
                break
            except OSError:
                continue
        self.sends = self.hears = None
        self.sequence, self.target = 0xFFF0, None  # the roll-over counter is soon one
        self.last = None
        self.good, self.reports, self.bad = 0, 0, 0
        self.other = None
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self._speak, lambda: self._listen(self.rtp, False),
                                     lambda: self._listen(self.rtcp, True))]
        case.defer(self.close)

    def close(self):
        self.done.set()
        for thread in self.threads:
            if thread.ident:
                thread.join()
        self.rtp.close()
        self.rtcp.close()

    def keyed(self, ours, theirs):
        """What it sends with from now on, and what it hears with."""
        with self.lock:
            self.sends, self.hears = Context(ours, False), Context(theirs, True)

    def talk_to(self, other, port, relay="127.0.0.1"):
        self.other, self.target = other, (relay, port)
        if not self.threads[0].ident:
            for thread in self.threads:
                thread.start()

    def sound(self, sequence):
        return bytes((ord(self.name[0]) + sequence + n) & 0xFF for n in range(160))

    def report(self):
        name = self.name.encode()
        item = bytes([1, len(name)]) + name
        item += bytes(4 - len(item) % 4)
        return (struct.pack("!BBHI", 0x80, 201, 1, self.port)
                + struct.pack("!BBHI", 0x81, 202, 1 + len(item) // 4, self.port) + item)

    def _speak(self):
        due = time.monotonic()
        while not self.done.is_set():
            self.sequence += 1
            number = self.sequence & 0xFFFF
            head = struct.pack("!BBHII", 0x80, 0, number, 160 * self.sequence & 0xFFFFFFFF, self.port)
            self._send(self.rtp, head + self.sound(number), 0)
            if self.sequence % RTCP_EVERY == 0:
                self._send(self.rtcp, self.report(), 1)
            due += PACKET_SECONDS
            time.sleep(max(0, due - time.monotonic()))

    def _send(self, by, packet, lane):
        with self.lock:
            if self.sends:
                clear, packet = packet, self.sends(packet, lane == 1)
                assert packet and clear[12:] not in packet
            if lane == 0:
                self.last = packet
        try:
            by.sendto(packet, (self.target[0], self.target[1] + lane))
        except ConnectionRefusedError:
            pass

    def _listen(self, by, rtcp):
        by.settimeout(0.1)
        while not self.done.is_set():
            try:
                packet = by.recv(2048)
            except (TimeoutError, ConnectionRefusedError):
                continue
            with self.lock:
                if self.hears:
                    packet = self.hears(packet, rtcp)
            if rtcp:
                right = packet == self.other.report()
            else:
                right = packet and packet[12:] == self.other.sound(struct.unpack_from("!H", packet, 2)[0])
            self.good += bool(right and not rtcp)
            self.reports += bool(right and rtcp)
            self.bad += not right

    def hears_all(self, seconds=1.0):
        """Whether sound and reports come in, at the rate of speech, and nothing else."""
        good, reports, bad = self.good, self.reports, self.bad
        time.sleep(seconds)
        sent = seconds / PACKET_SECONDS
        told = self.good - good, self.reports - reports, self.bad - bad
        assert told[0] > sent / 2 and told[1] > sent / RTCP_EVERY / 2 and told[2] == 0, \
            f"{self.name} heard {told}"
        return True


def described(phone, *cryptos, profile="RTP/SAVP"):
    ours = f"IN IP4 {phone.address}"
    body = (f"v=0\r\no=- {phone.port} 1 {ours}\r\ns=-\r\nc={ours}\r\nt=0 0\r\n"
            f"m=audio {phone.port} {profile if cryptos else 'RTP/AVP'} 0\r\na=rtpmap:0 PCMU/8000\r\n")
    return body + "".join(crypto.line() for crypto in cryptos)


def cryptos(text):
    section = read(text)["sections"][0]
    return [Crypto.read(a.removeprefix("crypto:")) for a in section["a"] if a.startswith("crypto:")]


def protocol(text):
    return read(text)["sections"][0]["m"][2]


class Call:
    """A plain phone and one that speaks SRTP by libsrtp, through a relay; `phones` are others than
    those on loopback."""

    def __init__(self, case, client, suite, name="x", secure_offers=False, phones=None,
                 relay="127.0.0.1", **options):
        self.client, self.tags = client, {"call_id": name, "from_tag": "a"}
        self.plain, self.secure = phones or (Phone(case, "plain"), Phone(case, "secure"))
        self.suite = suite
        if secure_offers:
            self.theirs = Crypto(3, suite)
            offer = described(self.secure, self.theirs)
            offered = self.ask("offer", sdp=offer, transport_protocol="RTP/AVP", **options)
            assert "crypto" not in offered["sdp"] and "SAVP" not in offered["sdp"], offered["sdp"]
            answered = self.ask("answer", sdp=described(self.plain), to_tag="b")
            (self.ours,) = cryptos(answered["sdp"])
            assert (self.ours.tag, self.ours.suite) == (3, suite)
            assert protocol(answered["sdp"]) == "RTP/SAVP"
            to_plain, to_secure = offered, answered
        else:
            offered = self.ask("offer", sdp=described(self.plain), transport_protocol="RTP/SAVP",
                               **options)
            assert protocol(offered["sdp"]) == "RTP/SAVP"
            (self.ours,) = [c for c in cryptos(offered["sdp"]) if c.suite == suite]
            self.theirs = Crypto(self.ours.tag, suite)
            answer = described(self.secure, self.theirs)
            answered = self.ask("answer", sdp=answer, to_tag="b")
            assert "crypto" not in answered["sdp"] and "SAVP" not in answered["sdp"], answered["sdp"]
            to_plain, to_secure = answered, offered
        self.secure.keyed(self.theirs, self.ours)
        self.plain.talk_to(self.secure, port_of(to_plain), relay)
        self.secure.talk_to(self.plain, port_of(to_secure), relay)

    def ask(self, command, **keys):
        reply = self.client.ask(command, **{**self.tags, **keys})
        assert reply["result"] == "ok", reply
        return reply

    def is_heard(self, seconds=1.0):
        """Both phones hear each other; what comes after the first packets found their ways counts."""
        time.sleep(0.3)
        return self.plain.hears_all(seconds) and self.secure.hears_all(seconds)

    def replay(self, count=20):
        """The same packet of the secure phone's once more, so many times."""
        again = self.secure.last
        for _ in range(count):
            self.secure.rtp.sendto(again, self.secure.target)
        return count

    def end(self):
        self.ask("delete", delete_delay=0)
        self.plain.close()
        self.secure.close()


def test_plain_offers(case):
    """A plain phone calls one that speaks SRTP alone: every suite, both ways, RTP and RTCP."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    for number, suite in enumerate(SUITES):
        call = Call(case, relay.client, suite, f"call-{number}")
        assert call.is_heard(0.6)
        told = repr(relay.client.ask("query", call_id=f"call-{number}"))
        told += repr(relay.voipd.json("relay", "calls"))
        assert call.ours.inline not in told and call.theirs.inline not in told
        call.end()
    assert relay.client.ask("list")["calls"] == []
    logged = "".join(p.text() for p in case.processes)
    assert "inline:" not in logged, "a key is in the log"


def test_secure_offers(case):
    """The other way round."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    for number, suite in enumerate(SUITES):
        call = Call(case, relay.client, suite, f"call-{number}", secure_offers=True)
        assert call.is_heard(0.6)
        call.end()


def test_reinvites(case):
    """Keys stay while the phone keeps its own; a new one of the phone's holds from the answer on."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    call = Call(case, relay.client, "AES_CM_128_HMAC_SHA1_80")
    assert call.is_heard()
    both = {"from_tag": "a", "to_tag": "b"}
    again = call.ask("offer", sdp=described(call.plain), transport_protocol="RTP/SAVP", **both)
    assert [c.inline for c in cryptos(again["sdp"]) if c.suite == call.suite] == [call.ours.inline]
    call.ask("answer", sdp=described(call.secure, call.theirs), **both)
    assert call.is_heard(), "after a re-INVITE of the plain phone's"
    both = {"from_tag": "b", "to_tag": "a"}
    fresh = Crypto(7, call.suite)
    call.ask("offer", sdp=described(call.secure, fresh), transport_protocol="RTP/AVP", **both)
    assert call.is_heard(), "before the answer"
    answered = call.ask("answer", sdp=described(call.plain), **both)
    (ours,) = cryptos(answered["sdp"])
    assert (ours.tag, ours.inline) == (7, call.ours.inline)
    with call.secure.lock:
        call.secure.sends = Context(fresh, False)
    assert call.is_heard(), "after a re-INVITE with another key"
    call.end()


def test_a_forger_is_not_heard(case):
    """What is not made with the key goes nowhere, though it comes from the right place."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    call = Call(case, relay.client, "AES_CM_128_HMAC_SHA1_80")
    assert call.is_heard()
    with call.secure.lock:
        call.secure.sends = Context(Crypto(1, call.suite), False)
    time.sleep(0.3)
    good, bad = call.plain.good, call.plain.bad
    time.sleep(0.6)
    assert (call.plain.good, call.plain.bad) == (good, bad)
    rows = relay.voipd.json("relay")
    assert sum(row["drops"].get("srtp", 0) for row in rows) > 10, rows
    call.end()


def test_media_begins_anew(case):
    """A key is never begun anew: with the process of media the call is over."""
    if "--processes" not in os.environ.get("VOIPD_FLAGS", ""):
        raise Skip("of several processes only")
    relay = Relay(case, ng_interfaces=LOOPBACK)
    call = Call(case, relay.client, "AES_CM_128_HMAC_SHA1_80")
    assert call.is_heard()
    (media,) = relay.voipd.pids("media")
    os.kill(media, signal.SIGKILL)
    wait_for("the call's end", lambda: relay.client.ask("list")["calls"] == [])


def test_kamailio(case):
    """Kamailio asks for it, with one suite alone, in the spelling of its module."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    bob = Agent(case, relay.voipd, "bob")
    flags = ("replace-origin replace-session-connection ICE=remove RTP/SAVP "
             "SDES-only-AES_CM_128_HMAC_SHA1_80 SDES-pad")
    kamailio = Kamailio(case, relay, f"127.0.0.1:{bob.port}", flags=flags)
    bob.peer = (kamailio.address, kamailio.port)
    alice = Agent(case, kamailio, "alice")
    a, b = Phone(case, "alice"), Phone(case, "bob")
    call = alice.invite("bob", described(a))
    request = bob.expect("INVITE")
    offered = request.body.decode()
    (ours,) = cryptos(offered)
    assert (protocol(offered), ours.suite) == ("RTP/SAVP", "AES_CM_128_HMAC_SHA1_80"), offered
    theirs = Crypto(ours.tag, ours.suite)
    bob.answer(request, described(b, theirs))
    caller = call.established()
    bob.expect("ACK")
    answered = caller.answer.body.decode()
    assert protocol(answered) == "RTP/AVP" and cryptos(answered) == [], answered
    b.keyed(theirs, ours)
    a.talk_to(b, caller.answer.media()[1])
    b.talk_to(a, request.media()[1])
    time.sleep(0.3)
    assert a.hears_all() and b.hears_all()
    caller.send("BYE")
    bob.reply(bob.expect("BYE"), 200)
    alice.expect(200, skip=("100", "180"))
    wait_for("the end", lambda: relay.client.ask("list")["calls"] == [])


def phones(case, secure_caller):
    """Two baresips through Kamailio, of which one speaks nothing but SRTP and one none of it."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    at = case.port()
    flags = "replace-origin replace-session-connection ICE=remove "
    flags += "RTP/AVP" if secure_caller else "RTP/SAVP"
    kamailio = Kamailio(case, relay, f"127.0.0.1:{at}", flags=flags)
    alice = Baresip(case, "alice", kamailio, LOW, secure=secure_caller)
    bob = Baresip(case, "bob", kamailio, HIGH, secure=not secure_caller, port=at)
    relay.phones_talk((alice, bob), (LOW, HIGH), 4)


def test_phones_plain_to_secure(case):
    phones(case, secure_caller=False)


def test_phones_secure_to_plain(case):
    phones(case, secure_caller=True)


def through(case, first, second, name, suite=None):
    """Two plain phones; SRTP between two relays."""
    a, b = Phone(case, "alice"), Phone(case, "bob")
    tags = {"call_id": name, "from_tag": "a"}
    options = {"DTLS": "off", "ICE": "remove"}
    if suite:
        options["SDES"] = [f"only-{suite}"]

    def ask(client, command, **keys):
        reply = client.ask(command, **tags, **options, **keys)
        assert reply["result"] == "ok", reply
        return reply

    between = ask(first, "offer", sdp=described(a), transport_protocol="RTP/SAVP")
    offered = ask(second, "offer", sdp=between["sdp"], transport_protocol="RTP/AVP")
    back = ask(second, "answer", sdp=described(b), to_tag="b")
    assert protocol(between["sdp"]) == protocol(back["sdp"]) == "RTP/SAVP", (between, back)
    answered = ask(first, "answer", sdp=back["sdp"], to_tag="b")
    a.talk_to(b, port_of(answered))
    b.talk_to(a, port_of(offered))
    time.sleep(0.3)
    assert a.hears_all(0.6) and b.hears_all(0.6)
    for client in (first, second):
        client.ask("delete", delete_delay=0, **tags)
    a.close()
    b.close()
    (used,) = cryptos(back["sdp"])
    return used.suite


def test_through_rtpengine(case):
    """SRTP of ours to rtpengine, and rtpengine's to us; our suite, and its favourite."""
    ours, theirs = Relay(case, ng_interfaces=LOOPBACK).client, Rtpengine(case).client
    used = {through(case, ours, theirs, f"there-{n}", suite) for n, suite in enumerate(SUITES)}
    assert used == set(SUITES), used
    through(case, theirs, ours, "back")


# ---------------------------------------------------------------- beside rtpengine

SECURE = BASE.replace("RTP/AVP", "RTP/SAVP")
K80, K32 = Crypto(1, "AES_CM_128_HMAC_SHA1_80"), Crypto(2, "AES_CM_128_HMAC_SHA1_32")
BOTH = SECURE + K80.line() + K32.line()
NO_80 = {"SDES": ["no-AES_CM_128_HMAC_SHA1_80"]}


ANSWERED = {suite: Crypto(1, suite).inline for suite in SUITES}


def with_tag(suite):
    """An answer that takes a suite of an offer."""
    def of(offer):
        (tag,) = [c.tag for c in cryptos(offer) if c.suite == suite]
        return SECURE + Crypto(tag, suite, ANSWERED[suite]).line()
    return of


# An offer, the protocol that is asked for, options, and the answer, or what makes it of the offer.
OFFERS = {
    "plain to secure": (BASE, "RTP/SAVP", {}, with_tag("AES_CM_128_HMAC_SHA1_80")),
    "plain to secure, another suite": (BASE, "RTP/SAVP", {}, with_tag("AEAD_AES_256_GCM")),
    "plain to secure, one suite less": (BASE, "RTP/SAVP", NO_80, with_tag("AES_CM_128_HMAC_SHA1_32")),
    "plain to secure, lifetime": (BASE, "RTP/SAVP", {"SDES": ["lifetime", "pad"]},
                                  with_tag("AES_CM_128_HMAC_SHA1_80")),
    "plain to secure, refused": (BASE, "RTP/SAVP", {}, SECURE.replace("4000", "0")),
    "plain to secure, answered plain": (BASE, "RTP/SAVP", {}, BASE),
    "plain to secure with feedback": (BASE, "RTP/SAVPF", {},
                                      lambda offer: with_tag("AES_CM_128_HMAC_SHA1_80")(offer)
                                      .replace("RTP/SAVP", "RTP/SAVPF")),
    "secure to plain": (BOTH, "RTP/AVP", {}, BASE),
    "secure to plain, one suite less": (BOTH, "RTP/AVP", NO_80, BASE),
    "secure to plain, refused": (BOTH, "RTP/AVP", {}, BASE.replace("4000", "0")),
    "secure with feedback to plain": (BOTH.replace("RTP/SAVP", "RTP/SAVPF"), "RTP/AVP", {}, BASE),
    "secure to secure, the offerer's key": (BOTH, "RTP/SAVP", {},
                                            SECURE + Crypto(1, "AES_CM_128_HMAC_SHA1_80").line()),
    "secure to secure, a key between": (BOTH, "RTP/SAVP", {}, with_tag("AEAD_AES_256_GCM")),
    "secure to secure, one suite less": (BOTH, "RTP/SAVP", NO_80,
                                         with_tag("AES_CM_128_HMAC_SHA1_32")),
}


def seen(text, known):
    """What is compared: protocol, whether refused, each crypto's tag if only one is there, its suite,
    whether its key is one that a phone made, and its parameters."""
    section = read(text)["sections"][0]
    lines = [a for a in section["a"] if a.startswith("crypto:")]
    keys = [Crypto.read(a.removeprefix("crypto:")) for a in lines]
    out = {"protocol": section["m"][2], "refused": section["m"][1] == "0"}
    out["keys"] = sorted((k.suite, k.inline if k.inline in known else "") for k in keys
                         if k.suite in SUITES)
    out["tag"] = keys[0].tag if len(keys) == 1 else None
    out["lifetimes"] = sorted({a.partition("|")[2] for a in lines})
    return out


def test_beside_rtpengine(case):
    """The same offers and answers to both; their replies say the same of keys, but for suites that we
    do not have."""
    ours, theirs = Relay(case, ng_interfaces=LOOPBACK).client, Rtpengine(case).client
    wrong = []
    for number, (name, (offer, wanted, options, answer)) in enumerate(OFFERS.items()):
        tags = {"call_id": f"case-{number}", "from_tag": "a", "DTLS": "off"}
        offered = [client.ask("offer", sdp=offer, transport_protocol=wanted, **tags, **options)
                   for client in (ours, theirs)]
        known = {K80.inline, K32.inline}
        told = [seen(reply["sdp"], known) for reply in offered]
        if told[0] != told[1]:
            wrong.append(f"{name}, offer: {told[0]}, rtpengine {told[1]}")
        bodies = [answer(reply["sdp"]) if callable(answer) else answer for reply in offered]
        answered = [client.ask("answer", sdp=body.replace("4000", "5000"), to_tag="b", **tags)
                    for client, body in zip((ours, theirs), bodies)]
        known |= {c.inline for body in bodies for c in cryptos(body)}
        told = [seen(reply["sdp"], known) for reply in answered]
        if told[0] != told[1]:
            wrong.append(f"{name}, answer: {told[0]}, rtpengine {told[1]}")
    assert not wrong, "\n".join(wrong)
