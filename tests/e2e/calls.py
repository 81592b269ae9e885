"""Two baresip register with digest, call each other, and hear each other's tone."""

import time

from lib.authority import Authority
from lib.case import wait_for
from lib.net import Hosts
from lib.phone import Phone
from lib.tone import hears
from lib.voipd import DOMAIN, Voipd

LOW, HIGH = 440, 880
TALK_SECONDS = 4


def talk(case, voipd, alice, bob):
    """Alice, who plays 440 Hz, calls Bob, who plays 880 Hz; both record."""
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("bob")
    up = wait_for("the call to be up", lambda: [c for c in voipd.calls() if c["state"] == "up"])
    assert f"alice@{DOMAIN}" in up[0]["from"], up
    assert f"bob@{DOMAIN}" in up[0]["to"], up
    time.sleep(TALK_SECONDS)
    during = voipd.calls()
    alice.hangup()
    wait_for("the call to be gone", lambda: voipd.calls() == [])
    hears(bob.recording(), LOW, [HIGH])
    hears(alice.recording(), HIGH, [LOW])
    return during[0]


def relayed(call):
    """Both legs of the listing carried packets both ways."""
    assert len(call["legs"]) == 2, call
    for leg in call["legs"]:
        assert leg["packets_in"] > 100 and leg["packets_out"] > 100, call
        assert leg["lost"] < 5, call
    assert call["codec"].upper().startswith("PCMU"), call


def local_call(case, transport, relay, **settings):
    voipd = Voipd(case, rtp={"relay": relay}, transports=("udp", "tcp", *settings.pop("more", ())),
                  **settings)
    voipd.add_user("alice")
    voipd.add_user("bob", "other-secret")
    options = {"transport": transport}
    if transport == "tls":
        options["cafile"] = case.folder / "ca.pem"
    bob = Phone(case, "bob", voipd, HIGH, password="other-secret", **options)
    alice = Phone(case, "alice", voipd, LOW, **options)
    call = talk(case, voipd, alice, bob)
    rows = voipd.registrations()
    assert sorted(row["aor"] for row in rows) == [f"alice@{DOMAIN}", f"bob@{DOMAIN}"], rows
    assert all(row["transport"] == transport for row in rows), rows
    assert all("baresip" in row["user_agent"] for row in rows), rows
    if relay == "always":
        counted(voipd, sum(leg["packets_in"] for leg in call["legs"]))
    return call


def counted(voipd, packets):
    """voipctl relay has what a call that is over brought, whichever process carried it."""
    def row():
        rows = voipd.json("relay")
        done = rows and rows[0]["received"] >= packets and rows[0]["flows"] == 0
        return rows if done else None

    (sockets,) = wait_for("the relay's figures", row, 5)
    assert (sockets["name"], sockets["up"]) == ("sockets", True), sockets
    assert packets <= sockets["sent"] <= sockets["received"], sockets
    assert "thread" in sockets["mode"] and sockets["batch_max"] >= 1, sockets


def test_udp(case):
    """Phones on one network: audio goes past voipd."""
    call = local_call(case, "udp", "nat")
    assert call["legs"] == [] or all(leg["packets_in"] == 0 for leg in call["legs"]), call


def test_udp_relayed(case):
    relayed(local_call(case, "udp", "always"))


def test_tcp_relayed(case):
    relayed(local_call(case, "tcp", "always"))


def test_tls_relayed(case):
    key, certificate = make_certificate(case)
    tls = {"certificate": str(certificate), "key": str(key)}
    relayed(local_call(case, "tls", "always", more=("tls",), sip={"tls": tls}))


def make_certificate(case):
    """A certificate authority in ca.pem, and a certificate of it for 127.0.0.1 and the domain."""
    names = f"IP:127.0.0.1,DNS:{DOMAIN},DNS:localhost"
    return Authority(case).issue("server", f"/CN={DOMAIN}", names)


def behind_nat(case, relay, nat_calls):
    hosts = Hosts(case)
    voipd = Voipd(case, address=hosts.CORE, netns=hosts.core, rtp={"relay": relay})
    voipd.add_user("alice")
    voipd.add_user("bob")
    inside = {"address": hosts.HOME, "netns": hosts.home}
    outside = {"address": hosts.PUB, "netns": hosts.pub}
    # Bob first, so that the recordings of the caller are the younger ones.
    bob = Phone(case, "bob", voipd, HIGH, **(outside if nat_calls else inside))
    alice = Phone(case, "alice", voipd, LOW, **(inside if nat_calls else outside))
    relayed(talk(case, voipd, alice, bob))
    home = next(r for r in voipd.registrations() if r["aor"].startswith(
        "alice" if nat_calls else "bob"))
    assert hosts.HOME in home["contact"] or home["behind_nat"], home
    assert not home["received"].startswith(hosts.HOME), home


def test_nat_caller(case):
    behind_nat(case, "nat", True)


def test_nat_callee(case):
    behind_nat(case, "nat", False)


def test_nat_always(case):
    behind_nat(case, "always", True)
