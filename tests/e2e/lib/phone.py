"""A softphone of a test: baresip, driven over its control socket."""

import json
import pathlib
import socket
import time
import wave

from lib.case import wait_for
from lib.net import socket_in
from lib.voipd import DOMAIN

CONFIG = """\
poll_method epoll
sip_listen {address}:{port}
{cafile}
net_interface {address}
call_local_timeout 60
call_max_calls 4
audio_path /usr/share/baresip
audio_player aubridge,{name}
audio_source {source}
audio_alert aubridge,{name}-alert
ausrc_srate {rate}
auplay_srate {rate}
ausrc_channels {channels}
auplay_channels {channels}
rtp_tos 184
rtp_ports {rtp}-{rtp_last}
rtp_stats yes
jitter_buffer_delay 2-10
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {folder}
module_path {modules}
{more}
module g711.so
module g722.so
module l16.so
module opus.so
module ausine.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module ice.so
module_tmp account.so
module_app ctrl_tcp.so
module_app menu.so
"""

MODULE_PATHS = ("/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules")


class Phone:
    """One baresip with one account, which plays a tone and records what it hears."""

    @classmethod
    def running(cls, name, domain, netns, control_port):
        """One that was started before, by another program."""
        phone = cls.__new__(cls)
        phone.name, phone.domain, phone.netns, phone.control_port = (
            name, domain, netns, control_port)
        phone.process, phone.control, phone.unread = None, None, b""
        return phone

    def __init__(self, case, name, server, tone, **options):
        """Options: password, domain, transport, address, netns, cafile, secure (SRTP), ice, codecs, answers
        (False: it rings and rings), port, modules (names of more of baresip's), file (a WAV
        file to play instead of its tone), rate and channels (of its sound, before a codec)."""
        self.case, self.name, self.tone = case, name, tone
        self.domain = options.get("domain", DOMAIN)
        self.netns = options.get("netns")
        self.folder = case.folder / name
        self.folder.mkdir()
        address = options.get("address", "127.0.0.1")
        transport = options.get("transport", "udp")
        self.control_port = case.port()
        self.control, self.unread = None, b""
        rtp = case.port()
        cafile = f"sip_cafile {options['cafile']}" if "cafile" in options else ""
        self.folder.joinpath("config").write_text(
            CONFIG.format(
                address=address, port=options.get("port") or case.port(), name=name, rtp=rtp, rtp_last=rtp + 9,
                source=f"aufile,{options['file']}" if "file" in options else f"ausine,{tone}",
                control=self.control_port, folder=self.folder, cafile=cafile,
                # Loaded long before the account registers: a millisecond after that mwi.so of
                # baresip 1.0 subscribes anew for each subscription that it finds, and so for ever.
                more="\n".join(f"module {name}.so" for name in options.get("modules", ())),
                rate=options.get("rate", 48000), channels=options.get("channels", 2),
                modules=next(p for p in MODULE_PATHS if pathlib.Path(p).is_dir()),
            )
        )
        outbound = f"{server.address}:{server.ports[transport]}"
        account = (
            f"<sip:{name}@{self.domain};transport={transport}>;auth_user={name}"
            f";auth_pass={options.get('password', 'secret')}"
            f';outbound="sip:{outbound};transport={transport}"'
            f";regint=60;answermode={'auto' if options.get('answers', True) else 'manual'}"
            f";audio_codecs={options.get('codecs', 'PCMU,PCMA')}"
        )
        if options.get("secure"):
            account += ";mediaenc=srtp-mand"
        if options.get("ice"):
            account += ";medianat=ice"
        self.folder.joinpath("accounts").write_text(account + "\n")
        self.folder.joinpath("contacts").write_text("")
        self.process = case.start(f"phone-{name}", ["baresip", "-s", "-f", self.folder], self.netns)

    def command(self, command, params=""):
        """Sends a command; returns the answer's data (baresip's ctrl_tcp: JSON in netstrings)."""
        if self.control is None:
            self.control = wait_for(f"{self.name}'s control socket", self._connect)
        token = str(time.monotonic_ns())
        text = json.dumps({"command": command, "params": params, "token": token}).encode()
        self.control.sendall(b"%d:%s," % (len(text), text))
        end = time.monotonic() + 5
        while time.monotonic() < end:
            message = self._message(end)
            if message and message.get("response") and message.get("token") == token:
                return message.get("data", "")
        raise AssertionError(f"{self.name}: baresip did not answer {command}")

    def _connect(self):
        if self.process:
            text = self.process.text()[-1500:]
            assert self.process.alive(), f"{self.name}: baresip ended:\n{text}"
        return socket_in(self.netns, socket.SOCK_STREAM, connect=("127.0.0.1", self.control_port))

    def _message(self, end):
        """The next netstring's JSON, event or answer."""
        while True:
            head, mark, rest = self.unread.partition(b":")
            if mark and len(rest) > int(head):
                size = int(head)
                self.unread = rest[size + 1 :]
                return json.loads(rest[:size])
            self.control.settimeout(max(0.05, end - time.monotonic()))
            try:
                got = self.control.recv(65536)
            except TimeoutError:
                return None
            assert got, f"{self.name}: baresip closed its control socket"
            self.unread += got

    def registered(self):
        return "200 OK" in self.process.text()

    def wait_registered(self):
        wait_for(f"{self.name}'s registration", self.registered, 15)

    def dial(self, who):
        self.command("dial", f"sip:{who}@{self.domain}")

    def press(self, key):
        """Sends a key as a telephone event (RFC 4733)."""
        self.command("sndcode", key)

    def hangup(self):
        self.command("hangup")

    def recording(self):
        """The newest file of what was heard, once the phone has closed it, which a loaded machine
        may do some time after its BYE."""
        heard = sorted(self.folder.glob("dump-*-dec.wav"), key=lambda p: p.stat().st_mtime)
        assert heard, f"{self.name} recorded nothing: {[p.name for p in self.folder.iterdir()]}"
        wait_for(f"{heard[-1]} to be closed", lambda: frames(heard[-1]))
        return heard[-1]


def frames(path):
    """How many samples a recording says that it has; none while it is being written."""
    try:
        with wave.open(str(path)) as recording:
            return recording.getnframes()
    except (EOFError, wave.Error):
        return 0
