"""The B2BUA against independent peers: sipp, which keeps to the letter, as caller and as callee; a
scripted agent where the order of messages is everything; phones where sound is to be heard.

Caller and callee share no codec (PCMA here, PCMU there), so that each call that is not for a service
is bridged: voipd is UAS to the one and UAC to the other.
"""

import re
import time

from lib.case import wait_for
from lib.phone import Phone
from lib.sip import Agent, Dialog
from lib.sipp import Sipp
from lib.tone import hears, hears_all, power, windows
from lib.voice import CODECS, Voice
from lib.voipd import DOMAIN, Voipd

PCMA = ("v=0\r\no=- {port} {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n")
PCMU = PCMA.replace(" 8\r\n", " 0\r\n").replace("8 PCMA", "0 PCMU")


def described(codec, port, direction="sendrecv", version=1):
    return codec.format(port=port, direction=direction, version=version)


def house(case, *users, **tables):
    """A voipd that believes what comes from this machine, with some users."""
    voipd = Voipd(case, sip={"trusted": ["127.0.0.1/32"]}, **tables)
    for user in users:
        voipd.add_user(user)
    return voipd


def caller(case, voipd, scenario, number, **options):
    return Sipp(case, scenario, scenario, voipd, rows=[("alice", number)], service=number, **options)


def callee(case, voipd, scenario, user="bob", name="callee", **options):
    """Registers a user where a sipp of the scenario waits: for the call that it refuses, and that of
    the bridge."""
    port = case.port()
    agent = Agent(case, voipd, user, port=port)
    agent.register()
    agent.socket.close()
    options = {"count": 2} | options
    return Sipp(case, name, scenario, None, port=port, **options)


def idle(voipd):
    wait_for("the calls to be gone", lambda: voipd.calls() == [])


def service(case, scenario, number="*130", **options):
    """A caller of a service that answers at once."""
    voipd = house(case, "alice")
    caller(case, voipd, scenario, number, **options).finish()
    idle(voipd)
    return voipd


def bridged(case, scenario, other, pause_ms=0, **options):
    """A caller and a callee, both sipp, over a bridge; the call's only record."""
    voipd = house(case, "alice", "bob")
    called = callee(case, voipd, other, pause_ms=pause_ms)
    calling = caller(case, voipd, scenario, "bob", **options)
    calling.finish()
    called.finish()
    idle(voipd)
    return one_record(voipd)


def one_record(voipd):
    (record,) = wait_for("the call's record", lambda: voipd.json("cdr"))
    return record


# ---------------------------------------------------------------- called by sipp


def test_late_offer(case):
    service(case, "late_offer")


def test_update(case):
    service(case, "update")


def test_reoffer_before_the_ack(case):
    service(case, "unacknowledged")


def test_answer_is_repeated(case):
    """Until its ACK comes, in intervals that double (RFC 3261 §13.3.1.4)."""
    voipd = house(case, "alice")
    alice = Agent(case, voipd, "alice")
    call = alice.invite("*130", described(PCMU, 6000), believed=True)
    first = call.next()
    times = [time.monotonic()]
    for _ in range(3):
        again = call.next()
        assert again.text() == first.text(), again.text()
        times.append(time.monotonic())
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert all(late > early * 1.5 for early, late in zip(gaps, gaps[1:])), gaps
    dialog = Dialog.caller(alice, call.call, first)
    dialog.send("ACK", cseq=int(first["cseq"].split()[0]))
    alice.nothing(5)
    dialog.send("BYE")
    alice.expect(200)
    idle(voipd)


def test_session_timers_are_negotiated(case):
    service(case, "timer_short")


def test_session_that_nobody_refreshes_ends(case):
    """By a third of its 90 s before they are over (RFC 4028 §10)."""
    began = time.monotonic()
    voipd = service(case, "timer_expiry", seconds=90)
    assert 55 < time.monotonic() - began < 80
    assert one_record(voipd)["status"] == 200


def test_glare(case):
    """voipd refreshes by a re-INVITE just when the caller sends one, too."""
    voipd = service(case, "glare", seconds=90)
    assert one_record(voipd)["cause"] == "caller_hung_up"


# ---------------------------------------------------------------- sipp on both sides


def test_bridged_call_has_one_record(case):
    record = bridged(case, "bridge_caller", "bridge_callee", pause_ms=300)
    assert (record["status"], record["way_out"]) == (200, ""), record
    assert "bridged" in record["note"] and record["codecs"] == "PCMA/PCMU", record
    assert record["cause"] == "caller_hung_up", record


def test_prack(case):
    bridged(case, "prack_caller", "bridge_callee", pause_ms=2500)


def test_prack_offers(case):
    bridged(case, "prack_offer", "bridge_callee_early", pause_ms=2500)


def test_cancel(case):
    """The callee's agent answers the CANCEL and refuses the INVITE."""
    voipd = house(case, "alice", "bob")
    bob = Bob(case, voipd)
    calling = caller(case, voipd, "bridge_cancel", "bob")
    invite = bob.bridged()
    bob.reply(invite, 180)
    bob.reply(bob.expect("CANCEL"), 200)
    bob.reply(invite, 487)
    bob.expect("ACK")
    calling.finish()
    idle(voipd)
    assert one_record(voipd)["cause"] == "cancelled"


# ---------------------------------------------------------------- sipp transfers


class Party:
    """A sipp that talks with a voice of its own pitch; its scenario logs how its last dialog is
    called and where its sound goes. Who does not call (`calls`) registers and waits."""

    def __init__(self, case, voipd, name, scenario, codec, pitch, **options):
        """Who is called `name` registers, unless it has `rows`: then it calls."""
        self.voice = Voice(case, codec, pitch=(pitch,))
        self.pitch = pitch
        options["keys"] = {"audio": self.voice.port, "codec": codec, "type": CODECS[codec][0]}
        options["call_id"] = f"{name}-%u-%p"
        if options.pop("calls", False):
            self.sipp = Sipp(case, name, scenario, voipd, **options)
        else:
            self.sipp = callee(case, voipd, scenario, name, name, **options)

    def dialog(self):
        """Call-ID, own tag, voipd's tag and port."""
        def told():
            text = self.sipp.log.read_text() if self.sipp.log.exists() else ""
            return [line.split()[1:] for line in text.splitlines() if line.startswith("dialog ")]

        return wait_for(f"{self.sipp.name} to be in a call", told)[-1]

    def talk(self):
        self.voice.talk(At(int(self.dialog()[3])))


class At:
    """Where voipd wants sound."""

    def __init__(self, port):
        self.port = port

    def media(self):
        return "127.0.0.1", self.port


def talk_together(parties, others=()):
    """Each of two hears the other, and none of the others."""
    for party in parties:
        party.talk()
    heard(*parties, others)


def heard(one, two, others):
    time.sleep(2.5)
    for own, other in ((one, two), (two, one)):
        levels = {p.pitch: own.voice.level(p.pitch) for p in (own, other, *others)}
        assert levels.pop(other.pitch) > -30 and max(levels.values()) < -45, (own.sipp.name, levels)


def hang_up_all(voipd, *parties):
    """One of the calls is ended: so are all."""
    voipd.ctl("hangup", voipd.calls()[0]["id"])
    for party in parties:
        party.sipp.finish()
    idle(voipd)


def recorded(voipd, *expected):
    """Waits for the records: who called whom, how it was answered and written; in no order."""
    def found():
        return sorted((row["from"].split("@")[0], row["to"].split("@")[0], row["status"], row["codecs"])
                      for row in voipd.json("cdr"))

    wait_for(f"{len(expected)} records", lambda: len(found()) == len(expected))
    assert found() == list(expected), found()


def transferor(case, workers):
    """Alice, who knows PCMA alone, calls bob, asks carol, and brings both together; both know PCMU
    alone, so that voipd is one end of each call."""
    voipd = house(case, "alice", "bob", "carol", node={"workers": workers})
    bob = Party(case, voipd, "bob", "party", "PCMU", 880)
    carol = Party(case, voipd, "carol", "party", "PCMU", 1320)
    alice = Party(case, voipd, "alice", "transferor", "PCMA", 440, calls=True,
                  rows=[("alice", "bob", "carol")])
    alice.sipp.finish()
    talk_together([bob, carol], [alice])
    hang_up_all(voipd, bob, carol)
    # What was one call of two legs is two calls, since other legs go on together.
    recorded(
        voipd, ("alice", "bob", 200, "PCMA"), ("alice", "bob", 200, "PCMU"),
        ("alice", "carol", 200, "PCMA"), ("alice", "carol", 200, "PCMU"))


def test_transferor(case):
    transferor(case, 1)


def test_transferor_of_other_shards(case):
    """Seven times in eight the two calls are of different shards, where they cannot be joined."""
    transferor(case, 8)


def transferor_was_called(case, workers):
    """Bob transfers alice, who called him, to carol."""
    voipd = house(case, "alice", "bob", "carol", node={"workers": workers})
    carol = Party(case, voipd, "carol", "party", "PCMA", 1320)
    bob = Party(case, voipd, "bob", "transferor_called", "PCMU", 880, rows=[("bob", "carol")])
    alice = Party(case, voipd, "alice", "party_calling", "PCMA", 440, calls=True, rows=[("alice", "bob")])
    bob.sipp.finish()
    talk_together([alice, carol], [bob])
    hang_up_all(voipd, alice, carol)
    recorded(
        voipd, ("alice", "bob", 200, "PCMA/PCMU"), ("bob", "carol", 200, "PCMA"),
        ("bob", "carol", 200, "PCMU"))


def test_transferor_was_called(case):
    transferor_was_called(case, 1)


def test_transferor_of_other_shards_was_called(case):
    transferor_was_called(case, 8)


def test_transfer_is_refused(case):
    """Carol knows nothing of the dialog that she is to replace: alice hears of it, and goes on
    talking with bob."""
    voipd = house(case, "alice", "bob", "carol")
    bob = Party(case, voipd, "bob", "party", "PCMU", 880)
    carol = Party(case, voipd, "carol", "replaces_nothing", "PCMU", 1320, count=1)
    alice = Party(case, voipd, "alice", "transferor_refused", "PCMA", 440,
                  calls=True, rows=[("alice", "bob", "carol")], pause_ms=5000)
    carol.sipp.finish()
    talk_together([alice, bob], [carol])
    for party in (alice, bob):
        party.sipp.finish()
    idle(voipd)
    (called, tried) = wait_for("the records", lambda: len(rows := voipd.json("cdr")) == 2 and sorted(
        rows, key=lambda row: row["status"]))
    assert (called["to"], called["codecs"]) == (f"bob@{DOMAIN}", "PCMA/PCMU"), called
    assert (tried["from"], tried["to"], tried["status"]) == (
        f"bob@{DOMAIN}", f"carol@{DOMAIN}", 481), tried


def test_call_takes_a_place(case):
    """Carol takes bob's place in the call with alice (RFC 3891 §3)."""
    voipd = house(case, "alice", "bob", "carol")
    bob = Party(case, voipd, "bob", "party", "PCMU", 880)
    alice = Party(case, voipd, "alice", "party_calling", "PCMA", 440, calls=True, rows=[("alice", "bob")])
    talk_together([alice, bob])
    call_id, own, theirs, _ = bob.dialog()
    carol = Party(case, voipd, "carol", "replacing", "PCMU", 1320, calls=True, pause_ms=5000,
                  rows=[("carol", "alice", call_id, theirs, own)])
    bob.sipp.finish()
    carol.talk()
    heard(alice, carol, [bob])
    for party in (alice, carol):
        party.sipp.finish()
    idle(voipd)
    recorded(
        voipd, ("alice", "bob", 200, "PCMA/PCMU"), ("carol", "alice", 200, "PCMU"))


# ---------------------------------------------------------------- a scripted callee


class Bob(Agent):
    """A callee that knows PCMU alone."""

    def __init__(self, case, voipd, user="bob"):
        super().__init__(case, voipd, user)
        self.register()

    def bridged(self):
        """Refuses the call that offers PCMA; the INVITE of the bridge."""
        first = self.expect("INVITE")
        assert b"RTP/AVP 8\r\n" in first.body, first.text()
        self.reply(first, 488)
        self.expect("ACK")
        return self.expect("INVITE")

    def within(self, invite, method, **options):
        """A request in the dialog of an INVITE, early or not; its answer, acknowledged if it refuses
        an INVITE."""
        dialog, via = Dialog.called(self, invite), self.via()
        # The ACK of a refusal is of the same transaction (RFC 3261 §17.1.1.3).
        self.via = lambda: via
        dialog.send(method, **options)
        answer = self.final()
        if method == "INVITE" and answer.status >= 300:
            dialog.send("ACK", cseq=self.cseq)
        del self.via
        return answer


def with_bob(case, pause_ms=500):
    voipd = house(case, "alice", "bob")
    bob = Bob(case, voipd)
    calling = caller(case, voipd, "bridge_caller", "bob", pause_ms=pause_ms)
    return voipd, bob, calling, bob.bridged()


def finish(voipd, bob, calling):
    bob.reply(bob.expect("BYE"), 200)
    calling.finish()
    idle(voipd)


def test_callee_rings_reliably(case):
    """PRACK once for each answer, in order; then UPDATE in the early dialog, and a 2xx without
    description."""
    voipd, bob, calling, invite = with_bob(case)
    assert "100rel" in invite["supported"], invite.text()
    number = invite["cseq"].split()[0]
    sound = described(PCMU, 6002)
    bob.reply(invite, 183, lines=["Require: 100rel", "RSeq: 7"], body=sound)
    prack = bob.expect("PRACK")
    assert prack["rack"] == f"7 {number} INVITE", prack.text()
    bob.reply(prack, 200)
    # Its repetition, and one that skips a number, are not acknowledged (RFC 3262 §4).
    bob.reply(invite, 183, lines=["Require: 100rel", "RSeq: 7"], body=sound)
    bob.reply(invite, 180, lines=["Require: 100rel", "RSeq: 9"])
    bob.nothing(1)
    bob.reply(invite, 180, lines=["Require: 100rel", "RSeq: 8"])
    prack = bob.expect("PRACK")
    assert prack["rack"] == f"8 {number} INVITE", prack.text()
    bob.reply(prack, 200)
    for direction, expected, version in (("sendonly", "recvonly", 2), ("sendrecv", "sendrecv", 3)):
        answer = bob.within(invite, "UPDATE", body=described(PCMU, 6002, direction, version))
        assert answer.status == 200 and f"a={expected}" in answer.body.decode(), answer.text()
    bob.reply(invite, 200)
    bob.expect("ACK")
    finish(voipd, bob, calling)


def test_callee_s_offers_wait_for_ours(case):
    """Before the offer of the INVITE is answered there is no other one (RFC 3311 §5.2)."""
    voipd, bob, calling, invite = with_bob(case)
    bob.reply(invite, 180)
    answer = bob.within(invite, "UPDATE", body=described(PCMU, 6002))
    assert answer.status == 491, answer.text()
    assert bob.within(invite, "UPDATE").status == 200
    # A re-INVITE gets the same, and its ACK is none of our answer's.
    answer = bob.within(invite, "INVITE", body=described(PCMU, 6002))
    assert answer.status == 491, answer.text()
    bob.reply(invite, 200, body=described(PCMU, 6002))
    bob.expect("ACK")
    finish(voipd, bob, calling)


def test_callee_answers_while_it_is_cancelled(case):
    """The 200 crosses the CANCEL: it is acknowledged, and the call is ended (RFC 3261 §9.1)."""
    voipd = house(case, "alice", "bob")
    bob = Bob(case, voipd)
    calling = caller(case, voipd, "bridge_cancel", "bob")
    invite = bob.bridged()
    bob.reply(invite, 180)
    cancel = bob.expect("CANCEL")
    bob.reply(invite, 200, body=described(PCMU, 6002))
    bob.reply(cancel, 200)
    bob.expect("ACK")
    bob.reply(bob.expect("BYE"), 200)
    calling.finish()
    idle(voipd)
    assert one_record(voipd)["cause"] == "cancelled"


def test_callee_moved(case):
    """A 3xx to the bridge's INVITE is followed (RFC 3261 §8.1.3.4)."""
    voipd, bob, calling, invite = with_bob(case)
    voipd.add_user("carol")
    elsewhere = Bob(case, voipd, "carol")
    bob.reply(invite, 302, lines=[f"Contact: <sip:carol@{DOMAIN}>"])
    bob.expect("ACK")
    moved = elsewhere.expect("INVITE")
    elsewhere.answer(moved, described(PCMU, 6004))
    elsewhere.expect("ACK")
    finish(voipd, elsewhere, calling)


def test_forked_early_dialogs(case):
    """Two phones ring reliably, each by its own numbers, and the second answers."""
    voipd = house(case, "alice", "bob")
    desk, mobile = Bob(case, voipd), Bob(case, voipd)
    calling = caller(case, voipd, "bridge_caller", "bob", pause_ms=500)
    firsts = [phone.expect("INVITE") for phone in (desk, mobile)]
    for phone, first in zip((desk, mobile), firsts):
        phone.reply(first, 488)
        phone.expect("ACK")
    invites = [phone.expect("INVITE") for phone in (desk, mobile)]
    for phone, invite, rseq, port in zip((desk, mobile), invites, (900, 4), (6002, 6004)):
        phone.reply(invite, 183, lines=["Require: 100rel", f"RSeq: {rseq}"],
                    body=described(PCMU, port))
        prack = phone.expect("PRACK")
        assert prack["rack"].startswith(f"{rseq} "), prack.text()
        phone.reply(prack, 200)
    mobile.reply(invites[1], 200)
    mobile.expect("ACK")
    desk.reply(desk.expect("CANCEL"), 200)
    desk.reply(invites[0], 487)
    desk.expect("ACK")
    finish(voipd, mobile, calling)


def test_tags_tell_dialogs(case):
    """A request of another dialog of the same Call-ID is none of this one."""
    voipd, bob, calling, invite = with_bob(case, pause_ms=1500)
    dialog = bob.answer(invite, described(PCMU, 6002))
    bob.expect("ACK")
    own = dialog.local
    dialog.local = own.replace("tag=", "tag=other")
    dialog.send("UPDATE")
    assert bob.final().status == 481
    # How it writes its own name is its affair (RFC 3261 §12).
    dialog.local = own.replace("<sip:", '"Bob" <sip:', 1)
    dialog.send("UPDATE")
    assert bob.final().status == 200
    finish(voipd, bob, calling)


# ---------------------------------------------------------------- keys


def keys_arrive(case, press, caller_events=None):
    """Keys that the caller presses its own way arrive at callees that know events, and at those that
    hear tones alone."""
    for events in (96, None):
        voipd = house(case, "alice", "bob", name=f"voipd-{events}")
        bob, alice = Bob(case, voipd), Agent(case, voipd, "alice")
        there, here = Voice(case, "PCMU", events), Voice(case, "PCMA", caller_events)
        call = alice.invite("bob", here.sdp(), believed=True)
        first = bob.expect("INVITE")
        bob.reply(first, 488)
        bob.expect("ACK")
        invite = bob.expect("INVITE")
        bob.answer(invite, there.sdp())
        dialog = call.established()
        there.talk(bob.expect("ACK") and invite)
        here.talk(dialog.answer)
        time.sleep(1)
        press(here, dialog)
        here.said()
        time.sleep(1)
        heard = there.heard_events() if events else there.heard_tones()
        assert heard == "159#", f"{heard!r} heard as {'events' if events else 'tones'}"
        if events:
            # What passed before it was known for a key is no key.
            assert there.heard_tones(4) == "", "twice"
        dialog.send("BYE")
        bob.reply(bob.expect("BYE"), 200)
        alice.expect(200)
        idle(voipd)


def test_keys_by_events(case):
    keys_arrive(case, lambda here, _: here.press_events("159#"), 101)


def test_keys_in_the_sound(case):
    keys_arrive(case, lambda here, _: here.press_tones("159#"))


def press_info(_, dialog):
    for key in "159#":
        dialog.press(key)
        time.sleep(0.4)


def test_keys_by_info(case):
    keys_arrive(case, press_info)


def test_keys_by_info_to_who_sends_its_own_so(case):
    """A callee without events that sends a key by INFO gets the caller's events so, and no tones."""
    voipd = house(case, "alice", "bob")
    bob, alice = Bob(case, voipd), Agent(case, voipd, "alice")
    there, here = Voice(case, "PCMU", None), Voice(case, "PCMA", 101)
    call = alice.invite("bob", here.sdp(), believed=True)
    bob.reply(bob.expect("INVITE"), 488)
    bob.expect("ACK")
    invite = bob.expect("INVITE")
    called = bob.answer(invite, there.sdp())
    dialog = call.established()
    there.talk(bob.expect("ACK") and invite)
    here.talk(dialog.answer)
    time.sleep(1)
    called.press("0")
    here.press_events("159#")
    keys = ""
    for _ in "159#":
        info = bob.expect("INFO")
        bob.reply(info, 200)
        keys += re.search(r"Signal=(.)", info.text())[1]
    assert keys == "159#", keys
    here.said()
    time.sleep(1)
    assert there.heard_tones() == ""
    dialog.send("BYE")
    bob.reply(bob.expect("BYE"), 200)
    alice.expect(200)
    idle(voipd)


# ---------------------------------------------------------------- phones


LOW, HIGH, OTHER = 440, 880, 1320


def phones(case, codecs, **tables):
    """Phones by their codecs, each with a tone of its own."""
    voipd = Voipd(case, **tables)
    made = []
    for (name, codec), tone in zip(codecs.items(), (LOW, HIGH, OTHER)):
        voipd.add_user(name)
        made.append(Phone(case, name, voipd, tone, codecs=codec))
    for phone in made:
        phone.wait_registered()
    return voipd, made


def talk(voipd, alice, calls):
    alice.dial("bob")
    wait_for("the call to be up", lambda: up(voipd) == calls)
    time.sleep(2)


def up(voipd):
    return sum(call["state"] == "up" for call in voipd.calls())


def test_hold_and_music(case):
    """Who is held hears music, and the other again when it is over."""
    voipd, (alice, bob) = phones(case, {"alice": "PCMA", "bob": "PCMU"})
    talk(voipd, alice, 2)
    alice.command("hold")
    time.sleep(4)
    alice.command("resume")
    time.sleep(3)
    alice.hangup()
    idle(voipd)
    pieces, rate = windows(bob.recording())
    kinds = "".join("t" if power(p, rate, LOW) > 0.5 else "m" for p in pieces)
    assert kinds.count("m") > 20, f"no music: {kinds}"
    first, last = kinds.index("m" * 5), kinds.rindex("m" * 5)
    assert "t" * 5 in kinds[:first] and "t" * 10 in kinds[last:], kinds
    hears(alice.recording(), HIGH, [LOW])


def blind(case, codecs, before, after):
    """Bob transfers alice to carol, without asking her."""
    voipd, (alice, bob, carol) = phones(case, codecs)
    talk(voipd, alice, before)
    bob.command("transfer", f"sip:carol@{DOMAIN}")
    wait_for("carol's call", lambda: any("carol@" in call["to"] and call["state"] == "up"
                                         for call in voipd.calls()))
    wait_for("bob to be rid of it", lambda: up(voipd) == after)
    time.sleep(3)
    alice.hangup()
    idle(voipd)
    # A jitter buffer that has been cautious with who is new becomes quicker: a tone's phase jumps.
    hears_all(alice.recording(), [OTHER], [LOW, HIGH])
    hears_all(carol.recording(), [LOW], [OTHER, HIGH])


def test_blind_transfer_of_a_bridged_call(case):
    blind(case, {"alice": "PCMA", "bob": "PCMU", "carol": "PCMU"}, 2, 2)


def test_blind_transfer_into_a_bridge(case):
    """Alice's phone is told by bob's to call carol, with whom she shares no codec."""
    blind(case, {"alice": "PCMA", "bob": "PCMA", "carol": "PCMU"}, 1, 2)
