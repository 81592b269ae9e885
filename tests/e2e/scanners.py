"""What the Internet does to a SIP port: sipvicious, and floods of rubbish."""

import os
import re
import sys
import time

from lib.case import wait_for
from lib.sip import Agent
from lib.voipd import DOMAIN, Voipd
from media import Talk

# Its tools send from the loopback address itself, whatever they are told; the phones do not.
SCANNER, INSIDE, FLOODER = "127.0.0.1", "127.0.0.21", "127.0.66.6"
PASSWORD = "1042"
FLOOD_PER_SECOND, FLOOD_SECONDS = 20_000, 6
# Sends rubbish of several kinds at a steady rate, from a process of its own.
FLOOD = """\
import socket, sys, time
host, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.bind((sys.argv[5], 0))
junk = [b"\\xff" * 200, b"GET / HTTP/1.1\\r\\n\\r\\n", b"\\0" * 12,
        b"INVITE sip:900441@x SIP/2.0\\r\\nVia: SIP/2.0/UDP 192.0.2.1\\r\\n\\r\\n",
        b"OPTIONS sip:100@x SIP/2.0\\r\\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK%d\\r\\n"
        b"From: <sip:100@x>;tag=1\\r\\nTo: <sip:100@x>\\r\\nCall-ID: %d\\r\\nCSeq: 1 OPTIONS\\r\\n"
        b"User-Agent: friendly-scanner\\r\\nContent-Length: 0\\r\\n\\r\\n"]
sent, began = 0, time.monotonic()
while (now := time.monotonic() - began) < seconds:
    while sent < now * rate:
        kind = junk[sent % len(junk)]
        out.sendto(kind % (sent, sent) if b"%d" in kind else kind, (host, port))
        sent += 1
    time.sleep(0.001)
print("sent", sent)
"""


def office(case):
    voipd = Voipd(case, guard={"slow_after": 4, "ban_after": 10, "ban_s": 600})
    voipd.add_user("100", PASSWORD)
    voipd.add_user("105", PASSWORD)
    Agent(case, voipd, "100", address=INSIDE, password=PASSWORD).register()
    return voipd


def scan(case, voipd, tool, *words, seconds=15):
    """Runs a tool of sipvicious, which may wait in vain for the rest of its life once nobody
    answers it any more; returns what it said."""
    argv = [tool, *words, "-p", voipd.port, voipd.address]
    process = case.start(tool, argv, env={**os.environ, "HOME": str(case.folder), "LC_ALL": "C"})
    try:
        process.wait(seconds)
    except AssertionError:
        process.stop()
    return process.text()


def still_serves(case, voipd):
    Agent(case, voipd, "105", address=INSIDE, password=PASSWORD).register()


def banned(voipd):
    return [row for row in voipd.json("bans") if row["source"] == SCANNER]


def test_svmap_learns_no_version(case):
    voipd = office(case)
    said = scan(case, voipd, "svmap")
    version = re.search(r"\d+\.\d+\.\d+", voipd.ctl("status"))
    assert not version or version.group() not in said, said
    still_serves(case, voipd)


def svwar(case, method):
    """Users that exist, registered or not, look like those that do not."""
    voipd = office(case)
    said = scan(case, voipd, "svwar", "-m", method, "-e", "95-110", "--domain", DOMAIN,
                "--force", "--maximumtime=5")
    for name in ("100", "105"):
        assert not re.search(rf"^\W*{name}\b", said, re.M), said
    still_serves(case, voipd)


def test_svwar_register(case):
    svwar(case, "REGISTER")


def test_svwar_invite(case):
    svwar(case, "INVITE")


def test_svwar_options(case):
    svwar(case, "OPTIONS")


def test_svcrack_is_banned(case):
    """The password is among those that it tries; it is shut out long before."""
    voipd = office(case)
    said = scan(case, voipd, "svcrack", "-u", "100", "-r", "1000-1100", "--domain",
                DOMAIN, "--maximumtime=5")
    assert not re.search(rf"^\W*100\b.*{PASSWORD}", said, re.M), said
    wait_for("the ban", lambda: banned(voipd))
    still_serves(case, voipd)


def test_flood_leaves_a_call_alone(case):
    """Twenty thousand packets of rubbish a second: the call's audio and signalling go on."""
    talk = Talk(case)
    assert talk.a.hears() and talk.b.hears()
    voipd = talk.voipd
    flood = case.start("flood", [sys.executable, "-c", FLOOD, voipd.address, voipd.port,
                                 FLOOD_PER_SECOND, FLOOD_SECONDS, FLOODER])
    time.sleep(1)
    before, began = (talk.a.heard, talk.b.heard), time.monotonic()
    time.sleep(3)
    due = (time.monotonic() - began) / 0.02
    for audio, had in zip((talk.a, talk.b), before):
        assert audio.heard - had > 0.9 * due, f"{audio.heard - had} of {due:.0f} packets came"
    talk.reinvite(talk.a, "sendrecv", "sendrecv")
    assert flood.wait(FLOOD_SECONDS + 20) == 0
    sent = int(flood.text().split()[1])
    assert sent > 0.8 * FLOOD_PER_SECOND * FLOOD_SECONDS, f"only {sent} packets were sent"
    talk.caller.bye(talk.called)
    wait_for("the call's end", lambda: voipd.calls() == [])
