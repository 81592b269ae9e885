#!/usr/bin/env python3
"""Holds the package, the periodic script and the examples to what they promise."""

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import unittest
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
FILES = TREE / "ports/net/voip/files"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TREE / "target"))
PATIENCE_S = 60


def load(name):
    """A script of .ci as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TREE / ".ci" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


PACKAGE = load("freebsd-package")


def built():
    """The folder with the Linux programs that were built last: an old build knows other verbs."""
    folders = [TARGET / name for name in ("release", "debug")]
    folders = [f for f in folders if (f / "voipd").exists() and (f / "voipctl").exists()]
    if not folders:
        raise SystemExit("check.py: no voipd and voipctl: cargo build --bins")
    return max(folders, key=lambda folder: (folder / "voipctl").stat().st_mtime)


def run(*words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


class Checksums(unittest.TestCase):
    def test_as_pkg_writes_them(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            for content, wanted in KNOWN_SUMS.items():
                path.write_bytes(content)
                self.assertEqual(PACKAGE.checksum(path), wanted)

    def test_every_bit_comes_back(self):
        data = bytes(range(1, 65))
        value = 0
        for i, letter in enumerate(PACKAGE.base32(data)):
            value |= PACKAGE.ALPHABET.index(letter) << (5 * i)
        self.assertEqual(value.to_bytes(64, "little"), data)


# What 'pkg create' of pkg 2.8 wrote into +MANIFEST for files with these contents.
KNOWN_SUMS = {
    b"": "2$au4ro5mebesgyd5a7xbmnjj41mr91dbeb8sqwojtgwaxt59dwkgrpxbnt3m7qcpkuenjgnp1qnczrek8e5sebr7siki9gajd69gfq8d",
    b"hello\n": "2$s8deqbshcsr113zutmcnuabi3g7ic7hoos365fbr649mmwrdkj7n98jgtuadhw4b7e39uucmp4tgjzm6i9a7twsbcta5jzyjhopgwxb",
}


class Plist(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.stage = Path(folder.name)
        (self.stage / "usr/local/sbin").mkdir(parents=True)
        (self.stage / "usr/local/sbin/a").write_text("a")

    def complaint(self, plist):
        with self.assertRaises(PACKAGE.Trouble) as caught:
            PACKAGE.compare_with_stage(PACKAGE.Plist(plist), self.stage)
        return str(caught.exception)

    def test_what_is_staged_is_listed_and_the_other_way_round(self):
        PACKAGE.compare_with_stage(PACKAGE.Plist("sbin/a\n"), self.stage)
        self.assertIn("/usr/local/sbin/a: staged, but not in", self.complaint("\n"))
        self.assertIn("/usr/local/sbin/b: in pkg-plist", self.complaint("sbin/a\nsbin/b\n"))
        self.assertIn("/var/db/x/: in pkg-plist", self.complaint("sbin/a\n@dir /var/db/x\n"))
        (self.stage / "usr/local/empty").mkdir()
        self.assertIn("/usr/local/empty/: staged and empty", self.complaint("sbin/a\n"))

    def test_keywords(self):
        plist = PACKAGE.Plist("@sample etc/a.conf.sample\n@(voip,,0640) etc/b\n@dir(voip,voip,0750) /var/db/x\n")
        self.assertEqual(plist.files["/usr/local/etc/b"], ("voip", "wheel", 0o640))
        self.assertEqual(plist.directories, {"/var/db/x/": ("voip", "voip", 0o750)})
        self.assertIn('"etc/a.conf"', plist.install[0])
        with self.assertRaises(PACKAGE.Trouble):
            PACKAGE.Plist("@unexec rm -rf /\n")


class Package(unittest.TestCase):
    """The packages, built with the Linux programs in place of FreeBSD's: format and files count."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        work = Path(cls.folder.name)
        module = work / "kmod"
        module.mkdir()
        (module / "e1shim.ko").write_bytes(b"in place of a module")
        script = TREE / ".ci/freebsd-package"
        for out in ("one", "two"):
            words = ["--built", built(), "--kmod", module, "--out", work / out, "--level", "1"]
            done = run(script, *words, env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000"))
            if done.returncode != 0:
                raise AssertionError(done.stdout)
        version = tomllib.loads((TREE / "Cargo.toml").read_text())["package"]["version"]
        cls.packages = [work / "one" / f"{name}-{version}.pkg" for name in ("voip", "voip-e1-kmod")]
        cls.again = [work / "two" / path.name for path in cls.packages]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def members(self, path):
        data = subprocess.run(["zstd", "-qdc", path], stdout=subprocess.PIPE, check=True).stdout
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                return [(m, tar.extractfile(m).read() if m.isfile() else None) for m in tar]

    def test_the_same_bytes_each_time(self):
        for one, two in zip(self.packages, self.again):
            self.assertEqual(one.read_bytes(), two.read_bytes())

    def test_manifests_come_first_and_agree(self):
        for path in self.packages:
            members = self.members(path)
            self.assertEqual([m.name for m, _ in members[:2]], ["+COMPACT_MANIFEST", "+MANIFEST"])
            compact, whole = (json.loads(data) for _, data in members[:2])
            for key, value in compact.items():
                self.assertEqual(whole[key], value, key)
            self.assertEqual(whole["abi"], "FreeBSD:14:amd64")
            for key in ("name", "origin", "version", "comment", "desc", "maintainer", "www", "prefix"):
                self.assertTrue(whole[key], key)  # libpkg/pkg.c, pkg_is_valid

    def test_the_manifest_tells_the_files(self):
        for path in self.packages:
            members = self.members(path)
            whole = json.loads(members[1][1])
            files = {m.name: (m, data) for m, data in members[2:] if m.isfile()}
            folders = {m.name.rstrip("/"): m for m, _ in members if m.isdir()}
            self.assertEqual(sorted(files), sorted(whole["files"]))
            self.assertEqual(sorted(folders), sorted(whole.get("directories", {})))
            self.assertEqual(sum(len(d) for _, d in files.values()), whole["flatsize"])
            for name, about in whole["files"].items():
                member, data = files[name]
                self.assertTrue(name.startswith("/"))
                self.assertEqual((member.uname, member.gname), (about["uname"], about["gname"]))
                self.assertEqual(f"{member.mode:04o}", about["perm"], name)
                self.assertEqual(member.mtime, about["mtime"])
                self.assertEqual(self.sum_of(data), about["sum"], name)

    def sum_of(self, data):
        """By b2sum(1), which knows nothing of ours."""
        said = subprocess.run(["b2sum"], input=data, stdout=subprocess.PIPE, check=True).stdout
        return "2$" + PACKAGE.base32(bytes.fromhex(said.split()[0].decode()))

    def test_what_voip_installs(self):
        whole = json.loads(self.members(self.packages[0])[1][1])
        files = whole["files"]
        for name in ("sbin/voipd", "sbin/voipctl", "etc/rc.d/voip", "etc/periodic/daily/410.voip"):
            self.assertEqual(files[f"/usr/local/{name}"]["perm"], "0555", name)
        state = whole["directories"]["/var/db/voip"]
        self.assertEqual((state["uname"], state["gname"], state["perm"]), ("voip", "voip", "0750"))
        self.assertEqual(whole["users"], ["voip"])
        self.assertNotIn("/usr/local/etc/voip/voip.toml", files)
        samples = "".join(whole["lua_scripts"]["post-install"])
        for target in ("etc/voip/voip.toml", "etc/newsyslog.conf.d/voip.conf", "etc/syslog.d/voip.conf"):
            self.assertIn(f'"{target}"', samples)
            # pkg copies into a folder that is there.
            folder = f"/usr/local/{Path(target).parent}"
            there = any(name.startswith(folder + "/") for name in files)
            self.assertTrue(there or folder in whole["directories"], folder)
        kinds = {message["type"] for message in whole["messages"]}
        self.assertEqual(kinds, {"install", "upgrade"})
        for message in whole["messages"]:
            self.assertNotIn("%%", message["message"])

    def test_nothing_is_left_open(self):
        for path in self.packages:
            for member, data in self.members(path):
                if data and not data.startswith((b"\x7fELF", b"\x1f\x8b")):
                    self.assertNotRegex(data, rb"%%[A-Z]+%%", member.name)

    def test_scripts_are_shell(self):
        for path in self.packages:
            whole = json.loads(self.members(path)[1][1])
            for name, text in whole.get("scripts", {}).items():
                self.assertNotIn("%", text, "pkg would decode it")
                done = run("sh", "-n", input=text)
                self.assertEqual(done.returncode, 0, f"{name}: {done.stdout}")

    def test_the_rc_script_is_ours(self):
        members = {m.name: data for m, data in self.members(self.packages[0])}
        self.assertEqual(members["/usr/local/etc/rc.d/voip"], (TREE / "rc.d/voip").read_bytes())


class Manual(unittest.TestCase):
    """voipd(8) and voipctl(8) against what the programs say of themselves."""

    def help(self, *words):
        said = run(*words, "--help").stdout
        verbs = re.search(r"^Commands:\n(.*?)\n\n", said, re.S | re.M)
        verbs = re.findall(r"^  ([a-z0-9-]+)", verbs[1], re.M) if verbs else []
        options = re.findall(r"^ +(?:-(\w)(?:, )?)?(?:--([a-z-]+))?(?: <[A-Z]+>)?(?:  |$)", said, re.M)
        options = {name for pair in options for name in pair if name}
        return [v for v in verbs if v != "help"], options - {"h", "help", "V", "version"}

    def whole(self, program):
        """Every verb with its subverbs, and every option of any of them."""
        verbs, options = self.help(program)
        names = []
        for verb in verbs:
            inner, more = self.help(program, verb)
            options |= more
            names += [f"{verb} {i}" for i in inner] or [verb]
            for i in inner:
                options |= self.help(program, verb, i)[1]
        return names, options

    def test_pages_name_every_verb_and_option(self):
        for program, at_least in (("voipd", 6), ("voipctl", 25)):
            names, options = self.whole(built() / program)
            self.assertGreater(len(names) + len(options), at_least)
            page = (TREE / f"src/man/{program}.8").read_text()
            for name in names:
                self.assertRegex(page, rf"(?m)^(\.It )?\.?Cm {name}\b", f"{program} {name}")
            for option in options:
                name = option if len(option) == 1 else f"-{option}"
                self.assertRegex(page, rf"Fl {name}\b", f"{program}: option {option}")


class Daemon(unittest.TestCase):
    """What runs beside a daemon."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = Path(cls.folder.name)
        cls.programs = built()
        cls.config = cls.root / "voip.toml"
        cls.config.write_text(
            '[node]\ndomains = ["example.com"]\nstate_dir = "state"\nworkers = 1\n'
            '[sip]\nlisten = ["udp:127.0.0.1:0"]\n'
        )
        cls.stubs = cls.root / "bin"
        cls.stubs.mkdir()
        cls.script = cls.root / "410.voip"
        text = (FILES / "410.voip.in").read_text().replace("%%PREFIX%%", str(cls.root / "usr"))
        cls.script.write_text(text)
        (cls.root / "usr/sbin").mkdir(parents=True)
        (cls.root / "usr/etc/rc.d").mkdir(parents=True)
        cls.stub(cls.root / "usr/sbin/voipctl", f'exec {cls.programs}/voipctl -c {cls.config} "$@"')
        cls.stub(cls.root / "usr/etc/rc.d/voip", 'exit "${ENABLED:-0}"')
        # zfs(8) with one dataset and a file of its snapshots, the newest first as -S creation has it.
        cls.snapshots = cls.root / "snapshots"
        cls.stub(
            cls.stubs / "zfs",
            f"""all={cls.snapshots}
case "$*" in
"list -H -o name /pool/voip") echo pool/voip ;;
"list -H -o name "*) exit 1 ;;
"list -H -t snapshot -o name "*) grep -qx "$7" $all ;;
"list -H -d 1 -t snapshot -o name -S creation pool/voip") cat $all ;;
"snapshot "*) {{ echo "$2"; cat $all; }} >$all.new && mv $all.new $all ;;
"destroy "*) grep -vx "$2" $all >$all.new; mv $all.new $all ;;
*) echo "zfs: $*"; exit 9 ;;
esac""",
        )

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def stub(cls, path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def periodic(self, **variables):
        environment = {"PATH": f"{self.stubs}:{os.environ['PATH']}", **variables}
        done = run("dash", self.script, env=environment)
        return done.returncode, done.stdout

    def start(self):
        log = open(self.root / "log", "w")
        daemon = subprocess.Popen([self.programs / "voipd", "-f", "-c", self.config], stderr=log)
        log.close()
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.terminate)
        deadline = time.monotonic() + PATIENCE_S
        while not (self.root / "state/voip.pid").exists() or not (self.root / "state/voip.pid").read_text():
            self.assertLess(time.monotonic(), deadline, (self.root / "log").read_text())
            time.sleep(0.05)

    def test_nothing_unless_asked(self):
        self.assertEqual(self.periodic(), (0, ""))

    def test_a_daemon_that_does_not_run(self):
        code, said = self.periodic(daily_voip_enable="YES")
        self.assertEqual(code, 3, said)
        self.assertIn("no voipd answers", said)
        code, said = self.periodic(daily_voip_enable="YES", ENABLED="1")
        self.assertEqual(code, 0, said)

    def test_a_daemon_that_runs(self):
        self.start()
        code, said = self.periodic(daily_voip_enable="YES")
        self.assertIn("\nvoip:\nvoipd          ", said)
        self.assertRegex(said, r"registrations +0\n")
        # Doctor may find something on this host, and then says so; never the rows that are well.
        self.assertNotRegex(said, r"(?m)^ok ")
        self.assertEqual(code, 0 if "WARN" not in said and "BAD" not in said else code, said)
        self.assertIn(code, (0, 2, 3), said)

    def test_snapshots(self):
        self.snapshots.write_text("pool/voip@mine\npool/voip@voip-daily-20200102\npool/voip@voip-daily-20200101\n")
        ask = {
            "daily_voip_snapshot_enable": "YES",
            "daily_voip_snapshot_keep": "2",
            "daily_voip_directory": "/pool/voip",
        }
        code, said = self.periodic(**ask)
        self.assertEqual(code, 0, said)
        today = f"pool/voip@voip-daily-{time.strftime('%Y%m%d')}"
        left = self.snapshots.read_text().split()
        self.assertEqual(left, [today, "pool/voip@mine", "pool/voip@voip-daily-20200102"])
        code, said = self.periodic(**ask)
        self.assertIn("is there already", said)
        self.assertEqual(self.snapshots.read_text().split(), left)
        code, said = self.periodic(**ask | {"daily_voip_directory": "/elsewhere"})
        self.assertEqual(code, 2, said)
        self.assertIn("is not on ZFS", said)
        code, said = self.periodic(**ask | {"daily_voip_snapshot_keep": "all"})
        self.assertEqual(code, 2, said)
        self.assertEqual(self.snapshots.read_text().split(), left)

    def test_the_sample_is_good_and_tells_defaults(self):
        sample = (FILES / "voip.toml.sample").read_text()
        voipctl = self.programs / "voipctl"
        path = self.root / "sample.toml"

        def printed(text):
            path.write_text(text)
            done = run(voipctl, "check", "--print", path)
            self.assertEqual(done.returncode, 0, done.stdout)
            return tomllib.loads(done.stdout)

        # Each key that is commented out is one, with its default; these have an example instead.
        without_default = {"domains", "advertise", "certificate", "key"}
        plain = printed(sample)
        open_lines = []
        for line in sample.splitlines():
            key = re.match(r"^#(\w+) = ", line)
            if line.startswith("#[sip.tls]") or (key and key[1] in without_default):
                continue
            open_lines.append(line[1:] if key else line)
        self.assertEqual(printed("\n".join(open_lines)), plain)

    def test_carp(self):
        script = FILES / "examples/carp/voip-carp"
        state = self.root / "carp-state"
        log = self.root / "carp-log"
        self.stub(self.stubs / "logger", ":")
        self.stub(
            self.stubs / "service",
            f"""case $2 in
onestatus) grep -q running {state} ;;
onestart) echo running >{state}; echo start >>{log} ;;
onestop) echo stopped >{state}; echo stop >>{log} ;;
esac""",
        )
        self.stub(
            self.stubs / "ifconfig",
            "printf '\\tinet 192.0.2.20\\n\\tcarp: MASTER vhid 1 advbase 1 advskew 0\\n'"
            "\nprintf '\\tcarp: BACKUP vhid 12 advbase 1 advskew 100\\n'",
        )
        state.write_text("stopped\n")
        log.write_text("")
        environment = {"PATH": f"{self.stubs}:{os.environ['PATH']}"}

        def told(*words):
            return run("dash", script, *words, env=environment).returncode

        for words in (["MASTER"], ["MASTER"], ["check", "em0", "1"], ["BACKUP"], ["INIT"], ["check", "em0", "1"]):
            self.assertEqual(told(*words), 0, words)
        self.assertEqual(told("check", "em0", "12"), 0)
        self.assertEqual(told("check", "em0", "7"), 64)
        self.assertEqual(told("RED"), 64)
        self.assertEqual(log.read_text().split(), ["start", "stop", "start", "stop"])


if __name__ == "__main__":
    for tool in ("bmake", "zstd", "b2sum", "dash"):
        if shutil.which(tool) is None:
            sys.exit(f"check.py: {tool} is missing")
    unittest.main()
