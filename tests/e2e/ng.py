"""voipd as the relay of another proxy: the ng protocol, driven by Kamailio and beside rtpengine."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import time
import urllib.request

from lib.case import Skip, wait_for
from lib.kamailio import modules
from lib.ngclient import NgClient
from lib.sip import Agent, sdp
from lib.tone import hears
from lib.voipd import Voipd
from media import Audio, Talk

CONFIG = """\
debug=1
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{port}
mpath="{modules}/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "xlog.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:{ng}")
{more}

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{
        rtpengine_delete();
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    if (is_method("BYE")) {{ rtpengine_delete("{delete}"); }}
    if (has_totag()) {{
        if (loose_route()) {{
            if (is_method("INVITE")) {{ route(MEDIA); }}
            {inside}
            t_relay();
        }} else if (is_method("ACK") && t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    remove_hf("Route");
    record_route();
    if (is_method("INVITE")) {{ route(MEDIA); }}
    $du = "sip:{next_hop}";
    t_relay();
}}

route[MEDIA] {{
    t_on_reply("MEDIA");
    if (!rtpengine_manage("{flags}")) {{ xlog("L_ERR", "no relay\\n"); }}
}}

onreply_route[MEDIA] {{
    if (has_body("application/sdp")) {{ rtpengine_manage("{flags}"); }}
}}
"""
FLAGS = "replace-origin replace-session-connection ICE=remove"

CALLER = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
INVITE sip:callee@{target} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:caller@{target}>;tag=[pid]a[call_number]
To: <sip:callee@{target}>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:caller@{target}>;tag=[pid]a[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
  <nop><action><exec rtp_stream="{sound},-1,0"/></action></nop>
  <pause milliseconds="{pause_ms}"/>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:caller@{target}>;tag=[pid]a[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 BYE
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""
CALLEE = """\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="callee">
  <recv request="INVITE" rrs="true"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:];tag=[pid]b[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:callee@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 2 2 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""


class Relay:
    """A voipd that serves the protocol."""

    def __init__(self, case, node=None, **rtp):
        self.port = case.port()
        self.voipd = Voipd(case, node=node or {}, rtp={"ng": f"udp:127.0.0.1:{self.port}", **rtp})
        self.client = NgClient("127.0.0.1", self.port)
        first, last = self.voipd.tables["rtp"]["ports"].split("-")
        self.ports = range(int(first), int(last) + 1)

    def phones_talk(self, phones, tones, seconds):
        """Of two baresips that play one tone each the first calls `bob`; each hears the other."""
        alice, bob = phones
        wait_for("both phones", lambda: all("baresip is ready" in p.process.text() for p in phones))
        alice.dial("bob")
        wait_for("the answer", lambda: [r for r in self.voipd.json("relay", "calls")
                                        if r["state"] == "answered"], 15)
        time.sleep(seconds)
        alice.hangup()
        wait_for("the end", lambda: self.client.ask("list")["calls"] == [])
        low, high = tones
        hears(alice.recording(), high, [low])
        hears(bob.recording(), low, [high])


class Kamailio:
    """A record-routing proxy that has its media relayed."""

    def __init__(self, case, relay, next_hop, flags=FLAGS, delete="delete-delay=0",
                 inside="", more=""):
        self.address, self.port = "127.0.0.1", case.port()
        self.ports = {"udp": self.port}
        file = case.folder / "kamailio.cfg"
        file.write_text(CONFIG.format(port=self.port, modules=modules(), ng=relay.port,
                                      next_hop=next_hop, flags=flags, delete=delete,
                                      inside=inside, more=more))
        if not (pathlib.Path(modules()) / "rtpengine.so").exists():
            raise Skip("Kamailio without its module rtpengine")
        argv = ["kamailio", "-DD", "-f", file, "-m", "64", "-M", "8", "-Y", case.folder,
                "-P", case.folder / "kamailio.pid"]
        self.process = case.start("kamailio", argv)
        wait_for("Kamailio to listen", self.listens)

    def listens(self):
        assert self.process.alive(), self.process.text()[-1500:]
        return f"0100007F:{self.port:04X}" in pathlib.Path("/proc/net/udp").read_text()


def sipp(case, name, scenario, *words):
    file = case.folder / f"{name}.xml"
    file.write_text(scenario)
    argv = ["sipp", *words, "-sf", file, "-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin",
            "-timeout", "40s", "-timeout_error", "-trace_err",
            "-error_file", case.folder / f"{name}-errors.log"]
    return case.start(f"sipp-{name}", argv)


def packets(told):
    """How many RTP packets each tag of a query's reply sent."""
    def of(tag):
        return sum(m["streams"][0]["stats"]["packets"] for m in tag["medias"])
    return {name: of(tag) for name, tag in told["tags"].items()}


def test_kamailio_and_sipp(case):
    """Calls of sipp through Kamailio: what the caller plays, the callee echoes, both by our relay."""
    relay = Relay(case)
    callee, echo = case.port(), case.port()
    kamailio = Kamailio(case, relay, f"127.0.0.1:{callee}")
    sound = case.folder / "sound.ul"
    sound.write_bytes(bytes(range(256)) * 63)
    calls = 4
    there = sipp(case, "callee", CALLEE, "-p", callee, "-m", calls, "-mp", echo, "-rtp_echo")
    text = CALLER.format(target=f"127.0.0.1:{kamailio.port}", sound=sound, pause_ms=4000)
    here = sipp(case, "caller", text, f"127.0.0.1:{kamailio.port}", "-p", case.port(), "-m", calls,
                "-r", 4, "-mp", case.port())
    names = wait_for("all calls", lambda: relay_calls(relay, calls))
    time.sleep(1.5)
    for name in names:
        sent = packets(relay.client.ask("query", call_id=name))
        assert len(sent) == 2 and min(sent.values()) > 20, sent
    assert here.wait(30) == 0, here.text()[-1500:]
    assert there.wait(30) == 0, there.text()[-1500:]
    assert relay.client.ask("list")["calls"] == []


def relay_calls(relay, count):
    names = relay.client.ask("list")["calls"]
    return names if len(names) == count else None


def test_kamailio_and_phones(case):
    """Two phones hear each other, also after a re-INVITE of the callee's from another port."""
    relay = Relay(case)
    bob = Agent(case, relay.voipd, "bob")
    kamailio = Kamailio(case, relay, f"127.0.0.1:{bob.port}")
    bob.peer = (kamailio.address, kamailio.port)
    alice = Agent(case, kamailio, "alice")
    a, b = Audio(case), Audio(case)
    call = alice.invite("bob", sdp("127.0.0.1", a.port))
    request = bob.expect("INVITE")
    assert request.media()[1] in relay.ports, request.text()
    called = bob.answer(request, sdp("127.0.0.1", b.port))
    caller = call.established()
    bob.expect("ACK")
    assert caller.answer.media()[1] in relay.ports, caller.answer.text()
    a.talk_to(caller.answer.media())
    b.talk_to(request.media())
    assert a.hears() and b.hears()
    (row,) = relay.voipd.json("relay", "calls")
    assert row["state"] == "answered" and row["from_media"] == f"127.0.0.1:{a.port}", row
    assert row["ports"] == [caller.answer.media()[1], request.media()[1]], row
    assert a.sources == {caller.answer.media()} and b.sources == {request.media()}
    c = Audio(case)
    called.send("INVITE", body=sdp("127.0.0.1", c.port, version=2))
    again = alice.expect("INVITE")
    assert again.media() == caller.answer.media(), "our port moved"
    alice.reply(again, 200, body=sdp("127.0.0.1", a.port, version=2))
    answered = bob.expect(200, skip=("100",))
    assert answered.media() == request.media(), "our port moved"
    called.send("ACK", cseq=int(answered["cseq"].split()[0]))
    alice.expect("ACK")
    b.speaks = False
    c.talk_to(request.media())
    assert a.hears() and c.hears()
    caller.send("BYE")
    bob.reply(bob.expect("BYE"), 200)
    alice.expect(200, skip=("100", "180"))
    assert relay.client.ask("list")["calls"] == []


def call_through(case, kamailio, bob):
    """Two phones in a call through Kamailio, whose sound is relayed; the dialogs of both."""
    bob.peer = (kamailio.address, kamailio.port)
    alice = Agent(case, kamailio, "alice")
    a, b = Audio(case), Audio(case)
    call = alice.invite("bob", sdp("127.0.0.1", a.port))
    request = bob.expect("INVITE")
    called = bob.answer(request, sdp("127.0.0.1", b.port))
    caller = call.established()
    bob.expect("ACK")
    a.talk_to(caller.answer.media())
    b.talk_to(request.media())
    assert a.hears() and b.hears()
    return caller, called


def names_branches(case, via):
    """One string of flags for all messages: a BYE's branch is not the INVITE's, and ends the call."""
    relay = Relay(case)
    bob = Agent(case, relay.voipd, "bob")
    flags = f"{FLAGS} via-branch={via}"
    kamailio = Kamailio(case, relay, f"127.0.0.1:{bob.port}", flags=flags,
                        delete=f"{flags} delete-delay=0")
    for hangs_up in (0, 1):
        dialogs = call_through(case, kamailio, bob)
        dialogs[hangs_up].bye(dialogs[1 - hangs_up])
        assert relay.client.ask("list")["calls"] == [], (via, hangs_up)


def test_kamailio_names_the_first_via(case):
    names_branches(case, "1")


def test_kamailio_names_the_via_of_its_reader(case):
    names_branches(case, "auto")


def test_kamailio_names_the_next_via(case):
    names_branches(case, "auto-next")


MOS = """
modparam("rtpengine", "mos_average_pv", "$avp(average)")
modparam("rtpengine", "mos_min_pv", "$avp(min)")
modparam("rtpengine", "mos_max_pv", "$avp(max)")
modparam("rtpengine", "mos_average_packetloss_pv", "$avp(loss)")
modparam("rtpengine", "mos_average_jitter_pv", "$avp(jitter)")
modparam("rtpengine", "mos_average_samples_pv", "$avp(samples)")
"""


def test_kamailio_learns_how_it_sounded(case):
    """Its variables of a call's quality are filled when the call is deleted."""
    relay = Relay(case)
    bob = Agent(case, relay.voipd, "bob")
    told = 'xlog("L_ERR", "heard $avp(average) $avp(min) $avp(max) $avp(loss) $avp(samples)!\\n");'
    kamailio = Kamailio(case, relay, f"127.0.0.1:{bob.port}", more=MOS,
                        inside=f'if (is_method("BYE")) {{ {told} }}')
    caller, called = call_through(case, kamailio, bob)
    caller.bye(called)
    line = wait_for("the figures", lambda: [line for line in kamailio.process.text().splitlines()
                                            if "heard " in line])
    average, low, high, loss, samples = line[0].split("heard ")[1].split("!")[0].split()
    assert 4.0 <= float(low) <= float(average) <= float(high) <= 4.5, line
    assert (loss, samples) == ("0", "1"), line


def test_kamailio_and_an_asymmetric_phone(case):
    """Alice's description names one port, and she sends from another: she is reached at the first."""
    relay = Relay(case)
    bob = Agent(case, relay.voipd, "bob")
    kamailio = Kamailio(case, relay, f"127.0.0.1:{bob.port}", flags=f"{FLAGS} asymmetric")
    bob.peer = (kamailio.address, kamailio.port)
    alice = Agent(case, kamailio, "alice")
    mouth, ear, b = Audio(case), Audio(case), Audio(case)
    call = alice.invite("bob", sdp("127.0.0.1", ear.port))
    request = bob.expect("INVITE")
    called = bob.answer(request, sdp("127.0.0.1", b.port))
    caller = call.established()
    bob.expect("ACK")
    one_way(caller.answer.media(), request.media(), (mouth, ear, b))
    caller.bye(called)


def one_way(near, far, phones):
    """What `mouth` says comes to `b`, and what `b` says to `ear` alone."""
    mouth, ear, b = phones
    ear.speaks = False
    ear.talk_to(near)
    mouth.talk_to(near)
    b.talk_to(far)
    assert b.hears() and ear.hears()
    # Long after ports have learned what they learn.
    time.sleep(3.5)
    assert b.hears() and ear.hears()
    assert mouth.heard == 0


def test_media_begins_anew(case):
    """The process of media dies in the midst of a call: the sound comes back by the same ports."""
    if "--processes" not in os.environ.get("VOIPD_FLAGS", ""):
        raise Skip("of several processes only")
    relay = Relay(case, ng_interfaces=["lo/127.0.0.1"])
    a, b = Audio(case), Audio(case)
    call = {"call_id": "x", "from_tag": "a"}
    offered = relay.client.ask("offer", sdp=sdp("127.0.0.1", a.port), **call)
    answered = relay.client.ask("answer", sdp=sdp("127.0.0.1", b.port), to_tag="b", **call)
    b.talk_to(("127.0.0.1", port_of(offered)))
    a.talk_to(("127.0.0.1", port_of(answered)))
    assert a.hears() and b.hears()
    (media,) = relay.voipd.pids("media")
    os.kill(media, signal.SIGKILL)
    wait_for("media to be there again", lambda: relay.voipd.pids("media") not in ([], [media]))
    wait_for("sound", lambda: a.hears(0.5) and b.hears(0.5))
    assert relay.client.ask("delete", delete_delay=0, **call)["result"] == "ok"
    assert relay.client.ask("list")["calls"] == []


def port_of(reply):
    return int(read(reply["sdp"])["sections"][0]["m"][1])


def test_all_relayed_calls_are_listed(case):
    """A call of voipd's own and one of another proxy's, by voipctl and by HTTP."""
    token, web, port = case.folder / "token", case.port(), case.port()
    token.write_text("t" * 32)
    token.chmod(0o600)
    talk = Talk(case, rtp={"ng": f"udp:127.0.0.1:{port}", "ng_interfaces": ["lo/127.0.0.1"]},
                admin={"web": f"127.0.0.1:{web}", "token_file": str(token)})
    client = NgClient("127.0.0.1", port)
    call = {"call_id": "theirs", "from_tag": "x"}
    assert client.ask("offer", sdp=BASE, **call)["result"] == "ok"

    def http(path):
        request = urllib.request.Request(f"http://127.0.0.1:{web}{path}",
                                         headers={"Authorization": f"Bearer {token.read_text()}"})
        return urllib.request.urlopen(request).read().decode()

    def both():
        rows = {row["by"]: row for row in talk.voipd.json("relay", "calls")}
        return rows if len(rows) == 2 else None
    rows = wait_for("both calls", both)
    ours, theirs = rows["call"], rows["ng"]
    assert ours["call_id"] == talk.caller.call_id and ours["state"] == "answered", ours
    assert ours["from_media"] == f"127.0.0.1:{talk.a.port}", ours
    assert ours["to_media"] == f"127.0.0.1:{talk.b.port}" and len(ours["ports"]) == 2, ours
    assert (theirs["call_id"], theirs["state"]) == ("theirs", "offered"), theirs
    listed = json.loads(http("/api/v1/relay"))
    assert listed["more"] is False and {row["by"] for row in listed["rows"]} == {"call", "ng"}
    metrics = http("/metrics").splitlines()
    assert "voip_ng_sessions 1" in metrics and "voip_media_sessions 1" in metrics
    client.ask("delete", delete_delay=0, **call)
    talk.caller.bye(talk.called)
    wait_for("the end", lambda: talk.voipd.json("relay", "calls") == [], 10)
    wait_for("no session", lambda: "voip_ng_sessions 0" in http("/metrics").splitlines())


def test_strangers_are_not_answered(case):
    relay = Relay(case, ng_allow=["192.0.2.0/24"])
    relay.client.socket.settimeout(0.2)
    assert not relay.client.answers()
    relay.voipd.tables["rtp"]["ng_allow"] = ["127.0.0.0/8"]
    relay.voipd.write()
    relay.voipd.reload()
    assert relay.client.answers()


# ---------------------------------------------------------------- beside rtpengine

BASE = (
    "v=0\r\no=phone 7 9 IN IP4 127.0.0.1\r\ns=call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
)
VIDEO = "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n"
ICE = ("a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
       "a=candidate:1 1 UDP 2130706431 127.0.0.1 4000 typ host\r\n")
MUX = "a=rtcp-mux\r\n"
# An offer, its options, the answer (None: the offer's own sound section), and its options.
OFFERS = {
    "plain": (BASE, {}, None, {}),
    "as Kamailio asks": (BASE, {"replace": ["origin", "session-connection"], "ICE": "remove"}, None,
                         {"replace": ["origin", "session-connection"], "ICE": "remove"}),
    "own connection line": (BASE.replace("m=audio 4000 RTP/AVP 0 8 101\r\n",
                                         "m=audio 4000 RTP/AVP 0 8 101\r\nc=IN IP4 127.0.0.1\r\n"),
                            {}, None, {}),
    "two streams": (BASE + VIDEO, {}, BASE + VIDEO, {}),
    "one of two refused": (BASE + VIDEO, {}, BASE + VIDEO.replace("4002", "0"), {}),
    "hold": (BASE + "a=sendonly\r\n", {}, BASE + "a=recvonly\r\n", {}),
    "inactive": (BASE + "a=inactive\r\n", {}, BASE + "a=inactive\r\n", {}),
    "null address": (BASE.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"), {}, None, {}),
    "original direction": (BASE + "a=sendonly\r\n", {"flags": ["original-sendrecv"]}, None, {}),
    "ICE removed": (BASE + ICE, {"ICE": "remove"}, None, {"ICE": "remove"}),
    "no a=rtcp": (BASE, {"flags": ["no-rtcp-attribute"]}, None, {}),
    "full a=rtcp": (BASE, {"flags": ["full-rtcp-attribute"]}, None, {}),
    "mux, agreed": (BASE + MUX, {}, BASE + MUX, {}),
    "mux, declined": (BASE + MUX, {}, BASE, {}),
    "mux, demux": (BASE + MUX, {"rtcp-mux": ["demux"]}, BASE, {}),
    "mux, accept": (BASE + MUX, {"rtcp-mux": ["accept"]}, BASE, {}),
    "mux, reject": (BASE + MUX, {"rtcp-mux": ["reject"]}, BASE, {}),
    "mux, offer": (BASE, {"rtcp-mux": ["offer"]}, BASE + MUX, {}),
    "mux, require": (BASE, {"rtcp-mux": ["require"]}, BASE + MUX, {}),
    "profile": (BASE, {"transport-protocol": "RTP/AVPF"}, BASE.replace("RTP/AVP", "RTP/AVPF"), {}),
    "codec stripped": (BASE, {"codec": {"strip": ["PCMA"]}}, BASE, {}),
    "all codecs but one": (BASE, {"codec": {"strip": ["all"], "except": ["PCMU"]}}, BASE, {}),
    "media address": (BASE, {"media-address": "127.0.0.9"}, None, {}),
    "trust address": (BASE, {"flags": ["trust-address", "symmetric"],
                             "received-from": ["IP4", "127.0.0.1"]}, None, {}),
    "fax": (BASE + "m=image 4006 udptl t38\r\na=T38FaxVersion:0\r\n", {},
            BASE + "m=image 4006 udptl t38\r\na=T38FaxVersion:0\r\n", {}),
}
# What is compared of each section, and how it is read. Not compared, since it may differ: port numbers
# (but not which are zero, equal, or next to each other), the order of lines and attributes, the ports
# of RTCP and its attribute in a section that is refused.
SECTION = {
    "kind": lambda s: s["m"][0],
    "refused": lambda s: s["m"][1] == "0",
    "protocol": lambda s: s["m"][2],
    "formats": lambda s: s["m"][3:],
    "address": lambda s: s["c"],
    "direction": lambda s: s["direction"],
    "rtcp": lambda s: s["rtcp"],
    "mux": lambda s: "rtcp-mux" in s["a"],
    "maps": lambda s: sorted(a for a in s["a"] if a.startswith(("rtpmap", "fmtp"))),
    "ice": lambda s: [a for a in s["a"] if a.startswith(("ice-", "candidate"))],
}


def read(text):
    """A description as the table needs it."""
    out = {"o": "", "s": "", "sections": []}
    session = None
    for line in text.split("\r\n"):
        key, _, value = line.partition("=")
        if key == "m":
            words = value.split()
            out["sections"].append({"m": words, "c": session, "a": [], "direction": "sendrecv",
                                    "rtcp": None})
            continue
        section = out["sections"][-1] if out["sections"] else None
        if key == "c" and section is None:
            session = value
        elif key == "c":
            section["c"] = value
        elif key == "a" and section:
            section["a"].append(value)
            if value in ("sendrecv", "sendonly", "recvonly", "inactive"):
                section["direction"] = value
            if value.startswith("rtcp:"):
                port, _, rest = value.removeprefix("rtcp:").partition(" ")
                section["rtcp"] = (int(port) - int(section["m"][1]), rest)
        elif key in "os" and section is None:
            out[key] = value
    return out


def fields(text):
    told = read(text)
    out = {"o": told["o"], "s": told["s"], "sections": len(told["sections"])}
    for at, section in enumerate(told["sections"]):
        for name, of in SECTION.items():
            skipped = name in ("rtcp", "mux", "direction", "maps", "ice") and section["m"][1] == "0"
            out[f"{at}.{name}"] = None if skipped else of(section)
    return out


class Rtpengine:
    """The original, in userspace."""

    def __init__(self, case, *more):
        program = shutil.which("rtpengine")
        if not program:
            raise Skip("no rtpengine (package rtpengine-daemon)")
        self.port = case.port()
        first, last = case.rtp_range().split("-")
        self.ports = range(int(first), int(last) + 1)
        argv = [program, "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{self.port}",
                "--foreground", "--log-stderr", f"--port-min={first}",
                f"--port-max={last}", f"--pidfile={case.folder}/rtpengine.pid", *more]
        self.process = case.start("rtpengine", argv)
        self.client = NgClient("127.0.0.1", self.port)
        wait_for("rtpengine", self.client.answers, 15)


def test_beside_rtpengine(case):
    """The same offers and answers to both; their replies say the same."""
    ours, theirs = Relay(case, ng_interfaces=["lo/127.0.0.1"]).client, Rtpengine(case).client
    wrong = []
    for number, (name, (offer, options, answer, more)) in enumerate(OFFERS.items()):
        answer = (answer or BASE).replace("4000", "5000").replace("4002", "5002").replace("4006", "5006")
        call = {"call_id": f"case-{number}", "from_tag": "a"}
        for step, keys in (("offer", {"sdp": offer, **options}),
                           ("answer", {"sdp": answer, "to_tag": "b", **more})):
            replies = [client.ask(step, **call, **keys) for client in (ours, theirs)]
            results = [reply["result"] for reply in replies]
            if results != ["ok", "ok"]:
                wrong.append(f"{name}, {step}: {replies}")
                break
            mine, other = (fields(reply["sdp"]) for reply in replies)
            wrong += [f"{name}, {step}: {key}: {mine.get(key)!r}, rtpengine {other.get(key)!r}"
                      for key in sorted(mine.keys() | other.keys()) if mine.get(key) != other.get(key)]
    assert not wrong, "\n".join(wrong)


def test_asymmetric_beside_rtpengine(case):
    """A side with the flag is reached where it says, and heard from wherever it sends."""
    for server in (Relay(case, ng_interfaces=["lo/127.0.0.1"]), Rtpengine(case)):
        phones = mouth, ear, b = Audio(case), Audio(case), Audio(case)
        call = {"call_id": "asymmetric", "from_tag": "a"}
        flags = ["asymmetric"]
        offered = server.client.ask("offer", sdp=sdp("127.0.0.1", ear.port), flags=flags, **call)
        answered = server.client.ask("answer", sdp=sdp("127.0.0.1", b.port), to_tag="b", **call)
        near, far = (("127.0.0.1", port_of(reply)) for reply in (answered, offered))
        one_way(near, far, phones)


def test_handover_beside_rtpengine(case):
    """A side with the flag moves in the midst of the call and says nothing: it is found again."""
    for server in (Relay(case, ng_interfaces=["lo/127.0.0.1"]), Rtpengine(case)):
        a, moved, b = Audio(case), Audio(case), Audio(case)
        call = {"call_id": "handover", "from_tag": "a", "flags": ["media-handover"]}
        offered = server.client.ask("offer", sdp=sdp("127.0.0.1", a.port), **call)
        answered = server.client.ask("answer", sdp=sdp("127.0.0.1", b.port), to_tag="b", **call)
        near, far = (("127.0.0.1", port_of(reply)) for reply in (answered, offered))
        a.talk_to(near)
        b.talk_to(far)
        assert a.hears() and b.hears()
        time.sleep(3.5)
        a.speaks = False
        time.sleep(0.5)
        moved.talk_to(near)
        assert b.hears() and moved.hears() and not a.hears(0.5)


def test_errors_beside_rtpengine(case):
    """What cannot be done both refuse in the same words."""
    ours, theirs = Relay(case).client, Rtpengine(case).client
    for command, keys in [
        ("offer", {}),
        ("offer", {"sdp": BASE}),
        ("offer", {"sdp": BASE, "call_id": "x"}),
        ("answer", {"sdp": BASE, "call_id": "x", "from_tag": "a"}),
        ("answer", {"sdp": BASE, "call_id": "x", "from_tag": "a", "to_tag": "b"}),
        ("offer", {"sdp": "nonsense", "call_id": "x", "from_tag": "a"}),
        ("delete", {}),
        ("delete", {"call_id": "x", "from_tag": "a"}),
        ("delete", {"call_id": "x", "from_tag": "a", "flags": ["fatal"]}),
        ("query", {"call_id": "x"}),
        ("query", {}),
        ("list", {}),
        ("nonsense", {}),
    ]:
        replies = [client.ask(command, **keys) for client in (ours, theirs)]
        assert replies[0] == replies[1], f"{command} {keys}: {replies}"


# Requests of one call in a row: what they are, whose tags, their description; see `shape`.
ROWS = {
    "re-INVITE": [("offer", "a", "", BASE), ("offer", "a", "", BASE), ("answer", "a", "b", BASE),
                  ("offer", "a", "b", BASE + "a=sendonly\r\n"),
                  ("answer", "a", "b", BASE + "a=recvonly\r\n"),
                  ("offer", "b", "a", BASE), ("answer", "b", "a", BASE)],
    "a stream comes and goes": [("offer", "a", "", BASE), ("answer", "a", "b", BASE),
                                ("offer", "a", "b", BASE + VIDEO), ("answer", "a", "b", BASE + VIDEO),
                                ("offer", "a", "b", BASE + VIDEO.replace("4002", "0")),
                                ("answer", "a", "b", BASE + VIDEO.replace("4002", "0")),
                                ("offer", "a", "b", BASE + VIDEO)],
    "mux in a re-INVITE": [("offer", "a", "", BASE + MUX), ("answer", "a", "b", BASE + MUX),
                           ("offer", "a", "b", BASE + MUX), ("answer", "a", "b", BASE + MUX),
                           ("offer", "b", "a", BASE + MUX), ("answer", "b", "a", BASE + MUX)],
    "serial fork": [("offer", "a", "", BASE), ("answer", "a", "b", BASE), ("offer", "a", "", BASE),
                    ("answer", "a", "c", BASE)],
    "dialog of before": [("offer", "a", "b", BASE), ("answer", "a", "b", BASE)],
    "after its end": [("offer", "a", "", BASE), ("answer", "a", "b", BASE), ("delete", "b", "a", None),
                      ("query", "", "", None), ("offer", "a", "", BASE)],
}


def shape(reply, names):
    """A reply with each of the relay's ports named by the order in which it was first seen."""
    if "sdp" not in reply:
        return {key: value for key, value in reply.items() if key in ("result", "error-reason")}, \
            sorted(reply), sorted(reply.get("tags", ()))
    out = []
    for section in read(reply["sdp"])["sections"]:
        port = section["m"][1]
        name = names.setdefault(port, len(names)) if port != "0" else None
        live = port != "0"
        out.append((name, live and section["direction"], live and section["rtcp"]))
    return out


def test_rows_beside_rtpengine(case):
    """Whole calls: each reply of ours names the ports that rtpengine's would name."""
    both = [(Relay(case, ng_interfaces=["lo/127.0.0.1"]).client, {}), (Rtpengine(case).client, {})]
    wrong = []
    for name, steps in ROWS.items():
        for step, (command, author, reader, body) in enumerate(steps):
            keys = {"call_id": name, "from_tag": author, "to_tag": reader, "sdp": body}
            keys = {key: value for key, value in keys.items() if value}
            if command == "delete":
                keys["delete_delay"] = 0
            said = [shape(client.ask(command, **keys), names.setdefault(name, {}))
                    for client, names in both]
            if said[0] != said[1]:
                wrong.append(f"{name}, step {step}, {command}: {said[0]}, rtpengine {said[1]}")
    assert not wrong, "\n".join(wrong)


# Requests with branches, whose names a client takes from whichever message it has at hand: what is
# answered (a call with a ringing branch beside), then a deletion's From tag, To tag, branch. Not
# compared: ("b", "a"), both tags of the branch that was answered, by which rtpengine ends those that
# ring, too.
DELETIONS = [("a", "b", "bye"), ("a", "", "bye"), ("b", "", "bye"),
             ("a", "", "z2"), ("a", "unheard", "z2"), ("unheard", "", "z2"),
             ("unheard", "b", "bye"), ("a", "unheard", "bye"), ("", "", "bye"),
             ("unheard", "", "bye"), ("unheard", "unheard", "bye")]


def test_deletions_beside_rtpengine(case):
    """A deletion ends the same branches, whatever tags and branch it names."""
    clients = [Relay(case, ng_interfaces=["lo/127.0.0.1"]).client, Rtpengine(case).client]

    def left(client, call_id, *names):
        call = {"call_id": call_id, "from_tag": "a"}
        for branch in ("z1", "z2"):
            client.ask("offer", sdp=BASE, via_branch=branch, **call)
        client.ask("answer", sdp=BASE, via_branch="z1", to_tag="b", **call)
        keys = {key: value for key, value in zip(("from_tag", "to_tag", "via_branch"), names) if value}
        reply = client.ask("delete", call_id=call_id, delete_delay=0, **keys)
        # A branch that is gone gave its ports back.
        told = client.ask("query", call_id=call_id).get("tags", {})
        live = {tag["via-branch"] for tag in told.values()
                if "via-branch" in tag and any(m["streams"] for m in tag["medias"])
                and tag["medias"][0]["streams"][0].get("local port")}
        return "warning" in reply, live
    wrong = []
    for number, names in enumerate(DELETIONS):
        said = [left(client, f"deletion-{number}", *names) for client in clients]
        if said[0] != said[1]:
            wrong.append(f"{names}: {said[0]}, rtpengine {said[1]}")
    assert not wrong, "\n".join(wrong)


# Flags as scripts write them, and the keys that Kamailio's module makes of them.
STRINGS = [
    ("replace-origin replace-session-connection ICE=remove",
     {"replace": ["origin", "session-connection"], "ICE": "remove"}),
    ("codec-strip=PCMA transport-protocol=RTP/AVPF",
     {"codec": {"strip": ["PCMA"]}, "transport-protocol": "RTP/AVPF"}),
    ("codec=[strip=[all] except=[PCMU]] AVPF",
     {"codec": {"strip": ["all"], "except": ["PCMU"]}, "transport-protocol": "RTP/AVPF"}),
    ("no-rtcp-attribute original-sendrecv media-address=127.0.0.9 rtcp-mux-offer",
     {"flags": ["no-rtcp-attribute", "original-sendrecv"], "media-address": "127.0.0.9",
      "rtcp-mux": ["offer"]}),
]


def test_strings_of_flags_beside_rtpengine(case):
    """A newer Kamailio sends its script's string unread: it says the same as the keys."""
    ours, theirs = Relay(case, ng_interfaces=["lo/127.0.0.1"]).client, Rtpengine(case).client
    for number, (string, keys) in enumerate(STRINGS):
        call = {"call_id": f"string-{number}", "from_tag": "a", "sdp": BASE + "a=sendonly\r\n"}
        mine = ours.ask("offer", rtpp_flags=string, sip_message_type="request", **call)
        other = theirs.ask("offer", **keys, **call)
        assert fields(mine["sdp"]) == fields(other["sdp"]), string


class Reporter:
    """One side of a stream: RTP, and reports of what it hears."""

    def __init__(self, case, ssrc):
        self.ssrc, self.sockets = ssrc, pair_of_sockets(case)
        self.port = self.sockets[0].getsockname()[1]
        self.last, self.reported = 0, time.monotonic()

    def speak(self, server, numbers):
        for n in numbers:
            head = struct.pack("!BBHII", 0x80, 0, n, 160 * n, self.ssrc)
            self.sockets[0].sendto(head + b"\xff" * 160, ("127.0.0.1", server))
            time.sleep(0.02)

    def report(self, server, about, fraction, lost, jitter):
        """With a block, once the other side has reported."""
        ntp = int(time.time() * 65536) & 0xFFFFFFFF
        head = (0x81, 200, 12) if self.last else (0x80, 200, 6)
        sender = struct.pack("!BBHIQIII", *head, self.ssrc, ntp << 16, 1600, 10, 1600)
        # That was at about the same time, and the way from the relay and back takes 50 ms.
        delay = int((time.monotonic() - self.reported - 0.05) * 65536)
        self.reported = time.monotonic()
        block = struct.pack("!IIIIII", about, fraction << 24 | lost, 10, jitter, self.last, delay)
        packet = sender + block if self.last else sender
        self.sockets[1].sendto(packet, ("127.0.0.1", server + 1))

    def listen(self):
        """Remembers the last report of the other side, for the round trip."""
        try:
            while True:
                data = self.sockets[1].recv(2048)
                if len(data) >= 16 and data[1] == 200:
                    self.last = int.from_bytes(data[10:14], "big")
        except BlockingIOError:
            pass


def pair_of_sockets(case):
    """An even port of ours and the next one."""
    while True:
        first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        try:
            if port % 2 == 0:
                second.bind(("127.0.0.1", port + 1))
                second.setblocking(False)
                case.defer(first.close)
                case.defer(second.close)
                return first, second
        except OSError:
            pass
        first.close()
        second.close()


def reported(case, client):
    """What a query says of a call whose sides reported thrice how they hear."""
    a, b = Reporter(case, 1111), Reporter(case, 2222)
    call = {"call_id": "reported", "from_tag": "a"}
    offered = client.ask("offer", sdp=sdp("127.0.0.1", a.port), label="A", **call)
    answered = client.ask("answer", sdp=sdp("127.0.0.1", b.port), to_tag="b", label="B", **call)
    near, far = port_of(answered), port_of(offered)
    a.speak(near, range(1, 11))
    b.speak(far, range(1, 11))
    for fraction, lost, jitter in ((0, 0, 0), (0, 0, 16), (64, 5, 240), (26, 7, 80)):
        a.report(near, 2222, fraction, lost, jitter)
        b.report(far, 1111, 0, 0, 40)
        time.sleep(1.1)
        a.listen()
        b.listen()
    told = client.ask("query", **call)
    ended = client.ask("delete", delete_delay=0, **call)
    return told, ended


def test_quality_beside_rtpengine(case):
    """What the sides report of how they hear, by their sources, in the same keys and units."""
    (ours, ended), (theirs, _) = (reported(case, server.client) for server in
                                  (Relay(case, ng_interfaces=["lo/127.0.0.1"]),
                                   Rtpengine(case, "--mos=LQ")))
    assert ended["SSRC"].keys() == ours["SSRC"].keys()
    for told in (ours, theirs):
        streams = {tag: told["tags"][tag]["medias"][0]["streams"] for tag in "ab"}
        assert {tag: s[0]["SSRC"] for tag, s in streams.items()} == {"a": 1111, "b": 2222}, told
        for rtp, rtcp in streams.values():
            assert (rtp["stats"]["packets"], rtp["stats"]["bytes"]) == (10, 1720), told
            assert (rtcp["stats"]["packets"], rtcp["stats"]["bytes"]) == (4, 184), told
        assert told["totals"]["RTCP"]["bytes"] == 368, told
    assert ours["SSRC"].keys() == theirs["SSRC"].keys() == {"1111", "2222"}, (ours, theirs)
    for ssrc, mine in ours["SSRC"].items():
        other = theirs["SSRC"][ssrc]
        assert mine["cumulative loss"] == other["cumulative loss"], (mine, other)
        for kind in ("average MOS", "lowest MOS", "highest MOS"):
            assert mine[kind].keys() == other[kind].keys(), (kind, mine, other)
            for key in mine[kind].keys() & {"jitter", "packet loss", "samples"}:
                assert mine[kind][key] == other[kind][key], (ssrc, kind, key, mine, other)
        assert abs(mine["highest MOS"]["MOS"] - other["highest MOS"]["MOS"]) <= 1, (mine, other)
        for key, expected in (("round-trip time leg", 50_000), ("round-trip time", 100_000)):
            for told in (mine, other):
                assert abs(told["lowest MOS"][key] - expected) < 40_000, (key, mine, other)
        went, theirs_went = mine["MOS progression"], other["MOS progression"]
        assert went.keys() == theirs_went.keys(), (went, theirs_went)
        assert len(went["entries"]) == len(theirs_went["entries"]) == 3, (went, theirs_went)
        for entry, other_entry in zip(went["entries"], theirs_went["entries"]):
            assert entry.keys() == other_entry.keys(), (entry, other_entry)
            for key in ("jitter", "packet loss"):
                assert entry[key] == other_entry[key], (ssrc, key, entry, other_entry)


def test_a_stream_that_finds_no_port_leaves_the_call(case):
    """Video comes to a call while others hold all ports: it is refused, and the sound goes on."""
    relay = Relay(case, ports=case.rtp_range(pairs=16), ng_interfaces=["lo/127.0.0.1"])
    call = {"call_id": "x", "from_tag": "a"}
    a, b = Audio(case), Audio(case)
    offered = relay.client.ask("offer", sdp=sdp("127.0.0.1", a.port), **call)
    answered = relay.client.ask("answer", sdp=sdp("127.0.0.1", b.port), to_tag="b", **call)
    b.talk_to(("127.0.0.1", port_of(offered)))
    a.talk_to(("127.0.0.1", port_of(answered)))
    assert a.hears() and b.hears()
    held = []
    for port in relay.ports:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            one.bind(("127.0.0.1", port))
            held.append(one)
        except OSError:
            one.close()
    both = sdp("127.0.0.1", a.port, version=2) + VIDEO
    refused = relay.client.ask("offer", sdp=both, **call, to_tag="b")
    assert refused["error-reason"] == "Ran out of ports", refused
    assert a.hears() and b.hears(), "the call was lost"
    told = relay.client.ask("query", **call)
    assert len(told["tags"]["a"]["medias"]) == 1, told
    for one in held:
        one.close()
    again = relay.client.ask("offer", sdp=sdp("127.0.0.1", a.port, version=3), **call, to_tag="b")
    assert port_of(again) == port_of(offered)
    assert relay.client.ask("delete", delete_delay=0, **call)["result"] == "ok"
    assert relay.client.ask("list")["calls"] == []


def test_ports_go_round(case):
    """Those of calls that ended are there for the next ones, in whatever order the first ended, and
    whichever thread has the next."""
    relay = Relay(case, node={"workers": 3}, ports=case.rtp_range(pairs=40))
    ask, order = relay.client.ask, random.Random(7)
    offer = {"from_tag": "a", "ICE": "remove", "sdp": sdp("127.0.0.1", 9)}
    # Half of the pairs are the protocol's, two for each call.
    calls = [f"call-{n}" for n in range(10)]
    for turn in range(5):
        for call in calls:
            reply = ask("offer", call_id=call, **offer)
            assert reply["result"] == "ok", (turn, call, reply)
            if order.random() < 0.7:
                reply = ask("answer", call_id=call, to_tag="b", **offer)
                assert reply["result"] == "ok", (turn, call, reply)
        assert ask("offer", call_id="more", **offer)["error-reason"] == "Ran out of ports"
        order.shuffle(calls)
        for call in calls:
            assert ask("delete", call_id=call, from_tag="a", delete_delay=0)["result"] == "ok"
    assert "cannot bind" not in relay.voipd.process.text(), relay.voipd.process.text()
