"""What the host reads from a snapshot is what the guest is: compared with the guest's own /proc around the same instant."""

import re
import unittest

import floe


def parse_reports(text):
    reports = {}
    for line in text.splitlines():
        match = re.match(r"REPORT (\d+) processes=(-?\d+) (.*)", line)
        if match:
            tasks = {tuple(word.split(":", 1)) for word in match.group(3).split()}
            reports[int(match.group(1))] = (int(match.group(2)), {(int(pid), plain(comm)) for pid, comm in tasks})
    return reports


def plain(comm):
    """A kworker's name ends with what it works on at this moment, which may differ between two looks."""
    comm = comm.replace(" ", "_")
    return re.split(r"[-+]", comm, maxsplit=1)[0] if comm.startswith("kworker/") else comm


class Truth(floe.Case):
    def check(self, kernel, cpus):
        machine = ("--kernel", kernel, "--cpus", cpus, "--memory", 512)
        run = self.floe(*machine, "--duration", "60s", "--keep-snapshots", "--", floe.REPORTER, 30, 300)
        self.assertEqual(run.code, 0, run.reason)
        reports = parse_reports((self.folder / "workload.log").read_text())
        self.assertEqual(len(reports), 30)
        compared = 0
        for snapshot in run.snapshots():
            shown = self.show(snapshot)
            self.assertTrue(shown["tasks_complete"], shown["tasks_problems"])
            host = {(task["pid"], plain(task["comm"])) for task in shown["tasks"] if task["pid"] == task["tgid"]}
            mine = [comm for _, comm in host if comm.startswith("rep-")]
            if len(mine) != 1:
                continue  # before the reporter began, or after it ended
            number = int(mine[0][4:])
            if number - 1 not in reports or number + 1 not in reports:
                continue
            (forks_before, before), (forks_after, after) = reports[number - 1], reports[number + 1]
            missing = {task for task in before & after if not task[1].startswith("rep-")} - host
            self.assertFalse(missing, f"{snapshot.name}: in the guest before and after, not in the host's list")
            if forks_before == forks_after:
                extra = {task for task in host if not task[1].startswith("rep-")} - before - after
                self.assertFalse(extra, f"{snapshot.name}: in the host's list, not in the guest before or after")
            compared += 1
        self.assertGreaterEqual(compared, 3)
        shown = self.show(run.snapshots()[-1])
        self.assertEqual(shown["uts"]["release"], run.manifest["guest"]["hello"]["release"])
        return shown

    def test_7_2_two_vcpus(self):
        shown = self.check(floe.kernel("7."), 2)
        self.assertNotEqual(int(shown["kaslr_offset"], 16), 0, "KASLR moved the kernel")
        self.assertEqual(len(shown["idle_tasks"]), 2)

    def test_6_12_one_vcpu(self):
        shown = self.check(floe.kernel("6.12"), 1)
        self.assertEqual(len(shown["idle_tasks"]), 1)


if __name__ == "__main__":
    floe.main()
