"""floe is killed at any step of writing a run's results, or the machine it runs in is: what has its own name is whole, the rest is absent,
no QEMU is left, and the next run removes what was half-written. One step half-way, FLOE_KILLS of them where there is time."""

import json
import os
import signal
import subprocess
import unittest

import floe

KILLED_AT = os.environ["FLOE_KILLED_AT"]
KILLS = int(os.environ.get("FLOE_KILLS", "1"))
PART = ".floepart"
# A command that fails: the ring is kept. Long enough for a snapshot on demand.
RUN = ("--cpus", 1, "--memory", 256, "--ring-depth", 3, "--duration", "60s", "--boot-timeout", "240s", "--add", "/bin/sleep")
COMMAND = ("--", "/bin/sh", "-c", "echo up; /bin/sleep 8; exit 3")


class Killed(floe.Case):
    def launch(self, step):
        """A run that is killed at this step of writing, 0 for never, and is asked for a snapshot on the way."""
        words = [KILLED_AT, str(step), floe.FLOE, "run", "--quiet", "--kernel", floe.newest_kernel(), "--out", str(self.folder)]
        tracer = subprocess.Popen([*words, *map(str, RUN), *COMMAND], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(tracer.kill)
        child = self.wait_for(lambda: self.children(tracer.pid) or tracer.poll() is not None, 20, "floe's start")
        if child is True:
            self.skipTest("this host lets no process trace another")
        machines = self.wait_for(lambda: self.children(child[0]) or tracer.poll() is not None, 60, "QEMU's start")
        log = self.folder / "workload.log"
        self.wait_for(lambda: log.exists() and log.stat().st_size > 0 or tracer.poll() is not None, 240, "the command's start")
        if tracer.poll() is None:
            os.kill(child[0], signal.SIGUSR1)
        out, _ = tracer.communicate(timeout=300)
        return tracer.returncode, int(out.split("steps:")[1]), [] if machines is True else machines

    def parts(self):
        return [path for path in self.folder.rglob("*" + PART)]

    def check_whole(self):
        """Every file with a name of its own can be read. Gives their names."""
        names = []
        for path in sorted(self.folder.rglob("*")):
            if not path.is_file() or path.suffix == PART:
                continue
            name = str(path.relative_to(self.folder))
            names.append(name)
            if path.suffix == ".json":
                json.loads(path.read_text())
                if name.startswith("run."):
                    subprocess.run([floe.FLOE, "show", str(path)], check=True, capture_output=True, timeout=120)
            elif path.suffix == ".jsonl":  # a log: its last line may be on its way
                for line in path.read_text().splitlines(keepends=True):
                    if line.endswith("\n"):
                        json.loads(line)
            elif path.suffix == ".floesnap":
                self.assertGreater(len(self.show(path)["tasks"]), 20, name)
        return names

    def check_next_run(self, names):
        """It takes a folder with no results in it, refuses any other, and half-written files are gone either way."""
        run = self.floe("--kernel", "/dev/null", timeout=60)
        self.assertEqual(run.code, 2)
        run = self.floe("--kernel", floe.newest_kernel(), "--boot-timeout", "1s", "--snapshot-hz", 0)
        self.assertIn(run.code, (2, 7))
        self.assertEqual(run.code == 2, bool(names), f"{run.reason}; there was: {names}")
        self.assertEqual(self.parts(), [])

    def test_floe_is_killed_at_a_step_of_writing(self):
        code, total, machines = self.launch(0)
        self.assertEqual((code, self.parts()), (1, []))
        whole = set(self.check_whole())
        self.assertLessEqual({"manifest.json", "run.snapshot.usr1-1.json", "snapshots/pages.floepages"}, whole)
        self.assertTrue(any(name.endswith(".floesnap") for name in whole), whole)
        print(f"{total} steps of writing: {sorted(whole)}")
        halves = 0
        for kill in range(1, KILLS + 1):
            step = total if kill == KILLS > 1 else max(1, total * kill // (KILLS + 1))  # of several, the last one too
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                code, _, machines = self.launch(step)
                self.assertIn(code, (128 + signal.SIGKILL, 1))  # a run has a few steps more or less than another
                self.assert_gone(machines)
                halves += len(self.parts())
                self.assertLessEqual(len(self.parts()), 1)
                names = self.check_whole()
                if code == 1:
                    self.assertIn("manifest.json", names)
                    continue
                self.assertNotIn("manifest.json", names)  # the last of all
                self.check_next_run(names)
        self.assertGreater(halves, 0, "no kill left a half-written file: the steps are not those of writing")

    def test_the_machine_is_killed_while_the_ring_is_written(self):
        process = self.start("--kernel", floe.newest_kernel(), *RUN, *COMMAND)
        self.addCleanup(process.kill)
        machines = self.wait_for(lambda: self.children(process.pid) or process.poll() is not None, 60, "QEMU's start")
        if machines is True:
            self.skipTest("this host runs guests without QEMU")
        self.wait_for(lambda: self.parts() or process.poll() is not None, 240, "the first result")
        os.kill(machines[0], signal.SIGKILL)
        run = self.finish(process)
        self.assertEqual(run.code, 71, run.err)
        self.assertIn("ended without a result", run.reason)
        self.assertEqual(run.manifest["exit"]["code"], 71)
        self.assertEqual(self.parts(), [])
        self.check_whole()


if __name__ == "__main__":
    floe.main()
