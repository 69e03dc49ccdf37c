"""scripts/test and .ci/run: every stage runs, a failure anywhere is the end's failure, and nothing of it is hidden. The compilers and
ctest are stand-ins here."""
import shutil
import unittest

from support import ROOT, ScriptTest

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$FLOE_CALLS"
case "$(basename "$0") $*" in $FLOE_FAILING) echo "what went wrong"; exit 8 ;; esac
"""


class Test(ScriptTest):
    def setUp(self):
        super().setUp()
        for name in ("scripts/test", "scripts/lib.sh", ".ci/run"):
            (self.dir / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.dir / name)
        for name in ("bin/cmake", "bin/ninja", "bin/ctest", "scripts/setup", "scripts/fetch-kernel"):
            self.write(name, STAND_IN, 0o755)

    def run_test(self, *words, failing="nothing", script="scripts/test", **more):
        path = f"{self.dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {"PATH": path, "FLOE_CALLS": str(self.dir / "calls"), "FLOE_FAILING": failing, **more}
        return self.run_script(self.dir / script, *words, env=env)

    def calls(self):
        return (self.dir / "calls").read_text()

    def test_all_stages_pass(self):
        result = self.run_test()
        self.assert_exit(0, result)
        stages = [line.split()[0] for line in result.stdout.splitlines()]
        self.assertEqual(["release", "asan", "tsan", "e2e", "all"], stages)
        self.assertNotIn("release-clang", self.calls())

    def test_long_adds_the_second_compiler_and_the_long_tests(self):
        self.assert_exit(0, self.run_test("--long"))
        self.assertIn("cmake --preset release-clang", self.calls())
        self.assertIn("-L ^long$", self.calls())

    def test_a_failed_stage_is_told_and_the_later_ones_run(self):
        for failing in ("cmake*--preset*asan*", "ninja*build/asan*", "ctest*build/asan*-L*unit*"):
            with self.subTest(failing=failing):
                (self.dir / "calls").unlink(missing_ok=True)
                result = self.run_test(failing=failing)
                self.assert_exit(1, result)
                self.assertIn("what went wrong", result.stdout)
                self.assertTrue(result.stdout.splitlines()[-1].startswith("FAILED: asan ("), result.stdout)
                self.assertIn("build/tsan", self.calls())
                self.assertIn("-L ^e2e$", self.calls())
                if not failing.startswith("ctest"):
                    self.assertNotIn("ctest --test-dir build/asan", self.calls())

    def test_an_empty_selection_is_no_success(self):
        self.assert_exit(0, self.run_test())
        for line in self.calls().splitlines():
            if line.startswith("ctest"):
                self.assertIn("--no-tests=error", line)

    def test_the_reason_of_a_skipped_test_is_shown(self):
        case = '<testcase name="vmm.vcpu"><skipped message="77"/><system-out>x\nno usable /dev/kvm\n</system-out></testcase>'
        self.write("results.xml", f"<testsuite>{case}</testsuite>")
        ctest = STAND_IN + f'while [ "$1" != --output-junit ]; do shift; done; mkdir -p "$(dirname "$2")"; cp {self.dir}/results.xml "$2"\n'
        self.write("bin/ctest", ctest, 0o755)
        result = self.run_test("release")
        self.assert_exit(0, result)
        self.assertIn("skipped: vmm.vcpu: no usable /dev/kvm\n", result.stdout)

    def test_stages_by_name(self):
        self.assert_exit(0, self.run_test("tsan"))
        self.assertNotIn("build/asan", self.calls())
        self.assert_exit(2, self.run_test("long"))
        self.assert_exit(2, self.run_test("--nonsense"))

    def test_setup_that_fails_ends_it(self):
        self.assert_exit(8, self.run_test(failing="setup*"))
        self.assertNotIn("cmake", self.calls())

    def test_kernels(self):
        self.assert_exit(0, self.run_test())
        self.assertIn("fetch-kernel --if-none --suite sid\nfetch-kernel --if-none --suite trixie", self.calls())
        (self.dir / "calls").unlink()
        self.assert_exit(0, self.run_test(FLOE_KERNEL_CACHE="/kernels"))
        self.assertNotIn("fetch-kernel", self.calls())
        self.assert_exit(8, self.run_test(failing="fetch-kernel*"))

    def test_continuous_integration_gets_the_same_exit_code(self):
        self.assert_exit(0, self.run_test(script=".ci/run"))
        self.assert_exit(1, self.run_test(script=".ci/run", failing="ctest*tsan*"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
