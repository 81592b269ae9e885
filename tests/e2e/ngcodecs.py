"""Codecs that one side has and the other has not, by the ng protocol: the descriptions are rtpengine's,
and the sides hear each other."""

from lib.phone import Phone as Baresip
from ng import BASE, FLAGS, Kamailio, Relay, Rtpengine, fields
from ngrecord import HIGH, LOOPBACK, LOW, PCMA, PCMU, House, TwoStreams, both_hold, each_holds

MAPS = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "101": "telephone-event/8000"}
# What is asked for with an offer of PCMU, PCMA and events, and the formats of the answers.
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
    "accepted": ({"accept": ["PCMA"]}, "0 101", "8 101", "0 8 101", "8 0 101"),
    "accepted, flag": (["codec-accept-PCMU"], "8 101", "0"),
    "accepted in full": ({"accept": ["PCMU/8000/1"]}, "8 101"),
    "two accepted": ({"accept": ["PCMA", "PCMU"]}, "0 101", "8 101"),
    "all accepted": ({"accept": ["all"]}, "0 101", "8 101", "8", "0", "8 0"),
    "always": (["always-transcode"], "8 101", "8", "0"),
    "always, in words": (["always transcode"], "8 101"),
    "events accepted": ({"accept": ["telephone-event"]}, "0", "8", "8 101"),
    "accepted, nowhere": ({"accept": ["opus"]}, "8 101"),
    "accepted, one more": ({"accept": ["PCMA"], "transcode": ["G722"]}, "9 101", "0 101"),
    "accepted, stripped": ({"accept": ["PCMU"], "strip": ["PCMU"]}, "8 101"),
    "accepted, masked": ({"accept": ["PCMU"], "mask": ["PCMU"]}, "8 101"),
    "accepted, single": ({"accept": ["PCMA"], "flags": ["single-codec"]}, "0 101", "0 8 101"),
    "consumed": ({"consume": ["PCMU"]}, "8 101"),
    "consumed, one more": ({"consume": ["all"], "transcode": ["G722"]}, "9 101", "9"),
    "consumed, stripped": ({"strip": ["PCMA"], "consume": ["PCMU"], "transcode": ["G722"]}, "9 101"),
    "masked alone": ({"mask": ["PCMU"]}, "8 101"),
    "excepted by name": ({"strip": ["PCMU"], "except": ["PCMU"]}, "8 101"),
    "excepted from all": ({"mask": ["all"], "except": ["PCMA", "telephone-event"]}, "8 101", "8"),
    "excepted, one more": ({"strip": ["all"], "except": ["PCMU", "telephone-event"],
                            "transcode": ["G722"]}, "9 101", "0 101"),
    "offered again": ({"strip": ["PCMU"], "offer": ["PCMU"]}, "0 101", "8 101"),
    "offered in order": ({"strip": ["all"], "offer": ["PCMA", "PCMU"]}, "0 8", "8 0"),
    "offered, events between": ({"strip": ["all"], "offer": ["PCMA", "telephone-event", "PCMU"]},
                                "0 101", "8 101"),
    "offered, one more": ({"strip": ["PCMU"], "offer": ["PCMU"], "transcode": ["G722"]},
                          "9 101", "0 101"),
    "offered, excepted": ({"strip": ["all"], "except": ["PCMU"], "offer": ["PCMA"]}, "8", "0 8"),
    "nothing left": ({"strip": ["all"]}, "0 101", "8 101"),
    "nothing left of it": ({"mask": ["all"], "except": ["G722"]}, "0 101"),
    "single in the offer": (["single-codec"], "0 8 101"),
    "set": ({"transcode": ["G722"], "set": ["opus/48000/2/20000"]}, "9 101", "0 101"),
    "set, flag": (["transcode-G722", "codec-set-PCMU/8000/1/64000"], "9 101"),
}


def answer(*sections):
    head, _, _ = BASE.partition("m=audio")
    for at, formats in enumerate(sections):
        maps = "".join(f"a=rtpmap:{f} {MAPS[f]}\r\n" for f in formats.split())
        head += f"m=audio {5000 + 2 * at} RTP/AVP {formats}\r\n" + maps
    return head


def differences(clients, name, asked, *sections):
    """What two relays make of the same offer and answer, where it is not the same."""
    call, wrong = {"call_id": name, "from_tag": "a"}, []
    options = {key: value for key, value in zip(("flags", "codec"), asked) if value}
    sound = BASE.partition("m=audio")[2]
    offer = BASE + "".join(f"m=audio{sound.replace('4000', str(4000 + 2 * at))}"
                           for at in range(1, len(sections)))
    for step, keys in (("offer", {"sdp": offer, **options}),
                       ("answer", {"sdp": answer(*sections), "to_tag": "b", "flags": asked[0]})):
        replies = [client.ask(step, **call, **keys) for client in clients]
        if any(reply["result"] != "ok" for reply in replies):
            return [f"{name}, {step}: {replies}"]
        told = [fields(reply["sdp"]) for reply in replies]
        for at in range(len(sections)):
            for key in (f"{at}.{field}" for field in ("formats", "refused", "protocol", "direction")):
                if told[0][key] != told[1][key]:
                    wrong.append(f"{name}, {step}: {key}: {told[0][key]}, rtpengine {told[1][key]}")
            maps = [{a for a in t[f"{at}.maps"] or [] if a.startswith("rtpmap")} for t in told]
            if maps[0] != maps[1]:
                wrong.append(f"{name}, {step}, {at}: {maps[0]}, rtpengine {maps[1]}")
    for client in clients:
        client.ask("delete", call_id=name, delete_delay=0)
    return wrong


def test_beside_rtpengine(case):
    """The same offers and answers to both: the same formats, in the same order."""
    ours, theirs = Relay(case, ng_interfaces=LOOPBACK).client, Rtpengine(case).client
    wrong = []
    for name, (asked, *answers) in CASES.items():
        flags = asked if isinstance(asked, list) else asked.get("flags", [])
        codec = {} if isinstance(asked, list) else {k: v for k, v in asked.items() if k != "flags"}
        for formats in answers:
            wrong += differences((ours, theirs), f"{name}, {formats}", (flags, codec), formats)
    assert not wrong, "\n".join(wrong)


def test_two_streams_beside_rtpengine(case):
    """Of two streams of sound each is shown and answered as if it were alone."""
    ours, theirs = Relay(case, ng_interfaces=LOOPBACK).client, Rtpengine(case).client
    wrong = []
    for name, (asked, *answers) in CASES.items():
        flags = asked if isinstance(asked, list) else asked.get("flags", [])
        codec = {} if isinstance(asked, list) else {k: v for k, v in asked.items() if k != "flags"}
        for one, other in {(answers[0], answers[-1]), (answers[-1], answers[0])}:
            wrong += differences((ours, theirs), f"{name}, {one}, {other}", (flags, codec), one, other)
    assert not wrong, "\n".join(wrong)


def test_two_streams(case):
    """Both are written as the other side wants them, and recorded."""
    house = House(case)
    codec = {"mask": ["all"], "transcode": ["PCMA"]}
    call = TwoStreams(case, house.client, (PCMU, PCMA), record_call="on", codec=codec)
    call.talks(3)
    for pair in call.pairs:
        assert [talker.kinds for talker in pair] == [{PCMU}, {PCMA}]
    call.end()
    each_holds(house.whole(2))


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


def test_accepted(case):
    """Bob has nothing but A-law, which Alice has too, and Alice gets mu-law as the script wants."""
    through_kamailio(case, "codec-accept-PCMU", ("PCMU,PCMA", "PCMA"))


def test_wide_phone(case):
    through_kamailio(case, "codec-mask-all transcode-G722 transcode-telephone-event",
                     ("PCMU", "G722"))


def test_secure_phones(case):
    through_kamailio(case, "transcode-PCMU", ("PCMA", "PCMU"), secure=True)


def test_recorded(case):
    through_kamailio(case, "transcode-G722", ("PCMA", "G722"), record=True)
