"""Voicemail: left, told of, fetched and deleted by phones; what full disks, kills and strangers bring."""

import os
import pathlib
import re
import signal
import struct
import subprocess
import threading
import time

from lib.case import Skip, wait_for
from lib.phone import Phone
from lib.sip import Agent
from lib.talker import RATE, Sound, Talker, prompts
from lib.tone import holds, speech_seconds, tone_seconds
from lib.voipd import DOMAIN, Voipd

LOW, HIGH = 440, 880
# What says that it is the caller's turn, in English (440 Hz sounds in it, too).
BEEP = 350


def up(voipd, count=1):
    return wait_for(f"{count} calls to be up",
                    lambda: len([c for c in voipd.calls() if c["state"] == "up"]) >= count, 20)


def press(phone, keys):
    for key in keys:
        phone.press(key)
        time.sleep(0.3)


def shown(voipd, user):
    """The mailbox and its messages, as voipctl shows them."""
    shown = voipd.json("mailbox", "show", user)
    return shown["mailbox"], shown["messages"]


def counts(voipd, user):
    box = shown(voipd, user)[0]
    return box["new"], box["saved"]


def hear_and_delete(voipd, bob, press=press):
    """Bob, who is in his mailbox, hears the only message, and deletes it."""
    time.sleep(1)
    press(bob, "1")
    wait_for("the message to be heard", lambda: counts(voipd, "bob") == (0, 1), 20)
    time.sleep(10)
    press(bob, "7")
    time.sleep(2)
    bob.hangup()


def lamp(phone):
    """What baresip was told last (RFC 3842)."""
    told = re.findall(r"Messages-Waiting: (\w+)\s(?:.*\s)*?Voice-Message: (\d+/\d+)",
                      phone.process.text())
    return " ".join(told[-1]) if told else None


def lit_phone(case, name, voipd, tone):
    """A phone with a lamp, once it was told of no messages."""
    phone = Phone(case, name, voipd, tone, answers=False, modules=["mwi"])
    phone.wait_registered()
    wait_for(f"{name}'s phone to be told of no messages", lambda: lamp(phone) == "no 0/0", 12)
    return phone


def test_left_told_of_fetched_deleted(case):
    """The whole way, by two of people's phones: bob does not answer, alice leaves her tone, bob's lamp
    goes on, he hears her, deletes it, and the lamp goes out."""
    voipd = Voipd(case, voicemail={"ring_s": 5})
    for name in ("alice", "bob"):
        voipd.add_user(name)
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    bob = lit_phone(case, "bob", voipd, HIGH)
    alice.dial("bob")
    up(voipd)
    wait_for("a message to be recorded",
             lambda: list(voipd.state.glob("spool/voicemail/bob@*/*.wav.part")), 30)
    time.sleep(3)
    press(alice, "#")
    time.sleep(1)
    press(alice, "1")
    wait_for("the message to be there", lambda: counts(voipd, "bob") == (1, 0), 20)
    wait_for("alice to be hung up", lambda: voipd.calls() == [], 20)
    heard = alice.recording()
    holds(heard, BEEP)
    assert speech_seconds(heard, BEEP, LOW) > 3, "alice heard no greeting"
    wait_for("bob's lamp", lambda: lamp(bob) == "yes 1/0")
    message, = shown(voipd, "bob")[1]
    assert message["number"] == "alice" and 2 < message["duration_ms"] / 1000 < 8, message
    record = voipd.records()[0]
    assert record["way_out"] == "service:voicemail", record

    bob.dial("*123")
    up(voipd)
    hear_and_delete(voipd, bob)
    wait_for("bob's call to be over", lambda: voipd.calls() == [])
    assert tone_seconds(bob.recording(), LOW) > 2, "bob did not hear alice"
    wait_for("the message to be gone", lambda: shown(voipd, "bob")[1] == [])
    wait_for("its file to be gone", lambda: not list(voipd.state.glob("spool/**/*.wav*")))
    wait_for("bob's lamp to go out", lambda: lamp(bob) == "no 0/0")


# Prompts that a test listens for, and those around them, which are shorter as tones.
PROMPTS = ["vm-intro", "vm-password", "vm-incorrect", "vm-locked", "vm-login", "vm-review", "vm-msgsaved",
           "vm-tooshort", "vm-mailboxfull", "vm-cannot-record", "vm-deleted", "vm-nomore", "vm-rec-unv",
           "vm-options", "vm-onefor-full", "vm-helpexit", "vm-otherexit", "call-unavailable", "call-busy", "goodbye",
           "vm-opts-full", "vm-prev", "vm-repeat", "vm-next", "vm-delete", "vm-savemessage",
           "vm-tocallback", "vm-tohearenv", "vm-unknown-caller"]
MESSAGE, OTHER = 440, 2600


class House:
    """voipd with some users, none of whom is there, and phones that hear each prompt as a tone."""

    def __init__(self, case, users=("bob", "carol"), **settings):
        self.case = case
        site = case.folder / "prompts"
        self.tones = prompts(site, PROMPTS)
        services = settings.pop("services", {}) | {"prompts": str(site)}
        mail = {"message_min_s": 1} | settings.pop("voicemail", {})
        self.voipd = Voipd(case, services=services, voicemail=mail, **settings)
        self.spool = self.voipd.state / "spool"
        for user in users:
            self.voipd.add_user(user)
        self.sound = Sound(case)

    def phone(self, user):
        return Talker(self.case, self.voipd, user, self.sound, self.tones)

    def leave(self, caller, callee, hertz=MESSAGE, seconds=3, accept=True):
        """A message is left, and accepted by keys, or by hanging up in the middle."""
        caller.call(callee)
        caller.hears("vm-intro")
        caller.hears("beep")
        caller.say(hertz)
        time.sleep(seconds)
        if not accept:
            return caller.hang_up()
        caller.press("#")
        caller.hears("vm-review")
        caller.press("1")
        caller.hears("vm-msgsaved")
        caller.is_hung_up()

    def wait_counts(self, user, new, saved, seconds=20):
        wait_for(f"{user} to have {new} new and {saved} saved",
                 lambda: counts(self.voipd, user) == (new, saved), seconds)

    def is_clean(self):
        """No call is left, and nothing half below the spool."""
        wait_for("the calls to be gone", lambda: self.voipd.calls() == [])
        assert not list(self.spool.rglob("*.part")), list(self.spool.rglob("*"))
        for path in self.spool.rglob("*.wav"):
            is_whole(path)


def is_whole(path):
    """The lengths in a WAV file's header agree with its own."""
    data = path.read_bytes()
    riff, = struct.unpack("<I", data[4:8])
    at = data.index(b"data")
    sound, = struct.unpack("<I", data[at + 4 : at + 8])
    assert data[:4] == b"RIFF" and riff == len(data) - 8, (path, riff, len(data))
    assert at + 8 + sound + sound % 2 == len(data) and sound, (path, at, sound, len(data))
    return sound / RATE


def notified(agent, seconds=20.0):
    """The next NOTIFY of waiting messages, answered."""
    notify = agent.expect("NOTIFY", seconds)
    agent.reply(notify, 200)
    assert notify["event"] == "message-summary", notify.text()
    body = notify.body.decode()
    waiting = re.search(r"Messages-Waiting: (\w+)", body).group(1)
    return waiting, re.search(r"Voice-Message: (\d+/\d+)", body).group(1)


def test_told_unasked_and_kept_when_the_caller_hangs_up(case):
    """A phone that never subscribes is told all the same; a caller who just hangs up leaves what was
    said; bob's other phone fetches it."""
    house = House(case)
    desk = Agent(case, house.voipd, "bob")
    desk.register()
    assert notified(desk) == ("no", "0/0")
    carol, bob = house.phone("carol"), house.phone("bob")
    carol.ringing = threading.Thread(target=lambda: desk.reply(desk.expect("INVITE", 20), 486))
    carol.ringing.start()
    house.leave(carol, "bob", accept=False)
    carol.ringing.join()
    assert carol.heard("vm-intro")
    desk.expect("ACK")
    assert notified(desk) == ("yes", "1/0")
    message, = shown(house.voipd, "bob")[1]
    assert message["number"] == "carol" and 2 < message["duration_ms"] / 1000 < 6, message
    bob.call("*123")
    bob.hears("vm-onefor-full")
    bob.press("1")
    bob.hears(MESSAGE)
    assert notified(desk) == ("no", "0/1")
    bob.hears("vm-helpexit")
    assert bob.seconds_of(MESSAGE) > 2, bob.seconds_of(MESSAGE)
    bob.press("7")
    bob.hears("vm-deleted")
    assert notified(desk) == ("no", "0/0")
    bob.hang_up()
    wait_for("the file to be gone", lambda: not list(house.spool.rglob("*.wav*")))
    house.is_clean()


def test_told_beside_a_phone_that_subscribes(case):
    """One of bob's phones subscribes, as baresip does, the other knows no subscriptions: both are told."""
    house = House(case, voicemail={"ring_s": 5})
    desk = Agent(case, house.voipd, "bob")
    desk.register()
    assert notified(desk) == ("no", "0/0")
    lit = lit_phone(case, "bob", house.voipd, HIGH)
    carol = house.phone("carol")
    carol.ringing = threading.Thread(target=lambda: desk.reply(desk.expect("INVITE", 20), 486))
    carol.ringing.start()
    house.leave(carol, "bob")
    carol.ringing.join()
    desk.expect("ACK")
    assert notified(desk) == ("yes", "1/0")
    wait_for("the other phone's lamp", lambda: lamp(lit) == "yes 1/0")


def test_told_of_and_not_heard(case):
    """Who hangs up, or goes on, while a message is being told of has not heard it; nor is one heard whose
    file is gone."""
    house = House(case)
    desk = Agent(case, house.voipd, "bob")
    carol, bob = house.phone("carol"), house.phone("bob")
    for _ in range(2):
        house.leave(carol, "bob")
    desk.register()
    assert notified(desk) == ("yes", "2/0")
    bob.call("*123")
    bob.hears("vm-onefor-full")
    bob.press("1")
    time.sleep(1)
    bob.press("6")
    time.sleep(1)
    bob.hang_up()
    wait_for("the call to be gone", lambda: house.voipd.calls() == [])
    assert counts(house.voipd, "bob") == (2, 0)
    first, second = sorted(house.spool.rglob("*.wav"), key=lambda path: path.stat().st_mtime)
    first.rename(first.with_suffix(".gone"))
    bob.call("*123")
    bob.hears("vm-onefor-full")
    bob.press("1")
    bob.hears("vm-helpexit")
    assert bob.seconds_of(MESSAGE) == 0 and counts(house.voipd, "bob") == (2, 0)
    bob.press("6")
    bob.hears(MESSAGE)
    assert notified(desk) == ("yes", "1/1")
    bob.hang_up()
    house.wait_counts("bob", 1, 1)


def test_from_a_colleagues_phone(case):
    """carol's phone opens carol's mailbox unasked, and with * and a PIN that of 200."""
    house = House(case, users=("200", "carol", "bob"))
    house.voipd.ctl("mailbox", "set", "200", "pin", "-", stdin="2468\n")
    house.leave(house.phone("bob"), "200")
    carol = house.phone("carol")
    carol.call("*123")
    carol.hears("vm-otherexit")
    carol.press("*")
    carol.hears("vm-login")
    carol.press("200#")
    carol.hears("vm-password")
    carol.press("2468#")
    carol.hears("vm-onefor-full")
    carol.press("1")
    carol.hears(MESSAGE)
    carol.hang_up()
    house.wait_counts("200", 0, 1)
    house.is_clean()


def test_pin(case):
    """Another's phone opens a mailbox by its PIN; wrong ones slow the next down and lock it."""
    house = House(case, users=("200", "carol"), voicemail={"lock_s": 60, "pin_tries": 4})
    voipd, carol = house.voipd, house.phone("carol")
    house.leave(carol, "200")
    voipd.ctl("mailbox", "set", "200", "pin", "-", stdin="2468\n")
    carol.call("200")
    carol.hears("vm-intro")
    carol.press("*")
    carol.hears("vm-password")
    for wait in (1, 2):
        carol.press("1111#")
        carol.pressed()
        pressed = time.monotonic()
        carol.hears("vm-incorrect")
        assert time.monotonic() - pressed > wait - 0.3, f"no wait of {wait} s"
        carol.hears("vm-password")
    carol.press("2468#")
    carol.hears("vm-onefor-full")
    carol.press("1")
    carol.hears(MESSAGE)
    carol.hang_up()
    # The right one has made good the wrong ones: four more lock it.
    voipd.ctl("mailbox", "set", "carol", "pin", "-", stdin="1357\n")
    voipd.tables["voicemail"]["ask_pin"] = True
    voipd.write()
    voipd.reload()
    for tries in (3, 1):
        # By one's own phone to another's mailbox.
        carol.call("*123")
        carol.hears("vm-password")
        carol.press("*")
        carol.hears("vm-login")
        carol.press("200#")
        for n in range(tries):
            carol.hears("vm-password")
            carol.press("0000#")
            carol.hears("vm-incorrect" if tries > 1 else "vm-locked")
        carol.hears("goodbye")
        carol.is_hung_up()
    box = shown(voipd, "200")[0]
    assert box["locked_until_ms"] > 0 and box["wrong_pins"] == 4, box
    # Nor does a restart open it.
    voipd.kill()
    voipd.restart()
    carol.call("200")
    carol.hears("vm-intro")
    carol.press("*")
    carol.hears("vm-password")
    carol.press("2468#")
    carol.hears("vm-locked")
    carol.is_hung_up()
    house.is_clean()


def test_caller_id_that_is_a_code(case):
    """A stranger shows a feature code as its number, and leaves a message: who calls back from the
    mailbox does not dial it."""
    voipd = Voipd(case, sip={"guests": True}, voicemail={"ring_s": 5, "message_min_s": 1})
    voipd.add_user("bob")
    eve = Phone(case, "*72600666666", voipd, LOW, domain="evil.test")
    eve.command("dial", f"sip:bob@{voipd.target()}")
    up(voipd)
    time.sleep(2)
    eve.press("#")
    time.sleep(5)
    eve.hangup()
    wait_for("the message to be there", lambda: counts(voipd, "bob") == (1, 0), 20)
    bob = Phone(case, "bob", voipd, HIGH)
    bob.wait_registered()
    before = voipd.json("feature", "show", "bob")
    bob.dial("*123")
    up(voipd)
    time.sleep(2)
    press(bob, "1")
    wait_for("the message to be heard", lambda: counts(voipd, "bob") == (0, 1), 30)
    press(bob, "2")
    time.sleep(4)
    assert len(voipd.calls()) == 1, voipd.calls()
    bob.hangup()
    wait_for("the call to be gone", lambda: voipd.calls() == [])
    assert voipd.json("feature", "show", "bob") == before
    notes = [cdr["note"] for cdr in voipd.json("cdr")]
    assert any(re.match(r"mailbox bob: message 1, \d s", note) for note in notes), notes
    assert "mailbox bob: opened" in notes, notes


def test_keys_by_info(case):
    """A phone that tells its keys by INFO alone leaves a message, gives a PIN, and records a greeting."""
    house = House(case)
    carol, bob = house.phone("carol"), house.phone("bob")

    def press(phone, keys):
        for key in keys:
            phone.dialog.press(key)

    carol.call("bob")
    carol.hears("beep")
    carol.say(MESSAGE)
    time.sleep(3)
    press(carol, "#")
    carol.hears("vm-review", 5)
    press(carol, "1")
    carol.hears("vm-msgsaved")
    carol.is_hung_up()
    message, = shown(house.voipd, "bob")[1]
    assert 2 < message["duration_ms"] / 1000 < 5, message
    house.voipd.ctl("mailbox", "set", "bob", "pin", "-", stdin="2468\n")
    carol.call("bob")
    carol.hears("vm-intro")
    press(carol, "*")
    carol.hears("vm-password")
    press(carol, "2468#")
    carol.hears("vm-onefor-full")
    carol.hang_up()
    bob.call("*123")
    bob.hears("vm-onefor-full")
    press(bob, "01")
    bob.hears("beep")
    bob.say(OTHER)
    time.sleep(2)
    press(bob, "#")
    bob.hears("vm-review", 5)
    press(bob, "1")
    bob.hears("vm-msgsaved")
    bob.hang_up()
    assert shown(house.voipd, "bob")[0]["greetings"] == ["unavail"], shown(house.voipd, "bob")
    house.is_clean()


def test_own_greeting(case):
    house = House(case)
    bob, carol = house.phone("bob"), house.phone("carol")
    bob.call("*123")
    bob.hears("vm-otherexit")
    bob.press("01")
    bob.hears("vm-rec-unv")
    bob.hears("beep")
    bob.say(OTHER)
    time.sleep(2)
    bob.press("#")
    bob.hears("vm-review")
    bob.press("2")
    bob.hears(OTHER)
    bob.hears("vm-review")
    bob.press("1")
    bob.hears("vm-msgsaved")
    bob.hang_up()
    assert shown(house.voipd, "bob")[0]["greetings"] == ["unavail"], shown(house.voipd, "bob")
    for _ in range(2):
        carol.call("bob")
        carol.hears(OTHER)
        carol.hears("beep")
        assert not carol.heard("vm-intro"), "the spoken greeting came, too"
        carol.hang_up()
        house.voipd.kill()
        house.voipd.restart()
    house.voipd.ctl("mailbox", "set", "bob", "unavail", "default")
    carol.call("bob")
    carol.hears("vm-intro")
    carol.hang_up()
    wait_for("the greeting to be gone", lambda: not list(house.spool.rglob("*.wav*")))
    house.is_clean()


def test_mailbox_full(case):
    house = House(case, voicemail={"messages_max": 1})
    carol = house.phone("carol")
    house.leave(carol, "bob")
    carol.call("bob")
    carol.hears("vm-mailboxfull")
    carol.is_hung_up()
    assert counts(house.voipd, "bob") == (1, 0)
    house.is_clean()
    notes = [cdr.get("note") for cdr in house.voipd.json("cdr")]
    assert "mailbox bob: full" in notes, notes
    assert re.search(r"bob@\S+ +1 +0 +1 full ", house.voipd.ctl("mailbox", "list"))
    # The owner hears so, too.
    bob = house.phone("bob")
    bob.call("*123")
    bob.hears("vm-mailboxfull")
    bob.hang_up()
    house.is_clean()


def in_small_disk(spool, kilobytes):
    """Words before voipd that give it a disk of its own at its spool, in a mount namespace."""
    mount = 'mount -t tmpfs -o size="$1"k none "$0" && shift && exec "$@"'
    try:
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Skip("cannot make a mount namespace") from None
    return ["unshare", "-m", "sh", "-c", mount, spool, kilobytes]


TROUBLE = "nothing can be recorded"


def test_full_disk(case):
    """Who calls when the disk is full, or in whose message it fills, hears that no message can be taken; the
    log says so once. Once there is room again all goes on."""
    spool = case.folder / "spool"
    spool.mkdir()
    house = House(case, within=in_small_disk(spool, 64), spool={"directory": str(spool)})
    house.spool = seen = pathlib.Path(f"/proc/{house.voipd.process.pid}/root{spool}")
    carol = house.phone("carol")
    # It fills in the middle.
    carol.call("bob")
    carol.hears("beep")
    carol.say(MESSAGE)
    carol.hears("vm-cannot-record", 40)
    carol.is_hung_up()
    wait_for("what was recorded of it to be gone", lambda: not list(seen.rglob("*.wav*")))
    assert shown(house.voipd, "bob")[1] == []
    # It is full from the first sample on.
    filler = seen / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError:
            pass
    for _ in range(2):
        carol.call("bob")
        carol.hears("beep")
        carol.say(MESSAGE)
        carol.hears("vm-cannot-record")
        carol.is_hung_up()
    assert shown(house.voipd, "bob")[1] == []
    log = house.voipd.process.text()
    assert log.count(TROUBLE) == 1 and "make room" in log, log
    filler.unlink()
    house.leave(carol, "bob")
    assert "is written again" in house.voipd.process.text()
    assert counts(house.voipd, "bob") == (1, 0)
    house.is_clean()


def test_disk_full_as_the_caller_hangs_up(case):
    """The disk takes no more of what somebody says who hangs up just then: nobody can be told, and what it
    took before is a message."""
    spool = case.folder / "spool"
    spool.mkdir()
    house = House(case, within=in_small_disk(spool, 256), spool={"directory": str(spool)})
    house.spool = seen = pathlib.Path(f"/proc/{house.voipd.process.pid}/root{spool}")
    carol = house.phone("carol")
    carol.call("bob")
    carol.hears("beep")
    carol.say(MESSAGE)

    def written():
        return sum(path.stat().st_size for path in seen.rglob("*.part"))

    wait_for("four seconds on the disk", lambda: written() > 4 * RATE, 20)
    # Just behind a piece: the last one, of most of a second, does not fit into the rest of a page.
    before = written()
    wait_for("the next piece", lambda: written() > before, 5)
    time.sleep(0.7)
    with open(seen / "filler", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    carol.hang_up()
    house.wait_counts("bob", 1, 0)
    message, = shown(house.voipd, "bob")[1]
    assert message["duration_ms"] > 4000, message
    assert house.voipd.process.text().count(TROUBLE) == 1
    (seen / "filler").unlink()
    house.is_clean()
    bob = house.phone("bob")
    bob.call("*123")
    bob.hears("vm-onefor-full")
    bob.press("1")
    bob.hears(MESSAGE)
    bob.hang_up()
    house.wait_counts("bob", 0, 1)


def test_spool_that_cannot_be_written(case):
    """It is said at the start, with the remedy; calls go on, and callers hear that no message can be taken."""
    spool = case.folder / "theirs"
    spool.mkdir(mode=0o755)
    if os.geteuid() != 0:
        raise Skip("needs root to become somebody else")
    state = case.folder / "voipd"
    flags = os.environ.get("VOIPD_FLAGS", "").split() + ["-u", "nobody"]
    within = ["sh", "-c", 'chown nobody "$0" && exec "$@"', state]
    house = House(case, flags=flags, within=within, spool={"directory": str(spool)})
    log = house.voipd.process.text()
    assert log.count(TROUBLE) == 1 and "[spool] directory" in log and "chown" in log, log
    carol = house.phone("carol")
    carol.call("bob")
    carol.hears("beep")
    carol.hears("vm-cannot-record")
    carol.is_hung_up()
    assert house.voipd.process.text().count(TROUBLE) == 1


RECORDINGS = 50


def test_kill_in_the_middle_of_many_recordings(case):
    """Fifty speak when the daemon, or all processes of it, is killed: every third has accepted before. What
    was accepted is there and plays; what was said so far of the others is kept; nothing is half there."""
    boxes = [f"{n}" for n in range(300, 310)]
    house = House(case, users=[*boxes, "carol"], guard={"exempt": ["127.0.0.0/8"]})
    voipd = house.voipd
    callers = [house.phone("carol") for _ in range(RECORDINGS)]
    owner = {caller: boxes[n % len(boxes)] for n, caller in enumerate(callers)}
    for caller in callers:
        caller.call(owner[caller])
    for caller in callers:
        caller.hears("beep", 60)
        caller.say(MESSAGE)
    begun = time.monotonic()
    accepted = callers[::3]
    time.sleep(2.5)
    for caller in accepted:
        caller.press("#")
    for caller in accepted:
        caller.hears("vm-review")
        caller.press("1")
    for caller in accepted:
        # From here on it may not be lost.
        caller.hears("vm-msgsaved")
    time.sleep(max(0, begun + 5 - time.monotonic()))
    assert len(voipd.calls()) >= RECORDINGS - len(accepted)
    parts = list(house.spool.rglob("*.part"))
    assert len(parts) >= RECORDINGS - len(accepted) - 2, f"only {len(parts)} recordings go on"
    for pid in [voipd.process.pid, *voipd.pids()]:
        os.kill(pid, signal.SIGKILL)
    voipd.kill()
    voipd.restart()
    listed = {box: shown(voipd, box)[1] for box in boxes}
    number = {box: sum(owner[c] == box for c in callers) for box in boxes}
    assert {box: len(rows) for box, rows in listed.items()} == number, listed
    files = {path.relative_to(house.spool): is_whole(path) for path in house.spool.rglob("*.wav")}
    assert len(files) == RECORDINGS and not list(house.spool.rglob("*.part")), files
    assert min(files.values()) > 2, files
    rows = [row for rows in listed.values() for row in rows]
    assert all(row["folder"] == "new" and row["duration_ms"] > 2000 for row in rows), rows
    log = voipd.process.text()
    assert f"{RECORDINGS - len(accepted)} messages that a crash broke off were kept" in log, log[-2000:]
    bob = house.phone(boxes[0])
    bob.call("*123")
    bob.hears("vm-onefor-full")
    bob.press("1")
    for n in range(number[boxes[0]]):
        bob.hears(MESSAGE)
        bob.hears("vm-helpexit", 40)
        bob.press("76" if n == 0 else "6")
    bob.hears("vm-nomore")
    bob.hang_up()
    house.wait_counts(boxes[0], 0, number[boxes[0]] - 1)
    house.is_clean()


def test_media_dies_in_a_recording(case):
    """Only with several processes: the caller is hung up, and what was said is a message at once."""
    house = House(case)
    if "--processes" not in house.voipd.flags:
        raise Skip("media is no process of its own here")
    carol = house.phone("carol")
    carol.call("bob")
    carol.hears("beep")
    carol.say(MESSAGE)
    time.sleep(4)
    media, = house.voipd.pids("media")
    os.kill(media, signal.SIGKILL)
    carol.is_hung_up()
    house.wait_counts("bob", 1, 0, 10)
    house.is_clean()
    house.leave(carol, "bob")
    house.wait_counts("bob", 2, 0)
    house.is_clean()


def test_signalling_dies_in_a_recording(case):
    """Only with several processes: media finish what was said, and the new signalling finds it."""
    house = House(case)
    if "--processes" not in house.voipd.flags:
        raise Skip("signalling is no process of its own here")
    carol = house.phone("carol")
    carol.call("bob")
    carol.hears("beep")
    carol.say(MESSAGE)
    time.sleep(4)
    signalling, = house.voipd.pids("signal")
    os.kill(signalling, signal.SIGKILL)
    wait_for("signalling to be back", lambda: house.voipd.pids("signal") not in ([], [signalling]), 20)
    wait_for("voipd to serve", house.voipd.serves, 20)
    house.wait_counts("bob", 1, 0)
    house.is_clean()
    house.sound.remove(carol.line)
    house.leave(carol, "bob")
    house.wait_counts("bob", 2, 0)


class Demo:
    """What `voipd demo` serves, as phones see it."""

    address = "127.0.0.1"

    def __init__(self, process):
        said = wait_for("the demo to say where", lambda: re.search(r"127\.0\.0\.1:(\d+)", process.text()))
        self.ports = {"udp": int(said.group(1))}
        self.passwords = dict(re.findall(r"(?s)sip:(\w+)@[\w.]+\n.*?password +(\S+)", process.text()))


def test_demo(case):
    """A newcomer calls the second account, which no phone is registered for, and leaves a message."""
    folder = case.folder / "demo"
    process = case.start("demo", [case.binaries / "voipd", "demo", "--dir", folder], cwd=case.folder)
    wait_for("the demo to serve", lambda: "listening on" in process.text(), 15)
    demo = Demo(process)
    sound = Sound(case)
    phones = {name: Talker(case, demo, name, sound, domain=demo.address, password=password)
              for name, password in demo.passwords.items()}
    caller, owner = phones["100"], phones["200"]
    caller.call("200")
    caller.hears("beep", 30)
    caller.say(MESSAGE)
    time.sleep(3)
    caller.hang_up()
    wait_for("the message", lambda: list(folder.glob("spool/voicemail/200@127.0.0.1/*.wav")))
    owner.call("*123")
    time.sleep(1)
    owner.press("1")
    owner.hears(MESSAGE, 30)
    owner.hang_up()
