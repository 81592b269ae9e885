"""sipp: ten thousand REGISTERs and five thousand calls without a single retransmission."""

from lib.sipp import Sipp, register
from lib.voipd import Voipd

REGISTERS = 10_000
CALLS = 5_000
ALONE = True


def test_registers(case):
    voipd = Voipd(case)
    users = [f"u{n:05}" for n in range(REGISTERS)]
    voipd.add_users(users)
    counters = Sipp(case, "register", "register", voipd, users=users, count=REGISTERS, rate=1000,
                    seconds=90).finish()
    assert counters["retransmissions"] == 0, counters
    assert voipd.json("status")["registrations"] == REGISTERS


def test_calls(case):
    voipd = Voipd(case)
    calls(case, voipd, CALLS, 250, 120)


def calls(case, voipd, count, rate, seconds, caller="alice", called="bob"):
    for name in (caller, called):
        voipd.add_user(name)
    port = case.port()
    register(case, f"register-{called}", voipd, called, port)
    options = {"count": count, "seconds": seconds}
    phone = Sipp(case, f"answer-{called}", "answer", voipd, port=port, **options)
    calling = Sipp(case, f"call-{called}", "call", voipd, users=[caller], service=called, rate=rate,
                   **options)
    counters = [calling.finish(), phone.finish()]
    assert all(c["retransmissions"] == 0 for c in counters), counters
    assert voipd.calls() == []


def soak_calls(case):
    """Ten minutes of calls: memory settles."""
    voipd = Voipd(case)
    calls(case, voipd, 20_000, 200, 240)
    early = resident_kb(voipd)
    calls(case, voipd, 80_000, 200, 700, "carol", "dave")
    late = resident_kb(voipd)
    print(f"        resident: {early} KB after 20,000 calls, {late} KB after 100,000")
    assert late < 1.2 * early + 8192, (early, late)


def resident_kb(voipd):
    with open(f"/proc/{voipd.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
