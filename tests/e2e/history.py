"""The ring: how much it keeps, for how many bytes, at which rate."""

import unittest

import floe


class History(floe.Case):
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

    def test_twenty_hertz(self):
        run = self.floe("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "5s", "--snapshot-hz", 20)
        self.assertEqual(run.code, 0, run.reason)
        snapshots = run.manifest["snapshots"]
        self.assertGreater(snapshots["taken"], 0)
        # Kept the rate, or says what it left out: every period of the five seconds is one or the other.
        self.assertIn(snapshots["taken"] + snapshots["skipped"], range(95, 103))

    def test_a_ring_too_small_for_one_image_says_so(self):
        run = self.floe("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "3s", "--ring-bytes", "8M")
        manifest = run.manifest
        self.assertEqual(manifest["snapshots"]["taken"], 0)
        self.assertGreater(manifest["snapshots"]["did_not_fit"], 0)
        self.assertTrue(any("snapshot refused" in note for note in manifest["notes"]), manifest["notes"])


if __name__ == "__main__":
    floe.main()
