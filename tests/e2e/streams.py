"""Trunks over TCP and TLS, through an outbound proxy, and known by their certificate.

The ITSP is that of `trunks.py` behind streams (lib/streams.py).
"""

import random
import ssl

from lib.authority import Authority
from lib.case import wait_for
from lib.itsp import DOMAIN as ITSP_DOMAIN
from lib.itsp import Itsp
from lib.sip import Agent
from lib.streams import Streams
from lib.voipd import DOMAIN
from trunks import (ACCOUNT, BACKUP, DID, ITSP, ITSP_AUDIO, NUMBER, PASSWORD, PATIENCE_S,
                    PHONE_AUDIO, STRANGER, Office, call_in, call_out, hang_up, reinvite)

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
    call = caller.invite(DID, ITSP_AUDIO, uri=server.binding[0].replace(ACCOUNT, DID),
                         believed=True)
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


# -- known by its certificate


class Gateway:
    """An office whose ITSP calls from nobody knows where, and proves its domain (RFC 5922)."""

    def __init__(self, case, **keys):
        self.case, self.certificates = case, Certificates(case)
        self.authority = self.certificates.authority
        keys = {"uri": NOWHERE, "register": False, "probe_s": 0,
                "certificate_name": ITSP_DOMAIN, **keys}
        nobody = Itsp(case, ACCOUNT, PASSWORD, address=ITSP)
        self.office = Office(case, nobody, keys=keys, **self.certificates.of_voipd())

    def connect(self, *names, authority=None, version=None, extensions=()):
        """One that presents a certificate for these names, if there are any."""
        authority = authority or self.authority
        mine = ()
        if names:
            name = f"gateway{random.getrandbits(32):x}"
            mine = authority.issue(name, "/CN=a gateway", ",".join(names), *extensions)
        context = self.authority.client(*mine)
        if version:
            context.maximum_version = version
        return Agent(self.case, self.office.voipd, "gateway", transport="tls", address=STRANGER,
                     domain=ITSP_DOMAIN, tls=context)

    def gets_in(self, gateway):
        call = gateway.invite(DID, ITSP_AUDIO, uri=f"sip:{DID}@{DOMAIN}", believed=True)
        bob = self.office.bob
        called = bob.answer(bob.expect("INVITE"), PHONE_AUDIO)
        caller = call.established()
        bob.expect("ACK")
        hang_up(called, caller)
        wait_for("the call to be counted", lambda: self.office.state()["calls"] == 0)

    def stays_out(self, gateway):
        """It is a stranger, and no more than that."""
        final = gateway.request("INVITE", f"sip:{DID}@{DOMAIN}", [
            f"Contact: {gateway.contact()}", "Content-Type: application/sdp"], ITSP_AUDIO,
            auth=False)
        assert final.status in (401, 403, 404, 407), final.text()
        self.office.bob.nothing(0.2)


def test_certificate(case):
    """By a SIP URI before a host name, in TLS 1.3 and 1.2; requests within the call go on."""
    gateway = Gateway(case)
    gateway.gets_in(gateway.connect("URI:sip:itsp.test", "DNS:other.test"))
    gateway.gets_in(gateway.connect("DNS:ITSP.test", version=ssl.TLSVersion.TLSv1_2))
    gateway.gets_in(gateway.connect("DNS:itsp.test", extensions=["extendedKeyUsage=serverAuth"]))
    peer = gateway.connect("DNS:itsp.test")
    for _ in range(3):
        gateway.gets_in(peer)
    # Not an answer to a stranger's question.
    peer.cseq += 1
    peer.send(peer.start_lines("OPTIONS", f"sip:{DOMAIN}", peer.via(), peer.new_call()))
    peer.expect(200)
    # And never out again.
    final = peer.invite(NUMBER, ITSP_AUDIO, uri=f"sip:{NUMBER}@{DOMAIN}").final()
    assert final.status in (403, 404), final.text()


def test_certificate_of_somebody_else(case):
    gateway = Gateway(case)
    gateway.stays_out(gateway.connect())
    gateway.stays_out(gateway.connect("DNS:other.test"))
    gateway.stays_out(gateway.connect("DNS:*.test", "DNS:sub.itsp.test"))
    # Its SIP URI says who it is, whatever its host is called.
    gateway.stays_out(gateway.connect("URI:sip:other.test", "DNS:itsp.test"))
    gateway.stays_out(gateway.connect("URI:sip:itsp.test",
                                      authority=Authority(case, "another")))
    gateway.stays_out(gateway.connect("DNS:itsp.test", extensions=["extendedKeyUsage=codeSigning"]))


def test_certificate_shuts_no_phone_out(case):
    """A phone with a certificate of its maker's registers by its password, as ever."""
    gateway = Gateway(case)
    maker = Authority(case, "maker")
    context = gateway.authority.client(*maker.issue("mac", "/CN=001122334455", "DNS:phone.test"))
    phone = Agent(case, gateway.office.voipd, "alice", transport="tls", tls=context)
    phone.register()
    rows = gateway.office.voipd.registrations()
    assert any(row["transport"] == "tls" and row["aor"] == f"alice@{DOMAIN}" for row in rows), rows


def test_certificate_by_reload(case):
    """A trunk that gets a name by a reload: who connects from then on is asked."""
    gateway = Gateway(case, certificate_name="before.test")
    gateway.stays_out(gateway.connect("DNS:itsp.test"))
    voipd = gateway.office.voipd
    voipd.tables["trunk"][0]["certificate_name"] = ITSP_DOMAIN
    voipd.write()
    voipd.reload()
    gateway.gets_in(gateway.connect("DNS:itsp.test"))
    gateway.stays_out(gateway.connect("DNS:before.test"))
