"""Parking with phones: a transfer to the code, a slot that is dialled, a ring back, over several shards."""

import time

from lib.case import wait_for
from lib.net import Hosts
from lib.phone import Phone
from lib.tone import hears_all, speech_seconds
from lib.voipd import DOMAIN, Voipd

TONES = {"alice": 440, "bob": 880, "carol": 1320}


def house(case, **tables):
    """A voipd of several shards, and three phones."""
    voipd = Voipd(case, node={"workers": 3}, **tables)
    voipd.add_users(list(TONES))
    phones = {name: Phone(case, name, voipd, tone) for name, tone in TONES.items()}
    for phone in phones.values():
        phone.wait_registered()
    return voipd, phones


def up(voipd, count):
    wait_for(f"{count} calls to be up",
             lambda: sum(c["state"] == "up" for c in voipd.calls()) == count, 20)


def gone(voipd):
    wait_for("the calls to be gone", lambda: voipd.calls() == [], 20)


def park(voipd, phones):
    """Bob talks to alice, who parks him; the row of the list."""
    phones["bob"].dial("alice")
    up(voipd, 1)
    time.sleep(1)
    phones["alice"].command("transfer", f"sip:*70@{DOMAIN}")
    [row] = wait_for("bob to be parked", lambda: voipd.json("park", "list"), 15)
    assert (row["slot"], row["user"]) == ("701", f"bob@{DOMAIN}"), row
    assert (row["parker"], row["provisional"]) == (f"alice@{DOMAIN}", False), row
    up(voipd, 1)


def notes(voipd):
    return " ".join(record.get("note") or "" for record in voipd.json("cdr"))


def test_a_call_is_parked_and_fetched(case):
    voipd, phones = house(case)
    # The Call-IDs, and with them the shards, are others each time.
    for _ in range(3):
        park(voipd, phones)
        phones["carol"].dial("701")
        up(voipd, 2)
        assert voipd.json("park", "list") == []
        time.sleep(4)
        phones["carol"].hangup()
        gone(voipd)
        hears_all(phones["carol"].recording(), [TONES["bob"]], [TONES["alice"], TONES["carol"]])
        hears_all(phones["bob"].recording(), [TONES["carol"]], [TONES["alice"], TONES["bob"]])
    for text in (f"parked in 701 by alice@{DOMAIN}", "fetched from 701",
                 f"fetches bob@{DOMAIN} from 701"):
        wait_for(f"a record that says {text}", lambda: text in notes(voipd))


def test_who_parked_is_called_back(case):
    voipd, phones = house(case, parking={"timeout_s": 5})
    park(voipd, phones)
    # Alice's phone answers by itself.
    up(voipd, 2)
    assert voipd.json("park", "list") == []
    time.sleep(3)
    phones["bob"].hangup()
    gone(voipd)
    hears_all(phones["alice"].recording(), [TONES["bob"]], [TONES["carol"]])
    hears_all(phones["bob"].recording(), [TONES["alice"]], [TONES["carol"]])
    wait_for("its record", lambda: "took it when called back" in notes(voipd))


def test_the_slot_is_said_to_who_dials_the_code(case):
    voipd, phones = house(case)
    phones["alice"].dial("*70")
    [row] = wait_for("a slot", lambda: voipd.json("park", "list"))
    assert row["provisional"], row
    time.sleep(5)
    phones["alice"].hangup()
    gone(voipd)
    assert voipd.json("park", "list") == []
    assert speech_seconds(phones["alice"].recording()) > 1.5
    # A slot where nobody waits: it is said, and over.
    phones["carol"].dial("705")
    up(voipd, 1)
    gone(voipd)
    assert speech_seconds(phones["carol"].recording()) > 1


def test_a_call_of_a_trunk_is_parked_by_us(case):
    """The provider gets no REFER: `transfer = "bridge"`."""
    hosts = Hosts(case)
    trunk = {"name": "itsp", "uri": f"sip:{hosts.PUB}", "addresses": [f"{hosts.PUB}/32"],
             "probe_s": 0, "transfer": "bridge"}
    voipd = Voipd(case, address=hosts.CORE, netns=hosts.core, rtp={"relay": "always"},
                  trunk=[trunk], route=[{"match": "915550100", "from": "trunk:itsp",
                                         "to": "user:alice"}])
    voipd.add_users(["alice", "bob"])
    carol = Phone(case, "carol", voipd, TONES["carol"], address=hosts.PUB, netns=hosts.pub,
                  domain="itsp.test")
    alice, bob = (Phone(case, name, voipd, TONES[name], address=hosts.CORE, netns=hosts.core)
                  for name in ("alice", "bob"))
    alice.wait_registered()
    bob.wait_registered()
    carol.command("dial", f"sip:915550100@{voipd.target()}")
    up(voipd, 2)
    time.sleep(1)
    alice.command("transfer", f"sip:*70@{DOMAIN}")
    [row] = wait_for("carol to be parked", lambda: voipd.json("park", "list"), 15)
    assert (row["slot"], row["parker"]) == ("701", f"alice@{DOMAIN}"), row
    up(voipd, 1)
    assert "REFER sip" not in carol.process.text()
    bob.dial("701")
    up(voipd, 2)
    time.sleep(4)
    bob.hangup()
    gone(voipd)
    hears_all(bob.recording(), [TONES["carol"]], [TONES["alice"], TONES["bob"]])
    hears_all(carol.recording(), [TONES["bob"]], [TONES["carol"]])
