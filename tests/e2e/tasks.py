"""The whole table of tasks, and the counters that only grow, as a snapshot shows them and as the guest's own /proc does around it.

What is the same in both reports must be the same in the snapshot. What grows must lie between the two. What /proc computes is computed here
from what the kernel keeps, as it does it.
"""

import os
import re
import sys
import unittest

import floe

REPORTER = os.environ.get("FLOE_TASK_REPORTER", "")
REPORTS = 4
TICK = 10_000_000  # ns of a USER_HZ tick, in which /proc tells times
SCHED_FIFO, SCHED_RR, SCHED_IDLE, SCHED_DEADLINE, SCHED_EXT = 1, 2, 5, 6, 7
# By nice value from -20 on: sched_prio_to_weight in kernel/sched/core.c.
WEIGHTS = (88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
           1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15)
IDLE_WEIGHT = 3  # WEIGHT_IDLEPRIO
CPUSTAT = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")  # in the order of /proc/stat
SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
# Threads that the reporter puts there: of some it is known what they must be. Name -> key of the dump -> value.
CAST = {
    "fifo": {"policy": SCHED_FIFO, "sched_class": "rt", "rt_priority": 17, "prio": 82, "normal_prio": 82, "static_prio": 120},
    "rr": {"policy": SCHED_RR, "sched_class": "rt", "rt_priority": 3, "prio": 96},
    "batch": {"policy": 3, "static_prio": 124, "prio": 124},
    "idle-policy": {"policy": SCHED_IDLE},
    "deadline": {"policy": SCHED_DEADLINE, "sched_class": "dl", "prio": -1},
    "eager": {"static_prio": 109, "prio": 109},
    "humble": {"static_prio": 133, "prio": 133},
    "stopped": {"state": "T"},
    "zombie": {"state": "Z"},
    "traced": {"state": "t"},
    "in-vfork": {},
    "session": {},
    "group": {},
    "threads": {"nr_threads": 4},
    "thread-1": {"nr_threads": 4, "static_prio": 120},
    "thread-2": {"static_prio": 125},
    "thread-3": {"sched_class": "rt", "rt_priority": 2},
    "namespace": {},
    "in-ns": {},
    "in-ns-in-ns": {},
    "user": {},
    "kernel": {},
    "network": {},
    "odd) S 7 (odd": {},
}


def plain(comm):
    """A kworker's name ends with what it works on at this moment, which may differ between two looks; the reporter's with the report."""
    if re.fullmatch(r"(rep|ok)-\d+", comm):
        return "the reporter"
    return re.split(r"[-+]", comm, maxsplit=1)[0] if comm.startswith("kworker/") else comm


def pairs(text):
    return dict(part.split("=", 1) for part in text.split("|") if part)


def nanoseconds(milliseconds):
    """"12.000345" as SPLIT_NS() in kernel/sched/debug.c prints it."""
    whole, part = milliseconds.split(".")
    return int(whole) * 1_000_000 + int(part)


class Thread:
    """One of a report, under the keys of the dump."""

    def __init__(self, stat):
        head, _, tail = stat.rpartition(") ")
        pid, _, comm = head.partition(" (")
        fields = [pid, comm, *tail.split()]  # field N of proc(5) at N - 1
        self.start, self.ticks = int(fields[21]), int(fields[13]) + int(fields[14])
        self.user, self.system, self.nice = int(fields[13]), int(fields[14]), int(fields[18])
        self.same = {"pid": int(pid), "comm": plain(comm), "state": fields[2], "real_parent_pid": int(fields[3]), "pgid": int(fields[4]),
                     "sid": int(fields[5]), "prio": int(fields[17]) + 100, "static_prio": self.nice + 120, "nr_threads": int(fields[19]),
                     "cpu": int(fields[38]), "rt_priority": int(fields[39]), "policy": int(fields[40])}
        self.grows = {}

    def add_status(self, status):
        self.same |= {"tgid": int(status["Tgid"]), "group_leader_pid": int(status["Tgid"]),
                      "ns_pids": [int(word) for word in status["NSpid"].split()[1:]]}
        self.grows |= {"nvcsw": int(status["voluntary_ctxt_switches"]), "nivcsw": int(status["nonvoluntary_ctxt_switches"])}

    def add_sched(self, sched):
        policy, rt_priority = self.same["policy"], self.same["rt_priority"]
        on_ext = sched.get("ext.enabled") == "1"  # task_on_scx()
        if re.fullmatch(r"migration/\d+", self.same["comm"]):
            kind = "stop"
        elif policy == SCHED_DEADLINE:
            kind = "dl"
        elif policy in (SCHED_FIFO, SCHED_RR):
            kind = "rt"
        else:
            kind = "ext" if on_ext else "fair"
        # normal_prio() in kernel/sched/core.c; a stopper's class is set behind its back.
        normal = {"dl": -1, "rt": 99 - rt_priority, "stop": 99 - rt_priority}.get(kind, self.same["static_prio"])
        self.same |= {"prio": int(sched["prio"]), "sched_class": kind, "normal_prio": normal}
        if kind == "ext":  # sched_weight_to_cgroup()
            weight = IDLE_WEIGHT if policy == SCHED_IDLE else WEIGHTS[self.nice + 20]
            self.same["weight"] = min(max((weight * 100 + 512) // 1024, 1), 10000)
        self.grows["sum_exec_runtime"] = nanoseconds(sched["se.sum_exec_runtime"])

    def switches(self):
        return self.grows.get("nvcsw"), self.grows.get("nivcsw")


class Report:
    def __init__(self):
        self.clock, self.forks, self.threads = [], 0, {}
        self.cpus, self.softirqs, self.nodes, self.programs = {}, {}, {}, {}
        self.whole = False

    def add(self, word, rest):
        if word == "CLOCK":
            self.clock.append(int(rest))
        elif word == "FORKS":
            self.forks = int(rest)
        elif word == "CPU":
            cpu, *ticks = rest.split()
            self.cpus[int(cpu[3:])] = dict(zip(CPUSTAT, map(int, ticks)))
        elif word == "SOFTIRQS":
            name, counts = rest.split(":")
            self.softirqs[name.strip()] = [int(count) for count in counts.split()]
        elif word == "NUMA":
            node, counter, value = rest.split()
            self.nodes.setdefault(int(node), {})[counter] = int(value)
        elif word == "PROG":
            number, *counts, name = rest.split(" ", 4)
            self.programs[int(number)] = name, [int(count) for count in counts]
        elif word == "TASK":
            thread = Thread(rest)
            self.threads[thread.same["pid"]] = thread
        elif word == "STATUS":
            pid, _, text = rest.partition(" ")
            if text and int(pid) in self.threads:
                self.threads[int(pid)].add_status(pairs(text))
        elif word == "SCHED":
            pid, _, text = rest.partition(" ")
            if text and int(pid) in self.threads:
                self.threads[int(pid)].add_sched(pairs(text))
        elif word == "END":
            # One that went while its files were read is no thread of this report.
            whole = [pid for pid, thread in self.threads.items() if "sum_exec_runtime" in thread.grows and "tgid" in thread.same]
            self.threads = {pid: self.threads[pid] for pid in whole}
            self.whole = True


def parse_reports(text):
    reports = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "REPORT":
            current = reports.setdefault(int(rest), Report())
        elif reports:
            current.add(word, rest)
    return {number: report for number, report in reports.items() if report.whole}


class Counts(dict):
    def add(self, key, number=1):
        self[key] = self.get(key, 0) + number

    def __str__(self):
        return ", ".join(f"{number} {key}" for key, number in self.items())


class Tasks(floe.Case):
    def between(self, before, value, after, where):
        self.assertIsNotNone(value, f"{where} is not in the dump")
        self.assertLessEqual(before, value, f"{where}: less than before")
        self.assertLessEqual(value, after, f"{where}: more than after")

    def compare_threads(self, where, before, dump, after, counts):
        mine = {task["pid"]: task for task in dump["task_enrichments"] if task["pid"] != 0}
        self.assertNotIn("tasks_total", dump, "the dump is cut")
        self.assertEqual(len(mine), sum(task["pid"] != 0 for task in dump["task_enrichments"]), f"{where}: a thread twice")
        lasting = {pid for pid, thread in before.threads.items() if pid in after.threads and thread.start == after.threads[pid].start}
        self.assertFalse(lasting - set(mine), f"{where}: threads of both reports that floe does not list")
        extra = set(mine) - set(before.threads) - set(after.threads)
        if before.forks == after.forks:
            self.assertFalse(extra, f"{where}: floe lists threads of neither report, and none was made")
        counts.add("threads in neither report, made in between", len(extra))
        for pid in lasting:
            first, last, task = before.threads[pid], after.threads[pid], mine[pid]
            task = task | {"comm": plain(task["comm"])}
            name = f"{where}: {task['comm']}[{pid}]"
            # What a thread does changes from look to look, unless it did not run in between.
            resting = first.switches() == last.switches()
            for key, value in first.same.items():
                if value != last.same[key] or (key in ("state", "cpu") and not resting):
                    continue
                self.assertEqual(task.get(key, [] if key == "ns_pids" else None), value, f"{name}: {key}")
                counts.add(f"{key} equal")
            for key, value in first.grows.items():
                self.between(value, task.get(key), last.grows[key], f"{name}: {key}")
                counts.add(f"{key} in between")
            # utime + stime of /proc are sum_exec_runtime, split and each cut to ticks (cputime_adjust() in kernel/sched/cputime.c).
            self.between(first.ticks * TICK, task["sum_exec_runtime"], (last.ticks + 2) * TICK, f"{name}: utime + stime")
            counts.add("utime + stime")
        counts.add("threads", len(lasting))
        return {mine[pid]["comm"]: mine[pid] for pid in lasting}

    def compare_cpus(self, where, before, dump, after, counts):
        mine = {time["cpu"]: time for time in dump["per_cpu_time"]}
        self.assertEqual(sorted(mine), sorted(before.cpus), where)
        for cpu, time in mine.items():
            name = f"{where}: CPU {cpu}"
            for key in CPUSTAT:
                if key == "idle":
                    continue
                self.between(before.cpus[cpu][key] * TICK, time[f"cpustat_{key}_ns"], after.cpus[cpu][key] * TICK + TICK, f"{name}: {key}")
                counts.add("times of CPUs")
            self.compare_idle(name, before, time, after, counts)
            for number, kind in enumerate(SOFTIRQS):
                self.between(before.softirqs[kind][cpu], time["softirqs"][number], after.softirqs[kind][cpu], f"{name}: softirq {kind}")
                counts.add("softirqs of CPUs")

    def compare_idle(self, name, before, time, after, counts):
        """get_idle_time() in fs/proc/stat.c: what is in the books, and while the CPU idles what has passed since it began to."""
        cpu = time["cpu"]
        booked = time.get("idle_sleeptime_ns", time["cpustat_idle_ns"])
        since = time.get("idle_entrytime_ns")
        earlier, later = before.cpus[cpu]["idle"] * TICK, after.cpus[cpu]["idle"] * TICK
        if self.nohz_active is not None:
            self.assertEqual("idle_sleeptime_ns" in time, self.nohz_active, f"{name}: kept where /proc/stat has it from")
        if self.nohz_active is False:  # booked by the tick, when it comes
            self.assertIsNone(since, name)
            self.between(earlier, booked, later + TICK, f"{name}: idle")
            counts.add("idle CPUs", later > earlier)
            counts.add("idle times")
            return

        def at(clock):
            return booked + (max(0, clock - since) if since is not None else 0)

        self.assertLessEqual(earlier, at(before.clock[1]), f"{name}: idle, before")
        self.assertGreaterEqual(later + TICK, booked, f"{name}: idle, after")
        self.assertLessEqual(later, booked + after.clock[1] - (before.clock[0] if since is None else since), f"{name}: idle, after")
        if since is not None and since <= before.clock[0]:  # it has idled from before the first report on: to the tick
            self.assertGreaterEqual(earlier + TICK, at(before.clock[0]), f"{name}: idle, before")
            counts.add("CPUs idle since before the first report")
        counts.add("idle CPUs", since is not None)
        counts.add("idle times")

    def compare_nodes(self, where, before, dump, after, counts):
        mine = {node["node"]: node for node in dump["per_node_numa"]}
        self.assertEqual(sorted(mine), sorted(before.nodes), where)
        names = {"numa_hit": "numa_hit", "numa_miss": "numa_miss", "numa_foreign": "numa_foreign",
                 "interleave_hit": "numa_interleave_hit", "local_node": "numa_local", "other_node": "numa_other"}
        for number, node in mine.items():
            for theirs, ours in names.items():
                self.between(before.nodes[number][theirs], node[ours], after.nodes[number][theirs], f"{where}: node {number} {ours}")
                counts.add("numastat counters")

    def compare_programs(self, where, before, dump, after, counts):
        mine = {program["id"]: program for program in dump.get("prog_runtime_stats", [])}
        lasting = {number: program for number, program in before.programs.items() if number in after.programs}
        self.assertFalse(set(lasting) - set(mine), f"{where}: struct_ops programs")
        for number, (name, first) in lasting.items():
            self.assertEqual(mine[number]["name"], name, where)
            for key, low, high in zip(("cnt", "nsecs", "misses"), first, after.programs[number][1]):
                self.between(low, mine[number][key], high, f"{where}: {name} {key}")
                counts.add("program counters")
            counts.add("programs that ran in between", first[0] < after.programs[number][1][0])

    def check_cast(self, where, seen, dump):
        """That the comparison had something of everything to compare."""
        self.assertFalse(set(CAST) - set(seen), f"{where}: the cast is not complete")
        for name, wanted in CAST.items():
            self.assertEqual({key: seen[name].get(key) for key in wanted}, wanted, f"{where}: {name}")
        self.assertEqual(seen["in-ns"]["ns_pids"], [1])
        self.assertEqual(seen["in-ns-in-ns"]["ns_pids"], [2, 1])
        self.assertEqual(seen["session"]["sid"], seen["session"]["pid"])
        self.assertEqual(seen["group"]["pgid"], seen["group"]["pid"])
        self.assertGreater(seen["user"]["utime"], 2 * seen["user"]["stime"])
        self.assertGreater(seen["kernel"]["stime"], 2 * seen["kernel"]["utime"])

    def check(self, kernel, cpus, words, before=""):
        machine = ("--kernel", kernel, "--cpus", cpus, "--memory", 512, "--duration", "150s", "--keep-snapshots")
        run = self.floe(*machine, *words, "--", "/bin/sh", "-c", f"{before}exec {REPORTER} {REPORTS} 1400")
        self.assertEqual(run.code, 0, run.reason)
        log = (self.folder / "workload.log").read_text()
        told = re.search(r"^nohz ([01])$", log, re.M)
        self.nohz_active = told[1] == "1" if told else None
        reports = parse_reports(log)
        self.assertEqual(len(reports), REPORTS)
        counts, snapshots = Counts(), 0
        for snapshot in run.snapshots():
            dump = self.dump(snapshot)
            names = [task["comm"] for task in dump["task_enrichments"] if re.fullmatch(r"(rep|ok)-\d+", task["comm"])]
            mine = re.fullmatch(r"(rep|ok)-(\d+)", names[0]) if len(set(names)) == 1 else None
            if mine is None:
                continue  # before the reporter began, or after it ended
            number = int(mine[2])
            first, last = (number, number + 1) if mine[1] == "ok" else (number - 1, number + 1)
            if first not in reports or last not in reports:
                continue
            before, after, where = reports[first], reports[last], f"{snapshot.name} between reports {first} and {last}"
            seen = self.compare_threads(where, before, dump, after, counts)
            self.check_cast(where, seen, dump)
            self.compare_cpus(where, before, dump, after, counts)
            self.compare_nodes(where, before, dump, after, counts)
            self.compare_programs(where, before, dump, after, counts)
            snapshots += 1
        print(f"{snapshots} snapshots: {counts}", file=sys.stderr)
        self.assertGreaterEqual(snapshots, 2)
        self.assertGreater(counts["idle CPUs"], 0, "no CPU idled in any snapshot, by its books")
        return counts

    def test_7_2_two_vcpus_under_a_scheduler(self):
        counts = self.check(floe.kernel("7."), 2, ("--add", REPORTER, "--scheduler", floe.SCHED, "fair"))
        self.assertGreater(counts["weight equal"], 50)
        self.assertGreater(counts["programs that ran in between"], 3)

    def test_6_12_one_vcpu(self):
        # Without sched_ext it is the programs of a TCP congestion control that run.
        programs = [word for path in (REPORTER, floe.MAPS_ALL, "/bin/grep", "/bin/sleep") for word in ("--add", path)]
        # Whether it stops its tick depends on the timers that the host's KVM gives it.
        hold = "echo nohz $(floe-guest read tick_nohz_active 4); "
        hold += f"{floe.MAPS_ALL} --hold 600 > /tmp/held & until grep -q holding /tmp/held; do sleep 0.2; done; "
        counts = self.check(floe.kernel("6.12"), 1, programs, hold)
        self.assertGreater(counts["programs that ran in between"], 0)


if __name__ == "__main__":
    floe.main()
