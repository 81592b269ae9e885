"""Trunks to an ITSP that demands digest: registration, calls both ways, hiding, failover, limits.

The ITSP is an agent of ours (lib/itsp.py) that holds voipd to the RFCs and notes what it does
against them; `asterisk.py` does the same with an Asterisk.
"""

import time

from lib.case import wait_for
from lib.itsp import DOMAIN as ITSP_DOMAIN
from lib.itsp import Itsp
from lib.phone import Phone
from lib.sip import Agent, sdp
from lib.tone import hears
from lib.voice import Voice
from lib.voipd import DOMAIN, Voipd

ACCOUNT, PASSWORD = "5700020326", "itsp-secret"
INSIDE, ITSP, BACKUP, STRANGER = "127.0.0.21", "127.0.0.31", "127.0.0.32", "127.0.0.66"
NUMBER, DID = "915550100", "917770000"
PHONE_AUDIO, ITSP_AUDIO = sdp(INSIDE, 4000), sdp(ITSP, 5000)
# What a step of a route may take before the next one begins.
RING_S = 3
# What a loaded machine may add.
PATIENCE_S = 3


def trunk(case, server, name="itsp", **keys):
    """The table of a trunk to a server of an ITSP, which it registers at."""
    secret = case.folder / f"{name}.secret"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD + "\n")
    return {
        "name": name, "uri": f"sip:{server.address}:{server.port}", "username": ACCOUNT,
        "password_file": secret.name, "domain": ITSP_DOMAIN, "register": True,
        "hide_topology": True, **keys,
    }


class Office:
    """voipd with two phones and trunks to `servers`, the first one preferred."""

    def __init__(self, case, *servers, keys=None, routes=None, **settings):
        self.servers = servers
        names = ["itsp", "backup"][: len(servers)]
        trunks = [trunk(case, server, name, **(keys or {}))
                  for server, name in zip(servers, names)]
        out = {"match": "9XXXXXXXX", "from": ["user:alice", "user:bob"], "ring_s": RING_S,
               "to": [f"trunk:{name}" for name in names]}
        inward = {"match": DID, "from": [f"trunk:{name}" for name in names], "to": ["user:bob"]}
        self.voipd = Voipd(case, rtp={"relay": "always"}, trunk=trunks,
                           route=[*(routes or []), inward, out], **settings)
        for name in ("alice", "bob"):
            self.voipd.add_user(name)
        self.alice = Agent(case, self.voipd, "alice", address=INSIDE)
        self.bob = Agent(case, self.voipd, "bob", address=INSIDE)
        self.bob.register()

    def registered(self):
        """Waits until each trunk that registers is registered."""
        for server in self.servers:
            wait_for("the registration", server.registered, 15)
        return self

    def state(self, name="itsp"):
        return next(row for row in self.voipd.json("trunks") if row["name"] == name)

    def clean(self, inside_calls=()):
        """Nothing was done against the RFCs, nothing of the inside left, no call is left."""
        for server in self.servers:
            assert server.faults == [], "\n".join(server.faults)
            hidden(server, self.voipd, [self.alice, self.bob], inside_calls)
        self.idle()

    def idle(self):
        wait_for("the calls to be gone", lambda: self.voipd.calls() == [])


def hidden(server, voipd, phones, inside_calls=()):
    """No message that reached the ITSP tells of the inside: neither who is there nor by what
    dialogs and transactions they are known."""
    for message in server.messages():
        text = message.text()
        for word in (INSIDE, DOMAIN, *inside_calls, *(f":{phone.port}" for phone in phones)):
            assert word not in text, f"{word} reached the ITSP:\n{text}"
        if not message.status:
            assert len(message.all("via")) == 1, text
            assert voipd.address in message["via"], text
        for route in message.record_routes():
            assert f"{voipd.address}:" in route, text
        if message["contact"]:
            assert f"@{voipd.address}:{voipd.port}" in message["contact"], text


def last_cseq(dialog, answer):
    """An answer is to the request that was sent, by its own CSeq, whatever the trunk's was."""
    assert answer["cseq"].split()[0] == str(dialog.agent.cseq), answer.text()
    assert answer["call-id"] == dialog.call_id, answer.text()
    return answer


def reinvite(caller, callee, audio, answer):
    """A re-INVITE to the end of its ACK."""
    caller.send("INVITE", body=audio)
    cseq = caller.agent.cseq
    callee.agent.reply(callee.agent.expect("INVITE"), 200, body=answer)
    last_cseq(caller, caller.agent.expect(200))
    caller.send("ACK", cseq=cseq)
    callee.agent.expect("ACK")


def hang_up(caller, callee):
    caller.send("BYE")
    callee.agent.reply(callee.agent.expect("BYE"), 200)
    last_cseq(caller, caller.agent.expect(200))


def call_out(office, server, number=NUMBER):
    """Alice calls a number outside; returns both dialogs."""
    call = office.alice.invite(number, PHONE_AUDIO)
    request = server.expect("INVITE")
    assert request.uri.startswith(f"sip:{number}@"), request.text()
    called = server.answer(request, ITSP_AUDIO)
    caller = call.established()
    server.expect("ACK")
    return caller, called


def call_in(office, server, did=DID, **options):
    """The ITSP calls Bob's number; voipd must not ask who that is. Returns both dialogs."""
    call = server.call_in(did, ITSP_AUDIO, **options)
    request = office.bob.expect("INVITE")
    called = office.bob.answer(request, PHONE_AUDIO)
    caller = call.established()
    office.bob.expect("ACK")
    return caller, called


# -- registration


def registers(case, **options):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP, **options)
    office = Office(case, server).registered()
    assert f"@{office.voipd.address}:{office.voipd.port}" in server.binding[0], server.binding
    row = wait_for("the trunk to be up", lambda: (lambda row: row["state"] == "up" and row)(
        office.state()))
    assert row["registration"] == "registered" and row["registered_until"], row
    office.clean()
    return server, office


def test_register_md5(case):
    registers(case)


def test_register_sha256(case):
    registers(case, algorithms=("SHA-256",))


def test_register_first_known_algorithm(case):
    registers(case, algorithms=("SHA-256", "MD5"))


def test_register_again_before_it_expires(case):
    """The ITSP grants less than was asked for: the next REGISTER comes within that."""
    server, _ = registers(case, expires=6)
    until = server.binding[2]
    wait_for("the refresh", lambda: server.binding[2] > until, 6 + PATIENCE_S)
    ids = {m["call-id"] for m in server.messages("REGISTER")}
    assert len(ids) == 1, f"RFC 3261 §10.2.4: one Call-ID, not {ids}"
    assert server.faults == [], server.faults


def test_register_refused(case):
    """The password is wrong: voipctl says so, and the registrar is not flooded."""
    server = Itsp(case, ACCOUNT, "another password", address=ITSP)
    office = Office(case, server)
    row = wait_for("the refusal to show", lambda: (lambda row: row.get("last_error") and row)(
        office.state()), 10)
    assert "401" in row["last_error"] and "password" in row["last_error"], row
    assert row["registration"] == "failed" and row["state"] != "up", row
    time.sleep(5)
    assert len(server.messages("REGISTER")) <= 8, "no back-off"


def test_register_once_the_registrar_is_back(case):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    server.deaf = True
    office = Office(case, server)
    time.sleep(2)
    assert office.state()["state"] != "up"
    server.deaf = False
    office.registered()
    wait_for("the trunk to be up", lambda: office.state()["state"] == "up")


# -- calls out


def whole_call_out(case, **options):
    """Out, re-INVITE by either side, BYE by the caller; all that the ITSP asks for, challenged."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP,
                  challenges=("REGISTER", "INVITE", "BYE"), **options)
    office = Office(case, server).registered()
    caller, called = call_out(office, server)
    assert called.call_id != caller.call_id, "the inside's Call-ID left"
    reinvite(caller, called, PHONE_AUDIO, ITSP_AUDIO)
    reinvite(called, caller, ITSP_AUDIO, PHONE_AUDIO)
    hang_up(caller, called)
    office.clean([caller.call_id])


def test_call_out_401(case):
    whole_call_out(case)


def test_call_out_407(case):
    whole_call_out(case, status=407)


def test_call_out_sha256(case):
    whole_call_out(case, status=407, algorithms=("SHA-256", "MD5"))


def test_call_out_nonce_of_one_use(case):
    """Each request is challenged anew, as stale: no phone hears of it."""
    whole_call_out(case, nonce_uses=1)


def test_callee_hangs_up(case):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    caller, called = call_out(office, server)
    hang_up(called, caller)
    office.clean([caller.call_id])


def test_cancel_after_challenge(case):
    """The caller gives up: the CANCEL is of the INVITE that was let in."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    request = server.expect("INVITE")
    server.reply(request, 180)
    wait_for("the ringing", lambda: call.next().status == 180)
    call.cancel()
    cancel = server.expect("CANCEL")
    assert cancel["via"] == request["via"], cancel.text()
    server.reply(cancel, 200)
    server.reply(request, 487)
    server.expect("ACK")
    office.alice.expect(200, skip=("100", "180"))
    assert call.final().status == 487
    office.clean([call.call["call_id"]])


def test_wrong_password_on_call(case):
    """The ITSP never lets it in: one answer to the caller, who is not asked for the trunk's
    password, and no loop."""
    server = Itsp(case, ACCOUNT, "another password", address=ITSP, challenges=("INVITE",))
    office = Office(case, server).registered()
    final = office.alice.invite(NUMBER, PHONE_AUDIO).final()
    assert final.status >= 400 and final.status not in (401, 407), final.text()
    assert 2 <= len(server.messages("INVITE")) <= 4, len(server.messages("INVITE"))
    assert ITSP_DOMAIN not in final.text(), final.text()


def test_refusal_reaches_the_caller(case):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    for status in (404, 486):
        call = office.alice.invite(NUMBER, PHONE_AUDIO)
        server.reply(server.expect("INVITE"), status)
        server.expect("ACK")
        assert call.final().status == status
    office.clean()


def caller_identity(case, identity, header):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server, keys={"identity": identity}, routes=[
        {"match": "9XXXXXXXX", "from": ["user:alice"], "caller_id": DID, "to": ["trunk:itsp"]}])
    office.registered()
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    request = server.expect("INVITE")
    assert f"sip:{DID}@" in request[header], request.text()
    if header != "from":
        assert f"sip:{ACCOUNT}@{ITSP_DOMAIN}" in request["from"], request.text()
    server.reply(request, 486)
    assert call.final().status == 486
    office.clean()


def test_identity_from(case):
    caller_identity(case, "from", "from")


def test_identity_asserted(case):
    caller_identity(case, "asserted", "p-asserted-identity")


def test_identity_remote_party(case):
    caller_identity(case, "remote-party", "remote-party-id")


# -- calls in


def test_did_by_address(case):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    caller, called = call_in(office, server)
    reinvite(called, caller, PHONE_AUDIO, ITSP_AUDIO)
    hang_up(called, caller)
    caller, called = call_in(office, server)
    hang_up(caller, called)
    office.clean()


def test_did_by_registered_contact(case):
    """Another server of the ITSP calls the very contact that was registered; the number is To's."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    other = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    user = ACCOUNT
    office = Office(case, server, routes=[
        {"match": user, "from": ["trunk:itsp"], "to": ["user:bob"]}]).registered()
    other.binding = server.binding
    caller, called = call_in(office, other, uri=server.binding[0])
    hang_up(caller, called)
    hidden(other, office.voipd, [office.alice, office.bob])
    office.clean()


def rings(case, tones, other, own=None):
    """A call by a trunk with a ring back tone of its own: the caller hears `tones`, and nothing of
    `other`, until somebody answers, and then who answers. `own` is what the user has chosen."""
    ours, theirs = 880, 1320
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    voipd = Voipd(case, trunk=[trunk(case, server, ringback="tone:us")],
                  route=[{"match": DID, "from": ["trunk:itsp"], "to": ["user:bob"]}])
    for name in ("alice", "bob"):
        voipd.add_user(name)
    if own:
        voipd.ctl("feature", "set", "bob", "ringback", own)
    bob = Phone(case, "bob", voipd, ours, answers=False)
    bob.wait_registered()
    wait_for("the registration", server.registered, 15)
    caller = Voice(case, "PCMA", pitch=(theirs,))
    call = server.call_in(DID, caller.sdp())
    early = call.next()
    assert early.status == 183, early.text()
    caller.talk(early)
    # Its tone lasts two seconds.
    time.sleep(1.6)
    levels = {pitch: caller.level(pitch) for pitch in (*tones, other, ours)}
    assert all(levels[pitch] > -30 for pitch in tones), levels
    assert levels[other] < -45 and levels[ours] < -45, levels
    assert [c for c in voipd.calls() if c["state"] == "up"] == [], voipd.calls()
    bob.command("accept")
    dialog = call.established()
    time.sleep(2.5)
    levels = {pitch: caller.level(pitch) for pitch in (*tones, ours)}
    assert levels[ours] > -30 and all(levels[pitch] < -45 for pitch in tones), levels
    dialog.send("BYE")
    server.expect(200)
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    hears(bob.recording(), theirs, [*tones, ours])
    (record,) = voipd.json("cdr")
    assert (record["status"], record["way_in"], record["note"]) == (200, "itsp", "bridged"), record
    assert server.faults == [], "\n".join(server.faults)
    return voipd


def test_why_a_call_fails_is_heard_by_a_trunk(case):
    """Where all callers are told: nobody answers for bob, who has no phone, and the trunk hears so before
    its call fails."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    voipd = Voipd(case, services={"announcements": "all"}, trunk=[trunk(case, server)],
                  route=[{"match": DID, "from": ["trunk:itsp"], "to": ["user:bob"]}])
    voipd.add_user("bob")
    wait_for("the registration", server.registered, 15)
    caller = Voice(case, "PCMA", pitch=(1320,))
    call = server.call_in(DID, caller.sdp())
    early = call.next()
    assert early.status == 183, early.text()
    caller.talk(early)
    # The tones of special information first.
    time.sleep(1.15)
    levels = [caller.level(pitch) for pitch in (950, 1400, 1800)]
    assert max(levels) > -40, levels
    wait_for("the call to fail", lambda: call.next().status == 480, 15)
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    (record,) = voipd.json("cdr")
    assert (record["status"], record["way_in"], record.get("answer_ms")) == (480, "itsp", None), record
    assert server.faults == [], "\n".join(server.faults)


def test_ring_back(case):
    voipd = rings(case, (440, 480), 400)
    # Of callers here the trunk says nothing.
    alice = Agent(case, voipd, "alice", address=INSIDE)
    call = alice.invite("bob", PHONE_AUDIO)
    assert call.next().status == 180
    call.cancel()
    alice.expect(200, skip=("100", "180"))
    assert call.final().status == 487


def test_ring_back_of_the_user(case):
    """What a user has chosen goes before what the trunk has."""
    rings(case, (425,), 480, own="tone:es")


def test_calls_on_and_on_by_registered_contact(case):
    """A server of the ITSP whose address nobody named, but that knows the Contact, is no scanner,
    however much it asks."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    other = Itsp(case, ACCOUNT, PASSWORD, address=STRANGER)
    user = ACCOUNT
    office = Office(case, server, guard={"ban_after": 6}, routes=[
        {"match": user, "from": ["trunk:itsp"], "to": ["user:bob"]}]).registered()
    other.binding = server.binding
    for _ in range(60):
        call = other.call_in(DID, ITSP_AUDIO, uri=server.binding[0])
        request = office.bob.expect("INVITE")
        office.bob.reply(request, 486)
        office.bob.expect("ACK")
        assert call.final().status == 486
    assert office.voipd.json("bans") == []


def test_stranger_is_no_trunk(case):
    """Who neither has a trunk's address nor knows its contact gets neither in nor through."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    stranger = Agent(case, office.voipd, "stranger", address=STRANGER)
    for number in (DID, NUMBER):
        answer = stranger.request("INVITE", f"sip:{number}@{DOMAIN}", [
            f"Contact: {stranger.contact()}", "Content-Type: application/sdp"], PHONE_AUDIO,
            auth=False)
        assert answer.status in (401, 403, 404, 407), answer.text()
    office.bob.nothing(0.5)
    assert server.messages("INVITE") == []


def test_inbound_cannot_leave_again(case):
    """A call from the ITSP to a number outside is no user's: it must not come back out."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    final = server.call_in(NUMBER, ITSP_AUDIO).final()
    assert final.status in (403, 404), final.text()
    assert server.messages("INVITE") == []


# -- failover


def moves_to_backup(case, event, within):
    """Alice calls; `event` befalls the first ITSP once the INVITE is there; the backup gets the
    call `within` so many seconds and it is a whole one."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    backup = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    office = Office(case, server, backup).registered()
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    began = time.monotonic()
    event(server, server.expect("INVITE"))
    request = backup.expect("INVITE", within + PATIENCE_S)
    took = time.monotonic() - began
    assert took < within + PATIENCE_S, f"{took:.1f} s"
    called = backup.answer(request, sdp(BACKUP, 5000))
    caller = call.established()
    backup.expect("ACK")
    hang_up(caller, called)
    office.clean([caller.call_id])


def test_killed_after_ringing(case):
    def ring_and_die(server, request):
        server.reply(request, 180)
        server.deaf = True

    moves_to_backup(case, ring_and_die, RING_S)


def test_killed_after_trying(case):
    def try_and_die(server, request):
        server.reply(request, 100)
        server.deaf = True

    moves_to_backup(case, try_and_die, RING_S)


def test_killed_at_the_invite(case):
    def die(server, request):
        server.deaf = True

    moves_to_backup(case, die, RING_S)


def test_unavailable(case):
    """A 503 moves the call at once (RFC 3261 §21.5.4)."""
    moves_to_backup(case, lambda server, request: server.reply(request, 503), 1)


def test_port_is_closed(case):
    """Nothing listens there any more, which the network says itself."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    backup = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    office = Office(case, server, backup).registered()
    server.close()
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    called = backup.answer(backup.expect("INVITE", RING_S + PATIENCE_S), sdp(BACKUP, 5000))
    caller = call.established()
    backup.expect("ACK")
    hang_up(caller, called)


def test_busy_does_not_move(case):
    """A busy callee is no failure of the trunk."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    backup = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    office = Office(case, server, backup).registered()
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    server.reply(server.expect("INVITE"), 486)
    assert call.final().status == 486
    backup.nothing(1)


def test_down_trunk_is_passed_by(case):
    """Probing found it down: the next call does not wait for it; once it answers it is back."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    backup = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    office = Office(case, server, backup, keys={"probe_s": 1}).registered()
    server.deaf = True
    wait_for("the trunk to be down", lambda: office.state()["state"] == "down", 60)
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    called = backup.answer(backup.expect("INVITE", 1), sdp(BACKUP, 5000))
    caller = call.established()
    backup.expect("ACK")
    hang_up(caller, called)
    server.deaf = False
    wait_for("the trunk to be up", lambda: office.state()["state"] == "up", 60)
    caller, called = call_out(office, server)
    hang_up(caller, called)


# -- limits


def test_calls_max(case):
    """The second call at a time takes the backup; without one it is refused."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    backup = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    office = Office(case, server, backup, keys={"calls_max": 1}).registered()
    first = call_out(office, server)
    carol = Agent(case, office.voipd, "bob", address=INSIDE)
    second = carol.invite(NUMBER, PHONE_AUDIO)
    called = backup.answer(backup.expect("INVITE"), sdp(BACKUP, 5000))
    caller = second.established()
    backup.expect("ACK")
    third = Agent(case, office.voipd, "alice", address=INSIDE).invite(NUMBER, PHONE_AUDIO).final()
    assert third.status == 503, third.text()
    hang_up(caller, called)
    hang_up(*first)
    # What has ended no longer counts.
    hang_up(*call_out(office, server))


def test_limits_of_a_trunk_are_those_of_all_users(case):
    """[fraud]: two calls a minute by each trunk, whoever makes them; the third takes the backup."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    backup = Itsp(case, ACCOUNT, PASSWORD, address=BACKUP)
    office = Office(case, server, backup, fraud={"trunk_calls_per_minute": 2}).registered()
    hang_up(*call_out(office, server))
    for taker, address in ((server, ITSP), (backup, BACKUP), (backup, BACKUP)):
        bob = Agent(case, office.voipd, "bob", address=INSIDE)
        call = bob.invite(NUMBER, PHONE_AUDIO)
        called = taker.answer(taker.expect("INVITE"), sdp(address, 5000))
        caller = call.established()
        taker.expect("ACK")
        hang_up(caller, called)
    refused = office.alice.invite(NUMBER, PHONE_AUDIO).final()
    assert refused.status == 503, refused.text()
    notes = [cdr.get("note", "") for cdr in office.voipd.json("cdr")]
    assert any("fraud: trunk_calls_per_minute of itsp" in note for note in notes), notes


def test_calls_per_second(case):
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server, keys={"calls_per_second": 2}).registered()
    calls = [Agent(case, office.voipd, "alice", address=INSIDE).invite(NUMBER, PHONE_AUDIO)
             for _ in range(12)]
    refused = 0
    for call in calls:
        message = call.agent.receive(1)
        while message is not None and message.status == 100:
            message = call.agent.receive(1)
        refused += message is not None and message.status == 503
    passed = len({message["call-id"] for message in server.messages("INVITE")})
    assert passed + refused == 12, (passed, refused)
    # Twelve calls take less than three seconds to make, even here.
    assert 2 <= passed <= 8, passed


def test_answer_seizure_ratio(case):
    """`voipctl trunks` counts what was tried and what was answered."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server).registered()
    hang_up(*call_out(office, server))
    call = office.alice.invite(NUMBER, PHONE_AUDIO)
    server.reply(server.expect("INVITE"), 486)
    assert call.final().status == 486
    row = office.state()
    assert (row["answered"], row["unanswered"], row["answer_seizure_percent"]) == (1, 1, 50), row


# -- who asks whether we live


def test_options_of_the_itsp(case):
    """The ITSP asks voipd itself, and the Contact that it registered: both are there."""
    server = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
    office = Office(case, server, keys={"probe_s": 0}).registered()
    server.peer = server.binding[1]
    for uri in (f"sip:{office.voipd.address}:{office.voipd.port}", server.binding[0]):
        for _ in range(20):
            server.cseq += 1
            lines = server.start_lines("OPTIONS", uri, server.via(), server.new_call())
            server.send(lines)
            first = server.expect(200)
            assert "INVITE" in first["allow"], first.text()
            server.send(lines)
            assert server.expect(200).text() == first.text()
    wait_for("no transactions", lambda: office.voipd.json("status")["transactions"] == 0, 6)
    office.bob.nothing(0.2)
