"""Strangers: guessed passwords, scanners, calls out."""

import time

from lib.sip import Agent, sdp
from lib.voipd import DOMAIN, Voipd

SCANNER = "127.0.66.6"


def guess(agent, n):
    """One REGISTER with a wrong password; what came back may be nothing."""
    agent.password = f"guess{n}"
    call, lines, uri = agent.new_call(), [f"Contact: {agent.contact()}"], f"sip:{DOMAIN}"
    for _ in range(2):
        agent.cseq += 1
        agent.send(agent.start_lines("REGISTER", uri, agent.via(), call) + lines)
        answer = agent.receive(0.7)
        if answer is None:
            return
        assert answer.status in (401, 403), answer.text()
        if answer.status == 401:
            lines = [lines[0], agent.credentials(answer, "REGISTER", uri)]


def test_wrong_passwords_are_banned(case):
    voipd = Voipd(case, guard={"ban_after": 8, "slow_after": 4, "ban_s": 60})
    voipd.add_user("alice")
    scanner = Agent(case, voipd, "alice", address=SCANNER)
    for n in range(30):
        guess(scanner, n)
        if bans := voipd.json("bans"):
            break
    assert [row["source"] for row in bans] == [SCANNER], bans
    assert n >= 5, f"banned after {n} wrong passwords: that many a person needs"
    scanner.password = "secret"
    scanner.send(
        scanner.start_lines("OPTIONS", f"sip:{DOMAIN}", scanner.via(), scanner.new_call())
    )
    scanner.nothing(1.0)
    # Others are not shut out, and the operator can let the source in again.
    alice = Agent(case, voipd, "alice")
    alice.register()
    voipd.ctl("bans", "lift", SCANNER)
    scanner.register()
    assert voipd.json("bans") == []


def test_unknown_users_look_like_known_ones(case):
    """The same answers, whether the user exists or not."""
    voipd = Voipd(case, guard={"exempt": ["127.0.0.0/8"]})
    voipd.add_user("alice")
    shapes = []
    for name in ("alice", "nobody"):
        agent = Agent(case, voipd, name, password="wrong")
        agent_answer = agent.request(
            "REGISTER", f"sip:{DOMAIN}", [f"Contact: {agent.contact()}"], to=f"<sip:{name}@{DOMAIN}>"
        )
        shapes.append((agent_answer.start, [key for key, _ in agent_answer.headers]))
    assert shapes[0] == shapes[1], shapes


def test_strangers_call_nobody(case):
    voipd = Voipd(case, guard={"exempt": ["127.0.0.0/8"]})
    voipd.add_user("alice")
    alice = Agent(case, voipd, "alice")
    alice.register()
    stranger = Agent(case, voipd, "mallory", password="wrong")
    call = stranger.invite("alice", sdp("127.0.0.1", 4000))
    assert call.final().status in (401, 403, 407)
    abroad = stranger.request("INVITE", "sip:00882123@198.51.100.1", auth=False,
                              lines=[f"Contact: {stranger.contact()}"])
    assert abroad.status in (401, 403, 404, 407), abroad.text()
    alice.nothing(0.5)


def test_garbage_does_no_harm(case):
    """Scanners' rubbish is dropped or refused, and phones go on registering."""
    voipd = Voipd(case)
    voipd.add_user("alice")
    scanner = Agent(case, voipd, "x", address=SCANNER)
    for data in (b"\0" * 4, b"\xff" * 1400, b"GET / HTTP/1.1\r\n\r\n", b"OPTIONS\r\n\r\n",
                 b"INVITE sip:100@1.1.1.1 SIP/2.0\r\n\r\n", b"\r\n\r\n" * 300, b"A" * 65000):
        scanner.socket.sendto(data, scanner.peer)
    time.sleep(0.3)
    Agent(case, voipd, "alice").register()
    assert voipd.process.alive()
