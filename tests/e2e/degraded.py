"""A vCPU that does not come when it is kicked, on a real kernel: its thread is held in a device (--test-deaf-port)."""

import json
import signal
import subprocess
import time

import floe

PORT = 0x4F0  # no device of the machine is there
TIMED_OUT = "vCPU rendezvous timed out before parked acknowledgement: "
KILLED = "vCPU rendezvous aborted by external kill before parked acknowledgement: "
NAMES_IT = "1/2 vCPUs parked; missing: vCPU 1"


def deaf(tenths):
    """vCPU 1, for so long: longer than the 10 s that floe waits in the outer machine."""
    return f"{floe.OUTB} 1 {PORT} {tenths}"


class Degraded(floe.Case):
    def launch(self, command, *words):
        machine = ("--kernel", floe.kernel("7."), "--cpus", 2, "--memory", 512, "--snapshot-hz", 0, "--duration", "100s")
        programs = [word for path in (floe.OUTB, floe.WORKERS, "/bin/sleep") for word in ("--add", path)]
        first = "floe-guest snapshot first; "  # the whole image: what comes later takes no time
        return self.start(*machine, *programs, "--test-deaf-port", PORT, *words, "--", "/bin/sh", "-c", first + command)

    def says(self, text, times=1):
        workload = self.folder / "workload.log"
        self.wait_for(lambda: workload.exists() and workload.read_text().count(text) >= times, 240, f"'{text}' of the guest")

    def is_deaf(self, times):
        self.says("writing", times)
        time.sleep(2)  # it writes 0.3 s after it has said so

    def ask(self, name):
        argv = [floe.FLOE, "ctl", str(self.folder), "snapshot", name]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def answer(self, asked):
        _, err = asked.communicate(timeout=60)
        return asked.returncode, err

    def load(self, name):
        return json.loads((self.folder / name).read_text())

    def assert_degraded(self, name, reason):
        dump = self.load(name)
        self.assertEqual(dump["schema"], "degraded")
        self.assertTrue(dump["reason"].startswith(reason) and dump["reason"].endswith(NAMES_IT), dump["reason"])
        parked, missing = dump["vcpu_regs"]
        self.assertGreater(int(parked["instruction_pointer"]), 0)
        self.assertIsNone(missing)
        self.assertEqual(dump["bss_latch_state"], "not_resolved")
        for verb in (["show"], ["get"]):
            words = [floe.FLOE, *verb, str(self.folder / name), *(["reason"] if verb == ["get"] else [])]
            shown = subprocess.run(words, capture_output=True, text=True, timeout=60)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertIn(dump["reason"], shown.stdout)
        return dump

    @floe.long
    def test_on_demand_it_is_an_answer_and_the_run_goes_on(self):
        process = self.launch(f"sleep 3; {deaf(140)}; {deaf(140)}; sleep 60")
        self.is_deaf(1)
        code, told = self.answer(self.ask("stuck"))
        self.assertEqual(code, 1, told)
        self.assertIn(TIMED_OUT, told)
        self.assertIn(NAMES_IT, told)
        self.says("written")
        self.is_deaf(2)
        asked = self.ask("killed")
        # It waits for the vCPU by then; a signal ends that long before the limit.
        with self.assertRaises(subprocess.TimeoutExpired):
            asked.wait(timeout=3)
        process.send_signal(signal.SIGINT)
        code, told = self.answer(asked)
        self.assertEqual(code, 1, told)
        self.assertIn(KILLED, told)
        run = self.finish(process)
        self.assertEqual(run.code, 130, run.reason)
        self.assertGreaterEqual(self.assert_degraded("run.snapshot.stuck.json", TIMED_OUT)["elapsed_ms"], 2000)
        self.assertLess(self.assert_degraded("run.snapshot.killed.json", KILLED)["elapsed_ms"], 8000)
        manifest = run.manifest
        answers = [(one["tag"], one["ok"]) for one in manifest["captures"]["first"]]
        self.assertEqual(answers, [("first", True), ("stuck", False), ("killed", False)])
        self.assertEqual(manifest["snapshots"]["rendezvous_timeouts"], 2)
        self.assertEqual(manifest["snapshots"]["skipped"], 0)
        self.assertFalse((self.folder / "run.failure-dump.json").exists())

    def stall(self, command):
        return self.finish(self.launch(command, "--scheduler", floe.SCHED, "stall", "--timeout-ms", 8000))

    def test_at_the_end_it_is_the_dump_and_the_run_ends_for_the_stall(self):
        run = self.stall(f"{floe.WORKERS} 60 stallme:sleep & sleep 6; {deaf(200)}; sleep 60")
        self.assertEqual(run.code, 5, run.reason)
        self.assertIn(TIMED_OUT, run.reason)
        main = self.assert_degraded("run.failure-dump.json", TIMED_OUT)
        self.assertEqual(main["exit_kind"], 1026)
        self.assertTrue(main["watchpoint_hit"])
        early = self.load("run.snapshot.early-pre-late-degraded.json")
        self.assertIn("stallme", [task["comm"] for dsq in early["dsq_states"] for task in dsq.get("tasks", [])])

    @floe.long
    def test_half_way_it_is_a_sibling_and_the_run_goes_on_to_its_end(self):
        run = self.stall(f"{floe.WORKERS} 60 stallme:sleep & {deaf(190)}; sleep 60")
        self.assertEqual(run.code, 5, run.reason)
        self.assert_degraded("run.snapshot.early-degraded.json", TIMED_OUT)
        main = self.load("run.failure-dump.json")
        self.assertEqual(main["schema"], "dual")
        self.assertIn(TIMED_OUT, main["early_skipped_reason"])
        self.assertNotIn("early", main)


if __name__ == "__main__":
    floe.main()
