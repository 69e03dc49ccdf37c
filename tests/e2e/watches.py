"""What floe does of its own accord while a guest runs: captures by the clock and by a latch, and how it looks at words."""

import json

import floe


class Watches(floe.Case):
    MACHINE = ("--cpus", 1, "--memory", 512)

    def load(self, name):
        return json.loads((self.folder / name).read_text())

    def captures(self, run):
        captures = run.manifest["captures"]["first"]
        for capture in captures:
            self.assertTrue(capture["ok"], capture)
        return captures

    def test_periodic_captures_are_spread_over_the_duration(self):
        periodic = ("--duration", "20s", "--periodic", "3")
        run = self.floe("--kernel", floe.kernel("7."), *self.MACHINE, *periodic, "--scheduler", floe.SCHED, "fair")
        self.assertEqual(run.code, 0, run.reason)
        captured = self.captures(run)
        self.assertEqual([one["tag"] for one in captured], ["periodic_000", "periodic_001", "periodic_002"])
        self.assertEqual({one["cause"] for one in captured}, {"periodic"})
        told = {"asked": 3, "captured": 3, "degraded": 0, "suppressed": 0, "reason": None}
        self.assertEqual(run.manifest["periodic"], told)
        # Of [0, 20 s] they are 6, 10 and 14; a kernel that could be read later moves the first more than the last.
        due = [one["boundary_offset_ms"] for one in captured]
        for at, least, gap in zip(due, (6000, 10000, 14000), (6000, 4000, 3000)):
            self.assertTrue(least <= at <= least + gap, due)
        self.assertAlmostEqual(due[1] - due[0], due[2] - due[1], delta=1)
        for one in captured:
            self.assertGreaterEqual(one["elapsed_ms"], one["boundary_offset_ms"])
            # The scheduler may have come after the first was due; it waited for that.
            self.assertEqual(self.load(one["file"])["scx_sched_state"]["ops_name"], "floe_fair")

    def test_a_latch_of_a_scheduler_ends_the_run_before_the_watchdog_does(self):
        command = f"{floe.WORKERS} 60 stallme:sleep"
        machine = ("--kernel", floe.kernel("7."), *self.MACHINE, "--duration", "60s", "--latch", "floe_sta.bss:stall_stuck")
        run = self.floe(*machine, "--scheduler", floe.SCHED, "stall", "--timeout-ms", "24000", "--", *command.split())
        self.assertEqual(run.code, 3, run.reason)
        self.assertRegex(run.reason, r"the latch stall_stuck of floe_sta\.bss is set: [1-9]")
        latch = run.manifest["scheduler"]["latch"]
        self.assertEqual((latch["state"], latch["method"]), ("triggered", "polled"), latch)
        self.assertIsNone(run.manifest["scheduler"]["failure"])
        report = self.load("run.failure-dump.json")
        self.assertEqual(report["schema"], "dual")
        late = report["late"]
        self.assertEqual((late["scx_sched_state"]["ops_name"], late["scx_sched_state"]["exit_kind"]), ("floe_stall", 0))
        self.assertIn("stallme", [task["comm"] for dsq in late["dsq_states"] for task in dsq.get("tasks", [])])

    # Its first words come before floe has looked at the guest for the first time.
    def test_a_watch_is_the_first_thing_that_a_guest_asks_for(self):
        command = "floe-guest watch jiffies || exit 9; floe-guest snapshot after || exit 8; "
        command += "floe-guest reopen || exit 7; floe-guest snapshot reopened || exit 6"
        latch = ("--latch", "nobody.bss:error")
        run = self.floe("--kernel", floe.kernel("6."), *self.MACHINE, *latch, "--", "/bin/sh", "-c", command)
        self.assertEqual(run.code, 0, run.reason)
        self.assertEqual(run.manifest["scheduler"]["latch"]["state"], "not_resolved")
        self.assertIn("nobody.bss", run.manifest["scheduler"]["latch"]["problem"])
        self.assertEqual({one["tag"] for one in self.captures(run)}, {"jiffies", "after", "reopened"})
        (watch,) = run.manifest["watches"]
        self.assertEqual(watch["symbol"], "jiffies")
        self.assertIsNotNone(watch["after"])

    # Nobody finds a kernel in all of RAM within a microsecond.
    def test_the_first_look_for_a_kernel_has_a_deadline(self):
        command = "floe-guest read jiffies 8 2>&1 && exit 9; exit 0"
        run = self.floe("--kernel", floe.kernel("6."), *self.MACHINE, "--dump-deadline", "1us", "--", "/bin/sh", "-c", command)
        self.assertEqual(run.code, 0, run.reason)
        self.assertIn("deadline", run.out)


if __name__ == "__main__":
    floe.main()
