"""ICE toward those who speak it, where the client asks for it (`ICE=force`): rtpengine as a full agent,
baresip's, and what descriptions say beside rtpengine's."""

import re
import socket
import subprocess

from lib.case import Skip, wait_for
from lib.phone import Phone
from media import Audio
from ng import BASE, Kamailio, Relay, Rtpengine, port_of
from lib.sip import sdp

LOOPBACK = ["lo/127.0.0.1"]
BESIDE = "198.18.7.1"
LOW, HIGH = 440, 880


def attributes(text, name):
    return re.findall(rf"^a={name}:(.*?)\r?$", text, re.M)


def candidates(text):
    """Component, address, port and kind of each, the highest priority first."""
    rows = [line.split() for line in attributes(text, "candidate")]
    rows.sort(key=lambda row: -int(row[3]))
    return [(int(row[1]), row[4], int(row[5]), row[7]) for row in rows]


def test_rtpengine_checks_us(case):
    """Alice's relay is rtpengine, which speaks ICE with ours as a full agent, and sends where we
    answered its checks."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    engine = Rtpengine(case, "--log-level=7")
    ours, theirs = relay.client, engine.client
    a, b = Audio(case), Audio(case)
    tags = {"call_id": "x", "from_tag": "a"}

    def ask(client, command, **keys):
        reply = client.ask(command, **tags, **keys)
        assert reply["result"] == "ok", reply
        return reply

    between = ask(theirs, "offer", sdp=sdp("127.0.0.1", a.port), ICE="force")
    assert attributes(between["sdp"], "ice-ufrag"), between
    offered = ask(ours, "offer", sdp=between["sdp"], ICE="remove")
    assert "ice-" not in offered["sdp"] and "candidate" not in offered["sdp"], offered
    back = ask(ours, "answer", sdp=sdp("127.0.0.1", b.port), to_tag="b", ICE="force")
    assert "a=ice-lite" in back["sdp"], back
    answered = ask(theirs, "answer", sdp=back["sdp"], to_tag="b", ICE="remove")
    a.talk_to(("127.0.0.1", port_of(answered)))
    b.talk_to(("127.0.0.1", port_of(offered)))
    assert a.hears() and b.hears()
    wait_for("rtpengine to be done with ICE", lambda: "ICE completed" in engine.process.text())
    for client in (ours, theirs):
        client.ask("delete", delete_delay=0, **tags)


def beside_loopback():
    """An address of this machine that baresip takes for a candidate, as it does none of 127/8."""
    if len(socket.if_nameindex()) > 1:
        raise Skip("needs a network namespace of the test's own")
    subprocess.run(["ip", "address", "replace", f"{BESIDE}/32", "dev", "lo"], check=True)
    return BESIDE


def phones(case, caller, called, asked=" ICE=force"):
    """Two baresips through Kamailio, of which those that are told to speak ICE."""
    address = beside_loopback()
    relay = Relay(case, ng_interfaces=[f"lan/{address}"])
    at = case.port()
    flags = f"replace-origin replace-session-connection{asked}"
    kamailio = Kamailio(case, relay, f"{address}:{at}", flags=flags)
    options = {"address": address}
    alice = Phone(case, "alice", kamailio, LOW, ice=caller, **options)
    bob = Phone(case, "bob", kamailio, HIGH, ice=called, port=at, **options)
    relay.phones_talk((alice, bob), (LOW, HIGH), 4)


# What an offer says, what is asked for, the answer, and what is asked for then.
PLAIN = BASE
ICE = (BASE + "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
       "a=candidate:1 1 UDP 2130706431 198.51.100.9 4000 typ host\r\n"
       "a=candidate:1 2 UDP 2130706430 198.51.100.9 4001 typ host\r\n")
OFFERS = {
    "plain to ICE": (PLAIN, "force", ICE, "remove"),
    "plain to ICE, answered plain": (PLAIN, "force", PLAIN, "remove"),
    "ICE to plain": (ICE, "remove", PLAIN, "force"),
    "ICE taken out on both sides": (ICE, "remove", PLAIN, "remove"),
    "ICE to ICE": (ICE, "force", ICE, "force"),
    "plain to plain": (PLAIN, "remove", PLAIN, "remove"),
    "ICE to plain, unasked": (ICE, {}, PLAIN, {}),
    "ICE to ICE, unasked": (ICE, {}, ICE, {}),
    "plain to plain, unasked": (PLAIN, {}, PLAIN, {}),
    "ICE to ICE, as by default": (ICE, "default", ICE, "default"),
    "ICE taken out of the answer": (ICE, {}, ICE, "remove"),
    "ICE rejected": (ICE, {"flags": ["reject ICE"]}, ICE, {}),
}


def said(text):
    """What is compared: whether there are credentials, and the candidates with their ports told by
    what they are in the description. rtpengine has `ice-options`, since it is a full agent, and we
    `ice-lite`."""
    port = int(re.search(r"^m=audio (\d+)", text, re.M)[1])
    rtcp = [int(value.split()[0]) for value in attributes(text, "rtcp")]
    names = {port: "RTP", **{r: "RTCP" for r in rtcp if r != port}}
    rows = [(component, names.get(at, at), kind) for component, _, at, kind in candidates(text)]
    return {"credentials": [len(attributes(text, n)) for n in ("ice-ufrag", "ice-pwd")],
            "candidates": rows, "phone's": "198.51.100.9" in str(candidates(text))}


def test_beside_rtpengine(case):
    ours, theirs = Relay(case, ng_interfaces=LOOPBACK).client, Rtpengine(case).client
    wrong = []
    for number, (name, (offer, first, answer, then)) in enumerate(OFFERS.items()):
        call = {"call_id": f"case-{number}", "from_tag": "a"}
        first, then = ({"ICE": w} if isinstance(w, str) else w for w in (first, then))
        steps = (("offer", {"sdp": offer} | first),
                 ("answer", {"sdp": answer.replace("4000", "5000").replace("4001", "5001"),
                             "to_tag": "b"} | then))
        for step, keys in steps:
            mine, other = (client.ask(step, **call, **keys) for client in (ours, theirs))
            assert [mine["result"], other["result"]] == ["ok", "ok"], (name, mine, other)
            if said(mine["sdp"]) != said(other["sdp"]):
                wrong.append(f"{name}, {step}: {said(mine['sdp'])}, rtpengine {said(other['sdp'])}")
    assert not wrong, "\n".join(wrong)


def test_phone_that_is_called(case):
    phones(case, caller=False, called=True)


def test_phone_that_calls(case):
    phones(case, caller=True, called=False)


def test_both_phones(case):
    phones(case, caller=True, called=True)


def test_both_phones_unasked(case):
    phones(case, caller=True, called=True, asked="")


def test_a_phone_that_calls_unasked(case):
    phones(case, caller=True, called=False, asked="")
