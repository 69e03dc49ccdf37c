"""The kernel's log and its tasks' stacks, read by the host from a snapshot, are what /dev/kmsg and /proc/PID/stack say in the guest."""

import json
import os
import re
import subprocess
import unittest

import floe

REPORTER = os.environ.get("FLOE_LOG_REPORTER", "")
MOST_FRAMES = 64  # MAX_STACK_TRACE_DEPTH, fs/proc/base.c


class Reports:
    def __init__(self, text):
        self.whole, self.symbols = set(), {}
        self.stacks = {}  # report -> tid -> (switches, frames)
        self.log = {}  # report -> the records that are new in it, by seq
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word == "REPORT":
                self.whole.add(int(rest))
            elif word == "SYMBOL":
                name, address = rest.split()
                self.symbols[name] = int(address, 16)
            elif word == "STACK":
                number, tid, switches, *frames = rest.split(" ", 3)
                frames = [frame for frame in "".join(frames).split(";") if frame]
                self.stacks.setdefault(int(number), {})[int(tid)] = (int(switches), frames)
            elif word == "KMSG":
                number, record = rest.split(" ", 1)
                head, _, body = record.partition(";")
                self.log.setdefault(int(number), {})[int(head.split(",")[1])] = (head.split(",")[:4], body.split("\t"))

    def log_until(self, number):
        return {seq: record for n, records in self.log.items() if n <= number for seq, record in records.items()}

    def left_out_of_stacks(self, ip):
        """in_sched_functions(): /proc/PID/stack does not show these."""
        spans = (("__sched_text_start", "__sched_text_end"), ("__lock_text_start", "__lock_text_end"))
        return any(self.symbols[start] <= ip < self.symbols[end] for start, end in spans if start in self.symbols)


def escaped(text):
    """msg_add_ext_text() in kernel/printk/printk.c."""
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in text.encode())


def as_kmsg(record):
    """A record of floe's as /dev/kmsg gives it."""
    flag = "c" if record["flags"] & 8 else "-"
    head = [str(record["level"] | record["facility"] << 3), str(record["seq"]), str(record["time_ns"] // 1000), flag]
    body = [escaped(record["text"])]
    for name in ("subsystem", "device"):
        if name in record:
            body.append(f" {name.upper()}={escaped(record[name])}")
    return head, body


class KernelLog(floe.Case):
    def shown(self, snapshot):
        words = [floe.FLOE, "show", "--json", "--log", "--stacks", str(snapshot)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def compare_log(self, name, log, before, after):
        self.assertTrue(log["complete"], log["problems"])
        self.assertEqual(log["damaged"], 0)
        finished = [record for record in log["records"] if not record.get("pending")]
        seen = {record["seq"] for record in finished}
        self.assertEqual(len(seen), len(finished), f"{name}: a record twice")
        self.assertFalse(set(before) - seen, f"{name}: in the guest's log before, not in the host's")
        self.assertFalse(seen - set(after), f"{name}: in the host's log, not in the guest's after")
        for record in finished:
            self.assertEqual(as_kmsg(record), after[record["seq"]], name)
        return len(finished)

    def compare_stacks(self, name, shown, reports, number):
        before, after = reports.stacks[number - 1], reports.stacks[number + 1]
        compared = {}
        for stack in shown["stacks"]:
            first, last = before.get(stack["pid"]), after.get(stack["pid"])
            if stack["pid"] == 0 or first is None or first != last or not first[1]:
                continue  # an idle task, or one that ran in between
            frames = [frame for frame in stack["frames"] if not reports.left_out_of_stacks(int(frame["ip"], 16))]
            texts = [frame["text"] for frame in frames][:MOST_FRAMES]
            self.assertEqual(texts, first[1], f"{name}: {stack['comm']}[{stack['pid']}]")
            self.assertTrue(all(frame["reliable"] for frame in stack["frames"]), stack)
            self.assertTrue(stack["complete"], stack)
            compared[stack["pid"]] = stack["comm"]
        return compared

    def check(self, kernel, cpus):
        machine = ("--kernel", kernel, "--cpus", cpus, "--memory", 512)
        run = self.floe(*machine, "--duration", "40s", "--keep-snapshots", "--", REPORTER, 8, 800)
        self.assertEqual(run.code, 0, run.reason)
        reports = Reports((self.folder / "workload.log").read_text())
        snapshots, names, running = 0, set(), 0
        for snapshot in run.snapshots():
            shown = self.shown(snapshot)
            mine = [task["comm"] for task in shown["tasks"] if re.fullmatch(r"rep-\d+", task["comm"])]
            number = int(mine[0][4:]) if len(mine) == 1 else 0
            if not {number - 1, number + 1} <= reports.whole:
                continue  # before the reporter began, or after it ended
            records = self.compare_log(snapshot.name, shown["kernel_log"], reports.log_until(number - 1), reports.log_until(number + 1))
            self.assertGreater(records, 100)
            compared = self.compare_stacks(snapshot.name, shown, reports, number)
            self.assertGreater(len(compared), 30)
            names |= set(compared.values())
            # What no /proc file shows: a running task's.
            for stack in shown["stacks"]:
                running += bool(stack["pid"] == 0 and stack["complete"])
            snapshots += 1
        self.assertGreaterEqual(snapshots, 2)
        self.assertGreater(running, 0, "no idle task's stack could be followed to its end")
        for sleeper in ("in-pipe", "in-poll", "in-nanosleep", "in-vfork", "in-wait", "kthreadd"):
            self.assertIn(sleeper, names)
        one = [stack["pid"] for stack in shown["stacks"] if stack["comm"] == "kthreadd"]
        words = [floe.FLOE, "show", "--stacks", "--task", str(one[0]), str(snapshot)]
        text = subprocess.run(words, capture_output=True, text=True, timeout=120)
        self.assertRegex(text.stdout, r"^2 kthreadd S\n    __schedule\+")
        self.assertNotIn("\n\n", text.stdout)

    def test_7_2_two_vcpus(self):
        self.check(floe.kernel("7."), 2)

    def test_6_12_one_vcpu(self):
        self.check(floe.kernel("6.12"), 1)


if __name__ == "__main__":
    floe.main()
