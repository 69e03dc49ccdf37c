"""Scenarios on a real kernel: what a step says happens in the guest, and its programs reach floe through init."""

import json
import re
import unittest

import floe

# For each process of the cgroup: its name, where it may run, its nice value (field 19 of stat, the name being one word).
PLACES = """for pid in $(cat /sys/fs/cgroup/top/busy/cgroup.procs); do
  read name < /proc/$pid/comm
  while read key value; do if [ $key = Cpus_allowed_list: ]; then cpus=$value; fi; done < /proc/$pid/status
  read stat < /proc/$pid/stat
  set -- $stat
  echo "place $name $cpus ${19}"
done
read weight < /sys/fs/cgroup/top/busy/cpu.weight; echo "weight $weight"
read cpus < /sys/fs/cgroup/top/busy/cpuset.cpus; echo "cpuset $cpus"
"""

# Asks floe from inside, like any program could.
ASK = """floe-guest snapshot from-inside; echo "snapshot $?"
before=$(floe-guest read jiffies_64); echo "read $?"
after=$(floe-guest cold read jiffies_64); echo "cold read $?"
[ $after -ge $before ] && [ $before -gt 0 ] && echo grows
floe-guest read no_such_symbol; echo "missing $?"
floe-guest watch no_such_symbol; echo "watch $?"
"""


def check(value, relation, to):
    return {"do": "assert", "value": value, "is": relation, "to": to}


class Scenario(floe.Case):
    def play(self, steps, *words, kernel="7.", cpus=2):
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        file = self.folder.parent / (self.folder.name + ".json")
        file.write_text(json.dumps({"step-deadline": "60s", "steps": steps}, indent=2))
        programs = [word for path in ("/bin/sh", "/bin/cat") for word in ("--add", path)]
        return self.floe(file, "--kernel", floe.kernel(kernel), "--cpus", cpus, "--memory", 512, *programs, *words)

    def log(self, name):
        return (self.folder / name).read_text(errors="replace")

    def test_workers_stand_where_they_shall_and_end_when_told(self):
        workers = [
            {"name": "spinner", "kind": "spin", "count": 2, "cgroup": "top/busy", "cpus": "1", "nice": 7},
            {"name": "sleeper", "kind": "sleep-wake", "period": "5ms", "cgroup": "top/busy", "nice": -3},
            {"name": "yielder", "kind": "yield", "cgroup": "top/busy"},
            {"name": "pinger", "kind": "pipe-ping-pong", "cgroup": "top/busy"},
            {"name": "forker", "kind": "fork-storm", "period": "10ms", "cgroup": "top/busy"},
        ]
        names = [worker["name"] for worker in workers]
        run = self.play([
            {"do": "start-scheduler", "command": [floe.SCHED, "fair"]},
            {"do": "make-cgroup", "path": "top", "weight": 50},
            {"do": "make-cgroup", "path": "top/busy", "weight": 250, "cpus": "0-1"},
            {"do": "spawn", "workers": workers},
            {"do": "run", "name": "places", "command": ["sh", "-c", PLACES]},
            {"do": "wait-for", "name": "places"},
            {"do": "procs", "as": "busy", "cgroup": "top/busy"},
            *[{"do": "read", "as": f"{name} {mode}", "mode": mode, "task": {"name": name, "field": "static_prio"}, "bytes": 4}
              for name in ("spinner", "sleeper") for mode in ("hot", "cold")],
            *[check({"read": f"{name} {mode}"}, "==", prio)
              for name, prio in (("spinner", 127), ("sleeper", 117)) for mode in ("hot", "cold")],
            {"do": "read", "as": "comm", "task": {"name": "pinger", "field": "comm"}, "bytes": 7},
            check({"read": "comm"}, "==", b"pinger\0".hex(" ")),
            *[{"do": "stop", "name": name} for name in names],
            *[check({"process": name}, "==", "exited 0") for name in names],
            {"do": "procs", "as": "none", "cgroup": "top/busy"},
            # 5 that wait for SIGTERM, 2 spinners, and one, one, two, one; the fork storm's child of the moment comes and goes.
            check({"procs": "busy", "count": True}, ">=", 12),
            check({"procs": "busy", "count": True}, "<=", 13),
            check({"procs": "none", "count": True}, "==", 0),
            {"do": "remove-cgroup", "path": "top/busy"},
            {"do": "remove-cgroup", "path": "top"},
            {"do": "stop-scheduler"},
        ])
        self.assertEqual(run.code, 0, run.reason)
        log = self.log("workload.log")
        places = re.findall(r"^place (\S+) (\S+) (-?\d+)$", log, re.M)
        self.assertEqual(places.count(("spinner", "1", "7")), 2, log)
        self.assertEqual(places.count(("pinger", "0-1", "0")), 2, log)
        for expected in (("sleeper", "0-1", "-3"), ("yielder", "0-1", "0"), ("forker", "0-1", "0")):
            self.assertIn(expected, places, log)
        self.assertIn("weight 250\ncpuset 0-1\n", log)

    def test_captures_and_a_replaced_scheduler_in_their_order(self):
        run = self.play([
            {"do": "start-scheduler", "command": [floe.SCHED, "fair"]},
            {"do": "attach-scheduler", "ops": "floe_fair"},
            {"do": "spawn", "workers": [{"name": "spinner", "kind": "spin", "count": 2}]},
            {"do": "capture", "name": "a"},
            {"do": "watch", "symbol": "scx_root"},
            {"do": "replace-scheduler", "command": [floe.SCHED, "error"]},
            {"do": "attach-scheduler", "ops": "floe_error"},
            {"do": "capture", "name": "b"},
            check({"report": "a", "path": "scx_sched_state.ops_name"}, "==", "floe_fair"),
            check({"report": "b", "path": "scx_sched_state.ops_name"}, "==", "floe_error"),
            check({"report": "b", "path": "scx_sched_state.exit_kind"}, "==", 0),
            {"do": "run", "name": "ask", "command": ["sh", "-c", ASK]},
            {"do": "wait-for", "name": "ask"},
            check({"process": "ask"}, "==", "exited 0"),
            {"do": "stop-scheduler"},
        ])
        self.assertEqual(run.code, 0, run.reason)
        log = self.log("workload.log")
        self.assertIn("snapshot 0\nread 0\ncold read 0\ngrows\n", log)
        self.assertRegex(log, r"no_such_symbol.*\nmissing 1\n")
        self.assertIn("watch 1\n", log)
        scheduler = self.log("scheduler.log")
        self.assertLess(scheduler.index("floe_fair: exit kind=64"), scheduler.index("floe_error: exit kind=64"), scheduler)

    @floe.long
    def test_kernel_memory_is_what_the_kernel_says_it_is(self):
        shown = "echo panic $(cat /proc/sys/kernel/panic)"
        cpu = {"symbol": "cpu_info", "field": "x86_cache_size", "cpu": 1}
        run = self.play([
            {"do": "attach-scheduler", "ops": "floe_stall"},  # the run's own
            {"do": "replace-scheduler", "command": [floe.SCHED, "fair"]},
            {"do": "attach-scheduler", "ops": "floe_fair"},
            {"do": "run", "name": "truth", "command": [floe.KERNEL_TRUTH, "sleeper"], "deadline": "120s"},
            {"do": "wait-for", "name": "truth", "deadline": "120s"},
            check({"process": "truth"}, "==", "exited 0"),
            {"do": "write", "symbol": "panic_timeout", "u32": 21},
            {"do": "write", "symbol": "panic_timeout", "or-u32": 8, "mode": "cold"},
            {"do": "read", "as": "panic", "symbol": "panic_timeout", "bytes": 4},
            check({"read": "panic"}, "==", 29),
            {"do": "write", "per-cpu": cpu, "u32": 1234, "mode": "cold"},
            {"do": "read", "as": "cache", "per-cpu": cpu, "bytes": 4, "mode": "cold"},
            check({"read": "cache"}, "==", 1234),
            {"do": "run", "name": "shown", "command": ["sh", "-c", shown]},
            {"do": "wait-for", "name": "shown"},
            {"do": "stop-scheduler"},
        ], "--scheduler", floe.SCHED, "stall")
        log = self.log("workload.log")
        self.assertEqual(run.code, 0, run.reason + "\n" + log)
        self.assertIn("all true\n", log)
        self.assertRegex(log, r"has not started at \d+: another had that number")
        self.assertIn("the task's policy is not SCHED_EXT", log)
        self.assertIn("panic 29\n", log)

    def test_a_scheduler_that_starves_init_cannot_silence_it(self):
        run = self.play([
            {"do": "start-scheduler", "command": [floe.SCHED, "stall", "--prefix", "init", "--timeout-ms", "20000"]},
            {"do": "attach-scheduler", "ops": "floe_stall"},
            {"do": "run", "name": "class", "command": ["sh", "-c", "cat /proc/1/stat; cat /proc/self/stat; floe-guest snapshot asked"]},
            {"do": "wait-for", "name": "class"},
            check({"process": "class"}, "==", "exited 0"),
            {"do": "procs", "as": "all", "cgroup": ""},
            check({"procs": "all", "count": True}, ">", 10),
            {"do": "stop-scheduler"},
        ])
        self.assertEqual(run.code, 0, run.reason)
        init, other = (line.split() for line in self.log("workload.log").splitlines()[:2])
        self.assertEqual((init[0], init[40]), ("1", "1"))  # SCHED_FIFO; what it starts is of the ordinary class
        self.assertEqual(other[40], "0")

    def test_a_kernel_without_sched_ext_has_scenarios_too(self):
        task = {"name": "spinner", "field": "static_prio"}
        run = self.play([
            {"do": "make-cgroup", "path": "top/busy", "weight": 250, "cpus": "0"},
            {"do": "spawn", "workers": [{"name": "spinner", "kind": "spin", "cgroup": "top/busy", "nice": 7},
                                        {"name": "sleeper", "kind": "sleep-wake", "period": "5ms", "cpus": "0"}]},
            {"do": "wait", "time": "2s"},  # until each has made its tasks
            {"do": "procs", "as": "busy", "cgroup": "top/busy"},
            check({"procs": "busy", "count": True}, "==", 2),  # the one that waits for SIGTERM, and the spinner
            {"do": "capture", "name": "a"},
            check({"report": "a", "path": "schema"}, "==", "single"),
            *[step for mode in ("hot", "cold") for step in (
                {"do": "read", "as": mode, "mode": mode, "task": task, "bytes": 4}, check({"read": mode}, "==", 127))],
            {"do": "read", "as": "cache", "per-cpu": {"symbol": "cpu_info", "field": "x86_cache_size", "cpu": 0}, "bytes": 4},
            {"do": "watch", "symbol": "panic_timeout"},
            {"do": "write", "symbol": "panic_timeout", "u32": 21},
            {"do": "write", "symbol": "panic_timeout", "or-u32": 8, "mode": "cold"},
            {"do": "run", "name": "shown", "command": ["sh", "-c", "echo panic $(cat /proc/sys/kernel/panic)"]},
            {"do": "wait-for", "name": "shown"},
            {"do": "stop", "name": "spinner"},
            {"do": "stop", "name": "sleeper"},
            check({"process": "spinner"}, "==", "exited 0"),
            {"do": "remove-cgroup", "path": "top/busy"},
        ], kernel="6.12", cpus=1)
        self.assertEqual(run.code, 0, run.reason)
        self.assertIn("panic 29\n", self.log("workload.log"))
        self.assertEqual([one["tag"] for one in run.manifest["captures"]["first"]], ["a", "panic_timeout"])
        names = {task["comm"] for task in json.loads((self.folder / "run.snapshot.a.json").read_text())["task_enrichments"]}
        self.assertLessEqual({"spinner", "sleeper"}, names)

    @floe.long
    def test_a_vcpu_that_crashes_ends_the_run_at_once(self):
        command = ["sh", "-c", "echo b > /proc/sysrq-trigger"]
        run = self.play([{"do": "run", "name": "crash", "command": command, "cpus": "1"}, {"do": "wait", "time": "1h"}],
                        "--append", "reboot=triple")
        self.assertEqual(run.code, 6, run.reason)
        self.assertRegex(run.reason, "^the guest crashed: .* on vCPU 1$")

    @floe.long
    def test_a_step_that_fails_is_the_reason_of_the_run(self):
        run = self.play([{"do": "run", "name": "p", "command": ["sh", "-c", "exit 7"]}, {"do": "wait-for", "name": "p"},
                         check({"process": "p"}, "==", "exited 0"), {"do": "wait", "time": "1h"}], kernel="6.")
        self.assertEqual(run.code, 1, run.reason)
        self.assertRegex(run.reason, r':\d+:\d+: steps\[2\] assert process p == "exited 0": "exited 7" is not == "exited 0"$')

    def test_a_mistake_in_the_file_is_told_before_anything_runs(self):
        run = self.play([{"do": "wait", "time": "soon"}], kernel="6.")
        self.assertEqual(run.code, 2, run.reason)
        self.assertRegex(run.reason, r"\.json:\d+:\d+: steps\[0\]\.time: 'soon' is no time")
        self.assertFalse(self.folder.exists() and (self.folder / "console.log").exists())


if __name__ == "__main__":
    floe.main()
