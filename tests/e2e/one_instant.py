"""The failure dump of one instant is the same from every memory of it: the frozen guest, the ring's snapshot after the guest went on, the
snapshot as a file, and a core made of that, which tells without the scheduler's executable, too, what that keeps in integers.
Key by key, in
order, bit by bit, but for what says where and when the bytes were read."""

import json
import shutil
import subprocess

import floe

# Of capture: which memory, and what only a snapshot's own record knows. The counters of the host's PMU are in no memory.
OF_THE_SOURCE = ("source", "sequence", "tick", "realtime_ns", "guest_clock_ns", "took_us")
NOT_IN_MEMORY = ("vcpu_perf_at_freeze", "vcpu_perf_unavailable")


def at_instant(text):
    """What a dump says of the guest, as text."""
    dump = json.loads(text)
    for key in OF_THE_SOURCE:
        dump["capture"].pop(key, None)
    for key in NOT_IN_MEMORY:
        dump.pop(key, None)
    for sample in dump["event_counter_timeline"]:
        sample.pop("elapsed_ms")
    return json.dumps(dump, indent=0, ensure_ascii=False)


class OneInstant(floe.Case):
    def setUp(self):
        super().setUp()
        self.extra = self.folder.with_name(self.folder.name + "-files")
        shutil.rmtree(self.extra, ignore_errors=True)
        self.extra.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.extra, ignore_errors=True)

    def dump_of(self, memory, *scheduler):
        words = [*scheduler, "--deadline", "0", "--max-entries", "0"]
        done = subprocess.run([floe.FLOE, "dump", str(memory), *words], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def check_clocks(self, first):
        """The guest was away while the dump of its memory was made, and does not know it."""
        shown = subprocess.run([floe.FLOE, "show", first, "--json"], capture_output=True, text=True, timeout=60)
        pause = json.loads(shown.stdout)["pause_us"] * 1e3
        self.assertGreater(pause, 100e6)
        before, after = json.loads((self.folder / "clocks.json").read_text())
        lived = after["host"] - before["host"] - pause
        passed = [after["kvmclock"] - before["kvmclock"], *(late - early for early, late in zip(before["tsc"], after["tsc"]))]
        by_clocks = [round(ns / 1e6) for ns in passed]
        print(f"a pause of {pause / 1e6:.0f} ms, {lived / 1e6:.0f} ms to the next; by the guest's clocks {by_clocks}")
        for ns in passed:
            self.assertGreater(ns, 0.9 * lived)
            # Nobody noted when the last vCPU had stopped: what came before that is on the guest's clocks.
            self.assertLess(ns, 1.1 * lived + 0.1 * pause)

    def same_from_everywhere(self, scheduler, command):
        """The dump, when all are the same."""
        if not shutil.which("qemu-system-x86_64"):
            self.skipTest("no qemu-system-x86_64")
        machine = ["--host", "tcg", "--kernel", floe.kernel("7."), "--cpus", "2", "--memory", "512", "--duration", "60s"]
        programs = [word for path in (floe.WORKERS, "/bin/sleep", "/bin/grep") for word in ("--add", path)]
        words = [*machine, *programs, "--scheduler", floe.SCHED, *scheduler, "--", "/bin/sh", "-c", command]
        run = subprocess.run([floe.ONE_INSTANT, "run", "--out", self.folder, *words], capture_output=True, text=True, timeout=300)
        self.assertEqual(run.returncode, 0, run.stderr)

        first, second = sorted((self.folder / "snapshots").glob("*.floesnap"))
        self.check_clocks(first)
        core = self.extra / "core"
        written = subprocess.run([floe.FLOE, "dump", first, "--format", "core", "--out", core], capture_output=True, text=True, timeout=120)
        self.assertEqual(written.returncode, 0, written.stderr)
        texts = {"frozen guest": (self.folder / "frozen.json").read_text(), "ring": (self.folder / "ring.json").read_text(),
                 "file": self.dump_of(first, "--scheduler", floe.SCHED), "core": self.dump_of(core, "--scheduler", floe.SCHED),
                 "core alone": self.dump_of(core)}
        sources = [json.loads(text)["capture"]["source"] for text in texts.values()]
        self.assertEqual(sources, ["guest", "snapshot", "snapshot", "core", "core"])
        frozen = at_instant(texts["frozen guest"])
        for memory, text in texts.items():
            said = at_instant(text)
            if said != frozen:
                pairs = zip(frozen.splitlines(), said.splitlines())
                differing = [(i, ours, theirs) for i, (ours, theirs) in enumerate(pairs) if ours != theirs]
                self.fail(f"{memory}: {len(said)} bytes for {len(frozen)} of the frozen guest; first of {len(differing)}: {differing[:5]}")
        later = self.dump_of(second)
        self.assertNotEqual(at_instant(later), frozen, "the guest went on")
        self.assertIsNone(floe.NOTICED.search(later))
        return json.loads(texts["frozen guest"])

    def test_stall(self):
        wait = f"{floe.WORKERS} 60 worker:sleep stallme:sleep & sleep 4; echo 'floe: now'; wait"
        dump = self.same_from_everywhere(("stall", "--timeout-ms", "30000"), wait)
        self.assertEqual(dump["scx_sched_state"]["ops_name"], "floe_stall")
        self.assertEqual(dump["oldest_runnable"]["task"]["comm"], "stallme")
        self.assertTrue(any(dsq["tasks"] for dsq in dump["dsq_states"] if dsq["id"] == 0x5157))
        for key in ("vcpu_regs", "per_cpu_time", "rq_scx_states", "backtraces", "event_counter_timeline", "prog_runtime_stats"):
            self.assertTrue(dump[key], key)
        self.assertGreater(len(dump["task_enrichments"]), 30)
        self.assertGreater(len(dump["kernel_log"]["lines"]), 100)

    def test_maps(self):
        wait = f"{floe.WORKERS} 60 a:sleep b:spin & sleep 3; echo 'floe: now'; wait"
        dump = self.same_from_everywhere(("maps", "--seed", "4711"), wait)
        self.assertEqual(dump["scx_sched_state"]["ops_name"], "floe_maps")
        self.assertTrue(dump["sdt_allocations"])
        self.assertGreater(len([m for m in dump["maps"] if not m.get("error")]), 10)
        self.assertIn("cast→", json.dumps(dump["maps"], ensure_ascii=False))


if __name__ == "__main__":
    floe.main()
