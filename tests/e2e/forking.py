"""Parallel forking, CANCEL, and what crosses on the wire (RFC 3261 §9, §16.7)."""

import time

from lib.sip import Agent, Dialog, sdp
from lib.sipp import Sipp, register
from lib.voipd import Voipd

AUDIO = sdp("127.0.0.1", 4000)


def office(case, *scenarios):
    """A voipd where Bob has a sipp for each scenario; returns it and the running sipps."""
    voipd = Voipd(case)
    for name in ("alice", "bob"):
        voipd.add_user(name)
    phones = []
    for n, (scenario, pause_ms) in enumerate(scenarios):
        port = case.port()
        register(case, f"register{n}", voipd, "bob", port)
        phones.append(Sipp(case, f"{scenario}{n}", scenario, voipd, port=port, pause_ms=pause_ms))
    assert len(voipd.registrations()) == len(scenarios)
    time.sleep(0.5)  # sipp opens its socket some time after its start
    return voipd, phones


def play(case, caller, *scenarios):
    voipd, phones = office(case, *scenarios)
    calling = Sipp(case, caller, caller, voipd, users=["alice"], service="bob")
    counters = [sipp.finish() for sipp in (calling, *phones)]
    assert voipd.calls() == []
    assert all(c["retransmissions"] == 0 for c in counters), counters


def test_three_contacts_losers_cancelled(case):
    play(case, "call", ("ring", 0), ("answer", 700), ("ring", 0))


def test_caller_cancels(case):
    play(case, "cancel", ("ring", 0), ("ring", 0))


def test_decline_ends_all(case):
    """A 6xx cancels the other branches and is the answer (§16.7 step 5)."""
    play(case, "refused", ("ring", 0), ("decline", 700))


def test_cancel_crosses_answer(case):
    """The phone answers while the CANCEL is on its way: the call is up, and is ended by BYE."""
    play(case, "cancel_too_late", ("answer_after_cancel", 0))


def agents(case, count):
    voipd = Voipd(case)
    for name in ("alice", "bob"):
        voipd.add_user(name)
    phones = [Agent(case, voipd, "bob") for _ in range(count)]
    for phone in phones:
        phone.register()
    return voipd, Agent(case, voipd, "alice"), phones


def test_late_200(case):
    """A loser answers although it is cancelled: its 200 reaches the caller too, who ends it."""
    voipd, alice, (first, second) = agents(case, 2)
    call = alice.invite("bob", AUDIO)
    requests = [phone.expect("INVITE") for phone in (first, second)]
    for phone, request in zip((first, second), requests):
        phone.reply(request, 180)
    first.reply(requests[0], 200, body=AUDIO)
    dialog = call.established()
    first.expect("ACK")
    cancel = second.expect("CANCEL")
    second.reply(requests[1], 200, body=AUDIO)
    second.reply(cancel, 200)
    late = alice.expect(200)
    assert late["to"] != dialog.answer["to"], late.text()
    other = Dialog.caller(alice, call.call, late)
    other.send("ACK", cseq=int(late["cseq"].split()[0]))
    second.expect("ACK")
    other.send("BYE")
    second.reply(second.expect("BYE"), 200)
    alice.expect(200)
    dialog.bye(Dialog.called(first, requests[0]))


def test_best_response(case):
    """All refuse: the best final response is passed on, the challenge of none gets lost (§16.7)."""
    voipd, alice, (first, second) = agents(case, 2)
    call = alice.invite("bob", AUDIO)
    first.reply(first.expect("INVITE"), 486)
    second.reply(second.expect("INVITE"), 503)
    assert call.final().status == 486
    for phone in (first, second):
        phone.expect("ACK")


def test_serial_by_q(case):
    """The contact with the lower q rings only when the higher one has refused."""
    voipd, alice, (first, second) = agents(case, 2)
    first.register(contact=first.contact() + ";q=1.0")
    second.register(contact=second.contact() + ";q=0.5")
    call = alice.invite("bob", AUDIO)
    request = first.expect("INVITE")
    second.nothing(0.5)
    first.reply(request, 486)
    first.expect("ACK")
    request = second.expect("INVITE")
    called = second.answer(request, AUDIO)
    dialog = call.established()
    second.expect("ACK")
    dialog.bye(called)


def test_not_registered(case):
    voipd, alice, _ = agents(case, 1)
    voipd.add_user("carol")
    assert alice.invite("carol", AUDIO).final().status == 480
    assert alice.invite("nobody", AUDIO).final().status == 404


def test_lost_answer_is_retransmitted(case):
    """The phone's 200 comes until the ACK does, over UDP, through voipd."""
    voipd, alice, (bob,) = agents(case, 1)
    call = alice.invite("bob", AUDIO)
    request = bob.expect("INVITE")
    bob.reply(request, 200, body=AUDIO)
    answer = call.final()
    bob.reply(request, 200, body=AUDIO)
    alice.expect(200)
    dialog = Dialog.caller(alice, call.call, answer)
    dialog.send("ACK", cseq=int(answer["cseq"].split()[0]))
    bob.expect("ACK")
    dialog.bye(Dialog.called(bob, request))
