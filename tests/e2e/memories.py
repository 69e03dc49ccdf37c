"""One walker, every memory: a core from QEMU, one that floe wrote, and the running kernel of a guest through /proc/kcore."""

import gzip
import json
import pathlib
import shutil
import socket
import subprocess

import floe


def dump(*words):
    return subprocess.run([floe.FLOE, "dump", *map(str, words)], capture_output=True, text=True, timeout=300)


def cpio(members):
    """An initramfs in the newc format: (name, mode, content, device) each."""
    out = b""
    for number, (name, mode, content, device) in enumerate([*members, ("TRAILER!!!", 0, b"", (0, 0))], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        entry = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        entry += b"\0" * (-len(entry) % 4) + content
        out += entry + b"\0" * (-len(entry) % 4)
    return gzip.compress(out, 1)


class Qemu:
    """A guest of plain QEMU, whose init is the reporter; stopped at the end of the with block."""

    def __init__(self, folder, kernel):
        self.console, self.control = folder / "console", folder / "control"
        init = pathlib.Path(floe.REPORTER).read_bytes()
        device = [("dev", 0o40755, b"", (0, 0)), ("dev/console", 0o20600, b"", (5, 1)), ("proc", 0o40755, b"", (0, 0))]
        (folder / "initrd").write_bytes(cpio([*device, ("init", 0o100755, init, (0, 0))]))
        machine = ["-M", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "256M", "-nodefaults", "-display", "none"]
        system = ["-kernel", kernel, "-initrd", str(folder / "initrd"), "-append", "console=ttyS0 quiet panic=-1 -- 1000 1000"]
        ports = ["-serial", f"file:{self.console}", "-qmp", f"unix:{self.control},server=on,wait=off"]
        self.argv = ["qemu-system-x86_64", *machine, "-no-reboot", *system, *ports]

    def __enter__(self):
        self.stream = None
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if self.stream:
            self.stream.close()
            self.socket.close()

    def booted(self):
        return self.console.exists() and b"REPORT 2 " in self.console.read_bytes()

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(self.control))
        self.stream = self.socket.makefile("rw")
        self.stream.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "error" in answer:
                raise RuntimeError(answer["error"])
            if "return" in answer:
                return answer["return"]


class Memories(floe.Case):
    def setUp(self):
        super().setUp()
        self.extra = self.folder.with_name(self.folder.name + "-files")
        shutil.rmtree(self.extra, ignore_errors=True)
        self.extra.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.extra, ignore_errors=True)

    def assert_same_kernel(self, first, second):
        for key in ("uts", "kaslr_offset", "vcpus", "tasks", "idle_tasks", "tasks_complete", "tasks_problems"):
            self.assertEqual(first[key], second[key], key)

    def test_core_of_qemu(self):
        if not shutil.which("qemu-system-x86_64"):
            self.skipTest("no qemu-system-x86_64")
        with Qemu(self.extra, floe.newest_kernel()) as guest:
            self.wait_for(guest.booted, 120, "the boot of a guest in QEMU")
            guest.connect()
            guest.ask("stop")
            for paging in (False, True):
                guest.ask("dump-guest-memory", paging=paging, protocol=f"file:{self.extra}/paging-{paging}.core")
        plain, paged = (self.show(self.extra / f"paging-{paging}.core") for paging in (False, True))
        self.assert_same_kernel(plain, paged)
        self.assertEqual([cpu["id"] for cpu in plain["vcpus"]], [0, 1])
        self.assertEqual(len(plain["idle_tasks"]), 2)
        self.assertEqual([task["comm"][:4] for task in plain["tasks"] if task["pid"] == 1], ["rep-"])
        self.assertEqual([task["comm"] for task in plain["tasks"] if task["pid"] == 2], ["kthreadd"])
        # And once more through floe's own writer.
        written = dump(self.extra / "paging-True.core", "--format", "core", "--out", self.extra / "again.core")
        self.assertEqual(written.returncode, 0, written.stderr)
        self.assert_same_kernel(plain, self.show(self.extra / "again.core"))

    def test_snapshot_as_core_and_the_kernel_by_kcore(self):
        kernel = floe.newest_kernel()
        machine = ("--kernel", kernel, "--cpus", 1, "--memory", 512, "--snapshot-hz", 1, "--keep-snapshots")
        run = self.floe(*machine, "--add", floe.FLOE, "--duration", "120s", "--", floe.FLOE, "show", "--json", "/proc/kcore")
        self.assertEqual(run.code, 0, run.reason)

        core = self.extra / "newest.core"
        written = dump(self.folder, "--format", "core", "--out", core)
        self.assertEqual(written.returncode, 0, written.stderr)
        newest = self.show(run.snapshots()[-1])
        self.assert_same_kernel(newest, self.show(core))
        self.assertLess(core.stat().st_size, 400 << 20, "zero pages are in the file")
        again = dump(core, "--format", "core", "--out", self.extra / "again.core")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(core.read_bytes(), (self.extra / "again.core").read_bytes())

        # The kernel that looked at itself, and the same kernel seen from outside a moment before or after.
        inside = json.loads((self.folder / "workload.log").read_text())
        self.assertEqual(inside["source"], "the running kernel")
        for key in ("uts", "kaslr_offset"):
            self.assertEqual(inside[key], newest[key])
        self.assertTrue(inside["tasks_complete"], inside["tasks_problems"])

        def lasting(shown):
            return {(task["pid"], task["task_struct"]) for task in shown["tasks"] if task["pid"] < 20}

        self.assertEqual(lasting(inside), lasting(newest))
        self.assertIn("floe", {task["comm"] for task in inside["tasks"]})

    def test_what_is_no_memory_is_refused(self):
        pages = self.extra / "pages"
        pages.write_bytes(b"FLOEPAGE" + bytes(64))
        refused = [([self.extra / "none"], "No such file"), ([self.extra], "no snapshots"), ([pages], "name one of the snapshots"),
                   ([floe.FLOE], "no core"), ([__file__], "not an ELF file"), ([], "MEMORY is required")]
        for words, reason in refused:
            done = dump(*words, "--format", "core", "--out", self.extra / "out")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(reason, done.stderr.splitlines()[-1])
        self.assertFalse((self.extra / "out").exists())


if __name__ == "__main__":
    floe.main()
