"""The ring: how much it keeps, for how many bytes, at which rate."""

import re
import shutil
import unittest

import floe


class Rings(floe.Case):
    def check_ring(self, manifest):
        """What any run's figures must agree on."""
        ring = manifest["ring"]
        self.assertEqual(sum(ring["parts"].values()), ring["bytes"])
        self.assertLessEqual(ring["bytes"], ring["limit"])
        self.assertGreaterEqual(ring["peak_bytes"], ring["bytes"])
        self.assertLessEqual(ring["peak_bytes"], ring["limit"] + ring["largest_delta_bytes"])
        self.assertEqual(ring["pinned_bytes"], 0)
        # What is committed comes in steps of 4 MiB, and tables of less than one.
        self.assertLessEqual(ring["arena_bytes"], ring["peak_bytes"] + (5 << 20))


class History(Rings):
    @floe.long
    def test_thirty_seconds_ten_deep(self):
        run = self.floe("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "30s", "--ring-depth", 10)
        self.assertEqual(run.code, 0, run.reason)
        manifest = run.manifest
        snapshots = manifest["snapshots"]
        self.assertIn(snapshots["taken"] + snapshots["skipped"], (29, 30, 31))
        self.assertEqual(snapshots["kept"], 10)
        self.assertEqual(snapshots["evicted"], snapshots["taken"] - 10)
        populated = manifest["machine"]["populated_bytes"]
        self.assertGreater(populated, 50 << 20)
        self.assertLessEqual(manifest["ring"]["bytes"], 0.2 * 10 * populated)
        self.assertGreaterEqual(manifest["ring"]["arena_bytes"], manifest["ring"]["bytes"] // 2)
        self.assertEqual(len(run.metrics), snapshots["taken"])
        self.assertFalse((self.folder / "snapshots").exists(), "a run that passes keeps no snapshots unless asked")
        self.assertEqual(manifest["freeze_us"]["count"], snapshots["taken"])

    @floe.long
    def test_twenty_hertz(self):
        run = self.floe("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "5s", "--snapshot-hz", 20)
        self.assertEqual(run.code, 0, run.reason)
        snapshots = run.manifest["snapshots"]
        self.assertGreater(snapshots["taken"], 0)
        # Kept the rate, or says what it left out: every period of the five seconds is one or the other.
        self.assertIn(snapshots["taken"] + snapshots["skipped"], range(95, 103))

    def test_a_tight_bound_evicts_and_holds(self):
        machine = ("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256)
        first = self.floe(*machine, "--duration", "2s", "--ring-depth", 1)
        self.assertEqual(first.code, 0, first.reason)
        limit = first.manifest["ring"]["bytes"] * 115 // 100
        shutil.rmtree(self.folder)
        noise = "sleep 3; dd if=/dev/urandom of=/noise bs=1M count=24; sleep 2"
        busy = ("--add", "/bin/dd", "--add", "/bin/sleep", "--", "/bin/sh", "-c", noise)
        run = self.floe(*machine, "--duration", "12s", "--snapshot-hz", 3, "--ring-bytes", limit, *busy)
        self.check_ring(run.manifest)
        self.assertEqual(run.manifest["ring"]["limit"], limit)
        snapshots = run.manifest["snapshots"]
        self.assertEqual(run.code, 0, run.reason)
        self.assertGreater(snapshots["taken"], 0)
        self.assertGreater(snapshots["evicted"] + snapshots["did_not_fit"], 0)

    def test_a_ring_too_small_for_one_image_says_what_would_fit(self):
        machine = ("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "3s")
        run = self.floe(*machine, "--ring-bytes", "8M")
        self.assertEqual(run.code, 2, run.reason)
        self.assertIn("--ring-bytes", run.reason)
        manifest = run.manifest
        self.assertEqual(manifest["exit"]["code"], 2)
        self.assertEqual(manifest["exit"]["reason"], run.reason)
        self.assertEqual(manifest["snapshots"]["taken"], 0)
        self.assertEqual(manifest["snapshots"]["did_not_fit"], 1)
        # The advice is good.
        advice = re.search(r"--ring-bytes (\d+M) would hold it", run.reason)
        self.assertIsNotNone(advice, run.reason)
        self.assertEqual(int(advice[1][:-1]) << 20, manifest["ring"]["would_fit_bytes"])
        shutil.rmtree(self.folder)
        again = self.floe(*machine, "--ring-bytes", advice[1])
        self.assertEqual(again.code, 0, again.reason)
        self.assertGreater(again.manifest["snapshots"]["taken"], 0)
        self.check_ring(again.manifest)


class Alone(Rings):
    """What needs most of its ticks: not beside other suites."""

    def test_sixty_idle_snapshots_cost_less_than_two_copies(self):
        machine = ("--kernel", floe.newest_kernel(), "--cpus", 2, "--memory", 512)
        run = self.floe(*machine, "--duration", "24s", "--snapshot-hz", 3, "--ring-depth", 60)
        self.assertEqual(run.code, 0, run.reason)
        manifest = run.manifest
        self.check_ring(manifest)
        self.assertGreaterEqual(manifest["snapshots"]["kept"], 40, "too few ticks came through to say anything")
        self.assertIsNone(manifest["ring"]["would_fit_bytes"])
        populated = manifest["machine"]["populated_bytes"]
        self.assertGreater(populated, 50 << 20)
        self.assertLessEqual(manifest["ring"]["bytes"], 1.6 * populated)


if __name__ == "__main__":
    floe.main()
