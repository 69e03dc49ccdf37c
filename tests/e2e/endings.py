"""How runs end: each way has its exit code and its reason, the folder is complete, and no process is left."""

import os
import pathlib
import signal
import struct
import subprocess
import time
import unittest
import zlib

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

    @floe.long
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

    @floe.long
    def test_guest_reboots(self):
        run = self.run_guest("--duration", "30s", "--", "/bin/sh", "-c", "echo b > /proc/sysrq-trigger")
        self.assertEqual(run.code, 1)
        self.assertIn("rebooted on its own", run.reason)

    def test_no_hello(self):
        run = self.run_guest("--boot-timeout", "1s")
        self.assertEqual(run.code, 7)
        self.assertIn("no hello", run.reason)


# An init that says what it is told to, and goes down.
LIAR = '''#!/bin/sh
mkdir -p /proc /sys /dev
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
port=
while [ -z "$port" ]; do
  for name in /sys/class/virtio-ports/*/name; do
    if [ -e $name ] && [ $(cat $name) = floe-tlv ]; then port=${name%/name}; fi
  done
done
exec 3<> /dev/${port##*/}
cat FRAMES >&3
sleep 6
cat FRAMES.last >&3
sleep 1
echo o > /proc/sysrq-trigger
sleep 100
'''


def frame(sequence, word, payload=b"", broken=False):
    """As in vmm/wire.hpp."""
    kind = int.from_bytes(word.encode(), "big")
    header = struct.pack("<4sHHIIQI", b"FLOE", 1, 0, kind, len(payload), sequence, zlib.crc32(payload) ^ broken)
    return header + struct.pack("<I", zlib.crc32(header)) + payload


def hello(release):
    text = b"".join(struct.pack("<H", len(word)) + word for word in (b"Linux", b"liar", release, b"", b"x86_64"))
    return struct.pack("<I", 1) + text + struct.pack("<IQI", 1, 1, 1)


class LyingInit(floe.Case):
    def test_a_hello_counts_once_and_what_only_the_host_says_or_nobody_knows_is_counted_and_forgotten(self):
        frames = self.folder.parent / f"{self.folder.name}.frames"
        script = self.folder.parent / f"{self.folder.name}.sh"
        ends_badly, ends_well = (struct.pack("<Bi", 1, code) for code in (7, 0))
        told = [("HELO", hello(b"first")), ("HELO", hello(b"second")), ("HELO", b"malformed"), ("ABCD", b"?"), ("\0\0\0\0", b""),
                ("STOP", b""), ("SNRP", bytes(520)), ("KORP", b"\1"), ("CTRQ", b""), ("REOP", b""), ("SNRQ", bytes(7)), ("SNRQ", bytes(72)),
                ("KORQ", b"\xff" * 9), ("LOGL", b""), ("BYE!", b"")]
        stream = b"".join(frame(number, word, payload) for number, (word, payload) in enumerate(told))
        frames.write_bytes(stream + frame(len(told), "WRES", ends_badly, broken=True) + frame(0, "HELO", hello(b"cut"))[:40])
        last = pathlib.Path(f"{frames}.last")
        filler = b"what fills up the half of a frame before it\n" * 4
        last.write_bytes(frame(len(told) + 1, "WOUT", filler) + frame(len(told) + 2, "WRES", ends_well))
        script.write_text(LIAR.replace("FRAMES", str(frames)))
        script.chmod(0o755)
        added = [word for path in ("/bin/sh", "/bin/cat", "/bin/mkdir", "/bin/mount", "/bin/sleep", script, frames, last)
                 for word in ("--add", path)]
        run = self.floe("--kernel", floe.newest_kernel(), "--cpus", 1, "--memory", 256, "--duration", "60s", *added,
                        "--append", f"rdinit={script}")
        self.assertEqual(run.code, 0, run.reason)
        manifest = run.manifest
        self.assertEqual(manifest["guest"]["hello"]["release"], "first")
        wire = manifest["wire"]
        # Types that the host does not take, and requests that nobody can read.
        self.assertEqual(wire["unknown_frames"], 10, wire)
        self.assertGreaterEqual(wire["bad_payloads"], 1, wire)
        self.assertIn("fills up", run.out)
        self.assertEqual(manifest["captures"]["answered"], 0)
        ticks = [line["tick"] for line in run.metrics if line["tick"]]
        self.assertGreater(len(ticks), 3)
        self.assertEqual(len(set(ticks)), len(ticks), "there are two beats")


class OuterMachine(floe.Case):
    @floe.long
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

    @floe.long
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
