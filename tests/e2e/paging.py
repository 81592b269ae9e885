"""Paging with phones: all of a group's hear one, and are heard only where that is wanted."""

import time

from lib.case import wait_for
from lib.phone import Phone
from lib.tone import hears_all
from lib.voipd import DOMAIN, Voipd

TONES = {"alice": 440, "bob": 880, "carol": 1320, "dave": 620}


def house(case, **page):
    page = {"name": "hall", "number": "*50", "members": ["bob", "carol", "dave"], **page}
    voipd = Voipd(case, node={"workers": 3}, page=[page])
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


def test_many_hear_one(case):
    voipd, phones = house(case)
    # Who wants no calls is left alone.
    voipd.ctl("feature", "set", "dave", "dnd", "on")
    phones["alice"].dial("*50")
    up(voipd, 3)
    asked = phones["bob"].process.text()
    assert "answer-after=0" in asked and "info=alert-autoanswer" in asked, asked[-3000:]
    time.sleep(5)
    phones["alice"].hangup()
    gone(voipd)
    for name in ("bob", "carol"):
        others = [tone for other, tone in TONES.items() if other != "alice"]
        hears_all(phones[name].recording(), [TONES["alice"]], others)
    hears_all(phones["alice"].recording(), [], list(TONES.values()))
    assert not list(phones["dave"].folder.glob("dump-*")), "dave was disturbed"
    wait_for("its record", lambda: "page hall: 2 of 3 phones" in " ".join(
        r.get("note") or "" for r in voipd.json("cdr")))


def test_who_makes_a_call_is_left_alone(case):
    voipd, phones = house(case, members=["bob", "carol"])
    phones["bob"].dial("*130")
    up(voipd, 1)
    phones["alice"].dial("*50")
    up(voipd, 3)
    time.sleep(3)
    assert "answer-after=0" in phones["carol"].process.text()
    assert "answer-after=0" not in phones["bob"].process.text()
    for name in ("alice", "bob"):
        phones[name].hangup()
    gone(voipd)
    wait_for("its record", lambda: "page hall: 1 of 2 phones" in " ".join(
        r.get("note") or "" for r in voipd.json("cdr")))


def test_a_page_may_go_both_ways(case):
    voipd, phones = house(case, two_way=True, members=["bob", "carol"])
    phones["alice"].dial("*50")
    up(voipd, 3)
    time.sleep(5)
    phones["alice"].hangup()
    gone(voipd)
    hears_all(phones["alice"].recording(), [TONES["bob"], TONES["carol"]], [TONES["alice"]])
    hears_all(phones["bob"].recording(), [TONES["alice"], TONES["carol"]], [TONES["bob"]])


def test_not_everybody_may_page(case):
    voipd, phones = house(case, callers=["alice"])
    phones["bob"].dial("*50")
    wait_for("bob to be refused", lambda: any(
        r["status"] == 403 for r in voipd.json("cdr")))
    assert "answer-after" not in phones["carol"].process.text()
