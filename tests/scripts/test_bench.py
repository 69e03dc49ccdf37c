"""scripts/bench: which benches it runs, and that one file holds what they found. The benches are stand-ins here; the real ones have
smoke tests of their own."""
import json
import shutil
import unittest

from support import ROOT, ScriptTest

BENCH = """#!/usr/bin/env python3
import json, os, pathlib, sys
words = sys.argv[1:]
name = os.path.basename(sys.argv[0])
compiler = "clang++" if "release-clang" in sys.argv[0] else "g++"
with open("calls", "a") as calls:
    calls.write(f"{compiler} {name} {words[:-1]}\\n")
if pathlib.Path(name + ".exit").exists():
    sys.exit(int(pathlib.Path(name + ".exit").read_text()))
promises = [{"text": "fast", "bound": 1, "value": 2, "holds": False}, {"text": "small", "bound": 1, "value": 1, "holds": True}]
report = {"schema": 1, "bench": name, "compiler": compiler, "rows": [{"name": "row", "promises": promises}]}
pathlib.Path(words[words.index("--out") + 1]).write_text(json.dumps(report))
print(f"the table of {name} by {compiler}")
"""


class Bench(ScriptTest):
    def setUp(self):
        super().setUp()
        (self.dir / "scripts").mkdir()
        for name in ("bench", "lib.sh"):
            shutil.copy(ROOT / "scripts" / name, self.dir / "scripts")
        for name in ("setup", "fetch-kernel"):
            self.write(f"scripts/{name}", "#!/bin/sh\n", 0o755)
        for name in ("cmake", "ninja"):
            self.write(f"bin/{name}", f'#!/bin/sh\necho "{name} $*" >>{self.dir}/calls\n', 0o755)
        self.write("bench/engine/CMakeLists.txt", "add_executable(bench_engine ${sources})\n")
        self.write("bench/freeze/CMakeLists.txt", "if(x)\n  add_executable(bench_freeze main.cpp)\nadd_executable(bench_soak soak.cpp)\n")
        for path in ("release/bench/engine/bench_engine", "release-clang/bench/engine/bench_engine", "release/bench/freeze/bench_freeze"):
            self.write(f"build/{path}", BENCH, 0o755)

    def bench(self, *words):
        path = f"{self.dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.run_script(self.dir / "scripts/bench", *words, env={"PATH": path})

    def calls(self):
        return (self.dir / "calls").read_text()

    def results(self):
        return [json.loads(path.read_text()) for path in (self.dir / "bench/results").glob("*.json")]

    def test_one_file_holds_every_run(self):
        result = self.bench()
        self.assert_exit(0, result)
        (found,) = self.results()
        self.assertEqual(
            [("bench_engine", "g++"), ("bench_engine", "clang++"), ("bench_freeze", "g++")],
            [(run["bench"], run["compiler"]) for run in found["runs"]],
        )
        for words in ("the table of bench_freeze by g++", "bench_engine, clang++: 1 of 2 hold", "MISSED  row: fast: 2"):
            self.assertIn(words, result.stdout)
        self.assertNotIn("small", result.stdout)
        self.assertIn("bench_engine bench_freeze", self.calls())

    def test_one_bench_quickly_compared_to_a_file(self):
        old = self.write("old.json", "{}")
        result = self.bench("--quick", "--compare", str(old), "--out", str(self.dir / "mine/here.json"), "freeze")
        self.assert_exit(0, result)
        self.assertIn(f"g++ bench_freeze ['--quick', '--compare', '{old}', '--out']", self.calls())
        self.assertNotIn("bench_engine", self.calls())
        self.assertEqual(1, len(json.loads((self.dir / "mine/here.json").read_text())["runs"]))

    def test_scripts_of_a_bench_run_too(self):
        self.write("bench/freeze/linux", BENCH, 0o755)
        self.write("bench/freeze/linux_sizes", BENCH, 0o755)
        self.write("bench/freeze/linux_sizes.c", "no program")
        self.assert_exit(0, self.bench("freeze", "--out", str(self.dir / "short.json")))
        self.assertEqual(["bench_freeze", "linux"], [run["bench"] for run in json.loads((self.dir / "short.json").read_text())["runs"]])
        self.assertIn("cli/floe", self.calls())
        self.assert_exit(0, self.bench("--long", "freeze"))
        self.assertEqual(["bench_freeze", "linux", "linux_sizes"], [run["bench"] for run in self.results()[0]["runs"]])

    def test_a_failure_is_told_and_the_others_are_kept(self):
        self.write("bench_engine.exit", "70")
        result = self.bench()
        self.assert_exit(1, result)
        self.assertIn("failed: engine (70) engine, clang (70)", result.stderr)
        self.assertEqual(["bench_freeze"], [run["bench"] for run in self.results()[0]["runs"]])

    def test_a_bench_that_cannot_run_here_is_skipped(self):
        self.write("bench_freeze.exit", "77")
        result = self.bench()
        self.assert_exit(0, result)
        self.assertIn("freeze: skipped", result.stderr)
        self.assertEqual(2, len(self.results()[0]["runs"]))

    def test_nothing_measured_is_a_failure(self):
        self.write("bench_freeze.exit", "77")
        self.assert_exit(1, self.bench("freeze"))
        self.assertEqual([], self.results())

    def test_usage(self):
        for words in (["--wrong"], ["nothing"], ["--out"], ["--compare", "/nowhere.json"]):
            self.assert_exit(2, self.bench(*words))


if __name__ == "__main__":
    unittest.main(verbosity=2)
