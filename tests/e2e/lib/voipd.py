"""A voipd of a test: its configuration, its life, and voipctl."""

import json
import os
import signal
import subprocess

from lib.case import wait_for

DOMAIN = "voip.test"


class Voipd:
    """A running voipd on free ports of one address."""

    def __init__(self, case, address="127.0.0.1", netns=None, name="voipd", **settings):
        """`settings` are the tables of voip.toml, such as rtp={"relay": "always"} or
        trunk=[{...}, {...}]; `transports` lists the listeners, `flags` are words of the command
        line, `within` those of a program that becomes voipd. With `file` and `ports` the configuration is there already."""
        self.case, self.address, self.netns, self.name = case, address, netns, name
        self.process = None
        self.within = settings.pop("within", [])
        if "file" in settings:
            self.file, self.ports = settings.pop("file"), settings.pop("ports")
            self.flags = os.environ.get("VOIPD_FLAGS", "").split()
            self.start()
            return
        self.state = case.folder / name
        self.state.mkdir()
        self.file = case.folder / f"{name}.toml"
        self.flags = settings.pop("flags", os.environ.get("VOIPD_FLAGS", "").split())
        self.ports = {}
        listen = []
        for transport in settings.pop("transports", ("udp", "tcp")):
            # UDP and TCP share a port, as the world expects of 5060.
            shared = self.ports.get("udp") if transport == "tcp" else None
            self.ports[transport] = shared or case.port(address if not netns else "127.0.0.1")
            listen.append(f"{transport}:{address}:{self.ports[transport]}")
        tables = {
            "node": {"domains": [DOMAIN], "state_dir": str(self.state)},
            "sip": {"listen": listen},
            "rtp": {"ports": case.rtp_range(), "relay": "nat"},
        }
        for table, keys in settings.items():
            if isinstance(keys, list):
                tables[table] = keys
            else:
                tables.setdefault(table, {}).update(keys)
        self.tables = tables
        self.write()
        self.start()

    def write(self):
        """Writes `tables` to the file, for a test that has changed them and will reload."""
        self.file.write_text(to_toml(self.tables))

    @property
    def port(self):
        return self.ports["udp"]

    def target(self, transport="udp"):
        """Where clients reach it: ADDRESS:PORT."""
        return f"{self.address}:{self.ports[transport]}"

    def start(self):
        argv = [*self.within, self.case.binaries / "voipd", "-c", self.file, "-f", *self.flags]
        self.process = self.case.start(self.name, argv, self.netns)
        wait_for(f"{self.name} to serve", self.serves, 15)

    def serves(self):
        if not self.process.alive():
            text = self.process.text()[-2000:]
            raise AssertionError(f"{self.name} ended at its start:\n{text}")
        return self.call_ctl("status").returncode == 0

    def call_ctl(self, *words, stdin=None):
        argv = [self.case.binaries / "voipctl", "-c", self.file, *words]
        return subprocess.run(
            [str(word) for word in argv], input=stdin, capture_output=True, text=True, timeout=60
        )

    def ctl(self, *words, stdin=None):
        """Runs voipctl, which must succeed; returns what it printed."""
        done = self.call_ctl(*words, stdin=stdin)
        assert done.returncode == 0, f"voipctl {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def json(self, *words):
        """Runs voipctl --json; returns the rows."""
        return json.loads(self.ctl("--json", *words))

    def add_user(self, name, password="secret"):
        self.ctl("user", "add", name, "--password-stdin", stdin=password + "\n")

    def add_users(self, names, password="secret"):
        table = self.case.folder / f"{self.name}-users.csv"
        rows = "".join(f"{name},{password}\n" for name in names)
        table.write_text("username,password\n" + rows)
        self.ctl("user", "import", str(table))

    def registrations(self):
        return self.json("registrations")

    def calls(self):
        return self.json("calls")

    def records(self, count=1):
        """The call records, newest first, once there are so many: a call is gone a moment before
        its record is written."""
        wait_for(f"{count} call records", lambda: len(self.json("cdr")) >= count)
        return self.json("cdr")

    def reload(self):
        self.ctl("reload")

    def kill(self):
        """kill -9, as a power cut would."""
        self.process.stop(signal.SIGKILL)

    def pids(self, role=None):
        """Its process's number; with several, those of its roles, or of one of them."""
        words = ["pgrep", "-P", str(self.process.pid), "-f", "--", f"--role {role or ''}"]
        found = subprocess.run(words, capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def stop(self):
        """Asks it to end; it must do so by itself, and cleanly."""
        self.process.popen.send_signal(signal.SIGTERM)
        status = self.process.wait(10)
        assert status == 0, f"{self.name} ended with {status} on SIGTERM"

    def restart(self):
        self.start()


def to_toml(tables):
    """Dictionaries of scalars, lists and one level of nested tables, as TOML; a list of
    dictionaries is an array of tables."""
    text = []
    for table, keys in tables.items():
        for each in keys if isinstance(keys, list) else [keys]:
            text.append(f"[[{table}]]" if isinstance(keys, list) else f"[{table}]")
            text += table_lines(table, each)
            text.append("")
    return "\n".join(text)


def table_lines(table, keys):
    nested = {key: value for key, value in keys.items() if isinstance(value, dict)}
    text = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if key not in nested]
    for name, inner in nested.items():
        text.append(f"[{table}.{name}]")
        text += [f"{key} = {json.dumps(value)}" for key, value in inner.items()]
    return text
