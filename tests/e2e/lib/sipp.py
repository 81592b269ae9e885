"""Runs sipp with the scenarios of tests/e2e/sipp, and reads its counters."""

import csv
import pathlib

from lib.voipd import DOMAIN

SCENARIOS = pathlib.Path(__file__).parent.parent / "sipp"


class Sipp:
    """One sipp. `users` is what its scenario calls field0; each has the password `secret`.
    `rows` are its fields instead, as tuples, in order."""

    def __init__(self, case, name, scenario, voipd, **options):
        """Options: address, port, users, rows, call_id, service, count, rate, limit, pause_ms,
        seconds, keys (more words of the scenario's, with their values)."""
        self.name, self.case = name, case
        self.address = options.get("address", "127.0.0.1")
        self.port = options.get("port") or case.port(self.address)
        self.log = case.folder / f"{name}-calls.log"
        self.stats = case.folder / f"{name}.csv"
        self.errors = case.folder / f"{name}-errors.log"
        self.count = options.get("count", 1)
        self.seconds = options.get("seconds", 30)
        argv = [
            "sipp", *([f"{voipd.address}:{voipd.port}"] if voipd else []),
            "-sf", SCENARIOS / f"{scenario}.xml", "-i", self.address, "-p", self.port,
            "-m", self.count, "-trace_logs", "-log_file", self.log,
            "-r", options.get("rate", 10), "-l", options.get("limit", 10000),
            "-d", options.get("pause_ms", 0), "-s", options.get("service", "service"),
            "-key", "domain", DOMAIN, "-nostdin", "-buff_size", 8 << 20, "-fd", 1,
            "-trace_stat", "-stf", self.stats, "-trace_err", "-error_file", self.errors,
            "-timeout", f"{self.seconds}s", "-timeout_error", "-default_behaviors",
            "all,-abortunexp", "-deadcall_wait", 0, "-recv_timeout", 1000 * self.seconds, "-max_socket", 20000,
        ]
        rows = options.get("rows") or [
            (user, f"[authentication username={user} password=secret]")
            for user in options.get("users", ())]
        if rows:
            table = case.folder / f"{name}-users.csv"
            table.write_text("SEQUENTIAL\n" + "".join(";".join(row) + ";\n" for row in rows))
            argv += ["-inf", table]
        for word, value in options.get("keys", {}).items():
            argv += ["-key", word, value]
        if "call_id" in options:
            argv += ["-cid_str", options["call_id"]]
        # sipp would sign its target's address instead of the Request-URI (RFC 7616 §3.4.6).
        user = "" if scenario == "register" else f"{options.get('service', 'service')}@"
        argv += ["-auth_uri", f"{user}{DOMAIN}"]
        # sipp draws a screen on its output: nobody looks at it.
        self.process = case.start(f"sipp-{name}", argv)

    def finish(self):
        """Waits for the end of all calls; each must have gone as the scenario says."""
        status = self.process.wait(self.seconds + 20)
        told = self.errors.read_text(errors="replace")[-1500:] if self.errors.exists() else ""
        assert status == 0, f"sipp {self.name} ended with {status}: {self.counters()}\n{told}"
        counters = self.counters()
        assert counters["failed"] == 0 and counters["ok"] == self.count, f"{counters}\n{told}"
        return counters

    def counters(self):
        with open(self.stats, newline="") as table:
            last = list(csv.DictReader(table, delimiter=";"))[-1]
        return {
            "ok": int(last["SuccessfulCall(C)"]),
            "failed": int(last["FailedCall(C)"]),
            "retransmissions": int(last["Retransmissions(C)"]),
        }


def register(case, name, voipd, user, port):
    """Registers one contact of a user from the port where its phone will be."""
    Sipp(case, name, "register", voipd, users=[user], port=port).finish()
