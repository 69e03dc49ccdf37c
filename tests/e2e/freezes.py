"""Freezes in a row of a busy guest with two vCPUs: each vCPU runs on after each of them, and the kernel notices none.

FLOE_FREEZES is their number: 1,000; the long test: 10,000. A run without freezes is made only where the log says something, to see
whether it says the same without them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import floe

FREEZES = int(os.environ.get("FLOE_FREEZES", "1000"))
MOST_SECONDS = 20 + FREEZES  # far beyond what they take on an emulated CPU
WINDOW = 2  # reports in which each CPU must have worked

# Now and then what each CPU has done since the start, in ticks; the rest of the time both of them spin, sleep, wake and switch.
LOAD = f"{floe.WORKERS} 0 spinner:spin:15x2 napper:sleep:5 duo:pair:5 & while :; do echo ---; grep '^cpu[0-9]' /proc/stat; sleep 0.5; done"


def busy_ticks(text):
    """CPU -> its ticks that were not idle, report by report; a report that was cut off is left out."""
    reports = []
    for report in text.split("---\n")[1:-1]:
        lines = [line.split() for line in report.splitlines() if re.match(r"cpu\d+( \d+){8}", line)]
        reports.append({line[0]: sum(map(int, line[1:9])) - int(line[4]) - int(line[5]) for line in lines})
    return reports


class Freezes(floe.Case):
    def launch(self, hz):
        machine = ("--kernel", floe.newest_kernel(), "--cpus", 2, "--memory", 128, "--duration", f"{MOST_SECONDS}s")
        history = ("--snapshot-hz", hz, "--ring-depth", 3, "--keep-snapshots")
        programs = [word for path in (floe.WORKERS, "/bin/grep", "/bin/sleep") for word in ("--add", path)]
        return self.start(*machine, *history, *programs, "--", "/bin/sh", "-c", LOAD)

    def taken(self):
        metrics = self.folder / "metrics.jsonl"
        return metrics.read_text().count('"taken":true') if metrics.exists() else 0

    def log(self, run):
        """Everything in the kernel's own log, read from the last snapshot."""
        words = [floe.FLOE, "show", "--json", "--log", str(run.snapshots()[-1])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        log = json.loads(done.stdout)["kernel_log"]
        self.assertTrue(log["complete"], log["problems"])
        self.assertGreater(len(log["records"]), 100)
        return [record["text"] for record in log["records"]]

    def noticed(self, run):
        lines = [line for line in self.log(run) if floe.NOTICED.search(line)]
        return {re.sub(r"\d+", "N", floe.NOTICED.search(line)[0]) for line in lines}, lines

    def without_freezes(self, seconds):
        self.folder = self.folder.with_name(self.folder.name + "-without")
        process = self.launch(0)
        workload = self.folder / "workload.log"
        self.wait_for(workload.exists, 240, "the guest's start")
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        return self.noticed(self.finish(process))[0]

    def test_in_a_row(self):
        process = self.launch(50)
        began = time.monotonic()
        self.wait_for(lambda: self.taken() >= FREEZES or process.poll() is not None, MOST_SECONDS + 240, f"freeze {FREEZES}")
        process.send_signal(signal.SIGINT)
        run = self.finish(process)
        self.assertEqual(run.code, 130, run.reason)
        manifest = run.manifest
        taken, windows = manifest["snapshots"]["taken"], manifest["freeze_us"]
        self.assertGreaterEqual(taken, FREEZES)
        self.assertEqual(windows["count"], taken)
        self.assertEqual(manifest["snapshots"]["rendezvous_timeouts"], 0)
        self.assertGreaterEqual(manifest["vcpus"]["parks"], 2 * taken)
        reports = busy_ticks((self.folder / "workload.log").read_text())
        self.assertGreater(len(reports), WINDOW)
        for before, after in zip(reports, reports[WINDOW:]):
            self.assertEqual(len(after), 2)
            for cpu, ticks in after.items():
                self.assertGreater(ticks, before[cpu], f"{cpu} stood still: {reports}")
        print(
            f"{taken} freezes, window p50 {windows['p50']} us, p99 {windows['p99']} us, max {windows['max']} us; "
            f"{manifest['vcpus']['rekicks']} kicks repeated; {len(reports)} reports of the guest",
            file=sys.stderr,
        )
        kinds, lines = self.noticed(run)
        if kinds:
            new = kinds - self.without_freezes(time.monotonic() - began)
            self.assertFalse(new, "\n".join(lines))


if __name__ == "__main__":
    floe.main()
