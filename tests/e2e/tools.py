"""Plain tools: sipsak, keepalives, STUN, voipctl ping and check, the demo."""

import os
import re
import socket
import struct

from lib.case import wait_for
from lib.phone import Phone
from lib.sip import Agent
from lib.voipd import DOMAIN, Voipd


# A name that resolves everywhere: sipsak looks up the domain even when it is told where to send,
# and cuts the last digit off a port of five in a URI.
LOCAL = {"node": {"domains": [DOMAIN, "localhost"]}}


def test_sipsak(case):
    voipd = Voipd(case, **LOCAL)
    for transport in ("udp", "tcp"):
        argv = ["sipsak", "-vv", "-E", transport, "-s", "sip:localhost", "-p", voipd.target()]
        text = case.run(f"sipsak-{transport}", argv, seconds=20)
        assert re.search(r"SIP/2\.0 200", text), text


def test_sipsak_registers(case):
    voipd = Voipd(case, **LOCAL)
    voipd.add_user("alice@localhost")
    argv = ["sipsak", "-U", "-i", "-x", "120", "-C", "sip:alice@127.0.0.1:4444", "-a", "secret",
            "-u", "alice", "-s", "sip:alice@localhost", "-p", voipd.target(), "-v"]
    case.run("sipsak", argv, seconds=20)
    rows = voipd.registrations()
    assert [row["contact"] for row in rows] == ["sip:alice@127.0.0.1:4444"], rows


def test_keepalives(case):
    """CRLF on a stream (RFC 5626 §4.4.1), STUN on the UDP port (§4.4.2)."""
    voipd = Voipd(case)
    with socket.create_connection((voipd.address, voipd.ports["tcp"]), 3) as stream:
        stream.settimeout(3)
        stream.sendall(b"\r\n\r\n")
        assert stream.recv(16) == b"\r\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.settimeout(3)
        transaction = os.urandom(12)
        ours.sendto(struct.pack("!HHI", 1, 0, 0x2112A442) + transaction,
                    (voipd.address, voipd.port))
        answer, port = ours.recv(512), ours.getsockname()[1]
        assert answer[:2] == b"\x01\x01" and answer[8:20] == transaction, answer
        mapped = answer.index(struct.pack("!HH", 0x0020, 8))
        (found,) = struct.unpack("!H", answer[mapped + 6 : mapped + 8])
        assert found ^ 0x2112 == port, (found ^ 0x2112, port)


def test_ping(case):
    voipd = Voipd(case)
    said = voipd.ctl("ping", f"sip:{voipd.address}:{voipd.port}")
    assert "200" in said, said


def test_bad_configuration(case):
    """-t names file, line, key and remedy."""
    file = case.folder / "bad.toml"
    file.write_text('[sip]\nlisten = ["udp:127.0.0.1:5060"]\n[rtp]\nrelai = "nat"\n')
    argv = [case.binaries / "voipd", "-t", "-c", file]
    said = case.run("check", argv, status=78, seconds=10)
    assert f"{file}:4" in said and "relai" in said and "relay" in said, said


def test_reload(case):
    """A bad file changes nothing and says why; a good one takes effect."""
    voipd = Voipd(case)
    voipd.add_user("alice")
    good = voipd.file.read_text()
    voipd.file.write_text(good + '\n[limits]\nnonsense = 1\n')
    refused = voipd.call_ctl("reload")
    assert refused.returncode != 0 and "nonsense" in refused.stderr + refused.stdout, refused
    voipd.file.write_text(good.replace(f'["{DOMAIN}"]', f'["{DOMAIN}", "second.test"]'))
    voipd.reload()
    assert "second.test" in voipd.json("status")["domains"]
    Agent(case, voipd, "alice").register()


def test_demo(case):
    """`voipd demo`: nothing prepared, two users made and printed, a softphone registers."""
    folder = case.folder / "demo"
    argv = [case.binaries / "voipd", "demo", "--dir", folder]
    demo = case.start("demo", argv, cwd=case.folder)
    users = wait_for("the demo's users", lambda: demo_users(demo), 15)
    assert len(users) == 2, demo.text()
    found = re.search(r"127\.0\.0\.1:(\d+)", demo.text())
    assert found, demo.text()

    class Server:
        address, ports = "127.0.0.1", {"udp": int(found.group(1))}

    for user, domain, password in users:
        Phone(case, user, Server, 440, password=password, domain=domain).wait_registered()


def demo_users(demo):
    assert demo.alive(), demo.text()
    return re.findall(r"(?s)sip:(\w+)@([\w.]+)\n.*?password +(\S+)", demo.text())
