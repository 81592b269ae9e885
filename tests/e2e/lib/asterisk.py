"""An Asterisk of a test: from a folder of its own (tests/peers/asterisk), with files of its own."""

import pathlib
import subprocess

from lib.case import wait_for

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "peers" / "asterisk"

# Only what calls need: an Asterisk with all its modules takes seconds more to start.
MODULES = """\
res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb res_sorcery_memory_cache
res_timing_timerfd res_pjsip res_pjsip_pubsub res_pjsip_session res_pjsip_sdp_rtp
res_pjsip_registrar res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest
res_pjsip_outbound_registration res_pjsip_endpoint_identifier_ip
res_pjsip_endpoint_identifier_user res_pjsip_caller_id res_pjsip_diversion res_pjsip_nat
res_pjsip_path res_pjsip_rfc3326 res_pjsip_dtmf_info res_pjsip_logger res_pjsip_header_funcs
res_rtp_asterisk res_clioriginate chan_pjsip pbx_config app_dial app_echo app_exec app_playtones
app_verbose bridge_simple bridge_native_rtp bridge_builtin_features codec_ulaw codec_alaw
codec_a_mu func_channel func_callerid func_strings func_logic
"""

FILES = {
    "asterisk.conf": """\
[directories]
astetcdir => {etc}
astmoddir => {root}/usr/lib/{multiarch}/asterisk/modules
astdatadir => {root}/usr/share/asterisk
astagidir => {root}/usr/share/asterisk/agi-bin
astvarlibdir => {home}/lib
astdbdir => {home}/lib
astkeydir => {home}/lib
astspooldir => {home}/spool
astrundir => {home}/run
astlogdir => {home}/log
[options]
verbose = 4
documentation_language = en_US
""",
    "logger.conf": "[general]\n[logfiles]\n{log} => notice,warning,error,verbose\n",
    "rtp.conf": "[general]\nrtpstart={rtp_first}\nrtpend={rtp_last}\nicesupport=no\n",
    # These it reads in any case; empty, they switch off what they are about.
    "manager.conf": "[general]\nenabled=no\n",
    "http.conf": "[general]\nenabled=no\n",
    "cdr.conf": "[general]\nenable=no\n",
    "cel.conf": "[general]\nenable=no\n",
    "indications.conf": "[general]\ncountry=us\n[us]\ndescription=US\nringcadence=2000,4000\n",
}
FILES |= {f"{name}.conf": "" for name in ("acl", "ccss", "features", "pjproject", "stasis", "udptl")}

GLOBAL = """\
[global]
type=global
endpoint_identifier_order=ip,username,auth_username
user_agent=Asterisk
debug=yes
[udp]
type=transport
protocol=udp
bind={address}:{port}
"""


def account(name, password, algorithms="MD5", options=""):
    """pjsip.conf for a customer who registers, and whose calls are challenged."""
    return f"""\
[{name}]
type=endpoint
context=from-customer
disallow=all
allow=ulaw,alaw
direct_media=no
auth={name}
aors={name}
{options}
[{name}]
type=aor
max_contacts=1
remove_existing=yes
[{name}]
type=auth
auth_type=digest
username={name}
password={password}
realm=itsp.test
supported_algorithms_uas={algorithms}
"""


def peer(name, address, port, context="from-core", options=""):
    """pjsip.conf for a neighbour that is known by its address."""
    return f"""\
[{name}]
type=endpoint
context={context}
disallow=all
allow=ulaw,alaw
direct_media=no
trust_id_inbound=yes
send_pai=yes
aors={name}
{options}
[{name}]
type=aor
contact=sip:{address}:{port}
[{name}]
type=identify
endpoint={name}
match={address}
"""


class Asterisk:
    """A running Asterisk on one address, its SIP messages in its log.

    `files` are the texts of its configuration by name; pjsip.conf gets the transport put before
    unless it has one, and what is not named gets what a bare PBX needs. `modules` are loaded, too.
    """

    def __init__(self, case, name, files, address="127.0.0.1", port=None, netns=None, modules=""):
        self.modules = MODULES + modules
        self.case, self.name, self.address, self.netns = case, name, address, netns
        self.port = port or case.port(address)
        self.ports = {"udp": self.port}
        self.home = case.folder / name
        self.log = case.folder / f"{name}.messages.log"
        self.etc = self.home / "etc"
        for folder in ("etc", "lib", "spool", "run", "log"):
            (self.home / folder).mkdir(parents=True)
        self._write(files)
        self.process = None
        self.start()

    def _write(self, files):
        subprocess.run([PROGRAM, "install"], check=True)
        root = subprocess.run([PROGRAM, "path"], check=True, capture_output=True, text=True)
        root = pathlib.Path(root.stdout.strip())
        first, last = self.case.rtp_range().split("-")
        words = {
            "root": root, "home": self.home, "etc": self.etc, "log": self.log, "rtp_first": first,
            "rtp_last": last, "multiarch": next(root.glob("usr/lib/*-linux-gnu")).name,
        }
        texts = {name: text.format(**words) for name, text in FILES.items()}
        texts["modules.conf"] = "[modules]\nautoload=no\n" + "".join(
            f"load={module}.so\n" for module in self.modules.split())
        texts |= files
        if "type=transport" not in texts["pjsip.conf"]:
            texts["pjsip.conf"] = (
                GLOBAL.format(address=self.address, port=self.port) + texts["pjsip.conf"])
        for name, text in texts.items():
            (self.etc / name).write_text(text)

    def _argv(self, *words):
        return [PROGRAM, "run", "-C", self.etc / "asterisk.conf", *words]

    def start(self):
        self.process = self.case.start(self.name, self._argv("-f"), self.netns)
        wait_for(f"{self.name} to be booted", self._booted, 30, 0.2)

    def _booted(self):
        assert self.process.alive(), f"{self.name} ended:\n{self.process.text()[-2000:]}"
        done = self._remote("core waitfullybooted")
        return done.returncode == 0 and "fully booted" in done.stdout

    def _remote(self, command):
        argv = [str(word) for word in self._argv("-rx", command)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30)

    def console(self, command):
        """What the console answers to a command."""
        done = self._remote(command)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stderr or done.stdout}"
        return done.stdout

    def call(self, number, peer, context, extension):
        """Has it call a number at a peer, and lead who answers to an extension of its own."""
        self.console(f"channel originate PJSIP/{number}@{peer} extension {extension}@{context}")

    def channels(self):
        """How many ends of calls it has."""
        found = [line for line in self.console("core show channels count").splitlines()
                 if "active channel" in line]
        return int(found[0].split()[0])

    def contacts(self):
        """The contacts that it knows, its neighbours' and the registered ones, as URIs."""
        rows = [line.split() for line in self.console("pjsip show contacts").splitlines()]
        return [row[1].split("/", 1)[1] for row in rows
                if len(row) > 2 and row[0] == "Contact:" and "/" in row[1] and row[1][0] != "<"]

    def messages(self):
        """Its log with every SIP message."""
        return self.log.read_text(errors="replace")

    def kill(self):
        """kill -9, as a power cut would."""
        self.process.stop(9)

    def stop(self):
        self.process.stop()
