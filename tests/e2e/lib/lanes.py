"""Several tests at a time: each lane is a process in a network namespace of its own."""

import contextlib
import ctypes
import io
import multiprocessing
import os
import subprocess

from lib.net import CLONE_NEWNET


def can_split():
    """Whether this user may make network namespaces: all lanes would else share their ports."""
    child = os.fork()
    if child == 0:
        os._exit(ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def enter():
    """Puts this process into a namespace of its own, whose loopback is up."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def told(function, arguments):
    """Calls the function; returns its value, and what it printed."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        value = function(*arguments)
    return value, text.getvalue()


def _call(job):
    return job[0], told(*job[1:])


def spread(function, jobs, lanes):
    """Calls `function(*job)` for each job, over so many lanes; returns the values in order.

    What a job prints is shown whole, when it ends. One lane calls them here.
    """
    if lanes == 1:
        return [function(*job) for job in jobs]
    values = [None] * len(jobs)
    numbered = [(at, function, job) for at, job in enumerate(jobs)]
    with multiprocessing.get_context("fork").Pool(lanes, initializer=enter) as pool:
        for at, (value, text) in pool.imap_unordered(_call, numbered):
            print(text, end="", flush=True)
            values[at] = value
    return values
