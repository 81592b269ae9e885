"""What every end-to-end test stands on: a folder, free ports, processes, and their ends."""

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

LOG_LINES_SHOWN = 40


class Skip(Exception):
    """The machine cannot run this test (no namespaces, say); the reason is said."""


def wait_for(what, test, seconds=10.0, every=0.05):
    """Waits until `test()` is true and returns its value; says `what` never came."""
    end = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)


class Process:
    """A program of a test, in a process group of its own, with its output in a file."""

    def __init__(self, name, argv, log, **options):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                [str(word) for word in argv],
                stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def wait(self, seconds):
        """Waits for the program's own end; returns its exit status."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {seconds} s") from None

    def stop(self, number=signal.SIGTERM, seconds=5.0):
        """Ends the program, and by force after `seconds`."""
        for attempt, patience in ((number, seconds), (signal.SIGKILL, 5.0)):
            if not self.alive():
                break
            try:
                os.killpg(self.pid, attempt)
            except ProcessLookupError:
                break
            try:
                self.popen.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        return self.popen.poll()

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")


class Case:
    """One test while it runs."""

    def __init__(self, name, binaries):
        self.name = name
        self.binaries = pathlib.Path(binaries)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"voip-{name}-"))
        self.folder.chmod(0o755)  # Kamailio and others may drop their privileges
        self.processes = []
        self.at_end = []
        self.taken = set()

    def start(self, name, argv, netns=None, **options):
        """Starts a program, in a namespace if one is named."""
        if netns:
            argv = ["ip", "netns", "exec", netns, *argv]
        process = Process(name, argv, self.folder / f"{name}.log", **options)
        self.processes.append(process)
        return process

    def run(self, name, argv, netns=None, seconds=60, status=0, **options):
        """Runs a program to its end and returns what it said; any other exit status fails."""
        process = self.start(name, argv, netns, **options)
        got = process.wait(seconds)
        assert got == status, f"{name} ended with {got}, not {status}:\n{process.text()[-2000:]}"
        return process.text()

    def port(self, address="127.0.0.1"):
        """A port that is free for UDP and TCP, below the ephemeral ones."""
        while True:
            port = random.randrange(10000, 16000, 2)
            if port not in self.taken and is_free(address, port) and is_free(address, port + 1):
                self.taken.add(port)
                return port

    def rtp_range(self, pairs=200):
        """A range of RTP ports that other tests will hardly have."""
        first = random.randrange(16384, 32768 - 2 * pairs, 2)
        return f"{first}-{first + 2 * pairs - 1}"

    def defer(self, function, *arguments):
        """Calls the function when the test ends, last in first out."""
        self.at_end.append((function, arguments))

    def close(self):
        for process in reversed(self.processes):
            process.stop(seconds=2.0)
        for function, arguments in reversed(self.at_end):
            function(*arguments)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def show_logs(self):
        for path in sorted(self.folder.glob("*.log")):
            text = path.read_text(errors="replace")
            lines = [line for line in text.splitlines() if line.strip()]
            print(f"        --- {path.name} ({len(lines)} lines, the last of them)")
            for line in lines[-LOG_LINES_SHOWN:]:
                print(f"        {line[:300]}")


def is_free(address, port):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
