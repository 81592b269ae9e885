"""Menus, heard and operated by phones: by keys, by extension, by name, at closed hours."""

import time

from lib.case import wait_for
from lib.net import Hosts
from lib.phone import Phone
from lib.talker import prompts
from lib.tone import hears, holds, speech_seconds
from lib.voipd import Voipd

LOW, HIGH = 440, 880
NUMBER = "915550100"
NIGHT = {"name": "night", "greeting": "menu-closed", "then": "hangup", "timeout_s": 1, "retries": 0}


def office(case, menu, *more, **settings):
    """voipd with bob (202), the group 600 that he is alone in, and menu `main`."""
    main = {"name": "main", "numbers": [NUMBER, "500"], "greeting": ["menu-welcome"], **menu}
    group = {"name": "sales", "number": "600", "members": ["202"]}
    voipd = Voipd(case, menu=[main, *more], group=[group], **settings)
    voipd.ctl("user", "add", "202", "--password-stdin", "--display-name", "Roberto Núñez",
              stdin="secret\n")
    voipd.add_user("alice")
    return voipd


def phones(case, voipd):
    alice, bob = Phone(case, "alice", voipd, LOW), Phone(case, "202", voipd, HIGH)
    alice.wait_registered()
    bob.wait_registered()
    return alice, bob


def up(voipd, count=1):
    calls = wait_for(f"{count} calls to be up",
                     lambda: len([c for c in voipd.calls() if c["state"] == "up"]) >= count, 20)
    return calls


def press(phone, keys):
    for key in keys:
        phone.press(key)
        time.sleep(0.3)


def talk(alice, bob, voipd):
    """The two hear each other, whichever of them hangs up."""
    up(voipd, 2)
    time.sleep(3)
    bob.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [], 10)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])


def test_outside_caller_reaches_bob(case):
    """Who comes in by a trunk, known by its address, presses 1 and hears bob's tone. The trunk
    writes the number in E.164, the menu as people here dial it."""
    hosts = Hosts(case)
    voipd = Voipd(case, address=hosts.CORE, netns=hosts.core, rtp={"relay": "always"},
                  numbers={"country": "34", "national_digits": 9},
                  menu=[{"name": "main", "numbers": [NUMBER], "greeting": "menu-welcome",
                         "keys": {"1": "extension:202"}}],
                  trunk=[{"name": "itsp", "uri": f"sip:{hosts.PUB}", "addresses": [f"{hosts.PUB}/32"],
                          "numbers": "plus", "probe_s": 0}])
    voipd.add_user("202")
    carol = Phone(case, "carol", voipd, LOW, address=hosts.PUB, netns=hosts.pub, domain="itsp.test")
    bob = Phone(case, "202", voipd, HIGH, address=hosts.CORE, netns=hosts.core)
    bob.wait_registered()
    carol.command("dial", f"sip:+34{NUMBER}@{voipd.target()}")
    up(voipd)
    time.sleep(1)
    carol.press("1")
    talk(carol, bob, voipd)
    wait_for("its record", lambda: ("itsp", "menu:main") in {
        (r["way_in"], r["way_out"]) for r in voipd.json("cdr")})


def test_extension_is_dialled(case):
    voipd = office(case, {"extensions": True, "keys": {"2": "hangup"}})
    alice, bob = phones(case, voipd)
    alice.dial("500")
    up(voipd)
    time.sleep(1)
    press(alice, "202#")
    talk(alice, bob, voipd)


def test_directory_by_name(case):
    voipd = office(case, {"keys": {"9": "directory"}})
    alice, bob = phones(case, voipd)
    alice.dial(NUMBER)
    up(voipd)
    time.sleep(1)
    # N, U, N: the second name, without its accents. One is whom we looked for.
    press(alice, "9")
    time.sleep(1)
    press(alice, "686")
    # The whole question is heard, which is longer than a key is waited for.
    time.sleep(6.5)
    press(alice, "1")
    talk(alice, bob, voipd)


def test_ring_back_of_the_user(case):
    """Who comes by a menu hears, while bob's phone rings, what bob has chosen: the tone of the US."""
    voipd = office(case, {"keys": {"1": "extension:202"}})
    voipd.ctl("feature", "set", "202", "ringback", "tone:us")
    alice, bob = Phone(case, "alice", voipd, LOW), Phone(case, "202", voipd, HIGH, answers=False)
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("500")
    up(voipd)
    time.sleep(1)
    press(alice, "1")
    # "Please hold while I try", and then a tone of two seconds in six.
    time.sleep(8)
    alice.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [], 10)
    holds(alice.recording(), 440, 480)


def test_wrong_keys(case):
    """Two wrong keys where one may be, and the caller is led to the group."""
    voipd = office(case, {"keys": {"1": "hangup"}, "retries": 1, "then": "group:sales"})
    alice, bob = phones(case, voipd)
    alice.dial("500")
    up(voipd)
    time.sleep(1)
    press(alice, "7")
    # Until it was told and is greeted again.
    time.sleep(4)
    press(alice, "8")
    talk(alice, bob, voipd)


def closed(case, **settings):
    """Alice calls a menu that is closed, and hears nothing but that."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    voipd = office(case, {"keys": {"1": "extension:202"}, "holidays": [day, tomorrow],
                          "timezone": "UTC", "closed": "menu:night"}, NIGHT, **settings)
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("500")
    up(voipd)
    wait_for("the call to be gone", lambda: voipd.calls() == [], 30)
    assert speech_seconds(alice.recording(), LOW) > 2
    [record] = voipd.records()
    assert (record["way_out"], record["cause"]) == ("menu:main", "callee_hung_up"), record


def test_closed_hours(case):
    closed(case)


def test_closed_hours_spanish(case):
    closed(case, node={"locale": "es"})


def by_the_host(case, zone):
    """Alice calls a menu that has no time zone and is closed where the day is that of UTC+14."""
    now = time.time() + 14 * 3_600
    days = [time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (now, now + 86_400)]
    menu = {"keys": {"1": "extension:202"}, "holidays": days, "closed": "menu:night"}
    voipd = office(case, menu, NIGHT, within=["env", f"TZ={zone}"])
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("500")
    up(voipd)
    time.sleep(9)
    return voipd, alice


def test_hours_of_the_host_that_are_over(case):
    voipd, _ = by_the_host(case, "Pacific/Kiritimati")
    assert voipd.calls() == [], "the menu is open"


def test_hours_of_the_host(case):
    """The day before, at UTC-11."""
    voipd, alice = by_the_host(case, "Pacific/Pago_Pago")
    assert voipd.calls(), "the menu is closed"
    alice.hangup()


def test_nobody_answers_and_the_menu_goes_on(case):
    voipd = office(case, {"keys": {"1": "extension:202"}, "timeout_s": 1, "retries": 0,
                          "then": "say:vm-nobox"})
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("500")
    up(voipd)
    time.sleep(1)
    press(alice, "1")
    # 202 has no phone: it is told so, greeted again, and dismissed.
    wait_for("the call to be gone", lambda: voipd.calls() == [], 40)
    assert speech_seconds(alice.recording(), LOW) > 4


def test_a_message_is_left_through_the_menu(case):
    """202 has no phone, and then one that rings in vain: its mailbox takes the call."""
    voipd = office(case, {"keys": {"1": "extension:202"}, "ring_s": 5}, voicemail={"ring_s": 60})
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()

    def leave(count):
        alice.dial("500")
        up(voipd)
        time.sleep(1)
        press(alice, "1")
        wait_for("a message to be recorded",
                 lambda: list(voipd.state.glob("spool/voicemail/202@*/*.wav.part")), 40)
        time.sleep(3)
        press(alice, "#")
        time.sleep(1)
        press(alice, "1")
        wait_for("the message to be there",
                 lambda: voipd.json("mailbox", "show", "202")["mailbox"]["new"] == count, 20)
        wait_for("alice to be hung up", lambda: voipd.calls() == [], 20)

    leave(1)
    bob = Phone(case, "202", voipd, HIGH, answers=False)
    bob.wait_registered()
    leave(2)
    assert "INVITE sip" in bob.process.text()
    for message in voipd.json("mailbox", "show", "202")["messages"]:
        assert message["number"] == "alice" and 2 < message["duration_ms"] / 1000 < 8, message
    assert "service:voicemail" in {r["way_out"] for r in voipd.json("cdr")}


def test_the_sites_own_prompt_is_heard(case):
    """Names of files below `[services] prompts`, in a directory or not; one that is not there is refused."""
    site = case.folder / "prompts"
    tones = prompts(site, ["acme-welcome", "custom/acme"])
    greeting = ["acme-welcome"] * 3 + ["custom/acme"] * 3
    voipd = office(case, {"greeting": greeting, "keys": {"1": "hangup"}},
                   services={"prompts": str(site)})
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("500")
    up(voipd)
    time.sleep(4)
    alice.hangup()
    wait_for("the call to be gone", lambda: voipd.calls() == [], 10)
    holds(alice.recording(), *tones.values())
    voipd.tables["menu"][0]["greeting"] = ["acme-closed"]
    voipd.write()
    said = voipd.call_ctl("check")
    assert said.returncode != 0 and f"put it into {site}/en/acme-closed.wav" in said.stderr, said


def test_route_test_knows_what_answers(case):
    """Menus and what else has a number of its own, and who gets there."""
    voipd = office(case, {"keys": {"1": "extension:202"}},
                   route=[{"match": "70[12]", "to": ["menu:main"]}],
                   conference=[{"name": "board", "number": "8000"}],
                   page=[{"name": "hall", "number": "8500", "members": ["202"]}],
                   queue=[{"name": "help", "numbers": ["8600"], "agents": ["202"]}])

    def leads(number, who="alice"):
        row = voipd.json("route", "test", number, "--from", who)
        return row["steps"][0]["targets"][0] if row["decision"] == "go" else row["decision"]

    for number, target in (
        (NUMBER, "menu:main"), ("701", "menu:main"), ("703", "slot:703"), ("8000", "conference:board"),
        ("8500", "page:hall"), ("8600", "queue:help"), ("*130", "service:echo"),
        ("*458600", "queue_login:8600"),
    ):
        assert leads(number) == target, (number, leads(number))
    for number in ("8000", "8500", "*130"):
        assert leads(number, "address:192.0.2.9") == "none", number
    assert "no route is asked" in voipd.ctl("route", "test", "500", "--from", "alice")


def test_mistakes_are_named(case):
    voipd = office(case, {"keys": {"1": "extension:202"}})
    voipd.tables["menu"][0]["greeting"] = ["menu-welcom"]
    voipd.tables["menu"][0]["keys"] = {"1": "menu:nowhere"}
    voipd.write()
    said = voipd.call_ctl("check")
    assert said.returncode != 0 and "there is no menu \"nowhere\"" in said.stderr, said
    voipd.tables["menu"][0]["keys"] = {"1": "extension:202"}
    voipd.write()
    said = voipd.call_ctl("check")
    assert "did you mean \"menu-welcome\"?" in said.stderr, said
