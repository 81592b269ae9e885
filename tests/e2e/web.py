"""A browser's SIP stack over WSS (SIP.js under Node): registers, calls, is called (RFC 7118)."""

import os
import pathlib
import shutil
import subprocess

from calls import make_certificate
from lib.case import Skip, wait_for
from lib.sip import Agent, sdp
from lib.voipd import DOMAIN, Voipd

HERE = pathlib.Path(__file__).parent / "webphone"
AUDIO = sdp("127.0.0.1", 4000)


def modules():
    """The folder where npm puts SIP.js, outside the tree."""
    cache = os.environ.get("VOIP_CACHE") or pathlib.Path.home() / ".cache" / "voip"
    return pathlib.Path(cache) / "webphone"


def prepare():
    """Has npm fetch SIP.js, once."""
    folder = modules()
    wanted = (HERE / "package.json").read_text()
    stamp = folder / "installed.json"
    if stamp.exists() and stamp.read_text() == wanted or not shutil.which("npm"):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / "package.json", folder)
    argv = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    subprocess.run(argv, cwd=folder, check=True)
    stamp.write_text(wanted)


class WebPhone:
    """One phone.mjs."""

    def __init__(self, case, voipd, user, transport, password="secret"):
        folder = modules()
        if not shutil.which("npm"):
            raise Skip("npm is missing")
        # Node looks for modules beside the script.
        script = case.folder / f"{user}.mjs"
        shutil.copy(HERE / "phone.mjs", script)
        if not (case.folder / "node_modules").exists():
            (case.folder / "node_modules").symlink_to(folder / "node_modules")
        environment = dict(os.environ, NODE_EXTRA_CA_CERTS=str(case.folder / "ca.pem"))
        url = f"{transport}://{voipd.target(transport)}/"
        self.user = user
        self.process = case.start(f"web-{user}", ["node", script, url, f"{user}@{DOMAIN}", password],
                                  stdin=subprocess.PIPE, env=environment)

    def command(self, line):
        self.process.popen.stdin.write(f"{line}\n".encode())
        self.process.popen.stdin.flush()

    def wait(self, word):
        def said():
            assert self.process.alive(), self.process.text()[-1500:]
            return [line for line in self.process.text().splitlines() if line.startswith(word)]

        return wait_for(f"{self.user} to say {word}", said, 15)


def office(case, transport):
    key, certificate = make_certificate(case)
    tls = {"certificate": str(certificate), "key": str(key)}
    voipd = Voipd(case, transports=("udp", "tcp", transport), sip={"tls": tls})
    for name in ("alice", "bob"):
        voipd.add_user(name)
    return voipd


def register_and_call(case, transport):
    voipd = office(case, transport)
    alice = WebPhone(case, voipd, "alice", transport)
    alice.wait("registered")
    (row,) = voipd.registrations()
    assert row["transport"] == transport, row
    # The browser calls a phone on UDP, and hangs up ...
    bob = Agent(case, voipd, "bob")
    bob.register()
    alice.command("call bob")
    request = bob.expect("INVITE")
    bob.answer(request, AUDIO)
    bob.expect("ACK")
    alice.wait("ringing")
    alice.wait("up")
    alice.command("hangup")
    bob.reply(bob.expect("BYE"), 200)
    alice.wait("ended")
    # ... and is called by it.
    call = bob.invite("alice", AUDIO)
    dialog = call.established()
    alice.wait("incoming")
    dialog.send("BYE")
    bob.expect(200)
    wait_for("the call's end", lambda: voipd.calls() == [])


def test_wss(case):
    register_and_call(case, "wss")


def test_ws(case):
    register_and_call(case, "ws")


def test_two_browsers(case):
    voipd = office(case, "wss")
    alice, bob = (WebPhone(case, voipd, name, "wss") for name in ("alice", "bob"))
    for phone in (alice, bob):
        phone.wait("registered")
    alice.command("call bob")
    bob.wait("incoming")
    for phone in (alice, bob):
        phone.wait("up")
    bob.command("hangup")
    for phone in (alice, bob):
        phone.wait("ended")
