"""Codecs that one side has and the other has not, by the ng protocol: the descriptions are rtpengine's,
and the sides hear each other."""

from lib.phone import Phone as Baresip
from ng import BASE, FLAGS, Kamailio, Relay, Rtpengine, fields
from ngrecord import HIGH, LOOPBACK, LOW, House, both_hold

MAPS = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "101": "telephone-event/8000"}
# What is asked for with an offer of PCMU, PCMA and events, and the formats of the answer.
CASES = {
    "one more": ({"transcode": ["G722"]}, "9 101"),
    "one more, not taken": ({"transcode": ["G722"]}, "0 8 101"),
    "one more, flag": (["transcode-G722"], "9 101"),
    "all masked": ({"mask": ["all"], "transcode": ["G722", "telephone-event"]}, "9 101"),
    "all stripped but one": ({"strip": ["all"], "transcode": ["PCMA"]}, "8"),
    "one masked": ({"mask": ["PCMU"], "transcode": ["G722"]}, "9 101"),
    "one stripped": ({"strip": ["PCMU"], "transcode": ["G722"]}, "9 101"),
    "one that is there": ({"transcode": ["PCMA"]}, "8 101"),
    "one that nobody knows": ({"transcode": ["nonsense"]}, "0 8 101"),
}


def answer(formats):
    head, _, _ = BASE.partition("m=audio")
    maps = "".join(f"a=rtpmap:{f} {MAPS[f]}\r\n" for f in formats.split())
    return head + f"m=audio 5000 RTP/AVP {formats}\r\n" + maps


def test_beside_rtpengine(case):
    """The same offers and answers to both: the same formats, in the same order."""
    ours, theirs = Relay(case, ng_interfaces=LOOPBACK).client, Rtpengine(case).client
    wrong = []
    for name, (asked, formats) in CASES.items():
        call = {"call_id": name, "from_tag": "a"}
        options = {"flags": asked} if isinstance(asked, list) else {"codec": asked}
        for step, keys in (("offer", {"sdp": BASE, **options}),
                           ("answer", {"sdp": answer(formats), "to_tag": "b"})):
            replies = [client.ask(step, **call, **keys) for client in (ours, theirs)]
            if any(reply["result"] != "ok" for reply in replies):
                wrong.append(f"{name}, {step}: {replies}")
                break
            told = [fields(reply["sdp"]) for reply in replies]
            for key in ("0.formats", "0.refused", "0.protocol", "0.direction"):
                if told[0][key] != told[1][key]:
                    wrong.append(f"{name}, {step}: {key}: {told[0][key]}, rtpengine {told[1][key]}")
            maps = [{a for a in t["0.maps"] if a.startswith("rtpmap")} for t in told]
            if maps[0] != maps[1]:
                wrong.append(f"{name}, {step}: {maps[0]}, rtpengine {maps[1]}")
    assert not wrong, "\n".join(wrong)


def through_kamailio(case, flags, codecs, record=False, **secure):
    """Two baresips through Kamailio that have no codec in common."""
    house = House(case)
    at = case.port()
    flags = f"{FLAGS} {flags} {'record-call=on' if record else ''}"
    kamailio = Kamailio(case, house.relay, f"127.0.0.1:{at}", flags=flags)
    alice = Baresip(case, "alice", kamailio, LOW, codecs=codecs[0], **secure)
    bob = Baresip(case, "bob", kamailio, HIGH, codecs=codecs[1], port=at, **secure)
    house.relay.phones_talk((alice, bob), (LOW, HIGH), 6)
    if record:
        (path,) = house.whole()
        both_hold(path)


def test_phones(case):
    through_kamailio(case, "transcode-PCMA", ("PCMU", "PCMA"))


def test_wide_phone(case):
    through_kamailio(case, "codec-mask-all transcode-G722 transcode-telephone-event",
                     ("PCMU", "G722"))


def test_secure_phones(case):
    through_kamailio(case, "transcode-PCMU", ("PCMA", "PCMU"), secure=True)


def test_recorded(case):
    through_kamailio(case, "transcode-G722", ("PCMA", "G722"), record=True)
