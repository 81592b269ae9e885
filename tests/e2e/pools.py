"""Pools: who gets a call by each algorithm, what a lost member costs, draining, reload."""

import collections
import re
import socket
import time

from lib.case import wait_for
from lib.sip import Agent, sdp
from lib.sipp import Sipp
from lib.voipd import Voipd

MEMBERS = ("127.0.0.41", "127.0.0.42", "127.0.0.43")
CALLER = "127.0.0.1"
CALLS, RATE = 3000, 300
ALONE = True
# So many callers and numbers, each of which must find its member again.
KEYS = 300
# Of 3,000 calls by a hash of 300 keys a member gets 1,000, give or take 82 (one deviation).
HASHED = range(650, 1350)
AUDIO = sdp("127.0.0.1", 4000)


class Members:
    """Three sipp behind a voipd, which believes the caller."""

    def __init__(self, case, algorithm, weights=(1, 1, 1), pauses_ms=(20, 20, 20), **pool):
        self.case = case
        self.port = next(port for port in iter(case.port, None) if all(
            free(address, port) for address in MEMBERS))
        self.sipps = [
            Sipp(case, f"member{n}", "member", None, address=address, port=self.port,
                 count=10 * CALLS, pause_ms=pause_ms, seconds=300)
            for n, (address, pause_ms) in enumerate(zip(MEMBERS, pauses_ms))]
        uris = [f"sip:{address}:{self.port};weight={weight}"
                for address, weight in zip(MEMBERS, weights)]
        self.voipd = Voipd(
            case, sip={"trusted": [f"{CALLER}/32"]}, rtp={"relay": "never"},
            pool=[{"name": "media", "algorithm": algorithm, "members": uris, **pool}],
            # A trusted peer is no user: the route says that it may.
            route=[{"match": "8XXXX", "from": [f"address:{CALLER}/32"], "to": ["pool:media"],
                    "ring_s": 5}])
        for sipp in self.sipps:
            wait_for(f"{sipp.name} to listen", lambda: not free(sipp.address, sipp.port))

    def start(self, name, pause_ms=20, count=CALLS, rate=RATE):
        """Calls from KEYS callers to KEYS numbers, the same ones each time it is asked."""
        rows = [(f"u{n % KEYS:03}", f"8{(7 * n + n // KEYS) % KEYS:04}") for n in range(count)]
        return Sipp(self.case, name, "trusted_call", self.voipd, address=CALLER, rows=rows,
                    count=count, rate=rate, pause_ms=pause_ms, seconds=120,
                    call_id=f"call%u@{CALLER}")

    def placed(self):
        """What each member was called for, as (Call-ID, caller, number), in its order."""
        found = []
        for sipp in self.sipps:
            text = sipp.log.read_text() if sipp.log.exists() else ""
            found.append([(m[1], m[2], m[3]) for m in re.finditer(
                r"^call (\S+) sip:(\w+) sip:(\w+)", text, re.M)])
        return found


def free(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def land(case, algorithm, **options):
    """Runs CALLS calls, none of which may fail; returns where they landed."""
    members = Members(case, algorithm, **options)
    members.start("calls").finish()
    placed = members.placed()
    assert sum(map(len, placed)) == CALLS, [len(calls) for calls in placed]
    return placed


def by_key(placed, column):
    """Each key found one member, and the keys are spread."""
    owners = collections.defaultdict(set)
    for member, calls in enumerate(placed):
        for call in calls:
            owners[call[column]].add(member)
    split = {key: where for key, where in owners.items() if len(where) > 1}
    assert not split, f"{len(split)} of {len(owners)} keys found more than one member: {split}"
    assert all(len(calls) in HASHED for calls in placed), [len(calls) for calls in placed]
    return {key: where.pop() for key, where in owners.items()}


def test_call_id(case):
    placed = land(case, "call-id")
    assert len(by_key(placed, 0)) == CALLS


def test_from_uri(case):
    placed = land(case, "from-uri")
    assert len(by_key(placed, 1)) == KEYS


def test_to_uri(case):
    placed = land(case, "to-uri")
    assert len(by_key(placed, 2)) == KEYS


def test_request_uri(case):
    placed = land(case, "request-uri")
    assert len(by_key(placed, 2)) == KEYS


def test_round_robin(case):
    counts = [len(calls) for calls in land(case, "round-robin")]
    assert max(counts) - min(counts) <= 1, counts


def test_weight(case):
    """Shares of one, two and three sixths; should they be drawn, five deviations are allowed."""
    counts = [len(calls) for calls in land(case, "weight", weights=(1, 2, 3))]
    for count, share in zip(counts, (1 / 6, 2 / 6, 3 / 6)):
        deviation = (CALLS * share * (1 - share)) ** 0.5
        assert abs(count - CALLS * share) < 5 * deviation, counts


def test_fewest_calls(case):
    """The member whose calls last four times as long gets fewer of them."""
    counts = [len(calls) for calls in land(case, "fewest-calls", pauses_ms=(80, 80, 500))]
    assert counts[2] < 0.6 * min(counts[:2]), counts
    assert max(counts[:2]) < 1.25 * min(counts[:2]), counts


def keeps_in_place(case, algorithm, column):
    """One member is killed among 3,000 calls: no call fails but those that it had, and each key of
    the other members stays where it was."""
    members = Members(case, algorithm, probe_s=1)
    members.start("before").finish()
    before = by_key(members.placed(), column)
    marks = [len(calls) for calls in members.placed()]
    calling = members.start("after", pause_ms=300)
    victim = members.sipps[1]
    wait_for("calls to be under way", lambda: len(members.placed()[1]) > marks[1] + 100, 60)
    victim.process.stop(9)
    text = victim.log.read_text()
    begun = len(re.findall(r"^call ", text, re.M))
    in_hand = begun - len(re.findall(r"^end ", text, re.M))
    calling.process.wait(140)
    counters = calling.counters()
    assert counters["failed"] <= in_hand, (counters, in_hand)
    assert counters["ok"] >= CALLS - in_hand, (counters, in_hand)
    for member in (0, 2):
        for call in members.placed()[member][marks[member]:]:
            home = before[call[column]]
            assert home in (member, 1), f"{call} moved from {home} to {member}"
    moved = [sum(before[call[column]] == 1 for call in members.placed()[member][marks[member]:])
             for member in (0, 2)]
    assert min(moved) > 0.25 * sum(moved), f"the orphans are not shared: {moved}"


def test_killed_call_id(case):
    keeps_in_place(case, "call-id", 0)


def test_killed_from_uri(case):
    keeps_in_place(case, "from-uri", 1)


def test_killed_round_robin(case):
    """No call fails but those in its hands, and the others share what comes after."""
    members = Members(case, "round-robin", probe_s=1)
    calling = members.start("calls", pause_ms=300)
    wait_for("calls to be under way", lambda: len(members.placed()[1]) > 300, 60)
    victim = members.sipps[1]
    victim.process.stop(9)
    text = victim.log.read_text()
    in_hand = len(re.findall(r"^call ", text, re.M)) - len(re.findall(r"^end ", text, re.M))
    calling.process.wait(140)
    counters = calling.counters()
    assert counters["failed"] <= in_hand and counters["ok"] >= CALLS - in_hand, (counters, in_hand)
    counts = [len(calls) for calls in members.placed()]
    assert abs(counts[0] - counts[2]) <= 0.1 * CALLS, counts


# -- members that the test answers for


class Pair:
    """Alice, and two members of a pool that answer as the test says."""

    def __init__(self, case, algorithm="round-robin", **pool):
        self.members = [Agent(case, None, f"m{n}", address=address)
                        for n, address in enumerate(MEMBERS[:2])]
        self.uris = [f"sip:{member.address}:{member.port}" for member in self.members]
        self.voipd = Voipd(
            case, pool=[{"name": "media", "algorithm": algorithm, "members": self.uris, **pool}],
            route=[{"match": "8XXXX", "to": ["pool:media"], "ring_s": 5}])
        for member in self.members:
            member.peer = (self.voipd.address, self.voipd.port)
        self.voipd.add_user("alice")
        self.alice = Agent(case, self.voipd, "alice")

    def ring(self, number="80001"):
        """Alice calls; returns her call, the member that got it and its request."""
        call = self.alice.invite(number, AUDIO)
        for _ in range(25):
            for member in self.members:
                request = member.receive(0.2)
                if request is None:
                    continue
                if request.method == "INVITE":
                    return call, member, request
                assert request.method == "OPTIONS", request.text()
                member.reply(request, 200)
        raise AssertionError("no member got the call")

    def talk(self):
        call, member, request = self.ring()
        called = member.answer(request, AUDIO)
        caller = call.established()
        member.expect("ACK")
        return caller, called

    def other(self, member):
        return self.members[1 - self.members.index(member)]


def hang_up(caller, called):
    caller.bye(called)


def test_failover_in_set_up(case):
    """The member that got the call cannot take it: the other one gets it at once."""
    pair = Pair(case)
    call, member, request = pair.ring()
    member.reply(request, 503)
    member.expect("ACK")
    other = pair.other(member)
    request = other.expect("INVITE", 2)
    called = other.answer(request, AUDIO)
    caller = call.established()
    other.expect("ACK")
    hang_up(caller, called)


def test_silent_member(case):
    """The member that got the call says nothing at all: the other one gets it in time."""
    pair = Pair(case)
    call, member, _ = pair.ring()
    began = time.monotonic()
    other = pair.other(member)
    request = other.expect("INVITE", 10)
    assert time.monotonic() - began < 9
    called = other.answer(request, AUDIO)
    caller = call.established()
    other.expect("ACK")
    hang_up(caller, called)


def test_busy_is_an_answer(case):
    pair = Pair(case)
    call, member, request = pair.ring()
    member.reply(request, 486)
    assert call.final().status == 486
    pair.other(member).nothing(1)


def test_dialog_stays(case):
    """Requests within a call go where the call is, whoever's turn it is."""
    pair = Pair(case)
    first, second = pair.talk(), pair.talk()
    assert first[1].agent is not second[1].agent
    for caller, called in (first, second):
        caller.send("INVITE", body=AUDIO)
        called.agent.reply(called.agent.expect("INVITE"), 200, body=AUDIO)
        caller.send("ACK", cseq=int(pair.alice.expect(200)["cseq"].split()[0]))
        called.agent.expect("ACK")
        hang_up(caller, called)


def test_drain(case):
    """A drained member keeps its calls and gets no new ones, until it is let in again."""
    pair = Pair(case)
    caller, called = pair.talk()
    member = called.agent
    uri = pair.uris[pair.members.index(member)]
    pair.voipd.ctl("pool", "drain", "media", uri)
    for _ in range(4):
        new = pair.talk()
        assert new[1].agent is not member, "a drained member got a call"
        hang_up(*new)
    hang_up(caller, called)
    pair.voipd.ctl("pool", "undrain", "media", uri)
    seen = []
    for _ in range(4):
        new = pair.talk()
        seen.append(new[1].agent)
        hang_up(*new)
    assert member in seen, "the member did not come back"


def test_member_removed_by_reload(case):
    """Its call goes on; new ones go elsewhere."""
    pair = Pair(case)
    caller, called = pair.talk()
    member = called.agent
    pair.voipd.tables["pool"][0]["members"] = [pair.uris[1 - pair.members.index(member)]]
    pair.voipd.write()
    pair.voipd.reload()
    for _ in range(3):
        new = pair.talk()
        assert new[1].agent is not member
        hang_up(*new)
    hang_up(caller, called)


def test_all_down(case):
    """No member answers: the caller hears so, at the latest when the last one's Timer B ends."""
    pair = Pair(case)
    call = pair.alice.invite("80001", AUDIO)
    final = call.final(50)
    assert final.status in (408, 480, 503, 504), final.text()


# -- who asks whether we live


def test_options_are_answered_stateless(case):
    """Members ask all day long: each gets its 200, a repeated one the same (RFC 3261 §8.2.7), and
    no transaction is kept for it. Strangers get nothing."""
    pair = Pair(case, probe_s=0)
    member = pair.members[0]
    uri = f"sip:{pair.voipd.address}:{pair.voipd.port}"

    def ask(agent):
        agent.cseq += 1
        lines = agent.start_lines("OPTIONS", uri, agent.via(), agent.new_call())
        agent.send(lines)
        return lines

    for _ in range(50):
        lines = ask(member)
        first = member.expect(200)
        assert "INVITE" in first["allow"] and "tag=" in first["to"], first.text()
        member.send(lines)
        assert member.expect(200).text() == first.text()
    assert pair.voipd.json("status")["transactions"] == 0
    stranger = Agent(case, pair.voipd, "stranger", address="127.0.0.66")
    ask(stranger)
    stranger.nothing(1)
