"""`kill -9` while a thousand REGISTERs come each second: what was answered is still there."""

import socket
import threading
import time

from lib.sip import Agent, Message, digest
from lib.voipd import DOMAIN, Voipd

PER_SECOND = 1000
SECONDS = 5
# An answer this much older than the kill must have reached the disk.
GRACE_SECONDS = 1.0
PASSWORD = "secret"


class Registrar:
    """Registers many users from one socket, at a rate, and notes when each 200 came."""

    def __init__(self, case, voipd, count):
        self.voipd, self.count = voipd, count
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("127.0.0.1", 0))
        case.defer(self.socket.close)
        self.port = self.socket.getsockname()[1]
        self.answered = {}
        self.refused = []
        self.halt = threading.Event()

    def lines(self, n, cseq, authorization=""):
        user = f"u{n:05}"
        return (
            f"REGISTER sip:{DOMAIN} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bK{n}x{cseq}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag=t{n}\r\n"
            f"To: <sip:{user}@{DOMAIN}>\r\nCall-ID: kill{n}\r\nCSeq: {cseq} REGISTER\r\n"
            f"Contact: <sip:{user}@127.0.0.1:{self.port}>\r\nExpires: 3600\r\n"
            f"{authorization}Content-Length: 0\r\n\r\n"
        ).encode()

    def send(self, data):
        self.socket.sendto(data, (self.voipd.address, self.voipd.port))

    def sender(self):
        start = time.monotonic()
        for n in range(self.count):
            if self.halt.is_set():
                return
            late = start + n / PER_SECOND - time.monotonic()
            if late > 0:
                time.sleep(late)
            self.send(self.lines(n, 1))

    def receiver(self):
        self.socket.settimeout(0.2)
        while not self.halt.is_set():
            try:
                message = Message(self.socket.recv(65536))
            except (TimeoutError, ConnectionRefusedError):
                continue
            n = int(message["call-id"].removeprefix("kill"))
            if message.status == 401:
                value = digest(message["www-authenticate"], f"u{n:05}", PASSWORD, "REGISTER",
                               f"sip:{DOMAIN}")
                self.send(self.lines(n, 2, f"Authorization: {value}\r\n"))
            elif message.status == 200:
                self.answered[n] = time.monotonic()
            else:
                self.refused.append(message.start)


def test_kill_while_registering(case):
    voipd = Voipd(case, guard={"exempt": ["127.0.0.0/8"]})
    count = PER_SECOND * SECONDS
    voipd.add_users([f"u{n:05}" for n in range(count)], PASSWORD)
    registrar = Registrar(case, voipd, count)
    threads = [threading.Thread(target=t) for t in (registrar.sender, registrar.receiver)]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS - 1.5)  # in the thick of it
    killed = time.monotonic()
    voipd.kill()
    registrar.halt.set()
    for thread in threads:
        thread.join()
    must = {n for n, at in registrar.answered.items() if at < killed - GRACE_SECONDS}
    assert not registrar.refused, registrar.refused[:5]
    assert len(must) > PER_SECOND, f"only {len(must)} were answered in time: the test tests nothing"
    voipd.restart()
    there = {row["aor"] for row in voipd.registrations()}
    lost = sorted(n for n in must if f"u{n:05}@{DOMAIN}" not in there)
    print(f"        {len(registrar.answered)} answered, {len(must)} more than"
          f" {GRACE_SECONDS:g} s before the kill, {len(there)} there after the restart")
    assert not lost, f"{len(lost)} of {len(must)} registrations are lost, such as u{lost[0]:05}"


def test_users_survive(case):
    """What the operator typed is never lost, not even when the kill follows at once."""
    voipd = Voipd(case)
    for n in range(20):
        voipd.add_user(f"typed{n}")
    voipd.kill()
    voipd.restart()
    names = {row["aor"] for row in voipd.json("user", "list")}
    assert names == {f"typed{n}@{DOMAIN}" for n in range(20)}, names
    Agent(case, voipd, "typed7").register()


def test_restart_keeps_bindings_usable(case):
    """After a clean restart a call still reaches a phone that registered before it."""
    voipd = Voipd(case)
    for name in ("alice", "bob"):
        voipd.add_user(name)
    bob = Agent(case, voipd, "bob")
    bob.register()
    voipd.stop()
    voipd.restart()
    alice = Agent(case, voipd, "alice")
    call = alice.invite("bob", "v=0\r\n")
    request = bob.expect("INVITE")
    bob.reply(request, 486)
    assert call.final().status == 486
    bob.expect("ACK")
