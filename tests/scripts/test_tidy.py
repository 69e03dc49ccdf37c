"""scripts/tidy finds each thing it is there for, and nothing in a clean tree."""
import subprocess
import unittest

from support import ROOT, ScriptTest

CLEAN = "// What this is.\n#pragma once\n\nint f();\n"


class Tidy(ScriptTest):
    def tidy(self, *words):
        return self.run_script(ROOT / "scripts/tidy", *words, env={"FLOE_TIDY_ROOT": str(self.dir)})

    def test_a_clean_tree(self):
        self.write("base/a.hpp", CLEAN)
        self.write("README.md", "long" * 100 + "\n")
        result = self.tidy()
        self.assert_exit(0, result)
        self.assertEqual("", result.stdout)

    def assert_found(self, line):
        result = self.tidy()
        self.assert_exit(1, result)
        self.assertEqual([line], result.stdout.splitlines())

    def test_a_long_line(self):
        self.write("base/a.hpp", CLEAN + "// " + "é" * 137 + "\n// " + "x" * 138 + "\n")
        self.assert_found("base/a.hpp:6: longer than 140 characters")

    def test_white_space_at_the_end(self):
        self.write("README.md", "a \n")
        self.assert_found("README.md:1: white space at the end of the line")

    def test_no_newline_at_the_end(self):
        self.write("README.md", "a")
        self.assert_found("README.md: no newline at the end of the file")

    def test_a_header_that_can_be_included_twice(self):
        self.write("base/a.hpp", "// pragma once\nint f();\n")
        self.assert_found("base/a.hpp: no #pragma once")

    def test_a_path_of_somebodys_machine(self):
        self.write("docs/a.md", "see network/work/x and ~/work/y and run/work/z\n")
        self.assert_exit(0, self.tidy())
        for path in ("/wo" + "rk/main", "/tmp/bu" + "ild-me", "/ho" + "me/someone/x"):
            self.write("docs/a.md", f"see `{path}`\n")
            self.assert_found("docs/a.md:1: a path of somebody's machine")

    def test_what_git_ignores_is_left_alone(self):
        subprocess.run(["git", "init", "-q", str(self.dir)], check=True)
        self.write(".gitignore", "/build/\n")
        self.write("build/a.hpp", "int f(); \n")
        self.assert_exit(0, self.tidy())
        self.write("base/new.hpp", "int f();\n")
        self.assert_found("base/new.hpp: no #pragma once")

    def test_a_header_that_needs_another_before_it(self):
        self.write("base/a.hpp", CLEAN)
        self.write("base/b.hpp", "#pragma once\nstd::string name();\n")
        self.assert_exit(0, self.tidy())
        result = self.tidy("--headers")
        self.assert_exit(1, result)
        self.assertEqual("base/b.hpp: does not compile alone\n", result.stdout)

    def test_usage(self):
        self.assert_exit(2, self.tidy("--nonsense"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
