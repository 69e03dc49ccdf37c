"""scripts/setup says what it would install and, where everything is there, does nothing; and all scripts satisfy shellcheck."""
import shutil
import unittest

from support import ROOT, ScriptTest

SETUP = ROOT / "scripts/setup"
# dpkg-query -W -f FORMAT PACKAGE: everything is installed but $FLOE_MISSING.
DPKG_QUERY = """#!/bin/sh
for package; do :; done
case " $FLOE_MISSING " in *" $package "*) exit 1 ;; esac
case "$*" in *Version*) echo "${FLOE_VERSION_THERE:-1:1.5.0-1}" ;; *) echo "ii " ;; esac
"""
APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$FLOE_CALLS"
case "$*" in *update*) exit "${FLOE_UPDATE:-0}" ;; *indextargets*) echo bookworm-backports ;; esac
"""


class Setup(ScriptTest):
    def setup_script(self, **env):
        self.write("bin/dpkg-query", DPKG_QUERY, 0o755)
        self.write("bin/apt-get", APT_GET, 0o755)
        self.write("bin/sudo", '#!/bin/sh\nexec "$@"\n', 0o755)
        path = f"{self.dir}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.run_script(SETUP, env={"PATH": path, "FLOE_CALLS": str(self.dir / "calls"), **env})

    def calls(self):
        path = self.dir / "calls"
        return path.read_text() if path.exists() else ""

    def test_print_lists_and_does_nothing(self):
        result = self.run_script(SETUP, "--print", env={"PATH": "/usr/bin:/bin"})
        self.assert_exit(0, result)
        packages = result.stdout.splitlines()
        self.assertIn("clang-19", packages)
        self.assertIn("libbpf-dev (bookworm-backports)", packages)
        self.assertEqual(len(packages), len(set(packages)))

    def test_all_there(self):
        result = self.setup_script()
        self.assert_exit(0, result)
        self.assertEqual(("", "", ""), (result.stdout, result.stderr, self.calls()))

    def test_only_what_is_missing(self):
        result = self.setup_script(FLOE_MISSING="ccache")
        self.assert_exit(0, result)
        install = [line for line in self.calls().splitlines() if " install " in line]
        self.assertEqual(1, len(install))
        self.assertTrue(install[0].endswith(" ccache"), install)
        self.assertIn("ccache", result.stderr)

    def test_an_old_libbpf_is_replaced(self):
        self.assert_exit(0, self.setup_script(FLOE_VERSION_THERE="1:1.1.2-0"))
        self.assertIn(" -t bookworm-backports libbpf-dev", self.calls().splitlines()[-1])

    def test_somebody_elses_broken_source_does_not_stop_it(self):
        self.assert_exit(0, self.setup_script(FLOE_MISSING="ccache", FLOE_UPDATE="100"))
        self.assertIn(" ccache", self.calls())

    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shellcheck(self):
        starts = ("#!/usr/bin/env bash", "# shellcheck")
        files = [p for p in (ROOT / "scripts").iterdir() if p.is_file()]
        scripts = [p for p in (*files, ROOT / ".ci/run") if p.read_text().startswith(starts)]
        self.assertGreater(len(scripts), 5)
        self.assert_exit(0, self.run_script("shellcheck", "-x", *scripts, cwd=ROOT))


if __name__ == "__main__":
    unittest.main(verbosity=2)
