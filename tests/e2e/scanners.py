"""Scanners and floods: sipvicious learns nothing, and rubbish leaves calls alone."""

import os
import pathlib
import shutil
import sys
import time

from lib.case import Skip, wait_for
from lib.net import Hosts
from lib.sip import Agent, sdp
from lib.voipd import DOMAIN, Voipd
from media import PACKET_SECONDS, Audio

SCANNER = "127.0.66.6"
FLOOD = pathlib.Path(__file__).parent / "lib" / "flood.py"
FLOOD_PER_SECOND, FLOOD_SECONDS = 20_000, 14
# Timer B (RFC 3261): what is not answered by then failed.
PATIENCE, T1 = 32, 0.5


class Site:
    """A voipd and a scanner, each a host of its own."""

    def __init__(self, case):
        self.case, self.hosts, self.scanner = case, Hosts(case), Hosts.PUB

    def serve(self, name="voipd"):
        """A voipd that takes its own address for one of its domains, as scanners do."""
        voipd = Voipd(self.case, Hosts.CORE, self.hosts.core, name, node={"aliases": [Hosts.CORE]})
        for user in ("100", "200"):
            voipd.add_user(user)
        return voipd

    def sipvicious(self, tool, voipd, *words, seconds=90):
        """Runs a tool of sipvicious on the scanner's host; returns what it said."""
        # Debian's name, and PyPI's.
        program = shutil.which(tool) or shutil.which(f"sipvicious_{tool}")
        if not program:
            raise Skip("sipvicious is not installed (Debian: sipvicious)")
        argv = [program, f"-p{voipd.port}", *words, voipd.address]
        environment = {**os.environ, "HOME": str(self.case.folder)}
        name = f"{tool}-{len(self.case.processes)}"
        process = self.case.start(name, argv, self.hosts.pub, env=environment)
        process.wait(seconds)
        return process.text()


def banned(voipd):
    return [(row["source"], row["reason"]) for row in voipd.json("bans")]


def drops(voipd):
    return voipd.json("status")["counters"]["drops"]


def test_svmap_finds_nothing(case):
    site = Site(case)
    voipd = site.serve()
    for method in ("OPTIONS", "REGISTER", "INVITE"):
        said = site.sipvicious("svmap", voipd, "-m", method)
        assert str(voipd.port) not in said and "SIP Device" not in said, said
    assert banned(voipd) == [(site.scanner, "scan")]
    assert drops(voipd) == {"guarded": 2, "scanner": 1}, drops(voipd)


def test_svmap_in_disguise_learns_no_name(case):
    """Without its own User-Agent an OPTIONS of it is still a stranger's."""
    voipd = Voipd(case)
    voipd.add_user("100")
    agent = Agent(case, voipd, "100", address=SCANNER)
    for _ in range(3):
        lines = agent.start_lines("OPTIONS", f"sip:{DOMAIN}", agent.via(), agent.new_call())
        agent.send([*lines, "User-Agent: phone"])
    agent.nothing(1.0)
    assert drops(voipd) == {"probe": 3}
    assert banned(voipd) == []
    # A phone that registered gets its answer.
    agent.register()
    assert agent.request("OPTIONS", f"sip:{DOMAIN}").status == 200


def test_svwar_tells_no_user_from_nobody(case):
    site = Site(case)
    for method in ("REGISTER", "INVITE", "OPTIONS"):
        voipd = site.serve(f"voipd-{method}")
        said = site.sipvicious("svwar", voipd, "-m", method, "--force", "-e98-102,198-202")
        assert "| 100" not in said and "| 200" not in said, said
        assert banned(voipd) == [(site.scanner, "scan")], banned(voipd)
        voipd.stop()


def test_svcrack_gets_no_guess(case):
    site = Site(case)
    voipd = site.serve()
    said = site.sipvicious("svcrack", voipd, "-u100", "-r1-400")
    assert "secret" not in said and "| 100" not in said, said
    assert banned(voipd) == [(site.scanner, "scan")]


def test_names_tried_one_by_one_end_in_a_ban(case):
    """A patient scanner with a phone's User-Agent: every name looks the same, then all is quiet."""
    voipd = Voipd(case)
    voipd.add_user("100")
    scanner = Agent(case, voipd, "x", address=SCANNER)
    shapes, heard = set(), 0
    for n in range(90, 290):
        call, uri = scanner.new_call(), f"sip:{n}@{DOMAIN}"
        method = ("REGISTER", "INVITE", "SUBSCRIBE", "MESSAGE")[n % 4]
        scanner.user, scanner.cseq = str(n), scanner.cseq + 1
        target = f"sip:{DOMAIN}" if method == "REGISTER" else uri
        via = scanner.via()
        head = scanner.start_lines(method, target, via, call, f"<{uri}>")
        scanner.send([*head, f"Contact: {scanner.contact()}"])
        answer = scanner.receive(1.0)
        while answer is not None and answer.status == 100:
            answer = scanner.receive(1.0)
        if answer is None:
            break
        heard += 1
        if method == "INVITE":
            scanner.send(scanner.start_lines("ACK", target, via, call, answer["to"]))
        shapes.add((method, answer.status, tuple(key for key, _ in answer.headers)))
    assert 50 <= heard <= 150, heard
    assert len(shapes) == 4, shapes
    assert all(status in (401, 407) for _, status, _ in shapes), shapes
    assert banned(voipd) == [(SCANNER, "scan")]


def insist(dialog, other, method, body=""):
    """A request in a dialog, sent again as RFC 3261 §17.1 wants until it is answered; the other side
    answers. Returns how often it was sent again."""
    agent, repeats, wait = dialog.agent, 0, T1
    agent.cseq += 1
    cseq, end = agent.cseq, time.monotonic() + PATIENCE
    via = agent.via()
    agent.via = lambda: via
    try:
        while time.monotonic() < end:
            dialog.send(method, cseq=cseq, body=body)
            until, wait = time.monotonic() + wait, min(2 * wait, 4.0)
            while time.monotonic() < until:
                request = other.agent.receive(0.02)
                if request is not None and request.method == method:
                    other.agent.reply(request, 200, body=body)
                answer = agent.receive(0.02)
                if answer is not None and answer.status == 200:
                    return repeats
            repeats += 1
    finally:
        del agent.via
    raise AssertionError(f"no answer to {method} within {PATIENCE} s")


def test_a_flood_leaves_a_call_alone(case):
    """20,000 datagrams of rubbish a second, from strangers and from a neighbour of the caller's."""
    voipd = Voipd(case, rtp={"relay": "always"}, guard={"ban_s": 60})
    for name in ("alice", "bob"):
        voipd.add_user(name)
    alice = Agent(case, voipd, "alice", address="127.0.0.2")
    bob = Agent(case, voipd, "bob", address="127.0.0.3")
    alice.register()
    bob.register()
    here, there = Audio(case), Audio(case)
    call = alice.invite("bob", sdp("127.0.0.1", here.port))
    invite = bob.expect("INVITE")
    called = bob.answer(invite, sdp("127.0.0.1", there.port))
    caller = call.established()
    bob.expect("ACK")
    here.talk_to(caller.answer.media())
    there.talk_to(invite.media())
    wait_for("audio", lambda: here.heard > 10 and there.heard > 10)

    strangers = [SCANNER, *[f"127.0.67.{n}" for n in range(1, 20)]]
    argv = [sys.executable, FLOOD, "127.0.0.1", voipd.port, FLOOD_PER_SECOND, FLOOD_SECONDS]
    before, begun = (here.heard, there.heard), time.monotonic()
    flood = case.start("flood", [*argv, *strangers])
    repeats = 0
    for version in range(2, 8):
        time.sleep(1.5)
        repeats += insist(caller, called, "INVITE", sdp("127.0.0.1", here.port, version=version))
        caller.send("ACK", cseq=alice.cseq)
        bob.expect("ACK")
    assert flood.wait(FLOOD_SECONDS + 30) == 0
    passed = time.monotonic() - begun
    heard = [after - was for was, after in zip(before, (here.heard, there.heard))]
    sent, rate = (int(word) for word in flood.text().split()[-2:])
    assert rate > FLOOD_PER_SECOND * 0.8, f"only {rate} a second"
    repeats += insist(caller, called, "BYE")
    wait_for("the end of the call", lambda: voipd.calls() == [])
    print(f"        {sent} datagrams, {rate} a second; {repeats} requests sent again; "
          f"{min(heard)} RTP packets of {passed / PACKET_SECONDS:.0f} heard")
    assert all(n > 0.95 * passed / PACKET_SECONDS for n in heard), (heard, passed)
    assert repeats <= 2, f"{repeats} requests were lost"
    counted, bans = drops(voipd), banned(voipd)
    assert counted["flood"] + counted["guarded"] > sent / 4, counted
    assert {source for source, _ in bans} == set(strangers), bans
    # Whoever is registered was never asked to wait.
    alice.register()
