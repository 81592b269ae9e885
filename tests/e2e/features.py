"""Call features as phones set them: by a code, seen to work by the next call, and off by a code."""

from lib.case import wait_for
from lib.phone import Phone
from lib.sip import Agent, sdp
from lib.voipd import DOMAIN, Voipd

ALICE, BOB, CAROL, DAVE = "100", "101", "102", "103"
GROUP = "200"
AUDIO = sdp("127.0.0.1", 4000)
# The shortest time that a user may let it ring.
RING_S = 5


class Office:
    """A voipd and four phones, all of them registered."""

    def __init__(self, case, **settings):
        self.voipd = Voipd(case, **settings)
        self.voipd.add_users((ALICE, BOB, CAROL, DAVE))
        self.phones = {name: Agent(case, self.voipd, name) for name in (ALICE, BOB, CAROL, DAVE)}
        for phone in self.phones.values():
            phone.register()

    def __getitem__(self, name):
        return self.phones[name]

    def dial(self, name, code, status=480):
        """Somebody dials a code; returns what the display says."""
        final = self[name].invite(code, AUDIO).final()
        assert final.status == status, final.text()
        return final.start.split(" ", 2)[2]

    def call(self, caller, number, lines=()):
        return self[caller].invite(number, AUDIO, lines)

    def rings(self, caller, number, at, lines=()):
        """A call that must ring at one phone, which refuses it; returns its INVITE."""
        call = self.call(caller, number, lines)
        request = self[at].expect("INVITE")
        refuse(self[at], request, 486)
        final = call.final()
        assert final.status == 486, final.text()
        return request

    def talk(self, call, at, seconds=5.0):
        """The phone `at` rings, answers and hears its caller hang up; returns its INVITE."""
        request = self[at].expect("INVITE", seconds)
        called = self[at].answer(request, AUDIO)
        caller = call.established()
        self[at].expect("ACK")
        caller.bye(called)
        return request

    def refused(self, caller, number, status, lines=()):
        final = self.call(caller, number, lines).final()
        assert final.status == status, final.text()
        return final

    def silent(self, *names):
        for name in names:
            self[name].nothing(0.2)


def refuse(phone, request, status):
    phone.reply(request, status)
    phone.expect("ACK")


def cancelled(phone, request):
    """The phone that rings is told to stop."""
    phone.reply(phone.expect("CANCEL"), 200)
    refuse(phone, request, 487)


def diverted(request, who, reason):
    """The INVITE tells that `who` sent it on, and why (RFC 5806, RFC 7044)."""
    text = request["diversion"]
    assert f"sip:{who}@{DOMAIN}" in text and f"reason={reason}" in text, request.text()
    history = ",".join(request.all("history-info"))
    assert f"sip:{who}@{DOMAIN}" in history and "index=1" in history, request.text()


# -- forwarding


def test_forward_always(case):
    office = Office(case)
    assert office.dial(BOB, f"*72{CAROL}") == f"Done: Calls Forwarded To {CAROL}"
    diverted(office.talk(office.call(ALICE, BOB), CAROL), BOB, "unconditional")
    office.silent(BOB)
    office.dial(BOB, "*73")
    office.talk(office.call(ALICE, BOB), BOB)
    office.silent(CAROL)


def test_forward_busy(case):
    office = Office(case)
    office.dial(BOB, f"*90{CAROL}")
    call = office.call(ALICE, BOB)
    refuse(office[BOB], office[BOB].expect("INVITE"), 486)
    diverted(office.talk(call, CAROL), BOB, "user-busy")
    office.dial(BOB, "*91")
    office.rings(ALICE, BOB, BOB)
    office.silent(CAROL)


def test_forward_no_answer(case):
    office = Office(case)
    office.voipd.ctl("feature", "set", BOB, "ring-seconds", RING_S)
    office.dial(BOB, f"*92{CAROL}")
    call = office.call(ALICE, BOB)
    request = office[BOB].expect("INVITE")
    office[BOB].reply(request, 180)
    office[BOB].reply(office[BOB].expect("CANCEL", RING_S + 5), 200)
    refuse(office[BOB], request, 487)
    diverted(office.talk(call, CAROL), BOB, "no-answer")

    def gives_up():
        """The phone itself says that nobody answered."""
        call = office.call(ALICE, BOB)
        request = office[BOB].expect("INVITE")
        office[BOB].reply(request, 180)
        refuse(office[BOB], request, 480)
        return call

    office.talk(gives_up(), CAROL)
    office.dial(BOB, "*93")
    assert gives_up().final().status == 480
    office.silent(CAROL)


def test_forward_not_registered(case):
    office = Office(case)
    office.dial(DAVE, f"*94{CAROL}")
    office.talk(office.call(ALICE, DAVE), DAVE)
    office[DAVE].register(expires=0)
    request = office.talk(office.call(ALICE, DAVE), CAROL)
    assert f"sip:{DAVE}@{DOMAIN}" in request["diversion"], request.text()
    office[DAVE].register()
    office.dial(DAVE, "*95")
    office[DAVE].register(expires=0)
    office.refused(ALICE, DAVE, 480)
    office.silent(CAROL)


def test_forward_chain_and_circle(case):
    """A forwarding leads on to the next one; what would come back is refused with its reason."""
    office = Office(case)
    office.dial(BOB, f"*72{CAROL}")
    office.dial(CAROL, f"*72{DAVE}")
    diversions = office.talk(office.call(ALICE, BOB), DAVE).all("diversion")
    told = ",".join(diversions)
    assert told.index(f"sip:{CAROL}@") < told.index(f"sip:{BOB}@"), told
    assert "Circle" in office.dial(DAVE, f"*72{BOB}", 482)
    assert "Oneself" in office.dial(DAVE, f"*72{DAVE}", 403)
    office.dial(DAVE, "*72", 484)
    office.talk(office.call(ALICE, DAVE), DAVE)


def test_features_outlive_kill(case):
    office = Office(case)
    office.dial(BOB, f"*72{CAROL}")
    row = office.voipd.ctl("feature", "show", BOB)
    assert "forward-always" in row and CAROL in row, row

    def stored():
        counters = office.voipd.json("status")["counters"]["other"]
        # Four registrations and the feature.
        return counters["store_waiting"] == 0 and counters["store_written"] >= 5

    wait_for("the store", stored)
    office.voipd.kill()
    office.voipd.restart()
    office.talk(office.call(ALICE, BOB), CAROL)


# -- who gets through


def test_do_not_disturb(case):
    """Without a way on it is refused; with one for the busy user it goes there."""
    office = Office(case)
    assert office.dial(BOB, "*78") == "Done: Do Not Disturb On"
    office.refused(ALICE, BOB, 480)
    office.dial(BOB, f"*90{CAROL}")
    office.talk(office.call(ALICE, BOB), CAROL)
    office.silent(BOB)
    office.dial(BOB, "*79")
    office.talk(office.call(ALICE, BOB), BOB)


def test_anonymous_rejection(case):
    office = Office(case)
    hidden = ["Privacy: id"]
    office.talk(office.call(ALICE, BOB, hidden), BOB)
    office.dial(BOB, "*77")
    office.refused(ALICE, BOB, 433, hidden)
    office.silent(BOB)
    office.talk(office.call(ALICE, BOB), BOB)
    office.dial(BOB, "*87")
    office.talk(office.call(ALICE, BOB, hidden), BOB)


def test_black_list(case):
    office = Office(case)
    office.dial(BOB, f"*60{ALICE}")
    office.refused(ALICE, BOB, 603)
    office.silent(BOB)
    office.talk(office.call(CAROL, BOB), BOB)
    office.dial(BOB, f"*61{ALICE}")
    office.talk(office.call(ALICE, BOB), BOB)
    office.dial(BOB, f"*61{ALICE}", 404)


def test_speed_dial(case):
    """One's own alone; a phone may put a star between the code and what follows."""
    office = Office(case)
    office.dial(ALICE, f"*7507{CAROL}")
    office.dial(ALICE, f"*75*08*{BOB}#")
    office.talk(office.call(ALICE, "*007"), CAROL)
    office.talk(office.call(ALICE, "*008"), BOB)
    office.refused(BOB, "*007", 404)
    office.dial(ALICE, "*7607")
    office.refused(ALICE, "*007", 404)
    office.talk(office.call(ALICE, "*008"), BOB)


# -- hunt groups


def group_of(strategy, *members, **keys):
    return {"name": "sales", "number": GROUP, "strategy": strategy, "members": members,
            "ring_s": RING_S, **keys}


def hunts(office, order):
    """A call to the group rings at these, one after the other, and the last one takes it."""
    call = office.call(ALICE, GROUP)
    for name in order[:-1]:
        refuse(office[name], office[name].expect("INVITE"), 486)
    office.talk(call, order[-1])


def test_group_all(case):
    office = Office(case, group=[group_of("all", BOB, CAROL, DAVE)])
    office.dial(DAVE, "*78")
    call = office.call(ALICE, GROUP)
    request = office[BOB].expect("INVITE")
    office[BOB].reply(request, 180)
    office.talk(call, CAROL)
    cancelled(office[BOB], request)
    office.silent(DAVE)
    office.dial(DAVE, "*79")
    call = office.call(ALICE, GROUP)
    requests = {name: office[name].expect("INVITE") for name in (BOB, CAROL, DAVE)}
    for name, request in requests.items():
        refuse(office[name], request, 486)
    assert call.final().status == 486


def test_group_ordered(case):
    """Always from the first one on; who does not answer has its time."""
    office = Office(case, group=[group_of("ordered", BOB, CAROL, DAVE, ring_s=2)])
    hunts(office, [BOB, CAROL])
    call = office.call(ALICE, GROUP)
    request = office[BOB].expect("INVITE")
    office[BOB].reply(request, 180)
    office.silent(CAROL, DAVE)
    cancelled(office[BOB], request)
    office.talk(call, CAROL)
    office.silent(DAVE)


def test_group_round_robin(case):
    """Each call begins behind the one who was first before; that holds for all shards."""
    office = Office(case, group=[group_of("round-robin", BOB, CAROL, DAVE)],
                    node={"workers": 2})
    for first in (BOB, CAROL, DAVE, BOB):
        hunts(office, [first])
    hunts(office, [CAROL, DAVE, BOB])


def test_group_fewest_calls(case):
    office = Office(case, group=[group_of("fewest-calls", BOB, CAROL, DAVE)])
    hunts(office, [BOB])
    call = office.call(ALICE, BOB)
    called = office[BOB].answer(office[BOB].expect("INVITE"), AUDIO)
    caller = call.established()
    office[BOB].expect("ACK")
    hunts(office, [CAROL, DAVE, BOB])
    caller.bye(called)
    wait_for("the call to be gone", lambda: office.voipd.calls() == [])
    hunts(office, [BOB])


# -- pickup


def ring(office, number, *names):
    """Alice calls; the phones ring. Returns the call, and the phones' requests."""
    call = office.call(ALICE, number)
    requests = []
    for name in names:
        requests.append(office[name].expect("INVITE"))
        office[name].reply(requests[-1], 180)
        wait_for("the ringing", lambda: call.next().status == 180)
    return call, requests


def pick_up(office, name, code, whom):
    """Dials the code; the display says whose call it is, and the call comes to the very phone."""
    phone = office[name]
    coded = phone.invite(code, AUDIO)
    told = request = None
    while told is None or request is None:
        message = coded.waiting.pop(0) if coded.waiting else phone.receive(5)
        assert message, f"{code}: {told} and {request} came only"
        if message.method == "INVITE" and not message.status:
            request = message
        elif message.status >= 200:
            told = message
            phone.send(phone.start_lines("ACK", coded.uri, coded.via, coded.call, told["to"]))
    assert told.start == f"SIP/2.0 480 Picking Up {whom}", told.text()
    return request


def picked_up(office, call, name, request, ringing):
    """The phone that picked up answers; those that rang stop."""
    called = office[name].answer(request, AUDIO)
    for other, rang in ringing:
        cancelled(office[other], rang)
    caller = call.established()
    office[name].expect("ACK")
    caller.bye(called)
    wait_for("the call to be gone", lambda: office.voipd.calls() == [])


PICKUP = {"group": [group_of("all", BOB, CAROL)], "node": {"workers": 2}}


def test_pickup_group(case):
    """`*8`: what rings at somebody of one's group, by whatever shards."""
    office = Office(case, **PICKUP)
    for _ in range(4):
        call, (rang,) = ring(office, BOB, BOB)
        request = pick_up(office, CAROL, "*8", BOB)
        assert f"sip:{BOB}@{DOMAIN}" in ",".join(request.all("history-info")), request.text()
        picked_up(office, call, CAROL, request, [(BOB, rang)])
    assert office.dial(CAROL, "*8", 404) == "No Call Rings In Your Groups"


def test_pickup_directed(case):
    """`**` and `*8` with an extension; a group's number means whoever of it rings."""
    office = Office(case, **PICKUP)
    for code in (f"**{BOB}", f"*8{BOB}", f"*8*{BOB}#"):
        call, (rang,) = ring(office, BOB, BOB)
        request = pick_up(office, CAROL, code, BOB)
        picked_up(office, call, CAROL, request, [(BOB, rang)])
    assert office.dial(CAROL, f"**{BOB}", 404) == f"No Call Rings At {BOB}"
    office.dial(CAROL, "**", 484)


def test_pickup_refused(case):
    """Who is in no group with the phone that rings learns nothing, and the call rings on."""
    office = Office(case, **PICKUP)
    call, (rang,) = ring(office, BOB, BOB)
    office.dial(DAVE, f"**{BOB}", 403)
    office.dial(DAVE, "*8", 403)
    office.dial(BOB, "*8", 404)
    refuse(office[BOB], rang, 486)
    assert call.final().status == 486


def test_pickup_in_vain(case):
    """The phone that picked up refuses the call after all: it rings on, and is there for the
    next try."""
    office = Office(case, **PICKUP)
    call, (rang,) = ring(office, BOB, BOB)
    refuse(office[CAROL], pick_up(office, CAROL, "*8", BOB), 486)
    office.silent(BOB)
    request = pick_up(office, CAROL, "*8", BOB)
    picked_up(office, call, CAROL, request, [(BOB, rang)])


def test_softphone(case):
    """A baresip sets and unsets a forwarding, and picks up a call that rings elsewhere."""
    office = Office(case, **PICKUP)
    office[CAROL].register(expires=0)
    carol = Phone(case, CAROL, office.voipd, 440)
    carol.wait_registered()

    def shown():
        return "forward-always" in office.voipd.ctl("feature", "show", CAROL)

    carol.dial(f"*72{DAVE}")
    wait_for("the forwarding", shown)
    office.talk(office.call(ALICE, CAROL), DAVE)
    carol.dial("*73")
    wait_for("the forwarding's end", lambda: not shown())
    call, (rang,) = ring(office, BOB, BOB)
    carol.dial("*8")
    cancelled(office[BOB], rang)
    dialog = call.established()
    dialog.send("BYE")
    office[ALICE].expect(200)
    wait_for("the call to be gone", lambda: office.voipd.calls() == [])
