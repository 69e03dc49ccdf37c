"""Guest memories that lie: the failure dump of recorded memories, one per scheduler, of which words are changed before each walk; for
FLOE_HOSTILE_SECONDS on each memory, longer where there is time."""

import os
import pathlib
import subprocess

import floe

SECONDS = int(os.environ.get("FLOE_HOSTILE_SECONDS", "15"))


class Hostile(floe.Case):
    def memory(self, kept, *words):
        """A run that another suite left, or one of its own."""
        folder = floe.WORK / kept
        if not list(folder.glob("snapshots/*.floesnap")) or subprocess.run([floe.FLOE, "show", folder], capture_output=True).returncode:
            machine = ("--kernel", floe.kernel("7."), "--cpus", 1, "--memory", 512, "--duration", "15s", "--keep-snapshots")
            self.floe(*machine, "--scheduler", floe.SCHED, *words)
            folder = self.folder
        return folder

    def withstand(self, memory):
        argv = [floe.HOSTILE, "--seconds", str(SECONDS), "--seed", "1", "--scheduler", floe.SCHED, str(memory)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS + 150)
        print(done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_stall(self):
        words = ("stall", "--timeout-ms", 4000, "--", floe.WORKERS, 30, "worker:sleep", "stallme:sleep")
        memory = self.memory("Schedulers.test_stall", *words)
        # The dump of the run knows the scheduler's executable, wherever the run took place.
        self.assertIn("cast→kernel", (pathlib.Path(memory) / "run.failure-dump.json").read_text())
        self.withstand(memory)

    def test_maps(self):
        self.withstand(self.memory("Maps.test_7_2", "maps", "--", floe.WORKERS, 10, "a:sleep", "b:spin"))


if __name__ == "__main__":
    floe.main()
