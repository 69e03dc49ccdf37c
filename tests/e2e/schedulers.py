"""The test schedulers run: each attaches on the kernel that has sched_ext, and ends as it is made to."""

import json
import re
import sys
import unittest

import floe
import kernel_dump

ATTACHED = "until grep -q enabled /sys/kernel/sched_ext/state; do sleep 0.1; done"
STATES = "cat /sys/kernel/sched_ext/state /sys/kernel/sched_ext/root/ops"


class Schedulers(floe.Case):
    def run_under(self, scheduler, *words):
        machine = ("--kernel", floe.kernel("7."), "--cpus", 1, "--memory", 512, "--duration", "40s", "--keep-snapshots")
        programs = [word for path in (floe.WORKERS, "/bin/cat", "/bin/grep", "/bin/sleep") for word in ("--add", path)]
        under = ("--scheduler", floe.SCHED, *scheduler) if scheduler else ()
        return self.floe(*machine, *programs, *under, *words)

    def exit_of(self, text, name):
        """What the scheduler's user side printed: kind, reason, msg, and the kernel's own dump."""
        line = re.search(rf'^floe_{name}: exit kind=(\d+) code=(-?\d+) reason="(.*)" msg="(.*)"$', text, re.M)
        self.assertIsNotNone(line, text)
        dump = re.search(rf"^floe_{name}: the kernel's dump begins\n(.*)\nfloe_{name}: the kernel's dump ends", text, re.S | re.M)
        return int(line[1]), line[3], line[4], dump[1] if dump else ""

    def test_fair_ends_when_asked_and_error_when_made_to(self):
        load = f"{floe.WORKERS} 2 normal:spinx2 heavy:spin:-5 light:spin:10 nap:sleep duo:pair"
        fair = f"{floe.SCHED} fair & fair=$!; {ATTACHED}; {STATES}; {load}; {STATES}; kill $fair; wait"
        error = f"{floe.SCHED} error & {ATTACHED}; {STATES}; {floe.WORKERS} 2 worker:sleep errorme:sleep"
        run = self.run_under((), "--add", floe.SCHED, "--", "/bin/sh", "-c", f"{fair}; {error}; wait")
        self.assertEqual(run.code, 3, run.reason)
        self.assertIn("floe_error: asked for by pid", run.reason)
        self.assertEqual(run.out.count("enabled\nfloe_fair\n"), 2, run.out)
        self.assertIn("6 started", run.out)
        self.assertEqual(self.exit_of(run.out, "fair"), (64, "unregistered from user space", "", ""))
        self.assertIn("enabled\nfloe_error\n", run.out)
        kind, reason, message, dump = self.exit_of(run.out, "error")
        self.assertEqual((kind, reason), (1025, "scx_bpf_error"))
        self.assertRegex(message, r"^floe_error: asked for by pid \d+$")
        self.assertIn("CPU states", dump)
        # It came at once, so that there is nothing to compare it with, and the dump says why.
        report = json.loads((self.folder / "run.failure-dump.json").read_text())
        self.assertEqual(report["schema"], "dual")
        self.assertNotIn("early", report)
        self.assertRegex(report["early_skipped_reason"], "below the threshold of|all ages are 0|shows the scheduler in charge")
        self.assertEqual(report["late"]["exit_info"]["kind"], 1025)
        self.assertRegex(report["late"]["exit_info"]["msg"], r"^floe_error: asked for by pid \d+$")

    def test_stall(self):
        stall = ("stall", "--timeout-ms", 3000, "--linger", 10)
        run = self.run_under(stall, "--", floe.WORKERS, 30, "worker:sleep", "stallme:sleepx3")
        self.assertEqual(run.code, 5, run.reason)
        self.assertIn("stallme", run.reason)
        kind, reason, message, dump = self.exit_of((self.folder / "scheduler.log").read_text(errors="replace"), "stall")
        self.assertEqual((kind, reason), (1026, "runnable task stall"))
        self.assertRegex(message, r"^stallme\[\d+\] failed to run for \d")
        self.assertRegex(dump, r"stallme\[\d+\]")
        self.assertIn("dsq_id=0x5157", dump)
        report = json.loads((self.folder / "run.failure-dump.json").read_text())
        self.assertEqual(report["schema"], "dual")
        early, late = report["early"], report["late"]
        self.assertEqual(early["scx_sched_state"]["exit_kind"], 0)
        self.assertGreaterEqual(report["early_max_age_jiffies"], report["early_threshold_jiffies"])
        self.assertEqual(report["early_threshold_jiffies"], early["scx_sched_state"]["watchdog_timeout"] // 2)
        self.assertEqual((late["exit_info"]["kind"], late["exit_info"]["msg"]), (kind, message))
        stuck = [task["comm"] for dsq in early["dsq_states"] if dsq["id"] == 0x5157 for task in dsq.get("tasks", [])]
        self.assertIn("stallme", stuck)
        self.assertEqual(run.manifest["scheduler"]["watched"], "polled")
        self.assertGreaterEqual(len(run.snapshots()), 2, "what was before the end is kept")
        before, after = kernel_dump.last_before([self.dump(snapshot) for snapshot in run.snapshots()])
        compared = kernel_dump.compare(self, dump, message, before, after)
        print(f"the kernel's dump and snapshot {before['capture']['sequence']}: {compared}", file=sys.stderr)


if __name__ == "__main__":
    floe.main()
