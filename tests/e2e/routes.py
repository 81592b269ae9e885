"""What a route does beside calling: it sends the caller elsewhere, and says why it would."""

import json
import re

from lib.sip import Agent, sdp
from lib.voipd import DOMAIN, Voipd

AUDIO = sdp("127.0.0.1", 4000)


def office(case, **settings):
    """A voipd with Alice, Bob and Carol at their phones."""
    voipd = Voipd(case, **settings)
    phones = []
    for name in ("alice", "bob", "carol"):
        voipd.add_user(name)
        phones.append(Agent(case, voipd, name))
        phones[-1].register()
    return voipd, *phones


def contacts(answer):
    """The URIs of a 302, the most wanted first (RFC 3261 §20.10)."""
    found = []
    for line in answer.all("contact"):
        for uri, q in re.findall(r"<([^>]*)>(?:;q=([\d.]+))?", line):
            found.append((float(q or 1), uri))
    assert found, answer.text()
    return [uri for _, uri in sorted(found, key=lambda pair: -pair[0])]


# -- 302


def test_redirect_mode(case):
    """The caller is told all ways, in their order, and calls by itself; nobody else hears of it."""
    gate, other = (Agent(case, None, name) for name in ("gate", "other"))
    trunk = {"name": "itsp", "uri": f"sip:{gate.address}:{gate.port}", "probe_s": 0}
    way = f"sip:{other.address}:{other.port}"
    _, alice, bob, _ = office(case, trunk=[trunk], route=[
        {"match": "9XX", "strip": 1, "to": ["trunk:itsp", way, "user:bob"], "redirect": True}])
    final = alice.invite("955", AUDIO).final()
    assert final.status == 302, final.text()
    assert contacts(final) == [
        f"sip:55@{gate.address}:{gate.port}", f"sip:55@{other.address}:{other.port}",
        f"sip:bob@{bob.address}:{bob.port}"], final.text()
    for silent in (gate, other, bob):
        silent.nothing(0.2)


def test_redirect_mode_is_for_whom_it_says(case):
    """A caller for whom the route is not learns no way."""
    _, alice, bob, carol = office(case, route=[
        {"match": "955", "from": ["user:alice"], "to": ["user:carol"], "redirect": True}])
    assert alice.invite("955", AUDIO).final().status == 302
    assert bob.invite("955", AUDIO).final().status == 404
    carol.nothing(0.2)


def deflect(case, *wishes):
    """Bob's phone sends its call to Carol by a 302; returns the call of Alice, and Carol."""
    voipd, alice, bob, carol = office(case)
    if wishes:
        voipd.ctl("feature", "set", "bob", *wishes)
    call = alice.invite("bob", AUDIO)
    request = bob.expect("INVITE")
    bob.reply(request, 302, lines=[f"Contact: <sip:carol@{DOMAIN}>"])
    bob.expect("ACK")
    return call, carol


def test_callee_302_passed(case):
    """A user without call features: the caller decides whether it goes there (§16.7)."""
    call, carol = deflect(case)
    final = call.final()
    assert final.status == 302 and contacts(final) == [f"sip:carol@{DOMAIN}"], final.text()
    carol.nothing(0.2)


def test_callee_302_followed(case):
    """A user with call features: voipd goes on in the user's name, and says so (RFC 5806)."""
    call, carol = deflect(case, "ring-seconds", "30")
    request = carol.expect("INVITE")
    assert f"sip:bob@{DOMAIN}" in request["diversion"], request.text()
    assert "reason=deflection" in request["diversion"], request.text()
    called = carol.answer(request, AUDIO)
    caller = call.established()
    carol.expect("ACK")
    caller.bye(called)


# -- voipctl route test


HOURS = [
    {"name": "day", "match": "900", "days": "mon-fri", "hours": ["09:00-14:00", "15:30-18:00"],
     "timezone": "Europe/Madrid", "not_dates": ["2026-12-25"], "to": ["user:alice"]},
    {"name": "night", "match": "900", "hours": ["22:00-06:00"], "timezone": "Europe/Madrid",
     "to": ["user:bob"]},
    {"name": "else", "match": "900", "to": ["user:carol"]},
]


def test_route_test_hours(case):
    """Which route decides at what time, by the clock of its zone, and what is said of the others."""
    voipd, *_ = office(case, route=HOURS, numbers={"timezone": "UTC"})

    def decides(at):
        text = voipd.ctl("route", "test", "900", "--from", "bob", "--at", at)
        (name,) = re.findall(r"^route (\w+):", text, re.M)
        return name, text

    # A Wednesday in winter, an hour before UTC; a Wednesday in summer, two hours before.
    for at, name in (
        ("2026-11-25T08:00:00Z", "day"), ("2026-11-25T07:59:59Z", "else"),
        ("2026-11-25T13:00:00Z", "else"), ("2026-11-25T14:30:00Z", "day"),
        ("2026-07-15T07:00:00Z", "day"), ("2026-07-15T06:59:00Z", "else"),
        ("2026-12-25T09:00:00Z", "else"), ("2026-11-28T09:00:00Z", "else"),
        ("2026-11-25T21:30:00Z", "night"), ("2026-11-25T04:59:00Z", "night"),
        ("2026-11-25T05:00:00Z", "else"),
    ):
        decided, text = decides(at)
        assert decided == name, f"{at}: {name} expected\n{text}"
    _, text = decides("2026-11-28T09:00:00Z")
    assert re.search(r"- day \(line \d+\): .*does not hold on Sat\w* 2026-11-28 at 10:00 in "
                     r"Europe/Madrid", text), text
    line = next(n for n, l in enumerate(voipd.file.read_text().splitlines(), 1)
                if l == 'name = "night"')
    assert re.search(rf"- night \(line {line - 1}\): ", text), text
    said = voipd.json("route", "test", "900", "--from", "bob", "--at", "2026-11-25T21:30:00Z")
    assert "night" in json.dumps(said), said


def test_route_test_refuses_nonsense(case):
    voipd, *_ = office(case, route=HOURS)
    wrong = voipd.call_ctl("route", "test", "900", "--from", "bob", "--at", "yesterday")
    assert wrong.returncode in (64, 65) and "yesterday" in wrong.stderr, wrong
