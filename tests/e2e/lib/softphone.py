"""Softphones beside baresip: one of PJSIP (pjsua2) and Linphone. Each plays a tone and records what
it hears."""

import array
import functools
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import wave

from lib.case import Skip, wait_for
from lib.phone import frames
from lib.voipd import DOMAIN

HERE = pathlib.Path(__file__).parent
PEER = HERE.parents[1] / "peers" / "pjsua2"


def tone_file(path, hertz, seconds=20, rate=8000):
    data = array.array("h", (int(9000 * math.sin(2 * math.pi * hertz * n / rate))
                             for n in range(seconds * rate)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data.tobytes())
    return path


class Softphone:
    """What both are: a program that takes words by its standard input."""

    def __init__(self, case, name, argv, **options):
        self.folder = case.folder / name
        self.name = name
        self.process = case.start(f"phone-{name}", argv, stdin=subprocess.PIPE, cwd=self.folder,
                                  **options)

    def say(self, *words):
        assert self.process.alive(), f"{self.name} ended:\n{self.process.text()[-2000:]}"
        self.process.popen.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.popen.stdin.flush()

    def hears_of(self, text, seconds=15):
        wait_for(f"{self.name} to say {text!r}", lambda: text in self.process.text(), seconds)


def prepare():
    """Fetches the binding."""
    subprocess.run([PEER, "install"])


@functools.cache
def pjsua2():
    """Where the binding lies."""
    done = subprocess.run([PEER, "install"], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"pjsua2 cannot be had: {done.stderr.strip()[-200:]}")
    path = subprocess.run([PEER, "path"], capture_output=True, text=True, check=True)
    return path.stdout.strip()


class Pjsua(Softphone):
    """PJSIP. Its calls are numbered from nought."""

    def __init__(self, case, name, voipd, tone, codec="PCMU"):
        environment = os.environ | {"PYTHONPATH": pjsua2()}
        (case.folder / name).mkdir()
        wav = tone_file(case.folder / name / "tone.wav", tone)
        super().__init__(case, name, [
            sys.executable, HERE / "pjphone.py", name, "secret", DOMAIN, voipd.target(),
            "127.0.0.1", case.port(), case.port(), codec, wav], env=environment)

    def wait_registered(self):
        self.hears_of("registered 200")

    def dial(self, who):
        self.say("dial", who)

    def press(self, key, call=0):
        self.say("press", call, key)

    def send_info(self, key, call=0):
        """The key by SIP INFO."""
        self.say("info", call, key)

    def hold(self, call=0):
        self.say("hold", call)

    def resume(self, call=0):
        self.say("resume", call)

    def transfer(self, who, call=0):
        self.say("transfer", call, who)

    def hangup(self, call=0):
        self.say("hangup", call)

    def lamp(self):
        """What it was told last of its messages (RFC 3842)."""
        told = [line for line in self.process.text().splitlines() if line.startswith("mwi ")]
        return told[-1].removeprefix("mwi ").split(" (")[0] if told else None

    def recording(self, call=0):
        """The file of a call, once it is whole: which PJSIP does after it says that it is over."""
        self.hears_of(f"closed {call}\n")
        path = self.folder / f"heard-{call}.wav"
        wait_for(f"{path} to be closed", lambda: frames(path))
        return path


LINPHONE = """\
[sip]
sip_port={port}
sip_tcp_port=0
sip_tls_port=0
use_ipv6=0
guess_hostname=0
bind_address=127.0.0.1
contact="{name}" <sip:{name}@127.0.0.1>
default_proxy=0
[proxy_0]
reg_proxy=<sip:{server}>
reg_route=<sip:{server};lr>
reg_identity=sip:{name}@{domain}
reg_expires=300
reg_sendregister=1
[auth_info_0]
username={name}
passwd=secret
realm={domain}
[net]
firewall_policy=0
mtu=1300
[rtp]
audio_rtp_port={rtp}
[sound]
echocancellation=0
echolimiter=0
"""
# All off but one, so that what is agreed on is known.
LINPHONE_CODECS = ("opus/48000/2", "speex/16000/1", "speex/8000/1", "PCMU/8000/1", "PCMA/8000/1",
                   "GSM/8000/1", "G722/8000/1", "G729/8000/1")


class Linphone(Softphone):
    """Linphone's console program, which answers at once, with files instead of a sound card."""

    def __init__(self, case, name, voipd, tone, codec="PCMU"):
        if not shutil.which("linphonec"):
            raise Skip("linphonec is missing: apt-get install linphone-cli")
        folder = case.folder / name
        # Without a place for its database it starts no transport.
        (folder / ".local" / "share" / "linphone").mkdir(parents=True)
        text = LINPHONE.format(name=name, port=case.port(), rtp=case.port(), domain=DOMAIN,
                               server=voipd.target())
        for number, known in enumerate(LINPHONE_CODECS):
            mime, rate, channels = known.split("/")
            text += (f"[audio_codec_{number}]\nmime={mime}\nrate={rate}\nchannels={channels}\n"
                     f"enabled={int(mime == codec)}\n")
        (folder / "linphonerc").write_text(text)
        wav = tone_file(folder / "tone.wav", tone)
        super().__init__(case, name, ["linphonec", "-a", "-c", "linphonerc", "-d", "6", "-l", "linphone.txt"],
                         env=os.environ | {"HOME": str(folder)})
        self.say("soundcard use files")
        self.say(f"record {folder / 'heard.wav'}")
        self.say(f"play {wav}")
        self.voipd = voipd

    def wait_registered(self):
        wait_for(f"{self.name}'s registration", lambda: any(
            row["aor"].startswith(f"{self.name}@") for row in self.voipd.registrations()), 15)

    def dial(self, who):
        """It makes none before it took note of the end of the last one, which it says, and no more."""
        def calls():
            return self.process.text().count("Establishing call id to")

        before = calls()
        for _ in range(10):
            self.say(f"call sip:{who}@{DOMAIN}")
            end = time.monotonic() + 1
            while time.monotonic() < end:
                if calls() > before:
                    return
                time.sleep(0.05)
        raise AssertionError(f"{self.name}: linphonec calls nobody:\n{self.process.text()[-1500:]}")

    def press(self, key):
        self.say(key)

    def hold(self):
        self.say("pause")

    def resume(self):
        self.say("resume")

    def transfer(self, who):
        self.say(f"transfer sip:{who}@{DOMAIN}")

    def hangup(self):
        self.say("terminate")

    def lamp(self):
        """What it was told last of its messages (RFC 3842), as its log has it."""
        text = (self.folder / "linphone.txt").read_text(errors="replace")
        told = re.findall(r"Messages-Waiting: (\w+)\s(?:.*\s)*?Voice-Message: (\d+/\d+)", text)
        return " ".join(told[-1]) if told else None

    def recording(self):
        """Its file is whole when the program ends."""
        self.say("quit")
        self.process.wait(15)
        return self.folder / "heard.wav"
