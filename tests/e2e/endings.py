"""How runs end: each way has its exit code and its reason, the folder is complete, and no process is left."""

import os
import pathlib
import signal
import subprocess
import time
import unittest

import floe


class GuestEndings(floe.Case):
    def run_guest(self, *words, **kwargs):
        return self.floe("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, *words, **kwargs)

    def test_command_fails(self):
        run = self.run_guest("--duration", "30s", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(run.code, 1)
        self.assertIn("exited with 3", run.reason)
        self.assertEqual(run.manifest["guest_exit"], 3)
        self.assertIn("out\n", run.out)
        self.assertEqual(sorted((self.folder / "workload.log").read_text().split()), ["err", "out"])

    def test_init_exits(self):
        run = self.run_guest("--append", "rdinit=/bin/false", "--add", "/bin/false")
        self.assertEqual(run.code, 6)
        self.assertIn("Attempted to kill init", run.reason)
        self.assertEqual(run.manifest["exit"]["code"], 6)

    def test_kernel_crashes(self):
        run = self.run_guest("--duration", "30s", "--", "/bin/sh", "-c", "echo c > /proc/sysrq-trigger")
        self.assertEqual(run.code, 6)
        self.assertIn("Kernel panic - not syncing: sysrq triggered crash", run.reason)
        self.assertGreater(len(run.snapshots()), 0, "what was kept before the panic is written")
        self.assertIn("sysrq", (self.folder / "console.log").read_text())

    def test_guest_reboots(self):
        run = self.run_guest("--duration", "30s", "--", "/bin/sh", "-c", "echo b > /proc/sysrq-trigger")
        self.assertEqual(run.code, 1)
        self.assertIn("rebooted on its own", run.reason)

    def test_no_hello(self):
        run = self.run_guest("--boot-timeout", "1s")
        self.assertEqual(run.code, 7)
        self.assertIn("no hello", run.reason)


class OuterMachine(floe.Case):
    def test_it_stands_still(self):
        process = self.start("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--outer-silence", "20s", "--duration", "60s")
        machines = self.wait_for(lambda: self.children(process.pid) or process.poll() is not None, 60, "QEMU's start")
        if machines is True:
            self.finish(process)
            self.skipTest("this host runs guests without QEMU")
        self.addCleanup(process.kill)
        metrics = self.folder / "metrics.jsonl"
        self.wait_for(lambda: metrics.exists() and metrics.stat().st_size, 240, "the first snapshot")
        os.kill(machines[0], signal.SIGSTOP)
        stopped = time.monotonic()
        run = self.finish(process, timeout=120)
        self.assertGreater(time.monotonic() - stopped, 15)
        self.assertEqual(run.code, 8)
        self.assertIn("silent for 20s", run.reason)
        self.assertEqual(run.manifest["exit"]["code"], 8)
        self.assert_gone(machines)


class BadInputs(floe.Case):
    def refused(self, code, *words, **kwargs):
        run = self.floe(*words, timeout=60, **kwargs)
        self.assertEqual(run.code, code, run.err)
        self.assertFalse(self.folder.exists(), "nothing is left behind")
        return run.reason

    def scratch(self, name, data):
        path = floe.WORK / f"{self.id().rsplit('.', 1)[1]}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.addCleanup(path.unlink)
        return path

    def test_missing_kernel(self):
        self.assertIn("/no/such/vmlinuz", self.refused(2, "--kernel", "/no/such/vmlinuz"))

    def test_not_a_kernel(self):
        self.assertIn("neither a bzImage", self.refused(2, "--kernel", self.scratch("k", b"hello" * 500)))

    def test_truncated_kernel(self):
        image = pathlib.Path(floe.newest_kernel()).read_bytes()
        self.assertIn("corrupt bzImage", self.refused(2, "--kernel", self.scratch("k", image[: len(image) // 2])))

    def test_flipped_bit_in_kernel(self):
        image = bytearray(pathlib.Path(floe.newest_kernel()).read_bytes())
        image[len(image) // 2] ^= 0x10
        self.assertIn("does not unpack", self.refused(2, "--kernel", self.scratch("k", image)))

    def test_missing_initramfs(self):
        self.assertIn("/no/such/initrd", self.refused(2, "--kernel", floe.newest_kernel(), "--initrd", "/no/such/initrd"))

    def test_initramfs_is_a_folder(self):
        self.assertIn("Is a directory", self.refused(2, "--kernel", floe.newest_kernel(), "--initrd", "/etc"))

    def test_missing_command(self):
        self.assertIn("no-such-program", self.refused(2, "--kernel", floe.newest_kernel(), "--", "no-such-program"))

    def test_unknown_flag(self):
        self.assertIn("--no-such-flag", self.refused(2, "--no-such-flag"))

    def test_bad_time(self):
        self.assertIn("soon", self.refused(2, "--duration", "soon"))

    def test_no_qemu(self):
        reason = self.refused(71, "--kernel", floe.newest_kernel(), "--host", "tcg", env={**os.environ, "PATH": "/nowhere"})
        self.assertIn("qemu-system-x86_64", reason)

    def test_folder_not_empty(self):
        self.folder.mkdir(parents=True)
        (self.folder / "mine").write_text("keep")
        run = self.floe("--kernel", floe.newest_kernel(), timeout=60)
        self.assertEqual(run.code, 2)
        self.assertIn("not empty", run.reason)
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["mine"])


class Interruptions(floe.Case):
    def launch(self):
        process = self.start("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "60s")
        return process, self.wait_for(lambda: self.children(process.pid) or process.poll() is not None, 20, "QEMU's start") or []

    def console(self):
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def check_stopped(self, process, children, number, code):
        process.send_signal(number)
        run = self.finish(process, timeout=60)
        self.assertEqual(run.code, code)
        self.assertEqual(run.manifest["exit"]["code"], code)
        if children is not True:
            self.assert_gone(children)
        return run

    def test_sigint_while_the_outer_machine_starts(self):
        process, children = self.launch()
        time.sleep(0.5)
        self.check_stopped(process, children, signal.SIGINT, 130)

    def test_sigterm_while_the_guest_boots(self):
        process, children = self.launch()
        host = self.folder / "host-console.log"
        started = lambda: host.exists() and "kvm" in host.read_text(errors="replace")
        self.wait_for(lambda: started() or (self.folder / "console.log").exists(), 60, "the guest's start")
        self.check_stopped(process, children, signal.SIGTERM, 143)

    def test_sigint_while_running(self):
        process, children = self.launch()
        metrics = self.folder / "metrics.jsonl"
        self.wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, 90, "the second snapshot")
        run = self.check_stopped(process, children, signal.SIGINT, 130)
        self.assertGreaterEqual(len(run.snapshots()), 2, "the snapshots are kept on every exit but 0")
        self.assertGreater(run.manifest["guest"]["tasks"], 20)

    def test_sigkill_leaves_no_qemu(self):
        process, children = self.launch()
        if children is True or not children:
            process.kill()
            process.communicate()
            self.skipTest("this host runs guests without QEMU")
        time.sleep(1)
        process.kill()
        process.communicate()
        self.assert_gone(children)


if __name__ == "__main__":
    floe.main()
