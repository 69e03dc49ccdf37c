"""The kernel's own dump of a scheduler's exit (scx_dump_state() in kernel/sched/ext.c) beside floe's dump of the last snapshot before it.

The kernel tells how long each queued task has waited, not since when. The task that its message names had waited since before the snapshot:
floe's stamp of it and the kernel's age of it give the instant of the kernel's dump, and that instant every other task's stamp.
"""

import re

QUEUED, RESET_RUNNABLE_AT = 1, 4  # enum scx_ent_flags
STATE_SHIFT, STATE_MASK = 8, 0x700  # SCX_TASK_STATE_*
OPS_STATE_BITS = 2  # SCX_OPSS_QSEQ_SHIFT
LOCAL_DSQ = 0x8000000000000002  # SCX_DSQ_LOCAL

CPU = re.compile(r"^CPU (\d+) *: nr_run=(\d+) flags=0x([0-9a-f]+) ", re.M)
TASK = re.compile(
    r"^ [ *](?P<state>\S) (?P<comm>.*)\[(?P<pid>\d+)\] (?:\S+ )?(?P<age_ms>[+-]\d+)ms\n"
    r" +scx_state/flags=(?P<scx_state>\d+)/0x(?P<flags>[0-9a-f]+) dsq_flags=0x[0-9a-f]+ ops_state/qseq=(?P<ops>\d+)/(?P<qseq>\d+)\n"
    r" +sticky/holding_cpu=\S+ dsq_id=(?P<dsq>\S+)", re.M)
# What scx_dump_task() begins a task with, so that none is passed over unread.
SOME_TASK = re.compile(r"^ +scx_state/flags=", re.M)


class Task:
    def __init__(self, match, cpu, hz):
        self.name = f"{match['comm']}[{match['pid']}]"
        self.pid, self.cpu, self.state = int(match["pid"]), cpu, match["state"]
        self.age = -int(match["age_ms"]) * hz / 1000
        self.flags = int(match["flags"], 16)
        self.scx_flags = self.flags | int(match["scx_state"]) << STATE_SHIFT
        self.ops_state = int(match["ops"]) | int(match["qseq"]) << OPS_STATE_BITS
        self.dsq = None if match["dsq"] == "(n/a)" else int(match["dsq"], 16)

    def picked_since(self, before):
        """Chosen to run after the snapshot: it is off its DSQ, but keeps its stamp until it is queued again (clr_task_runnable())."""
        chosen = self.flags & RESET_RUNNABLE_AT and not before["scx_flags"] & RESET_RUNNABLE_AT
        return chosen or (self.dsq == LOCAL_DSQ and before.get("scx_dsq_id") != LOCAL_DSQ)


class KernelDump:
    def __init__(self, text, hz):
        if "~~~~ TRUNCATED ~~~~" in text:
            raise AssertionError("the kernel's dump was longer than its buffer")
        heads = list(CPU.finditer(text))
        self.cpus, self.tasks = {}, []  # cpu -> (nr_run, flags)
        for head, end in zip(heads, [head.start() for head in heads[1:]] + [len(text)]):
            self.cpus[int(head[1])] = int(head[2]), int(head[3], 16)
            self.tasks += [Task(match, int(head[1]), hz) for match in TASK.finditer(text, head.end(), end)]
        if not self.tasks or len(self.tasks) != len(SOME_TASK.findall(text)):
            raise AssertionError(f"{len(self.tasks)} tasks found in the kernel's dump:\n{text}")


class Compared:
    """How many were: tasks in all respects, tasks in age and state only (picked since), tasks queued anew since; CPUs, and how many of them
    have the very nr_run of a snapshot."""

    def __init__(self):
        self.whole = self.picked = self.anew = self.cpus = self.same_count = 0

    def __str__(self):
        return (f"{self.whole} tasks compared, {self.picked} in age and state only (picked to run since), {self.anew} queued anew since; "
                f"{self.cpus} CPUs, {self.same_count} with the nr_run of a snapshot")


def last_before(dumps):
    """Of floe's dumps, in order: the last with the scheduler in charge, and the one after it."""
    places = [n for n, dump in enumerate(dumps) if (dump.get("scx_sched_state") or {}).get("exit_kind") == 0]
    if not places:
        raise AssertionError("no snapshot shows the scheduler in charge")
    return dumps[places[-1]], (dumps[places[-1] + 1:] or [None])[0]


def compare(case, text, message, before, after):
    """`text` is the kernel's dump, `message` its msg; `before` and `after` (or None) are floe's dumps of the snapshots around it."""
    now, hz = before["capture"]["jiffies"], before["capture"]["hz"]
    kernel = KernelDump(text, hz)
    ours = {task["pid"]: task for task in before["task_enrichments"]}
    waited = int(re.match(r".*\[(\d+)\] failed to run for ", message)[1])
    named = [task for task in kernel.tasks if task.pid == waited]
    case.assertEqual(len(named), 1, f"{message}: listed {len(named)} times")
    shift = ours[waited]["runnable_at"] + named[0].age - now
    case.assertGreaterEqual(shift, -1, "the exit was after the snapshot")
    if after:
        case.assertLessEqual(now + shift, after["capture"]["jiffies"] + 1, "and before the next")

    compared = Compared()
    queues = {queued["kva"]: (dsq["id"], queued) for dsq in before["dsq_states"] for queued in dsq.get("tasks", [])}
    for task in kernel.tasks:
        since = now + shift - task.age
        if since >= now - 1:
            compared.anew += 1
            continue
        # Stamped before the snapshot and not since, for a stamp is never set back.
        own = ours.get(task.pid)
        case.assertIsNotNone(own, f"{task.name} waits since before the snapshot, which has no such task")
        case.assertLessEqual(abs(own["runnable_at"] - since), 1, f"{task.name}: since {since}, in the snapshot {own}")
        age = own.get("runnable_age_jiffies", now - own["runnable_at"])
        case.assertLessEqual(abs(task.age - age - shift), 1, f"{task.name}: {task.age} jiffies, {age} in the snapshot {shift} before")
        case.assertEqual(task.scx_flags & STATE_MASK, own["scx_flags"] & STATE_MASK, task.name)
        case.assertEqual(task.state, own["state"], task.name)
        if task.picked_since(own):
            compared.picked += 1
            continue
        case.assertEqual(task.scx_flags, own["scx_flags"], task.name)
        case.assertEqual(task.ops_state, own["scx_ops_state"], task.name)
        case.assertEqual(task.dsq, own.get("scx_dsq_id"), task.name)
        # And on that very queue, with the same age.
        dsq, queued = queues.get(own["task_kva"], (None, None))
        case.assertEqual(task.dsq, dsq, f"{task.name}: on the queue itself")
        if queued:
            case.assertEqual(queued["runnable_age_jiffies"], age, task.name)
        compared.whole += 1
    case.assertGreater(compared.whole, 0, f"nothing to compare: {compared}")
    compare_cpus(case, kernel, [dump for dump in (before, after) if dump], compared)
    return compared


def compare_cpus(case, kernel, snapshots, compared):
    """Flags are those of a snapshot. Tasks come and go in between, so nr_run need be neither snapshot's; but in the kernel's dump and in
    floe's it is the number of tasks that stand there as queued on that CPU, which explains every difference by its tasks."""
    around = [{rq["cpu"]: rq for rq in dump["rq_scx_states"]} for dump in snapshots]
    for dump, rqs in zip(snapshots, around):
        for cpu, rq in rqs.items():
            queued = [task for task in dump["task_enrichments"] if task.get("cpu") == cpu and task.get("scx_flags", 0) & QUEUED]
            if not rq.get("lock_held"):
                case.assertEqual(rq["nr_running"], len(queued), f"CPU {cpu} of snapshot {dump['capture']['sequence']}")
    for cpu, (nr_run, flags) in kernel.cpus.items():
        case.assertEqual(nr_run, sum(task.cpu == cpu for task in kernel.tasks), f"CPU {cpu}")
        case.assertIn(flags, [rqs[cpu]["flags"] for rqs in around], f"CPU {cpu}")
        compared.cpus += 1
        compared.same_count += nr_run in [rqs[cpu]["nr_running"] for rqs in around]
