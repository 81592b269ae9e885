"""The four steps of tests/scenarios end to end, in network namespaces.

In an ordinary run the PBXes, the gateway and the ITSPs are stand-ins that answer with an echo
(lib/gateway.py); `tests/e2e/run --asterisk` runs the same with Asterisks.
"""

import re
import time

from lib.case import wait_for
from lib.company import DOMAIN, Company
from lib.sip import sdp
from lib.tone import hears

LOW, HIGH = 440, 880
TALK_SECONDS = 3
PATIENCE_S = 5


def up(company):
    return [call for call in company.voipd.calls() if call["state"] == "up"]


def talk(company, phone, number):
    """A phone calls an echo, and hears its own tone: audio went there and came back."""
    phone.dial(number)
    wait_for(f"the call to {number} to be up", lambda: up(company), 15)
    time.sleep(TALK_SECONDS)
    phone.hangup()
    wait_for("the call to be gone", lambda: company.voipd.calls() == [])
    hears(phone.recording(), phone.tone, [HIGH])


def called(company, peer, number, caller, calls=1):
    """A neighbour calls a number, which answers; the call is ended by the neighbour."""
    peer.call(number, company.voipd, caller)
    found = wait_for(f"{number}'s answer", lambda: len(rows := up(company)) == calls and rows, 15)
    peer.hang_up()
    wait_for("the call to be gone", lambda: company.voipd.calls() == [])
    return found


def arrived(peer, number, caller):
    """The last call that a neighbour got was for this number, and from this caller."""
    got, sender, asserted = peer.dialled()[-1]
    assert got == number, f"{peer.name} got {got} instead of {number}"
    assert f"sip:{caller}@" in sender or f"sip:{caller}@" in asserted, (sender, asserted)


def refused(company, agent, number, statuses):
    final = agent.invite(number, sdp(agent.address, 4000)).final()
    assert final.status in statuses, final.text()
    wait_for("the call to be gone", lambda: company.voipd.calls() == [])


def answers(agent, caller):
    """A scripted phone answers the call that comes, and knows whose it is; the ACK is to come."""
    request = agent.expect("INVITE", 10)
    assert f"sip:{caller}@" in request["from"], request.text()
    return agent.answer(request, sdp(agent.address, 4000))


def branches(company):
    """What holds in each step: phones at headquarters and at home, and the branches' PBXes, call
    each other by their numbers."""
    desk, home = company.phone("1001"), company.phone("2901", "home")
    for phone in (desk, home):
        phone.wait_registered()
    rows = {row["aor"]: row for row in company.voipd.registrations()}
    assert rows[f"2901@{DOMAIN}"]["behind_nat"], rows
    for phone, number, pbx in ((desk, "2101", company.north), (home, "3101", company.south),
                               (desk, "4101", company.west)):
        talk(company, phone, number)
        arrived(pbx, number, phone.name)
    # From a branch to headquarters, to a remote extension, to another branch.
    called(company, company.north, "1001", "2100")
    called(company, company.south, "2901", "3100")
    called(company, company.west, "2101", "4100")
    arrived(company.north, "2101", "4100")
    # A number that nobody has, and somebody whom nobody knows.
    refused(company, company.agent("1002"), "1999", (404,))
    stranger = company.agent("1001", "pub", password="guessed")
    refused(company, stranger, "2101", (401, 403, 407))
    return desk, home


def lines(company, desk):
    """What comes with step 2: the old PBX and the outside, by way of the core alone."""
    talk(company, desk, "5101")
    arrived(company.gate, "5101", "1001")
    desk.dial("112")
    wait_for("the emergency call", lambda: up(company))
    assert company.gate.dialled()[-1][0] == "112", company.gate.dialled()
    desk.hangup()
    wait_for("the call to be gone", lambda: company.voipd.calls() == [])
    # The old PBX calls a branch; somebody outside calls an extension of another one.
    called(company, company.gate, "2101", "5100")
    arrived(company.north, "2101", "5100")
    called(company, company.gate, "915553101", "916660001")
    arrived(company.south, "3101", "916660001")
    # No route leads an ordinary extension abroad, and a premium number looks like a national one.
    before = len(company.gate.dialled())
    refused(company, company.agent("1003"), "0044207946000", (403, 404))
    refused(company, company.agent("1003"), "803123456", (403,))
    assert len(company.gate.dialled()) == before, company.gate.dialled()


def outside(company, desk, peer):
    """Outside numbers leave by `peer`, with the company's number, from a desk and from a branch."""
    desk.dial("915550199")
    wait_for("the call outside", lambda: up(company), 20)
    number, sender, asserted = peer.dialled()[-1]
    assert number in ("915550199", "34915550199"), number
    assert "915550100@" in sender + asserted, (sender, asserted)
    desk.hangup()
    wait_for("the call to be gone", lambda: company.voipd.calls() == [])
    before = len(peer.dialled())
    called(company, company.north, "626000111", "2100")
    assert len(peer.dialled()) == before + 1, peer.dialled()


def services(company):
    """What comes with step 3: who answers is decided by the core."""
    mary, paul, home = company.agent("1002"), company.agent("1003"), company.agent("2902", "home")
    for phone in (mary, paul):
        phone.register()
    caller = company.agent("1001")
    # All of the sales group ring; who does not answer is cancelled.
    call = caller.invite("1600", sdp(caller.address, 4000))
    dialog = answers(paul, "1001")
    request = mary.expect("INVITE")
    mary.reply(request, 180)
    own = call.established()
    paul.expect("ACK")
    mary.reply(mary.expect("CANCEL"), 200)
    mary.reply(request, 487)
    mary.expect("ACK")
    own.bye(dialog)
    # Support rings one after the other: who is first does not answer, who is at home does.
    home.register()
    call = caller.invite("1700", sdp(caller.address, 4000))
    request = mary.expect("INVITE")
    mary.reply(request, 180)
    dialog = answers(home, "1001")
    mary.reply(mary.expect("CANCEL"), 200)
    mary.reply(request, 487)
    own = call.established()
    home.expect("ACK")
    own.bye(dialog)


def on_duty(company):
    """Who gets a call to the switchboard follows from the time."""
    def where(at):
        said = company.voipd.ctl("route", "test", "915550100", "--from", "trunk:gate", "--at", at)
        found = re.search(r"^route switchboard-by-(\w+)", said, re.M)
        assert found, said
        return found.group(1)

    # Madrid is an hour ahead of UTC in winter, two in summer.
    assert where("2026-11-25T10:00:00+01:00") == "day"
    assert where("2026-11-25T19:00:00+01:00") == "night"
    assert where("2026-11-28T10:00:00+01:00") == "night", "a Saturday"
    assert where("2026-07-01T07:30:00Z") == "day", "summer time"
    assert where("2026-11-25T07:30:00Z") == "night", "winter time"


def front(case, real):
    branches(Company(case, 1, real))


def move(case, real):
    company = Company(case, 2, real)
    desk, _ = branches(company)
    lines(company, desk)
    outside(company, desk, company.gate)
    called(company, company.gate, "915550100", "916660001")


def unify(case, real):
    company = Company(case, 3, real)
    desk, _ = branches(company)
    lines(company, desk)
    outside(company, desk, company.gate)
    on_duty(company)
    services(company)


def itsp(case, real):
    company = Company(case, 4, real)
    wait_for("the trunks to be up", lambda: all(
        row["state"] == "up" for row in company.voipd.json("trunks")), 20)
    desk, _ = branches(company)
    lines(company, desk)
    on_duty(company)
    services(company)
    outside(company, desk, company.itsp)
    # The ITSP writes E.164 without the plus, both ways; the branch reads what it could dial.
    called(company, company.itsp, "34915552101", "34916660002")
    arrived(company.north, "2101", "916660002")
    # Abroad from the switchboard alone.
    desk.dial("0044207946000")
    wait_for("the call abroad", lambda: up(company), 20)
    assert company.itsp.dialled()[-1][0] == "44207946000", company.itsp.dialled()
    desk.hangup()
    wait_for("the call to be gone", lambda: company.voipd.calls() == [])
    # The ITSP dies, then its backup: calls leave by the next way each time.
    for lost, peer in ((company.itsp, company.backup), (company.backup, company.gate)):
        lost.kill()
        desk.dial("915550199")
        wait_for(f"the call by {peer.name}", lambda: up(company), 30)
        assert peer.dialled()[-1][0].endswith("915550199"), peer.dialled()
        desk.hangup()
        wait_for("the call to be gone", lambda: company.voipd.calls() == [])


def test_front_the_pbxes(case):
    front(case, False)


def test_move_the_lines(case):
    move(case, False)


def test_unify_the_services(case):
    unify(case, False)


def test_add_the_itsp(case):
    itsp(case, False)


def asterisk_front_the_pbxes(case):
    front(case, True)


def asterisk_move_the_lines(case):
    move(case, True)


def asterisk_unify_the_services(case):
    unify(case, True)


def asterisk_add_the_itsp(case):
    itsp(case, True)
