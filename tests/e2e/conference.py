"""Conference rooms, heard by phones of different tones."""

import subprocess
import time
import wave

from lib.case import Skip, wait_for
from lib.phone import Phone
from lib.softphone import Linphone
from lib.tone import hears_all, holds, judge, speech_seconds
from lib.voipd import DOMAIN, Voipd
from transcoding import plugin
from voicemail import OTHER, House

TONES = {"alice": 440, "bob": 880, "carol": 1320}
ROOM = {"name": "board", "number": "8001"}


def house(case, room=None, workers=3, **codecs):
    """A voipd of several shards with one room, and three phones."""
    voipd = Voipd(case, node={"workers": workers}, conference=[ROOM | (room or {})])
    phones = {}
    for name, tone in TONES.items():
        voipd.add_user(name)
        phones[name] = Phone(case, name, voipd, tone, codecs=codecs.get(name, "PCMU,PCMA"))
    for phone in phones.values():
        phone.wait_registered()
    return voipd, phones


def members(voipd, room="board"):
    return voipd.json("conference", "show", room)[0]["members"]


def inside(voipd, count, waiting=0):
    """So many members, and so many of them waiting, who have heard what is said at the door."""
    def all_there():
        there = members(voipd)
        return len(there) == count and sum(m["waiting"] for m in there) == waiting and there
    return wait_for(f"{count} members, {waiting} waiting", all_there, 20)


def call(voipd, phone, number="8001", keys=""):
    """Calls, and types once the call is up."""
    phone.dial(number)
    user = f"{phone.name}@{DOMAIN}"
    wait_for(f"{phone.name}'s call", lambda: [
        c for c in voipd.calls() if user in c["from"] and c["state"] == "up"])
    type_keys(phone, keys)


def enter(voipd, phones, keys=""):
    for phone in phones.values():
        call(voipd, phone, keys=keys)


def type_keys(phone, keys):
    if keys:
        time.sleep(1)
    for key in keys:
        phone.press(key)
        time.sleep(0.25)


def pass_door(phones):
    """Whoever presses a key hears no more of how many are there."""
    for phone in phones.values():
        phone.press("0")
    time.sleep(1)


def hang_up(voipd, phones):
    for phone in phones.values():
        phone.hangup()
    wait_for("the calls to be gone", lambda: voipd.calls() == [])
    wait_for("the room to be empty", lambda: members(voipd) == [])


def each_hears_the_others(phones, silent=()):
    for name, phone in phones.items():
        wanted = [TONES[other] for other in phones if other != name and other not in silent]
        unwanted = [tone for tone in TONES.values() if tone not in wanted]
        hears_all(phone.recording(), wanted, unwanted)


def test_three_phones(case):
    voipd, phones = house(case)
    enter(voipd, phones)
    inside(voipd, 3)
    time.sleep(1)
    pass_door(phones)
    wait_for("all to talk", lambda: all(m["talking"] for m in members(voipd)), 10)
    time.sleep(3)
    listed = voipd.json("conference", "list")[0]
    assert (listed["name"], listed["number"], len(listed["members"])) == ("board", "8001", 3)
    shown = voipd.ctl("conference", "show", "board")
    assert "talking" in shown and f"alice@{DOMAIN}" in shown, shown
    hang_up(voipd, phones)
    each_hears_the_others(phones)
    record = voipd.records()[0]
    assert record["way_out"] == "service:conference", record


def test_g722_among_g711(case):
    voipd, phones = house(case, alice="G722/16000/1", carol="PCMA")
    enter(voipd, phones)
    inside(voipd, 3)
    time.sleep(1)
    pass_door(phones)
    time.sleep(4)
    assert {c["codec"].split(",")[0] for c in voipd.calls()} == {"G722", "PCMU", "PCMA"}, voipd.calls()
    hang_up(voipd, phones)
    each_hears_the_others(phones)


def test_g729_among_g711(case):
    """By the plugin, which reads and writes for its member alone."""
    voipd = Voipd(case, node={"workers": 3}, conference=[ROOM], services=plugin(case))
    for name in ("alice", "bob"):
        voipd.add_user(name)
    phones = {"alice": Linphone(case, "alice", voipd, TONES["alice"], "G729"),
              "bob": Phone(case, "bob", voipd, TONES["bob"], codecs="PCMU")}
    for phone in phones.values():
        phone.wait_registered()
    enter(voipd, phones)
    inside(voipd, 2)
    time.sleep(1)
    pass_door(phones)
    wait_for("both to talk", lambda: all(m["talking"] for m in members(voipd)), 10)
    time.sleep(3)
    assert {c["codec"].split(",")[0] for c in voipd.calls()} == {"G729", "PCMU"}, voipd.calls()
    hang_up(voipd, phones)
    # Made for speech, it leaves a tone less pure.
    for name, other in (("alice", "bob"), ("bob", "alice")):
        judge(phones[name].recording(), [TONES[other]], [TONES[name]], last=1, least=0.4, most=0.1)


def at_rate(case, khz):
    voipd, phones = house(case, {"rate_khz": khz}, bob="G722/16000/1")
    enter(voipd, phones)
    inside(voipd, 3)
    time.sleep(1)
    pass_door(phones)
    time.sleep(4)
    hang_up(voipd, phones)
    each_hears_the_others(phones)


def test_8_khz(case):
    at_rate(case, 8)


def test_48_khz(case):
    at_rate(case, 48)


def test_muted_deafened_and_kicked(case):
    voipd, phones = house(case)
    enter(voipd, phones)
    there = inside(voipd, 3)
    time.sleep(1)
    pass_door(phones)
    ids = {m["user"].split("@")[0]: m["id"] for m in there}
    voipd.ctl("conference", "mute", "board", ids["bob"])
    voipd.ctl("conference", "deafen", "board", ids["carol"])
    wait_for("bob to be muted", lambda: [m["id"] for m in members(voipd) if m["muted"]] == [ids["bob"]])
    # Bob is told so, which lies over what he hears.
    time.sleep(6)
    voipd.ctl("conference", "kick", "board", ids["alice"])
    inside(voipd, 2)
    wait_for("alice to be hung up", lambda: len(voipd.calls()) == 2, 15)
    hears_all(phones["alice"].recording(), [], [TONES["bob"]])
    hang_up(voipd, {name: phones[name] for name in ("bob", "carol")})
    hears_all(phones["carol"].recording(), [], TONES.values())
    refused = voipd.call_ctl("conference", "kick", "board", "99")
    assert refused.returncode == 65 and "has no member 99" in refused.stderr, refused


def test_own_keys(case):
    voipd, phones = house(case)
    alice, bob = phones["alice"], phones["bob"]
    both = {"alice": alice, "bob": bob}
    enter(voipd, both)
    inside(voipd, 2)
    time.sleep(1)
    pass_door(both)
    alice.press("*")
    time.sleep(0.5)
    alice.press("1")
    wait_for("alice to be muted", lambda: members(voipd)[0]["muted"])
    time.sleep(3)
    alice.press("8")
    wait_for("alice to be gone", lambda: len(voipd.calls()) == 1, 15)
    time.sleep(2.5)
    hang_up(voipd, {"bob": bob})
    hears_all(bob.recording(), [], TONES.values())


def test_number_and_pin(case):
    voipd, phones = house(case, {"pin": "4711"})
    alice, bob = phones["alice"], phones["bob"]
    call(voipd, alice, "*125", "8001#")
    type_keys(alice, "4711#")
    inside(voipd, 1)
    # A wrong PIN, thrice: slower and slower, then the call is over.
    call(voipd, bob)
    for wait in (2, 3, 5):
        type_keys(bob, "1111#")
        time.sleep(wait)
    wait_for("bob to be hung up", lambda: len(voipd.calls()) == 1, 20)
    assert len(members(voipd)) == 1
    assert speech_seconds(bob.recording()) > 3
    hang_up(voipd, {"alice": alice})


def test_locked(case):
    voipd, phones = house(case, {"moderator_pin": "99001"})
    alice, bob = phones["alice"], phones["bob"]
    call(voipd, alice, keys="99001#")
    assert inside(voipd, 1)[0]["moderator"]
    time.sleep(0.5)
    pass_door({"alice": alice})
    type_keys(alice, "*2")
    wait_for("the room to be locked", lambda: voipd.json("conference", "list")[0]["locked"])
    call(voipd, bob, keys="#")
    wait_for("bob to be hung up", lambda: len(voipd.calls()) == 1, 15)
    voipd.ctl("conference", "unlock", "board")
    call(voipd, bob, keys="#")
    inside(voipd, 2)
    voipd.ctl("conference", "end", "board")
    wait_for("all to be hung up", lambda: voipd.calls() == [], 15)


def test_recorded(case):
    """What is said is in a file, of all who talk, once the room is empty; or by voipctl."""
    voipd, phones = house(case, {"record": True}, carol="G722/16000/1")
    alice, carol = phones["alice"], phones["carol"]
    two = {"alice": alice, "carol": carol}
    enter(voipd, two)
    inside(voipd, 2)
    time.sleep(1)
    pass_door(two)
    assert voipd.json("conference", "list")[0]["recorded"]
    wait_for("both to talk", lambda: all(m["talking"] for m in members(voipd)), 10)
    time.sleep(3)
    hang_up(voipd, two)
    first = recordings(voipd, 1)
    holds(first[0], TONES["alice"], TONES["carol"])
    enter(voipd, two)
    inside(voipd, 2)
    voipd.ctl("conference", "end-record", "board")
    time.sleep(1)
    pass_door(two)
    voipd.ctl("conference", "record", "board")
    time.sleep(2)
    voipd.ctl("conference", "end-record", "board")
    wait_for("all files to be whole", lambda: not list(voipd.state.glob("spool/**/*.part")))
    count = len(recordings(voipd, 2))
    time.sleep(1)
    assert len(recordings(voipd, 2)) == count and not voipd.json("conference", "list")[0]["recorded"]
    hang_up(voipd, two)


def test_recorded_as_linear_samples(case):
    """Of a room of 16 kHz as it is, where the file is to be so."""
    voipd, phones = house(case, {"record": True, "format": "pcm"}, alice="G722/16000/1")
    two = {name: phones[name] for name in ("alice", "bob")}
    enter(voipd, two)
    inside(voipd, 2)
    time.sleep(1)
    pass_door(two)
    time.sleep(3)
    hang_up(voipd, two)
    with wave.open(str(recordings(voipd, 1)[0])) as file:
        made = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        assert made == (1, 2, 16000), made
        assert file.getnframes() > 3 * 16000, file.getnframes()
    assert not list(voipd.state.glob("spool/**/*.part"))


def test_recorded_names(case):
    """A user who recorded a name is called by it, coming and going."""
    house = House(case, conference=[ROOM | {"announce": "names"}])
    bob, carol = house.phone("bob"), house.phone("carol")
    carol.call("*123")
    carol.hears("vm-otherexit")
    carol.press("03")
    carol.hears("beep")
    carol.say(OTHER)
    time.sleep(2)
    carol.press("#")
    carol.hears("vm-review")
    carol.press("1")
    carol.hears("vm-msgsaved")
    carol.hang_up()
    for phone in (bob, carol):
        phone.call("8001")
        time.sleep(0.5)
        phone.press("0")
        inside(house.voipd, 2 if phone is carol else 1)
    bob.hears(OTHER)
    time.sleep(4)
    assert 1 < bob.seconds_of(OTHER) < 3, bob.seconds_of(OTHER)
    bob.mark = len(bob.line.heard)
    carol.hang_up()
    bob.hears(OTHER)
    bob.hang_up()


def recordings(voipd, count):
    """The files of conferences, once there are so many."""
    def all_there():
        files = sorted(voipd.state.glob("spool/recordings/*/*/*/conference-*-board.wav"))
        return len(files) >= count and files
    return wait_for(f"{count} recordings", all_there)


def test_wait_for_moderator(case):
    room = {"pin": "4711", "moderator_pin": "99001", "wait_for_moderator": True}
    voipd, phones = house(case, room)
    alice, bob, carol = phones.values()
    enter(voipd, {"alice": alice, "bob": bob}, "4711#")
    inside(voipd, 2, waiting=2)
    time.sleep(1)
    pass_door({"alice": alice, "bob": bob})
    call(voipd, carol, keys="99001#")
    inside(voipd, 3)
    time.sleep(1)
    pass_door({"carol": carol})
    time.sleep(4)
    wait_for("all to talk", lambda: all(m["talking"] for m in members(voipd)), 10)
    carol.hangup()
    inside(voipd, 2, waiting=2)
    time.sleep(1)
    hang_up(voipd, {"alice": alice, "bob": bob})
    hears_all(carol.recording(), [TONES["alice"], TONES["bob"]], [TONES["carol"]])


def test_media_restarts(case):
    """Only with several processes: whoever was in a room when media died is hung up."""
    voipd, phones = house(case)
    if "--processes" not in voipd.flags:
        raise Skip("media is no process of its own here")
    enter(voipd, phones)
    inside(voipd, 3)
    media = subprocess.run(["pgrep", "-f", "-P", str(voipd.process.pid), "media"], check=True,
                           capture_output=True, text=True).stdout.split()
    subprocess.run(["kill", "-9", *media], check=True)
    wait_for("the calls to be over", lambda: voipd.calls() == [], 15)
    wait_for("the room to be empty", lambda: members(voipd) == [])
