"""Kamailio before and behind voipd: one passes the other's calls."""

import pathlib

from lib.case import wait_for
from lib.kamailio import modules
from lib.sip import Agent, sdp
from lib.voipd import DOMAIN, Voipd

ADDRESS = "127.0.0.2"
AUDIO = sdp("127.0.0.1", 4000)
CONFIG = """\
debug=1
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:{address}:{port}
mpath="{modules}/"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"

# A record-routing stateful proxy that sends every call on to one next hop.
request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); }}
        else if (is_method("ACK") && t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    remove_hf("Route");
    record_route();
    $du = "sip:{next_hop}";
    t_relay();
}}
"""


class Kamailio:
    """A proxy at ADDRESS whose next hop is named by the test."""

    def __init__(self, case, next_hop):
        self.address, self.port = ADDRESS, case.port(ADDRESS)
        self.ports = {"udp": self.port}
        file = case.folder / "kamailio.cfg"
        file.write_text(CONFIG.format(address=ADDRESS, port=self.port, modules=modules(),
                                      next_hop=next_hop))
        argv = ["kamailio", "-DD", "-f", file, "-m", "64", "-M", "8", "-Y", case.folder,
                "-P", case.folder / "kamailio.pid"]
        self.process = case.start("kamailio", argv)
        wait_for("Kamailio to listen", self.listens)

    def listens(self):
        assert self.process.alive(), self.process.text()[-1500:]
        needle = f"{int.from_bytes(bytes(map(int, ADDRESS.split('.'))), 'little'):08X}:{self.port:04X}"
        return needle in pathlib.Path("/proc/net/udp").read_text()


def whole_call(caller, call, callee, request):
    """The called party answers; the ACK, a re-INVITE and the BYE pass along both proxies."""
    assert len(request.record_routes()) >= 2, request.text()
    called = callee.answer(request, AUDIO)
    dialog = call.established()
    callee.expect("ACK")
    dialog.send("INVITE", body=AUDIO)
    again = callee.expect("INVITE")
    callee.reply(again, 200, body=AUDIO)
    dialog.send("ACK", cseq=int(caller.expect(200)["cseq"].split()[0]))
    callee.expect("ACK")
    called.send("BYE")
    caller.reply(caller.expect("BYE"), 200)
    callee.expect(200)


def test_upstream(case):
    """A call comes through Kamailio, a trusted peer, to a phone of voipd's."""
    voipd = Voipd(case, sip={"trusted": [f"{ADDRESS}/32"]})
    voipd.add_user("bob")
    bob = Agent(case, voipd, "bob")
    bob.register()
    carol = Agent(case, Kamailio(case, f"127.0.0.1:{voipd.port}"), "carol")
    call = carol.invite("bob", AUDIO)
    whole_call(carol, call, bob, bob.expect("INVITE"))
    wait_for("the call's end", lambda: voipd.calls() == [])


def test_upstream_cancel(case):
    voipd = Voipd(case, sip={"trusted": [f"{ADDRESS}/32"]})
    voipd.add_user("bob")
    bob = Agent(case, voipd, "bob")
    bob.register()
    carol = Agent(case, Kamailio(case, f"127.0.0.1:{voipd.port}"), "carol")
    call = carol.invite("bob", AUDIO)
    request = bob.expect("INVITE")
    bob.reply(request, 180)
    call.cancel()
    bob.reply(bob.expect("CANCEL"), 200)
    bob.reply(request, 487)
    carol.expect(200, skip=("100", "180"))
    assert call.final().status == 487
    bob.expect("ACK")


def test_downstream(case):
    """A phone of voipd's calls a number at Kamailio's address; Kamailio leads on to Carol."""
    voipd = Voipd(case)
    voipd.add_user("alice")
    alice = Agent(case, voipd, "alice")
    # Carol is reached through Kamailio alone; her own requests go back along the route.
    carol = Agent(case, voipd, "carol")
    kamailio = Kamailio(case, f"127.0.0.1:{carol.port}")
    carol.peer = (kamailio.address, kamailio.port)
    call = alice.invite("carol", AUDIO, uri=f"sip:carol@{kamailio.address}:{kamailio.port}")
    whole_call(alice, call, carol, carol.expect("INVITE"))
    wait_for("the call's end", lambda: voipd.calls() == [])
