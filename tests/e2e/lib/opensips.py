"""OpenSIPS with its module rtpengine, where somebody has built it: Debian has no package.

OPENSIPS names the directory that it was installed into (`make install PREFIX=...`); without it the
program is looked for in PATH.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

from lib.case import Skip, wait_for

NEEDED = ("rtpengine", "rtp_relay", "dialog", "mi_fifo")
CONFIG = """\
log_level=2
xlog_level=2
xlog_buf_size=65536
stderror_enabled=yes
syslog_enabled=no
udp_workers=2
auto_aliases=no
socket=udp:127.0.0.1:{port}
mpath="{modules}/"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
loadmodule "textops.so"
loadmodule "dialog.so"
loadmodule "rtpengine.so"
loadmodule "rtp_relay.so"
loadmodule "mi_fifo.so"
loadmodule "proto_udp.so"
modparam("mi_fifo", "fifo_name", "{folder}/fifo")
modparam("mi_fifo", "reply_dir", "{folder}/")
modparam("rtpengine", "rtpengine_sock", "{sockets}")
{params}
"""
# A record-routing proxy that has its media relayed.
SCRIPT = """\
route {{
    if (!mf_process_maxfwd_header(10)) {{ sl_send_reply(483, "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{
        {delete}
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) {{
            if (is_method("INVITE")) {{ route(MEDIA); }}
            if (is_method("ACK") && has_body("application/sdp")) {{ {answer} }}
            {inside}
            if (is_method("BYE")) {{ {delete} {after} }}
            t_relay();
        }} else if (is_method("ACK") && t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    remove_hf("Route");
    record_route();
    if (is_method("INVITE")) {{ route(MEDIA); }}
    $du = "sip:{next_hop}";
    t_relay();
}}

route[MEDIA] {{
    t_on_reply("MEDIA");
    {offer}
}}

onreply_route[MEDIA] {{
    if (has_body("application/sdp")) {{ {answer} }}
}}
"""


def installed():
    """The program, and where its modules lie."""
    prefix = os.environ.get("OPENSIPS")
    program = shutil.which("opensips", path=f"{prefix}/sbin:{prefix}/bin" if prefix else None)
    if not program:
        where = f"no sbin/opensips in OPENSIPS={prefix}" if prefix else (
            "no opensips in PATH, and OPENSIPS names no directory that it was installed into")
        raise Skip(where)
    root = pathlib.Path(program).resolve().parent.parent
    places = [root / "lib64", root / "lib", *sorted(root.glob("lib/*-linux-gnu"))]
    for place in places:
        modules = place / "opensips" / "modules"
        if all((modules / f"{name}.so").exists() for name in NEEDED):
            return program, modules
    raise Skip(f"OpenSIPS below {root} without one of its modules {', '.join(NEEDED)}")


class OpenSips:
    """One at 127.0.0.1 that has media relayed by `relays`, which have a `port` of the protocol each;
    the first of them is asked first.

    `flags` are those of rtpengine_manage(), which does all unless `offer`, `answer` and `delete` say
    otherwise; `inside` is run for requests within a dialog, `after` once a call was deleted.
    `script` takes the place of all this."""

    def __init__(self, case, relays, next_hop, flags="", **words):
        program, modules = installed()
        self.address, self.port = "127.0.0.1", case.port()
        self.ports = {"udp": self.port}
        self.folder = case.folder / f"opensips-{self.port}"
        self.folder.mkdir()
        self.sockets = [f"udp:127.0.0.1:{relay.port}" for relay in relays]
        # It chooses by a byte of the Call-ID, in proportion to weights.
        weighed = [f"{self.sockets[0]}=256", *self.sockets[1:]]
        manage = f'rtpengine_manage("{flags}");'
        text = words.pop("script", SCRIPT)
        words = {"offer": manage, "answer": manage, "delete": 'rtpengine_delete("delete-delay=0");',
                 "inside": "", "after": "", "params": "", "next_hop": next_hop, **words}
        self.file = self.folder / "opensips.cfg"
        head = CONFIG.format(port=self.port, modules=modules, folder=self.folder,
                             sockets=" ".join(weighed), params=words.pop("params"))
        self.file.write_text(head + text.format(**words))
        # In the foreground, with its workers as children; they are one group, which the case ends.
        argv = [program, "-F", "-f", self.file, "-m", "64", "-M", "8", "-w", self.folder]
        self.process = case.start(f"opensips-{self.port}", argv)
        wait_for("OpenSIPS to listen", self.listens)

    def listens(self):
        assert self.process.alive(), self.process.text()[-1500:]
        return f"0100007F:{self.port:04X}" in pathlib.Path("/proc/net/udp").read_text()

    def told(self, word):
        """What the script's `xlog("WORD: ...")` said, line by line."""
        mark = f"{word}: "
        return [line.split(mark, 1)[1] for line in self.process.text().splitlines() if mark in line]

    def manage(self, command, **params):
        """Runs a command of its management interface, JSON-RPC over its FIFO; returns the result."""
        reply = self.folder / f"reply-{time.monotonic_ns()}"
        os.mkfifo(reply)
        reply.chmod(0o666)
        request = {"jsonrpc": "2.0", "method": command, "id": "1", "params": params}
        reader = subprocess.Popen(["timeout", "10", "cat", str(reply)], stdout=subprocess.PIPE)
        with open(self.folder / "fifo", "w") as fifo:
            fifo.write(f":{reply.name}:{json.dumps(request)}\n")
        told = reader.communicate()[0].decode()
        answer = json.loads(told)
        assert "result" in answer, f"{command}: {told}"
        return answer["result"]
