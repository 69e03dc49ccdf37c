"""Captures on demand and by triggers, on a real kernel: who asks gets exactly one answer, and what was asked for is there."""

import json
import signal
import subprocess
import unittest

import floe


def stall(timeout_ms):
    return [floe.SCHED, "stall", "--timeout-ms", str(timeout_ms)]


class Coordinator(floe.Case):
    MACHINE = ("--cpus", 1, "--memory", 512)

    def load(self, name):
        return json.loads((self.folder / name).read_text())

    def captures(self, run):
        captures = run.manifest["captures"]
        self.assertEqual(captures["answered"], len(captures["first"]))
        for capture in captures["first"]:
            self.assertTrue(capture["ok"], capture)
        return captures["first"]

    def test_a_scenario_captures_watches_and_replaces_the_scheduler(self):
        # The task waits some 17 s of the 24 that it may before its scheduler is taken away in good order.
        steps = [
            {"do": "start-scheduler", "command": stall(24000), "deadline": "60s"},
            {"do": "spawn", "workers": [{"name": "busy", "kind": "sleep-wake", "count": 2}]},
            {"do": "run", "name": "stuck", "command": [floe.WORKERS, "60", "stallme:sleep"]},
            {"do": "wait", "time": "17s"},
            {"do": "capture", "name": "a", "deadline": "60s"},
            {"do": "watch", "symbol": "scx_root", "deadline": "60s"},
            {"do": "replace-scheduler", "command": [floe.SCHED, "fair"], "deadline": "60s"},
            {"do": "capture", "name": "b", "deadline": "60s"},
            {"do": "assert", "value": {"report": "a", "path": "scx_sched_state.ops_name"}, "is": "==", "to": "floe_stall"},
            {"do": "assert", "value": {"report": "b", "path": "scx_sched_state.ops_name"}, "is": "==", "to": "floe_fair"},
            {"do": "read", "as": "now", "mode": "cold", "symbol": "jiffies"},
        ]
        scenario = self.folder.parent / f"{self.folder.name}.json"
        scenario.write_text(json.dumps({"steps": steps}))
        run = self.floe(scenario, "--kernel", floe.kernel("7."), *self.MACHINE)
        self.assertEqual(run.code, 0, run.reason)
        captured = self.captures(run)
        self.assertEqual([one["tag"] for one in captured], ["a", "scx_root", "b"])
        self.assertEqual([one["cause"] for one in captured], ["scenario", "watch", "scenario"])
        self.assertEqual(sorted(one["sequence"] for one in captured), [one["sequence"] for one in captured])
        # On the emulated CPU debug registers never fire.
        (watch,) = run.manifest["watches"]
        method = "polled" if run.manifest["host"]["mode"] == "tcg" else "hardware"
        self.assertEqual((watch["symbol"], watch["method"]), ("scx_root", method))
        if watch["method"] == "polled":
            self.assertNotEqual(watch["before"], watch["after"])
        self.assertEqual(self.load("run.snapshot.a.json")["scx_sched_state"]["ops_name"], "floe_stall")
        # The wait was long enough for an early snapshot, and then nothing came of it.
        early = self.load("run.snapshot.early-only-late-suppressed.json")
        self.assertIn("stallme", [task["comm"] for dsq in early["dsq_states"] for task in dsq.get("tasks", [])])
        self.assertFalse((self.folder / "run.failure-dump.json").exists())

    def test_guest_operator_and_signal_ask_while_a_task_waits(self):
        asks = "for i in 1 2 3; do printf n$i > /proc/$$/comm; echo before $$ n$i; floe-guest snapshot s$i || exit 9; echo after n$i; done"
        refused = "floe-guest watch no_such_symbol && exit 8; floe-guest read jiffies || exit 7"
        # From 12 s on its wait is a long one; the run ends before its 24 s are over.
        command = f"sleep 15 & end=$!; {floe.WORKERS} 60 stallme:sleep & {asks}; {refused}; echo asked; wait $end"
        programs = ("--add", floe.WORKERS, "--add", "/bin/sleep")
        machine = ("--kernel", floe.kernel("7."), *self.MACHINE, "--duration", "90s")
        process = self.start(*machine, *programs, "--scheduler", *stall(24000), "--", "/bin/sh", "-c", command)
        workload = self.folder / "workload.log"
        self.wait_for(lambda: workload.exists() and "asked" in workload.read_text(), 240, "the guest's last question")
        for name in ("op", "op"):  # the second replaces the first
            asked = subprocess.run([floe.FLOE, "ctl", str(self.folder), "snapshot", name], capture_output=True, text=True, timeout=60)
            self.assertEqual(asked.returncode, 0, asked.stderr)
            self.assertIn(f"{self.folder}/run.snapshot.op.json: snapshot ", asked.stdout)
        process.send_signal(signal.SIGUSR1)
        self.wait_for(lambda: (self.folder / "run.snapshot.usr1-1.json").exists(), 60, "the snapshot of SIGUSR1")
        run = self.finish(process)
        self.assertEqual(run.code, 0, run.reason)
        captured = self.captures(run)
        self.assertEqual([one["tag"] for one in captured], ["s1", "s2", "s3", "op", "op", "usr1-1"])
        self.assertEqual([one["cause"] for one in captured], ["guest"] * 3 + ["operator"] * 3)
        self.assertTrue(any("snapshot op replaces" in event for event in run.manifest["captures"]["events"]), run.manifest["captures"])
        # What the guest said of itself before and after it asked is what the host read at that instant.
        pid = int(run.out.split()[run.out.split().index("before") + 1])
        for number in (1, 2, 3):
            tasks = {task["pid"]: task["comm"] for task in self.load(f"run.snapshot.s{number}.json")["task_enrichments"]}
            self.assertEqual(tasks[pid], f"n{number}")
        gone = subprocess.run([floe.FLOE, "ctl", str(self.folder), "snapshot", "late"], capture_output=True, text=True, timeout=60)
        self.assertEqual(gone.returncode, 2)
        self.assertIn("no run is under way", gone.stderr)
        self.assertFalse((self.folder / "control.sock").exists())
        early = self.load("run.snapshot.early-only-late-never-fired.json")
        self.assertIn("stallme", [task["comm"] for dsq in early["dsq_states"] for task in dsq.get("tasks", [])])


if __name__ == "__main__":
    floe.main()
