"""Recorded calls, by what is on the disk: the caller on the left, the callee on the right."""

import array
import contextlib
import os
import signal
import struct
import time

from lib.case import wait_for
from lib.phone import Phone
from lib.tone import hears_all, median_share, power, speech_seconds, windows
from lib.voipd import DOMAIN, Voipd

LOW, HIGH = 440, 880


def house(case, recording, **tables):
    spool = case.folder / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    voipd = Voipd(case, node={"workers": 3}, spool={"directory": str(spool)},
                  recording=recording, **tables)
    voipd.add_users(["alice", "bob"])
    alice, bob = Phone(case, "alice", voipd, LOW), Phone(case, "bob", voipd, HIGH)
    alice.wait_registered()
    bob.wait_registered()
    return voipd, alice, bob, spool


def up(voipd):
    wait_for("the call to be up", lambda: any(c["state"] == "up" for c in voipd.calls()), 20)


def gone(voipd):
    wait_for("the calls to be gone", lambda: voipd.calls() == [], 20)


def alaw(byte):
    """One sample of G.711 A-law."""
    byte ^= 0x55
    exponent, mantissa = (byte >> 4) & 7, byte & 15
    value = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << (exponent - 1)
    return value if byte & 0x80 else -value


def channels(path, count=2):
    """The channels of a recording; it must say what it is in its header, and be whole."""
    data = path.read_bytes()
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", data[:16]
    at, form, sound = 12, None, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name == b"fmt ":
            form = struct.unpack_from("<HHI", data, at + 8)
        if name == b"data":
            sound = data[at + 8 : at + 8 + size]
            assert len(sound) == size, f"{path} is cut"
        at += 8 + size + size % 2
    assert form == (6, count, 8000), form
    table = [alaw(byte) for byte in range(256)]
    return [array.array("h", (table[b] for b in sound[n::count])) for n in range(count)]


def sides(path):
    """Left and right of a recording of two."""
    return channels(path)


def holds(samples, wanted, other, seconds=2):
    """Whether the last seconds but half of one hold a tone, judged by the median of short pieces."""
    rate, size = 8000, 800
    data = samples[-(seconds * rate + rate // 2) : -rate // 2]
    assert len(data) == seconds * rate, f"{len(samples) / rate:.1f} s are too short"
    pieces = [data[n : n + size] for n in range(0, len(data), size)]
    shares = {hz: sorted(power(p, rate, hz) for p in pieces)[len(pieces) // 2]
              for hz in (wanted, other)}
    assert shares[wanted] > 0.6 and shares[other] < 0.05, shares


def listed(voipd, count=1):
    rows = wait_for("the record of the call", lambda: [
        r for r in [voipd.json("recording", "list")] if len(r) >= count])[0]
    assert len(rows) == count, rows
    return rows


def whole(spool, row):
    """The file of a row, once the disk has all of it."""
    path = spool / row["file"]
    wait_for(f"{path} to be whole", path.exists)
    return path


def test_a_user_is_recorded(case):
    voipd, alice, bob, spool = house(case, {"users": ["bob"]})
    alice.dial("bob")
    up(voipd)
    time.sleep(8)
    alice.hangup()
    gone(voipd)
    [row] = listed(voipd)
    assert f"alice@{DOMAIN}" in row["from"] and row["file"].startswith("recordings/20"), row
    left, right = sides(whole(spool, row))
    assert abs(len(left) / 8000 - row["seconds"]) < 2, (len(left), row)
    holds(left, LOW, HIGH)
    holds(right, HIGH, LOW)
    # Both were told before they talked, and talked.
    for phone, other in ((alice, HIGH), (bob, LOW)):
        assert speech_seconds(phone.recording(), other) > 0.7
        hears_all(phone.recording(), [other], [])
    # Nobody else is recorded, and nothing half is left.
    assert [p.name for p in spool.rglob("*") if p.is_file()] == [whole(spool, row).name]


def test_a_route_is_recorded_without_a_word(case):
    voipd, alice, bob, spool = house(
        case, {"notice": False},
        route=[{"match": "7200", "to": ["user:bob"], "record": True}])
    alice.dial("bob")
    up(voipd)
    alice.hangup()
    gone(voipd)
    assert voipd.json("recording", "list") == []
    alice.dial("7200")
    up(voipd)
    time.sleep(5)
    bob.hangup()
    gone(voipd)
    left, right = sides(whole(spool, listed(voipd)[0]))
    holds(left, LOW, HIGH)
    holds(right, HIGH, LOW)
    assert speech_seconds(alice.recording(), HIGH) < 0.7


def test_keys_begin_and_end_it(case):
    voipd, alice, bob, spool = house(case, {"on_demand": ["bob"], "notice": False})
    alice.dial("bob")
    up(voipd)
    time.sleep(1)
    assert not list(spool.rglob("*.part"))
    for key in "*1":
        bob.press(key)
        time.sleep(0.4)
    part = wait_for("the recording to begin", lambda: list(spool.rglob("*.wav.part")), 10)
    time.sleep(4)
    for key in "*1":
        alice.press(key)
        time.sleep(0.4)
    wait_for("the recording to end", lambda: not part[0].exists(), 10)
    assert any(c["state"] == "up" for c in voipd.calls())
    alice.hangup()
    gone(voipd)
    left, right = sides(whole(spool, listed(voipd)[0]))
    assert 3 < len(left) / 8000 < 12, len(left)
    # Keys sound in between, not in the middle.
    middle = slice(len(left) // 2 - 8000, len(left) // 2 + 8000)
    holds(left[middle] + array.array("h", bytes(8000)), LOW, HIGH)
    holds(right[middle] + array.array("h", bytes(8000)), HIGH, LOW)


def test_a_disk_that_refuses_costs_no_call(case):
    """A file where the directory should be: no recording can be written, as on a full disk."""
    voipd, alice, bob, spool = house(case, {"users": ["alice"], "notice": False})
    (spool / "recordings").write_text("in the way")
    alice.dial("bob")
    up(voipd)
    time.sleep(4)
    assert any(c["state"] == "up" for c in voipd.calls())
    alice.hangup()
    gone(voipd)
    hears_all(alice.recording(), [HIGH], [])
    note = wait_for("the record", lambda: [
        r["note"] for r in voipd.json("cdr") if "recording:" in (r.get("note") or "")])[0]
    assert "could not be written" in note, note
    said = voipd.process.text().count("nothing can be recorded")
    assert said == 1, f"said {said} times"


def both_sides(voipd, alice, bob, spool, to):
    """Alice, who called `to`, and bob talk since a moment: the file has each on a side of its own, and
    the record of alice's call names it. Both were told, and heard each other."""
    time.sleep(8)
    alice.hangup()
    gone(voipd)
    [row] = listed(voipd)
    assert f"alice@{DOMAIN}" in row["from"] and f"{to}@" in row["to"], row
    left, right = sides(whole(spool, row))
    assert 5 < len(left) / 8000 < 15, len(left)
    holds(left, LOW, HIGH)
    holds(right, HIGH, LOW)
    for phone, other in ((alice, HIGH), (bob, LOW)):
        assert speech_seconds(phone.recording(), other) > 0.7
    hears_all(bob.recording(), [LOW], [])
    assert [p.name for p in spool.rglob("*") if p.is_file()] == [whole(spool, row).name]


def both_up(voipd):
    wait_for("both calls to be up",
             lambda: sum(c["state"] == "up" for c in voipd.calls()) == 2, 20)


def test_a_group_of_a_recorded_member_is_recorded(case):
    voipd, alice, bob, spool = house(
        case, {"users": ["bob"]}, group=[{"name": "sales", "number": "600", "members": ["bob"]}],
        route=[{"match": "5551", "to": ["group:sales", "user:bob"]}])
    alice.dial("5551")
    up(voipd)
    alice.hangup()
    gone(voipd)
    alice.dial("600")
    both_up(voipd)
    time.sleep(5)
    alice.hangup()
    gone(voipd)
    rows = listed(voipd, 2)
    assert {r["to"].split("@")[0] for r in rows} == {"5551", "600"}, rows
    [row] = [r for r in rows if r["to"].startswith("600")]
    left, right = sides(whole(spool, row))
    holds(left, LOW, HIGH)
    holds(right, HIGH, LOW)
    assert speech_seconds(bob.recording(), LOW) > 0.7


def test_a_queue_records_its_agent(case):
    voipd, alice, bob, spool = house(
        case, {"users": ["bob"]}, queue=[{"name": "support", "numbers": ["650"], "agents": ["bob"]}])
    alice.dial("650")
    both_up(voipd)
    both_sides(voipd, alice, bob, spool, "650")


def test_a_menu_leads_to_a_recorded_user(case):
    voipd, alice, bob, spool = house(
        case, {"users": ["bob"]},
        menu=[{"name": "main", "numbers": ["500"], "greeting": "menu-welcome",
               "keys": {"1": "extension:bob"}}])
    alice.dial("500")
    up(voipd)
    time.sleep(1)
    # Nothing of the menu itself is recorded.
    assert not list(spool.rglob("*.part"))
    alice.press("1")
    both_up(voipd)
    both_sides(voipd, alice, bob, spool, "500")


def test_a_route_that_records_leads_to_a_menu_and_a_queue(case):
    """All calls that come in are recorded, whoever takes them."""
    voipd, alice, bob, spool = house(
        case, {},
        menu=[{"name": "main", "greeting": "menu-welcome", "keys": {"1": "queue:support"}}],
        queue=[{"name": "support", "agents": ["bob"]}],
        route=[{"match": "7000", "to": ["menu:main"], "record": True}])
    alice.dial("7000")
    up(voipd)
    time.sleep(1)
    alice.press("1")
    both_up(voipd)
    both_sides(voipd, alice, bob, spool, "7000")


def test_a_call_that_is_forwarded_to_a_recorded_user_is_recorded(case):
    voipd, alice, bob, spool = house(case, {"users": ["bob"]})
    voipd.add_user("carol")
    voipd.ctl("feature", "set", "carol", "forward-always", "bob")
    alice.dial("carol")
    both_up(voipd)
    both_sides(voipd, alice, bob, spool, "carol")


def test_a_fetched_call_is_recorded(case):
    """Alice waits in a slot, bob fetches her: both are in one channel."""
    voipd, alice, bob, spool = house(case, {"users": ["bob"]})
    alice.dial("*70")
    up(voipd)
    wait_for("the slot", lambda: voipd.json("park", "list"), 10)
    bob.dial("701")
    wait_for("both", lambda: sum(c["state"] == "up" for c in voipd.calls()) == 2, 15)
    time.sleep(8)
    bob.hangup()
    gone(voipd)
    rows = listed(voipd, 2)
    assert rows[0]["file"] == rows[1]["file"], rows
    [both] = channels(whole(spool, rows[0]), 1)
    piece = both[-2 * 8000 : -8000]
    shares = [median_share(piece, 8000, hz) for hz in (LOW, HIGH)]
    assert min(shares) > 0.2, shares
    # Both were told, over what the other says.
    for phone, other in ((alice, HIGH), (bob, LOW)):
        pieces, rate = windows(phone.recording())
        told = [p for p in pieces if power(p, rate, other) < 0.97]
        assert len(told) > 7, f"{phone.name}: {len(told)} of {len(pieces)}"


def test_broken_off_is_whole_after_the_next_start(case):
    """kill -9 in the midst of a recorded call: what was said is there after the start, whole."""
    voipd, alice, bob, spool = house(case, {"users": ["alice"], "notice": False})
    folder = spool / "recordings/2020/01/01"
    folder.mkdir(parents=True)
    strange = folder / "strange.wav.part"
    strange.write_bytes(bytes(1000))
    for n in range(3000):
        (folder / f"old-{n}.wav").touch()
    alice.dial("bob")
    up(voipd)
    time.sleep(5)
    # All processes at once, where there are several.
    for pid in [voipd.process.pid, *voipd.pids()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    voipd.kill()
    broken = [p for p in spool.rglob("*.part") if p != strange]
    assert len(broken) == 1, broken
    voipd.restart()
    path = broken[0].with_suffix("")
    wait_for("the recording to be whole", path.exists, 20)
    left, right = sides(path)
    holds(left, LOW, HIGH)
    holds(right, HIGH, LOW)
    assert not broken[0].exists() and strange.read_bytes() == bytes(1000)
    log = wait_for("the log to say so", lambda: [
        line for line in voipd.process.text().splitlines() if "stay as they are" in line], 10)
    assert len(log) == 1 and "strange.wav.part" in log[0] and "sox" in log[0], log
    assert "were broken off are whole now" in voipd.process.text()
