"""Machines of all sizes: 1, 2 and 4 vCPUs, RAM on both sides of the hole below 4 GiB; and the other way to start a kernel."""

import os
import subprocess
import unittest

import floe


class Sizes(floe.Case):
    def check(self, cpus, mib, kernel=None):
        machine = ("--kernel", kernel or floe.newest_kernel(), "--cpus", cpus, "--memory", mib)
        run = self.floe(*machine, "--duration", "4s", "--boot-timeout", "120s", "--keep-snapshots")
        self.assertEqual(run.code, 0, run.reason)
        hello = run.manifest["guest"]["hello"]
        self.assertEqual(hello["cpus"], cpus)
        self.assertGreater(hello["memory_kib"], mib * 1024 * 0.8)
        self.assertGreater(run.manifest["guest"]["tasks"], 20)
        shown = self.show(run.snapshots()[-1])
        self.assertEqual(len(shown["vcpus"]), cpus)
        self.assertEqual(len(shown["idle_tasks"]), cpus)
        self.assertTrue(shown["tasks_complete"], shown["tasks_problems"])

    @floe.long
    def test_1_vcpu_256_mib(self):
        self.check(1, 256)

    def test_4_vcpus_1_gib(self):
        self.check(4, 1024)

    @floe.long
    def test_2_vcpus_5_gib(self):
        self.check(2, 5120)

    def test_vmlinux_by_pvh(self):
        vmlinux = floe.WORK / "vmlinux"
        done = subprocess.run([os.environ["FLOE_EXTRACT"], floe.newest_kernel(), vmlinux], capture_output=True, text=True)
        if done.returncode == floe.SKIP:
            self.skipTest(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.addCleanup(vmlinux.unlink)
        self.check(2, 512, vmlinux)


if __name__ == "__main__":
    floe.main()
