"""Runs the floe program and looks at what it leaves. Each test has a folder of its own, kept when it fails."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

FLOE = os.environ["FLOE_BINARY"]
WORK = pathlib.Path(os.environ["FLOE_E2E_DIR"])
REPORTER = os.environ.get("FLOE_REPORTER", "")
SCHED = os.environ.get("FLOE_SCHED", "")
WORKERS = os.environ.get("FLOE_WORKERS", "")
MAPS_ALL = os.environ.get("FLOE_MAPS_ALL", "")
HOSTILE = os.environ.get("FLOE_HOSTILE", "")
KERNEL_TRUTH = os.environ.get("FLOE_KERNEL_TRUTH", "")
OUTB = os.environ.get("FLOE_OUTB", "")
ONE_INSTANT = os.environ.get("FLOE_ONE_INSTANT", "")
# What a kernel says that has noticed a pause.
NOTICED = re.compile(r"soft lockup|rcu.*detected stalls|Marking clocksource .* unstable")
SKIP = 77  # ctest's SKIP_RETURN_CODE
LONG = os.environ.get("FLOE_LONG") == "1"


def long(test):
    """Marks a test that scripts/test has no time for: it runs with FLOE_LONG=1 (scripts/test --long), or when asked for by its name."""
    test.long = True
    return test


class Loader(unittest.TestLoader):
    def getTestCaseNames(self, case):
        return [name for name in super().getTestCaseNames(case) if getattr(getattr(case, name), "long", False) == LONG]


def kernel(prefix):
    """The newest stock kernel whose version starts with `prefix`, or a skip with the reason."""
    cache = pathlib.Path(os.environ.get("FLOE_KERNEL_CACHE", ""))
    found = sorted(cache.glob(prefix + "*/vmlinuz")) if str(cache) != "." else []
    if not found:
        raise unittest.SkipTest(f"no kernel {prefix}* in FLOE_KERNEL_CACHE={cache}")
    return str(found[-1])


def newest_kernel():
    for prefix in ("7.", "6."):
        try:
            return kernel(prefix)
        except unittest.SkipTest:
            pass
    raise unittest.SkipTest("no kernel in FLOE_KERNEL_CACHE")


class Finished:
    def __init__(self, code, out, err, folder):
        self.code, self.out, self.err, self.folder = code, out, err, folder

    @property
    def reason(self):
        lines = [line for line in self.err.splitlines() if line.startswith("floe: ")]
        return lines[-1][len("floe: "):] if lines else ""

    @property
    def manifest(self):
        return json.loads((self.folder / "manifest.json").read_text())

    @property
    def metrics(self):
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def snapshots(self):
        return sorted((self.folder / "snapshots").glob("*.floesnap"))


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = WORK / self.id().split(".", 1)[1]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)

    def start(self, *words, **kwargs):
        argv = [FLOE, "run", "--out", str(self.folder), *map(str, words)]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)

    def finish(self, process, timeout=300):
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            self.fail(f"floe did not end within {timeout} s; stderr:\n{err}")
        print(err, file=sys.stderr)
        return Finished(process.returncode, out, err, self.folder)

    def floe(self, *words, timeout=300, **kwargs):
        return self.finish(self.start(*words, **kwargs), timeout)

    def show(self, snapshot):
        done = subprocess.run([FLOE, "show", "--json", str(snapshot)], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def dump(self, snapshot):
        """The whole failure dump of a snapshot, nothing left out for its length."""
        done = subprocess.run([FLOE, "dump", str(snapshot), "--max-entries", "0"], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def wait_for(self, condition, timeout, what):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        self.fail(f"{what} did not happen within {timeout} s")

    def children(self, pid):
        """Processes that `pid` started."""
        found = []
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            if re.search(rf"^PPid:\t{pid}$", text, re.M):
                found.append(int(status.parent.name))
        return found

    def assert_gone(self, pids, timeout=5):
        def all_gone():
            return not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists() and not self.is_zombie(pid)]

        self.wait_for(all_gone, timeout, f"the end of processes {pids}")

    @staticmethod
    def is_zombie(pid):
        try:
            return ") Z " in pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True


def main():
    program = unittest.main(exit=False, verbosity=2, module="__main__", testLoader=Loader())
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if not result.testsRun:
        sys.exit("no test was chosen: FLOE_LONG=1 runs those marked long, anything else the others")
    if result.testsRun and len(result.skipped) == result.testsRun:
        print(result.skipped[0][1])
        sys.exit(SKIP)
