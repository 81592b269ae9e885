"""The 49 messages of RFC 4475 against a running voipd, over UDP and TCP.

tests/data/rfc4475/expect.tsv says for each what may come back: `none`, `answer` (any status),
or the statuses that are right, joined by commas. After each message voipd must still serve.
"""

import csv
import pathlib
import re
import socket
import time

from lib.sip import Agent
from lib.voipd import DOMAIN, Voipd

DATA = pathlib.Path(__file__).parent.parent / "data" / "rfc4475"
# Answers over UDP go to the port that Via names, at the address the request came from: an address
# of loopback that is ours alone.
SOURCE = "127.0.44.75"
ANSWER_SECONDS = 3.0
# The domains that the messages are for.
ADDRESSED = ["example.com", "example.net", "example.org"]
# What comes later than this after a message with no answer would have been seen with the next one.
SILENCE_SECONDS = 0.7


def expectations():
    with open(DATA / "expect.tsv", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_udp(case):
    run_all(case, "udp", over_udp)


def test_tcp(case):
    run_all(case, "tcp", over_tcp)


def run_all(case, transport, deliver):
    # The messages come from one source without credentials: that must not get it banned here.
    voipd = Voipd(case, guard={"exempt": ["127.0.0.0/8"]}, node={"domains": [DOMAIN, *ADDRESSED]})
    voipd.add_user("alice")
    wrong, messages = [], expectations()
    assert len(messages) == 49, len(messages)
    for row in messages:
        data = (DATA / f"{row['file']}.dat").read_bytes()
        wanted = row[transport]
        seconds = SILENCE_SECONDS if wanted == "none" else ANSWER_SECONDS
        got = deliver(voipd, data, seconds)
        if not fits(wanted, got):
            wrong.append(f"{row['file']} (RFC 4475 {row['section']}): {got}, not {wanted}")
        assert voipd.process.alive(), f"{row['file']} ended voipd"
    Agent(case, voipd, "alice", transport).register()
    assert not wrong, "\n".join([f"{len(wrong)} of {len(messages)} are wrong:", *wrong])


def fits(wanted, statuses):
    if wanted == "none":
        return statuses == []
    if wanted == "answer":
        return bool(statuses)
    return any(str(status) in wanted.split(",") for status in statuses)


def via_port(data):
    found = re.search(rb"(?im)^v(?:ia)?[ \t]*:\s*sip\s*/\s*2\.0\s*/\s*\w+\s+[^\s:;,]+\s*(?::\s*(\d+))?",
                      data)
    return int(found.group(1) or 5060) if found else 5060


def over_udp(voipd, data, seconds):
    """Sends one datagram and returns the final status that comes back, if any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind((SOURCE, via_port(data)))
        ours.sendto(data, (voipd.address, voipd.port))
        statuses, end = [], time.monotonic() + seconds
        while not statuses and (left := end - time.monotonic()) > 0:
            ours.settimeout(left)
            try:
                statuses += status_lines(ours.recv(65536), data)
            except TimeoutError:
                pass
        return statuses


def over_tcp(voipd, data, seconds):
    with socket.create_connection((voipd.address, voipd.ports["tcp"]), 3) as ours:
        ours.sendall(data)
        statuses, end = [], time.monotonic() + seconds
        while not statuses and (left := end - time.monotonic()) > 0:
            ours.settimeout(left)
            try:
                got = ours.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
            if not got:
                break
            statuses += status_lines(got, data)
        return statuses


def status_lines(data, request):
    """The final statuses in `data`, without those that answer an earlier message."""
    asked, answered = call_id(request), call_id(data)
    if asked and answered and asked != answered:
        return []
    return [int(s) for s in re.findall(rb"(?m)^SIP/2\.0 (\d{3}) ", data) if int(s) >= 200]


def call_id(data):
    found = re.search(rb"(?im)^(?:call-id|i)[ \t]*:\s*(\S+)", data)
    return found and found.group(1)
