"""Queues and double dialling, with phones: agents by code, music, places, PIN, the company's account."""

import time

from lib.case import wait_for
from lib.net import Hosts
from lib.phone import Phone
from lib.tone import hears, speech_seconds
from lib.voipd import DOMAIN, Voipd

LOW, HIGH, OTHER = 440, 880, 620
# What double dialling answers from outside, and who is called back.
DOOR, MOBILE = "915550100", "600123456"


def up(voipd, count):
    wait_for(f"{count} calls to be up",
             lambda: len([c for c in voipd.calls() if c["state"] == "up"]) >= count, 20)


def gone(voipd, seconds=15):
    wait_for("the calls to be gone", lambda: voipd.calls() == [], seconds)


def noted(voipd, text):
    """The note of the call that ended in a queue."""
    def found():
        return [r for r in voipd.json("cdr") if text in (r.get("note") or "")]
    return wait_for(f"a record that says {text}", found)[0]


def test_an_agent_logs_in_and_takes_a_call(case):
    queue = {"name": "support", "numbers": ["650"], "logins": ["*"], "wrap_up_s": 1,
             "overflow": "say:please-try-call-later"}
    voipd = Voipd(case, queue=[queue])
    voipd.add_users(["alice", "201"])
    alice, agent = Phone(case, "alice", voipd, LOW), Phone(case, "201", voipd, HIGH)
    alice.wait_registered()
    agent.wait_registered()
    # Nobody is there yet.
    alice.dial("650")
    gone(voipd)
    assert "no agent" in noted(voipd, "no agent")["note"]
    agent.dial("*45650")
    gone(voipd)
    # The call may not even have begun when it is looked for.
    wait_for("the agent to be there", lambda: voipd.json("queue", "show", "support")[0]["agents"])
    gone(voipd)
    [row] = voipd.json("queue", "show", "support")
    assert [(a["aor"], a["state"]) for a in row["agents"]] == [(f"201@{DOMAIN}", "free")], row
    # It survives a restart.
    voipd.kill()
    voipd.restart()
    alice.dial("650")
    up(voipd, 2)
    wait_for("the agent to talk",
             lambda: voipd.json("queue", "show", "support")[0]["agents"][0]["state"] == "talking")
    time.sleep(3)
    agent.hangup()
    gone(voipd)
    hears(alice.recording(), HIGH, [LOW])
    hears(agent.recording(), LOW, [HIGH])
    assert noted(voipd, f"agent 201@{DOMAIN}")["way_out"] == "queue:support"
    row = voipd.json("queue", "list")[0]
    assert (row["answered"], row["waiting"], row["talking"]) == (1, 0, 0), row
    voipd.ctl("queue", "logout", "support", "201")
    assert voipd.json("queue", "show", "support")[0]["agents"] == []


def test_a_user_forwards_to_the_queue(case):
    """202 dials *72650: who calls 202 then, or reaches it through a menu, is answered by the queue's agent."""
    queue = {"name": "support", "numbers": ["650"], "agents": ["201"], "wrap_up_s": 0}
    menu = {"name": "main", "numbers": ["500"], "greeting": "menu-welcome", "keys": {"1": "extension:202"}}
    voipd = Voipd(case, queue=[queue], menu=[menu])
    voipd.add_users(["alice", "201", "202"])
    alice, agent = Phone(case, "alice", voipd, LOW), Phone(case, "201", voipd, HIGH)
    bob = Phone(case, "202", voipd, OTHER)
    for phone in (alice, agent, bob):
        phone.wait_registered()
    bob.dial("*72650")
    wait_for("the forwarding", lambda: "650" in voipd.ctl("feature", "show", "202"))
    gone(voipd)

    def talk():
        wait_for("the agent to talk",
                 lambda: voipd.json("queue", "show", "support")[0]["agents"][0]["state"] == "talking", 20)
        time.sleep(3)
        agent.hangup()
        gone(voipd)
        hears(alice.recording(), HIGH, [LOW, OTHER])

    alice.dial("202")
    talk()
    record = noted(voipd, f"agent 201@{DOMAIN}")
    assert record["way_out"] == "queue:support" and "forwarded by 202: always" in record["note"], record
    alice.dial("500")
    up(voipd, 1)
    time.sleep(1)
    alice.press("1")
    talk()


def test_callers_wait_with_music_and_hear_their_place(case):
    queue = {"name": "support", "numbers": ["650"], "agents": ["201", "202"], "announce_s": 3,
             "wait_max_s": 8, "overflow": "say:please-try-call-later"}
    voipd = Voipd(case, queue=[queue])
    voipd.add_users(["alice", "201", "202"])
    voipd.ctl("queue", "pause", "202")
    alice, agent = Phone(case, "alice", voipd, LOW), Phone(case, "201", voipd, HIGH)
    alice.wait_registered()
    agent.wait_registered()
    # 201 has another call: who calls waits in vain.
    agent.dial("*130")
    up(voipd, 1)
    alice.dial("650")
    up(voipd, 2)
    assert voipd.json("queue", "list")[0]["waiting"] == 1
    wait_for("alice to be sent away", lambda: len(voipd.calls()) == 1, 40)
    agent.hangup()
    gone(voipd)
    assert speech_seconds(alice.recording(), LOW) > 6
    assert "waited too long" in noted(voipd, "waited too long")["note"]


def test_agents_without_a_phone_are_not_there(case):
    queue = {"name": "support", "numbers": ["650"], "agents": ["201"],
             "overflow": "say:please-try-call-later"}
    voipd = Voipd(case, queue=[queue])
    voipd.add_users(["alice", "201"])
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()

    def state():
        return voipd.json("queue", "show", "support")[0]["agents"][0]["state"]
    assert state() == "absent"
    alice.dial("650")
    gone(voipd)
    noted(voipd, "no agent after 0 s")
    agent = Phone(case, "201", voipd, HIGH)
    agent.wait_registered()
    assert state() == "free"
    alice.dial("650")
    up(voipd, 2)
    wait_for("the agent to talk", lambda: state() == "talking", 10)
    alice.hangup()
    gone(voipd)


def test_all_agents_ring_and_one_has_the_call(case):
    queue = {"name": "support", "numbers": ["650"], "agents": ["201", "202"], "strategy": "ring-all"}
    voipd = Voipd(case, queue=[queue])
    voipd.add_users(["alice", "201", "202"])
    phones = [Phone(case, name, voipd, tone)
              for name, tone in (("alice", LOW), ("201", HIGH), ("202", OTHER))]
    for phone in phones:
        phone.wait_registered()
    phones[0].dial("650")
    up(voipd, 2)
    # Both answer by themselves at once; the slower one is let go.
    wait_for("one agent to talk, the other to be free",
             lambda: sorted(a["state"] for a in voipd.json("queue", "show", "support")[0]["agents"])
             == ["free", "talking"], 10)
    phones[0].hangup()
    gone(voipd)
    assert "agent 20" in noted(voipd, "waited")["note"]


def test_an_agent_who_transfers_its_caller_is_free_again(case):
    queue = {"name": "support", "numbers": ["650"], "agents": ["201"], "wrap_up_s": 1}
    voipd = Voipd(case, queue=[queue])
    voipd.add_users(["alice", "201", "202"])
    alice, agent, other = [Phone(case, name, voipd, tone)
                           for name, tone in (("alice", LOW), ("201", HIGH), ("202", OTHER))]
    for phone in (alice, agent, other):
        phone.wait_registered()

    def state():
        [row] = voipd.json("queue", "show", "support")
        return row["agents"][0]["state"], row["talking"]
    alice.dial("650")
    up(voipd, 2)
    wait_for("the agent to talk", lambda: state() == ("talking", 1), 10)
    time.sleep(1)
    agent.command("transfer", f"sip:202@{DOMAIN}")
    wait_for("202 to be called", lambda: "INVITE sip:202" in other.process.text(), 10)
    wait_for("the agent to be free", lambda: state() == ("free", 0), 10)
    # They go on without it.
    time.sleep(4)
    assert len([c for c in voipd.calls() if c["state"] == "up"]) == 2, voipd.calls()
    alice.hangup()
    gone(voipd)
    hears(other.recording(), LOW, [HIGH])
    assert voipd.json("queue", "list")[0]["answered"] == 1


def test_an_agent_who_makes_a_call_is_not_rung(case):
    queue = {"name": "support", "numbers": ["650"], "agents": ["201"]}
    voipd = Voipd(case, queue=[queue])
    voipd.add_users(["alice", "201"])
    alice, agent = Phone(case, "alice", voipd, LOW), Phone(case, "201", voipd, HIGH)
    alice.wait_registered()
    agent.wait_registered()

    def state():
        return voipd.json("queue", "show", "support")[0]["agents"][0]["state"]
    agent.dial("*130")
    up(voipd, 1)
    assert state() == "busy"
    alice.dial("650")
    up(voipd, 2)
    time.sleep(4)
    assert (state(), voipd.json("queue", "list")[0]["waiting"]) == ("busy", 1)
    assert "INVITE sip:201" not in agent.process.text()
    agent.hangup()
    wait_for("the agent to talk", lambda: state() == "talking", 10)
    alice.hangup()
    gone(voipd)
    assert "agent 201" in noted(voipd, "waited")["note"]


def double_dialling(case, **disa):
    voipd = Voipd(case, disa={"user": "100", **disa}, menu=[])
    voipd.add_users(["100", "alice", "202"])
    alice, bob = Phone(case, "alice", voipd, LOW), Phone(case, "202", voipd, HIGH)
    alice.wait_registered()
    bob.wait_registered()
    alice.dial("*128")
    up(voipd, 1)
    time.sleep(1)
    return voipd, alice, bob


def press(phone, keys):
    for key in keys:
        phone.press(key)
        time.sleep(0.3)


def test_double_dialling_with_a_pin(case):
    voipd, alice, bob = double_dialling(case, pin="482913")
    press(alice, "482913#")
    time.sleep(1)
    press(alice, "202#")
    up(voipd, 2)
    time.sleep(3)
    bob.hangup()
    gone(voipd)
    hears(alice.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    # It was the company that called.
    assert "From: <sip:100@" in bob.process.text()
    wait_for("its record", lambda: any(
        r.get("user") == f"100@{DOMAIN}" for r in voipd.json("cdr")))


def test_double_dialling_without_it(case):
    voipd, alice, bob = double_dialling(case, pin="482913")
    for _ in range(3):
        press(alice, "000000#")
        time.sleep(6)
    gone(voipd, 30)
    assert "INVITE sip" not in bob.process.text()


def test_a_trusted_phone_needs_no_pin(case):
    voipd, alice, bob = double_dialling(case, trusted=["alice"])
    press(alice, "202#")
    up(voipd, 2)
    alice.hangup()
    gone(voipd)


def test_double_dialling_calls_back(case):
    """Carol's mobile, behind a trunk, is refused as busy and called back; there she dials bob as the
    company. Until she gives the PIN again she is not called twice in a minute."""
    hosts = Hosts(case)
    voipd = Voipd(case, address=hosts.CORE, netns=hosts.core, rtp={"relay": "always"},
                  numbers={"country": "34", "national_digits": 9},
                  disa={"user": "100", "pin": "482913", "numbers": [DOOR], "call_back": [MOBILE]},
                  trunk=[{"name": "itsp", "uri": f"sip:{hosts.PUB}", "addresses": [f"{hosts.PUB}/32"],
                          "numbers": "plus", "probe_s": 0}],
                  route=[{"match": "6XXXXXXXX", "to": ["trunk:itsp"]}])
    voipd.add_users(["100", "202"])
    carol = Phone(case, f"+34{MOBILE}", voipd, LOW, address=hosts.PUB, netns=hosts.pub, port=5060,
                  domain="itsp.test")
    bob = Phone(case, "202", voipd, HIGH, address=hosts.CORE, netns=hosts.core)
    bob.wait_registered()
    carol.command("dial", f"sip:+34{DOOR}@{voipd.target()}")
    wait_for("her to be refused", lambda: [r["status"] for r in voipd.json("cdr")] == [486])
    assert voipd.calls() == []
    up(voipd, 1)
    time.sleep(1)
    press(carol, "482913#")
    time.sleep(1)
    press(carol, "202#")
    up(voipd, 2)
    time.sleep(3)
    bob.hangup()
    gone(voipd)
    hears(carol.recording(), HIGH, [LOW])
    hears(bob.recording(), LOW, [HIGH])
    # She proved who she is, so she is called back at once when she calls again. Now she hangs up without
    # the PIN, and has to wait.
    carol.command("dial", f"sip:+34{DOOR}@{voipd.target()}")
    up(voipd, 1)
    time.sleep(1)
    carol.hangup()
    gone(voipd)
    carol.command("dial", f"sip:+34{DOOR}@{voipd.target()}")
    records = wait_for("all records", lambda: r if len(r := voipd.json("cdr")) == 6 else None)
    notes = [r["note"] for r in records]
    assert notes.count(f"call back: {MOBILE}") == 2, notes
    assert "no call back: rests 1 min more without the PIN" in notes, notes
    back = [r for r in records if r["way_out"] == "itsp"]
    assert [(r["user"], r["status"]) for r in back] == [(f"100@{DOMAIN}", 200)] * 2, records
    time.sleep(7)
    assert voipd.calls() == []


def test_double_dialling_is_off_by_default(case):
    voipd = Voipd(case)
    voipd.add_user("alice")
    alice = Phone(case, "alice", voipd, LOW)
    alice.wait_registered()
    alice.dial("*128")
    gone(voipd)
    assert wait_for("its record", lambda: voipd.json("cdr"))[0]["status"] == 404
