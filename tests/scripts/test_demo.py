"""scripts/demo's own part: which kernel it takes, and that it passes only when everything it promises was there. The programs it
calls are stand-ins here; the real ones run in the end-to-end tests."""
import json
import shutil
import unittest

from support import ROOT, ScriptTest

FLOE = """#!/usr/bin/env python3
import json, os, pathlib, sys
root = pathlib.Path(__file__).parents[3]
words = sys.argv[1:]
with open(root / "calls", "a") as calls:
    calls.write(f"{os.environ.get('FLOE_KERNEL_CACHE')} {words}\\n")
answer = json.loads((root / "answer.json").read_text())
if words[0] == "run":
    out = pathlib.Path(words[words.index("--out") + 1])
    (out / "snapshots").mkdir(parents=True)
    for name in answer["kept"]:
        (out / "snapshots" / name).touch()
    (out / "run.failure-dump.json").touch()
    (out / "manifest.json").write_text(json.dumps(answer["manifest"]))
    sys.exit(answer["exit"])
print(json.dumps(answer["show"]) if "--json" in words else f"the table of {os.path.basename(words[1])}")
"""
FETCH = """#!/bin/sh
mkdir -p fetched/7.9 && touch fetched/7.9/vmlinuz && echo "fetched $*" >>calls && echo "$PWD/fetched/7.9"
"""


class Demo(ScriptTest):
    def setUp(self):
        super().setUp()
        for name in ("demo", "lib.sh"):
            (self.dir / "scripts").mkdir(exist_ok=True)
            shutil.copy(ROOT / "scripts" / name, self.dir / "scripts")
        self.write("scripts/setup", "#!/bin/sh\n", 0o755)
        self.write("scripts/fetch-kernel", FETCH, 0o755)
        self.write("build/release/cli/floe", FLOE, 0o755)
        for name in ("cmake", "ninja"):
            self.write(f"bin/{name}", "#!/bin/sh\n", 0o755)
        self.answer = {
            "exit": 5,
            "kept": ["0009.floesnap", "0010.floesnap"],
            "show": {"uts": {"release": "7.9.1-test"}, "tasks": [{"pid": 1}, {"pid": 2}]},
            "manifest": {
                "exit": {"code": 5, "reason": "the scheduler stalled"},
                "scheduler": {"stuck": "longest wait: stallme[7], on DSQ 0x1 (user)"},
                "host": {"mode": "tcg"},
                "snapshots": {"taken": 20, "skipped": 1, "kept": 2, "evicted": 18},
                "freeze_us": {"p50": 140, "p99": 250, "max": 300},
            },
        }

    def demo(self, **env):
        self.write("answer.json", json.dumps(self.answer))
        path = f"{self.dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.run_script(self.dir / "scripts/demo", env={"PATH": path, **env})

    def calls(self):
        return (self.dir / "calls").read_text()

    def test_everything_is_there(self):
        result = self.demo(FLOE_DEMO_DURATION="7s")
        self.assert_exit(0, result)
        facts = ("7.9.1-test", "tasks       2", "20 taken, 2 kept, 1 ticks", "p50 140 us, max 300 us", "run/demo-")
        for words in ("the table of run.failure-dump.json", "stallme[7], on DSQ 0x1 (user)", *facts):
            self.assertIn(words, result.stdout)
        self.assertNotIn("p99", result.stdout)
        self.assertIn("'--duration', '7s'", self.calls())

    def test_p99_from_a_hundred_snapshots_on(self):
        self.answer["manifest"]["snapshots"]["taken"] = 100
        self.assertIn("p99 250 us", self.demo().stdout)

    def test_the_kernel_is_fetched_once_or_the_one_named(self):
        self.assert_exit(0, self.demo())
        self.assertIn("fetched --if-none", self.calls())
        self.assertIn(f"{self.dir}/fetched ['run'", self.calls())
        (self.dir / "calls").unlink()
        shutil.rmtree(self.dir / "run")
        self.write("mine/6.6/vmlinuz", "")
        result = self.demo(FLOE_KERNEL_CACHE=str(self.dir / "mine"))
        self.assert_exit(0, result)
        self.assertIn(f"kernel: {self.dir}/mine/6.6/vmlinuz", result.stderr)
        self.assertNotIn("fetched", self.calls())

    def test_a_folder_without_kernels_is_said(self):
        result = self.demo(FLOE_KERNEL_CACHE=str(self.dir / "nothing"))
        self.assert_exit(0, result)
        self.assertIn("holds no kernel", result.stderr)
        self.assertIn(f"{self.dir}/fetched ['run'", self.calls())

    def test_the_exit_code_of_a_run_that_failed(self):
        self.answer["exit"] = 7
        self.assert_exit(7, self.demo())

    def test_a_scheduler_that_did_not_stall_fails(self):
        self.answer["exit"] = 0
        result = self.demo()
        self.assert_exit(1, result)
        self.assertIn("did not stall", result.stderr)

    def test_no_kernel_to_be_had(self):
        self.write("scripts/fetch-kernel", "#!/bin/sh\nexit 3\n", 0o755)
        self.assert_exit(3, self.demo())

    def test_anything_missing_fails(self):
        for dotted in ("show.uts", "show.tasks", "manifest.scheduler.stuck", "manifest.exit.reason",
                       "manifest.snapshots.taken", "manifest.freeze_us.p50", "manifest.freeze_us.max"):
            path = dotted.split(".")
            with self.subTest(path=dotted):
                self.setUp()
                branch = self.answer
                for key in path[:-1]:
                    branch = branch[key]
                del branch[path[-1]]
                result = self.demo()
                self.assert_exit(1, result)
                self.assertIn("missing: ", result.stderr)
        self.setUp()
        self.answer["kept"] = []
        self.assert_exit(1, self.demo())


if __name__ == "__main__":
    unittest.main(verbosity=2)
