"""OpenSIPS with its module rtpengine, unchanged, has its media relayed by voipd."""

import json
import time

from lib.case import wait_for
from lib.ngclient import NgClient
from lib.opensips import OpenSips, installed
from lib.phone import Phone as Baresip
from lib.sip import Agent, Dialog, sdp
from lib.voipd import Voipd
from media import Audio
from ng import FLAGS, Relay, Rtpengine, read
from ngrecord import HIGH, LOW, House, Talker, both_hold

LOOPBACK = ["lo/127.0.0.1"]
# What the module's documentation names and its own examples pass.
USUAL = f"trust-address symmetric {FLAGS}"


def said_of_options(voipd):
    """What voipd's log says of options that it does not know or carry out."""
    return [line for line in voipd.process.text().splitlines() if " ng: " in line]


class Pair:
    """Two agents that call through an OpenSIPS, each with something to talk and listen by."""

    def __init__(self, case, relays, flags=USUAL, audio=Audio, **words):
        installed()
        self.case, self.relays = case, relays
        voipd = relays[0].voipd
        self.bob = Agent(case, voipd, "bob")
        self.opensips = OpenSips(case, relays, f"127.0.0.1:{self.bob.port}", flags, **words)
        self.bob.peer = (self.opensips.address, self.opensips.port)
        self.alice = Agent(case, self.opensips, "alice")
        self.a, self.b = audio(case), audio(case)

    def call(self, a_sdp=None, b_sdp=None):
        """Sets up a call: the request that reached Bob, and both dialogs."""
        call = self.alice.invite("bob", a_sdp or sdp("127.0.0.1", self.a.port))
        request = self.bob.expect("INVITE")
        called = self.bob.answer(request, b_sdp or sdp("127.0.0.1", self.b.port))
        caller = call.established()
        self.bob.expect("ACK")
        return request, caller, called

    def talk(self, caller, request):
        self.a.talk_to(caller.answer.media())
        self.b.talk_to(request.media())
        assert self.a.hears() and self.b.hears()

    def within(self, dialog, method):
        """A request inside the call, for what the script does at it."""
        dialog.send(method)
        self.bob.reply(self.bob.expect(method), 200)
        self.alice.expect(200, skip=("100", "180"))


def test_phones(case):
    """Two baresips hear each other; the statistics that the script writes are theirs."""
    installed()
    relay, at = Relay(case), case.port()
    opensips = OpenSips(case, [relay], f"127.0.0.1:{at}", USUAL,
                        after='xlog("sums: $rtpstat\\n");')
    alice = Baresip(case, "alice", opensips, LOW)
    bob = Baresip(case, "bob", opensips, HIGH, port=at)
    relay.phones_talk((alice, bob), (LOW, HIGH), 6)
    assert relay.voipd.json("relay", "calls") == []
    assert said_of_options(relay.voipd) == []
    (sums,) = opensips.told("sums")
    rtp, rtcp = sums.split("; ")
    assert packets_in(rtp) > 300 and packets_in(rtcp) >= 2, sums


def packets_in(line):
    """How many packets `RTP: 123 bytes, 4 packets, 0 errors` names."""
    words = line.split()
    assert words[4] == "packets," and words[6] == "errors", line
    return int(words[3])


def test_one_secure_phone(case):
    """RTP/SAVP toward Bob, and back as Alice offered."""
    installed()
    relay, at = Relay(case), case.port()
    opensips = OpenSips(case, [relay], f"127.0.0.1:{at}",
                        offer=f'rtpengine_offer("{USUAL} RTP/SAVP");',
                        answer=f'rtpengine_answer("{USUAL} RTP/AVP");')
    alice = Baresip(case, "alice", opensips, LOW)
    bob = Baresip(case, "bob", opensips, HIGH, secure=True, port=at)
    relay.phones_talk((alice, bob), (LOW, HIGH), 6)
    assert said_of_options(relay.voipd) == []


def whole_call(pair):
    """Offer, answer, a query in the midst, a re-INVITE, deletion; returns what the query told."""
    request, caller, called = pair.call()
    ports = pair.relays[0].ports
    assert request.media()[1] in ports and caller.answer.media()[1] in ports, request.text()
    pair.talk(caller, request)
    assert pair.a.sources == {caller.answer.media()} and pair.b.sources == {request.media()}
    pair.within(caller, "INFO")
    (told,) = pair.opensips.told("query")
    moved = Audio(pair.case)
    called.send("INVITE", body=sdp("127.0.0.1", moved.port, version=2))
    again = pair.alice.expect("INVITE")
    assert again.media() == caller.answer.media(), "our port moved"
    pair.alice.reply(again, 200, body=sdp("127.0.0.1", pair.a.port, version=2))
    answered = pair.bob.expect(200, skip=("100",))
    assert answered.media() == request.media(), "our port moved"
    called.send("ACK", cseq=int(answered["cseq"].split()[0]))
    pair.alice.expect("ACK")
    pair.b.speaks = False
    moved.talk_to(request.media())
    assert pair.a.hears() and moved.hears()
    caller.bye(called)
    return json.loads(told), caller


# Without port-latching rtpengine has another port where a side moved.
BY_NAME = {
    "offer": f'rtpengine_offer("{USUAL} port-latching");',
    "answer": f'rtpengine_answer("{USUAL} port-latching");',
    "inside": 'if (is_method("INFO")) { xlog("query: $rtpquery\\n"); }',
    "after": 'xlog("sums: $rtpstat\\n"); xlog("MOS: $rtpstat(MOS-average)\\n");',
}


def test_offer_answer_delete(case):
    """The functions by name, with $rtpquery and $rtpstat."""
    relay = Relay(case)
    pair = Pair(case, [relay], **BY_NAME)
    told, caller = whole_call(pair)
    assert told["result"] == "ok" and len(told["tags"]) == 2, told
    assert told["totals"]["RTP"]["packets"] > 60, told
    (sums,) = pair.opensips.told("sums")
    assert packets_in(sums.split("; ")[0]) > told["totals"]["RTP"]["packets"], sums
    # Neither side said by RTCP how the other was heard: it is what came to us.
    (score,) = pair.opensips.told("MOS")
    assert 40 <= int(score) <= 45, score
    assert relay.client.ask("list")["calls"] == [] and relay.voipd.json("relay", "calls") == []
    assert said_of_options(relay.voipd) == []


class Original(Rtpengine):
    """rtpengine in voipd's place."""

    def __init__(self, case, voipd):
        super().__init__(case)
        self.voipd = voipd


def shape(value):
    """The keys of a query's answer, without their values; of a list those of its first member."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def test_beside_rtpengine(case):
    """The same call with rtpengine: all that voipd tells by $rtpquery rtpengine tells as well."""
    relay = Relay(case, ng_interfaces=LOOPBACK)
    told = []
    for each in (relay, Original(case, relay.voipd)):
        pair = Pair(case, [each], **BY_NAME)
        query, _ = whole_call(pair)
        query["tags"] = sorted(query["tags"].values(), key=lambda tag: tag["created"])
        told.append(shape(query))
    ours, theirs = told
    # As rtpengine's description of the protocol has it; this release tells it by "subscriptions".
    for tag in ours["tags"]:
        del tag["in dialogue with"]
    # Of a call without RTCP rtpengine knows no quality; see ng.quality_beside_rtpengine for one with.
    assert len(ours.pop("SSRC")) == 2 and theirs.pop("SSRC") == {}
    assert beyond(ours, theirs) == [], (beyond(ours, theirs), theirs)


def beyond(ours, theirs, at=""):
    """What of one shape is not in the other."""
    if type(ours) is not type(theirs):
        return [f"{at}: {ours}, not {theirs}"]
    if isinstance(ours, dict):
        lacks = [f"{at}/{key}" for key in ours if key not in theirs]
        return lacks + [line for key in ours if key in theirs
                        for line in beyond(ours[key], theirs[key], f"{at}/{key}")]
    if isinstance(ours, list):
        return beyond(ours[0], theirs[0], f"{at}[]") if ours and theirs else []
    return [] if ours == theirs else [f"{at}: {ours}, not {theirs}"]


def test_the_delay_of_delete(case):
    """As the module deletes by itself: the call stays for what is still under way, as with rtpengine."""
    relay = Relay(case)
    pair = Pair(case, [relay], delete="rtpengine_delete();")
    request, caller, called = pair.call()
    pair.talk(caller, request)
    caller.bye(called)
    (row,) = relay.voipd.json("relay", "calls")
    assert row["state"] == "ending", row
    relay.client.ask("delete", call_id=row["call_id"], delete_delay=0)
    assert relay.voipd.json("relay", "calls") == []


def test_late_offer(case):
    """An INVITE without a description: rtpengine_manage() offers at the 200 and answers at the ACK."""
    relay = Relay(case)
    pair = Pair(case, [relay])
    call = pair.alice.invite("bob", "")
    request = pair.bob.expect("INVITE")
    pair.bob.answer(request, sdp("127.0.0.1", pair.b.port))
    answer = call.final()
    assert answer.media()[1] in relay.ports, answer.text()
    caller = Dialog.caller(pair.alice, call.call, answer)
    caller.send("ACK", cseq=int(answer["cseq"].split()[0]), body=sdp("127.0.0.1", pair.a.port))
    acknowledged = pair.bob.expect("ACK")
    assert acknowledged.media()[1] in relay.ports, acknowledged.text()
    pair.talk(caller, acknowledged)
    caller.bye(Dialog.called(pair.bob, request))
    assert relay.voipd.json("relay", "calls") == []


def test_cancel(case):
    relay = Relay(case)
    pair = Pair(case, [relay])
    call = pair.alice.invite("bob", sdp("127.0.0.1", pair.a.port))
    request = pair.bob.expect("INVITE")
    pair.bob.reply(request, 180)
    (row,) = relay.voipd.json("relay", "calls")
    assert row["state"] == "offered", row
    call.cancel()
    pair.bob.reply(pair.bob.expect("CANCEL"), 200)
    pair.bob.reply(request, 487)
    pair.alice.expect(200, skip=("100", "180"))
    assert call.final().status == 487
    assert relay.voipd.json("relay", "calls") == []


def test_flags(case):
    """Those that the module makes keys and lists of its own from."""
    relay = Relay(case, ng_interfaces=["priv/127.0.0.1", "pub/127.0.0.1!192.0.2.7"])
    flags = ("in-iface=priv out-iface=pub via-branch=1 address-family=IP4 replace-origin "
             "replace-session-connection replace-zero-address ICE=remove SRTP AVPF rtcp-mux-offer "
             "codec-strip-PCMA transcode-GSM SDES-only-AES_CM_128_HMAC_SHA1_80 repacketize=20 "
             "replace-SDP-version replace-username replace-session-name")
    pair = Pair(case, [relay], offer=f'rtpengine_offer("{flags}");',
                answer='rtpengine_answer("via-branch=2 RTP AVP");')
    offer = ("v=0\r\no=alice 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
             f"m=audio {pair.a.port} RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n")
    pair.alice.invite("bob", offer)
    request = pair.bob.expect("INVITE")
    told = read(request.body.decode())
    (section,) = told["sections"]
    assert section["m"][2:] == ["RTP/SAVPF", "0", "3"], request.text()
    assert section["c"] == "IN IP4 192.0.2.7" and told["o"].endswith("192.0.2.7"), request.text()
    keys = [a.split()[1] for a in section["a"] if a.startswith("crypto:")]
    assert keys == ["AES_CM_128_HMAC_SHA1_80"] and "rtcp-mux" in section["a"], request.text()
    assert {line.split(" ng: ")[1] for line in said_of_options(relay.voipd)} == {
        f"{word} is not done" for word in ("repacketize", "replace-SDP-version",
                                           "replace-session-name", "replace-username")}


def test_a_full_relay(case):
    """Where one relay has as many calls as it may have, OpenSIPS goes on to the next."""
    installed()
    full = Relay(case)
    full.voipd.tables["limits"] = {"calls_max": 1}
    full.voipd.write()
    full.voipd.process.stop()
    full.voipd.start()
    taken = full.client.ask("offer", call_id="x", from_tag="a", sdp=sdp("127.0.0.1", 9))
    assert taken["result"] == "ok", taken
    other = Second(case)
    # The script keeps with the dialog which relay took the call.
    pair = Pair(case, [full, other],
                offer=f'create_dialog(); rtpengine_offer("{USUAL}", $dlg_val(relay));',
                answer=f'rtpengine_answer("{USUAL}", $dlg_val(relay));',
                delete='rtpengine_delete("delete-delay=0", $dlg_val(relay));')
    request, caller, called = pair.call()
    assert request.media()[1] in other.ports, request.text()
    asked = full.voipd.json("status")["counters"]["other"]
    assert asked["ng_offer"] == 2 and asked["ng_errors"] >= 1, asked
    pair.talk(caller, request)
    caller.bye(called)
    assert other.voipd.json("relay", "calls") == []


class Second(Relay):
    """A second voipd of the same test."""

    def __init__(self, case):
        self.port = case.port()
        self.voipd = Voipd(case, name="second", rtp={"ng": f"udp:127.0.0.1:{self.port}"})
        self.client = NgClient("127.0.0.1", self.port)
        first, last = self.voipd.tables["rtp"]["ports"].split("-")
        self.ports = range(int(first), int(last) + 1)


def test_block_and_unblock(case):
    """rtpengine_block_media() in the midst of a call, for one side and for both."""
    relay = Relay(case)
    inside = ('if (is_method("INFO")) { rtpengine_block_media("from-tag=$ft"); } '
              'if (is_method("UPDATE")) { rtpengine_unblock_media("from-tag=$ft"); } '
              'if (is_method("MESSAGE")) { rtpengine_start_forwarding(); }')
    pair = Pair(case, [relay], inside=inside)
    request, caller, called = pair.call()
    pair.talk(caller, request)
    pair.within(caller, "INFO")
    time.sleep(0.2)
    assert not pair.b.hears() and pair.a.hears()
    pair.within(caller, "UPDATE")
    assert pair.b.hears() and pair.a.hears()
    pair.within(caller, "MESSAGE")
    (refused,) = pair.opensips.told("proxy replied with error")
    assert refused == "start forwarding is not supported here"
    assert pair.b.hears() and pair.a.hears()
    caller.bye(called)


def test_recording(case):
    """rtpengine_start_recording(), a pause, and rtpengine_stop_recording()."""
    house = House(case)
    inside = ('if (is_method("INFO")) { rtpengine_start_recording(); } '
              'if (is_method("MESSAGE")) { rtpengine_pause_recording(); } '
              'if (is_method("UPDATE")) { rtpengine_stop_recording(); }')
    pair = Pair(case, [house.relay], audio=lambda case: None, inside=inside)
    pair.a, pair.b = Talker(case, LOW), Talker(case, HIGH)
    request, caller, called = pair.call()
    pair.talk(caller, request)
    assert house.files("*") == []
    for method in ("INFO", "MESSAGE", "INFO", "UPDATE"):
        pair.within(caller, method)
        assert pair.a.hears(1.5) and pair.b.hears(1.5)
    (path,) = house.whole()
    # Twice three seconds, without the pause.
    assert 5 < both_hold(path) < 8
    caller.bye(called)


def test_a_relay_that_was_away(case):
    """voipd goes away and comes back: the management interface shows it, and pings it back in."""
    relay = Relay(case)
    pair = Pair(case, [relay])
    (url,) = pair.opensips.sockets
    request, caller, called = pair.call()
    caller.bye(called)
    assert node(pair)["disabled"] == 0, node(pair)
    relay.voipd.process.stop()
    call = pair.alice.invite("bob", sdp("127.0.0.1", pair.a.port))
    request = pair.bob.expect("INVITE", 15)
    assert request.media()[1] == pair.a.port, "nobody relays, and the script goes on"
    assert node(pair)["disabled"] == 1, node(pair)
    relay.voipd.start()
    assert pair.opensips.manage("rtpengine_enable", url=url, enable=1) == "OK"
    assert node(pair)["disabled"] == 0, node(pair)
    pair.bob.reply(request, 486)
    assert call.final().status == 486
    pair.bob.expect("ACK")
    before = relay.voipd.json("status")["counters"]["other"]["ng_offer"]
    request, caller, called = pair.call()
    assert request.media()[1] in relay.ports, request.text()
    assert relay.voipd.json("status")["counters"]["other"]["ng_offer"] == before + 1
    caller.bye(called)


def node(pair):
    """The one relay, as rtpengine_show lists it."""
    (rows,) = pair.opensips.manage("rtpengine_show")
    (row,) = rows["Nodes"]
    return row


RELAY = """\
route {{
    if (!mf_process_maxfwd_header(10)) {{ sl_send_reply(483, "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); }}
        else if (is_method("ACK") && t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    remove_hf("Route");
    record_route();
    if (is_method("INVITE")) {{
        create_dialog();
        t_on_branch("EACH");
    }}
    $ru = "sip:bob@{next_hop}";
    append_msg_branch("sip:carol@{second}");
    t_relay();
}}

branch_route[EACH] {{
    $rtp_relay = "replace-origin replace-session-connection";
    $rtp_relay_peer = "replace-origin replace-session-connection";
    $rtp_relay(delete) = "delete-delay=0";
    $rtp_relay_peer(delete) = "delete-delay=0";
    rtp_relay_engage("rtpengine");
}}
"""


def test_rtp_relay(case):
    """The module rtp_relay drives rtpengine: two branches of a fork, of which one answers."""
    installed()
    relay = Relay(case)
    carol = Agent(case, relay.voipd, "carol")
    pair = Pair(case, [relay], script=RELAY, second=f"127.0.0.1:{carol.port}")
    carol.peer = pair.bob.peer
    call = pair.alice.invite("bob", sdp("127.0.0.1", pair.a.port))
    request, other = pair.bob.expect("INVITE"), carol.expect("INVITE")
    assert {request.media()[1], other.media()[1]} <= set(relay.ports)
    assert request.media() != other.media()
    carol.reply(other, 180)
    # Its workers race: the answer could be sent on before this branch can be cancelled.
    assert call.next().status == 180
    called = pair.bob.answer(request, sdp("127.0.0.1", pair.b.port))
    caller = call.established()
    pair.bob.expect("ACK")
    carol.reply(carol.expect("CANCEL"), 200)
    carol.reply(other, 487)
    carol.expect("ACK")
    pair.talk(caller, request)
    # The module says nothing of the branch that lost before it deletes the whole.
    assert len(relay.voipd.json("relay", "calls")) == 2
    caller.bye(called)
    wait_for("the end", lambda: relay.voipd.json("relay", "calls") == [])
    assert said_of_options(relay.voipd) == []
