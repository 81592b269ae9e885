"""Trunks over TCP and TLS, and through an outbound proxy: registration, calls both ways.

The ITSP is that of `trunks.py` behind streams (lib/streams.py).
"""

from lib.authority import Authority
from lib.case import wait_for
from lib.itsp import Itsp
from lib.sip import Agent, sdp
from lib.streams import Streams
from lib.voipd import DOMAIN
from trunks import (ACCOUNT, BACKUP, DID, ITSP, ITSP_AUDIO, NUMBER, PASSWORD, PATIENCE_S,
                    PHONE_AUDIO, Office, call_in, call_out, hang_up, reinvite)

# Nobody is there.
NOWHERE = "sip:127.0.0.39:29999"


class Certificates:
    """An authority, and its certificates for voipd and for the ITSP's address."""

    def __init__(self, case, itsp=f"IP:{ITSP}"):
        self.authority = Authority(case)
        own = f"IP:127.0.0.1,DNS:{DOMAIN}"
        self.key, self.certificate = self.authority.issue("server", f"/CN={DOMAIN}", own)
        self.itsp = self.authority.issue("itsp", "/CN=an ITSP", itsp)

    def of_voipd(self):
        """What voipd is told, with a listener for TLS."""
        tls = {"certificate": str(self.certificate), "key": str(self.key),
               "roots": str(self.authority.roots)}
        return {"sip": {"tls": tls}, "transports": ("udp", "tcp", "tls")}


def itsp(case, tls=None, address=ITSP, **options):
    return Itsp(case, ACCOUNT, PASSWORD, streams=Streams(case, address, tls), **options)


def uri(server):
    return f"sip:{server.address}:{server.port};transport={server.transport}"


def by_stream(office, server):
    """All that reached the ITSP says that it came by its transport, and where to go back to."""
    port = office.voipd.ports[server.transport]
    for message in server.messages():
        if not message.status:
            via = f"SIP/2.0/{server.transport.upper()} {office.voipd.address}:{port}"
            assert message["via"].startswith(via), message.text()
        if message["contact"]:
            contact = message.contact_uri()
            assert f"@{office.voipd.address}:{port}" in contact, message.text()
            assert f"transport={server.transport}" in contact, message.text()
    assert server.faults == [], "\n".join(server.faults)


def whole(case, server, **settings):
    """Registration, a call out with requests by both sides, a call in."""
    office = Office(case, server, keys={"uri": uri(server)}, **settings).registered()
    wait_for("the trunk to be up", lambda: office.state()["state"] == "up")
    caller, called = call_out(office, server)
    reinvite(caller, called, PHONE_AUDIO, ITSP_AUDIO)
    reinvite(called, caller, ITSP_AUDIO, PHONE_AUDIO)
    hang_up(caller, called)
    caller, called = call_in(office, server)
    reinvite(called, caller, PHONE_AUDIO, ITSP_AUDIO)
    hang_up(called, caller)
    office.idle()
    by_stream(office, server)
    return office



def test_tcp(case):
    whole(case, itsp(case))


def test_tls(case):
    certificates = Certificates(case)
    server = itsp(case, certificates.authority.server(*certificates.itsp))
    whole(case, server, **certificates.of_voipd())


def test_tls_of_another_name(case):
    """Who answers there cannot prove the name that the file says: it gets no registration."""
    certificates = Certificates(case, itsp=f"IP:{BACKUP},DNS:sip.example.net")
    server = itsp(case, certificates.authority.server(*certificates.itsp))
    office = Office(case, server, keys={"uri": uri(server)}, **certificates.of_voipd())
    row = wait_for("the failure to show", lambda: (lambda row: row.get("last_error") and row)(
        office.state()))
    assert row["state"] != "up" and row["registration"] != "registered", row
    assert server.messages() == [], server.messages()
    final = office.alice.invite(NUMBER, PHONE_AUDIO).final()
    assert final.status >= 480, final.text()


def test_tcp_new_connection(case):
    """The ITSP was restarted: what comes next has a connection of its own."""
    server = itsp(case)
    office = Office(case, server, keys={"uri": uri(server)}).registered()
    hang_up(*call_out(office, server))
    server.socket.drop()
    wait_for("the connections' end", lambda: not server.socket.connections)
    hang_up(*call_out(office, server))
    office.idle()


def test_tcp_call_to_contact(case):
    """The ITSP calls over a connection that it opens to the Contact of the registration."""
    server = itsp(case)
    office = Office(case, server, keys={"uri": uri(server)}).registered()
    caller = Agent(case, office.voipd, "itsp", transport="tcp", address=ITSP)
    call = caller.invite(DID, ITSP_AUDIO, uri=server.binding[0].replace(ACCOUNT, DID))
    called = office.bob.answer(office.bob.expect("INVITE"), PHONE_AUDIO)
    dialog = call.established()
    office.bob.expect("ACK")
    hang_up(called, dialog)
    office.idle()


# -- through an outbound proxy


def through_proxy(case, proxy, transport, **settings):
    """All goes to the proxy, for an ITSP that cannot be reached; what the proxy sends is of the
    trunk."""
    way = f"sip:{proxy.address}:{proxy.port};transport={transport};lr"
    keys = {"uri": NOWHERE, "outbound_proxy": way, "probe_s": 1}
    office = Office(case, proxy, keys=keys, **settings).registered()
    wait_for("the trunk to be up", lambda: office.state()["state"] == "up")
    hang_up(*call_out(office, proxy))
    caller, called = call_in(office, proxy)
    hang_up(caller, called)
    office.idle()
    assert proxy.faults == [], "\n".join(proxy.faults)
    wait_for("a probe", lambda: proxy.messages("OPTIONS"), 5 + PATIENCE_S)
    for method in ("REGISTER", "INVITE", "OPTIONS"):
        for message in proxy.messages(method):
            assert f"{proxy.address}:{proxy.port}" in message["route"], message.text()
            assert f"{proxy.address}:{proxy.port}" not in message.uri, message.text()
    return office


def test_proxy_udp(case):
    through_proxy(case, Itsp(case, ACCOUNT, PASSWORD, address=ITSP), "udp")


def test_proxy_tcp(case):
    proxy = itsp(case)
    by_stream(through_proxy(case, proxy, "tcp"), proxy)


def test_proxy_tls(case):
    certificates = Certificates(case)
    proxy = itsp(case, certificates.authority.server(*certificates.itsp))
    by_stream(through_proxy(case, proxy, "tls", **certificates.of_voipd()), proxy)
