#!/usr/bin/env python3
"""bench_engine --quick: every row is there and measured (or says why not), steady rows allocate nothing, and results can be compared.

    smoke.py BENCH_ENGINE

How fast anything is, is not asked here.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = (
    [f"nop, depth {depth}" for depth in (1, 32, 256)]
    + ["stall detector, nop depth 32"]
    + [f"task: {what}" for what in ("create, await, destroy", "one switch (symmetric transfer)")]
    + [f"task: spawn and join, {how}" for how in ("waves of 1,000", "a million at once")]
    + [f"yield: {ready} ready{how}" for ready in (2, 16, 64, 256) for how in ("", " with deadlines")]
    + [f"timer: set and cancel, {live} live" for live in ("1,000", "a million")]
    + ["timer: a timeout that does not fire"]
    + [f"lateness: {what}" for what in ("1 kHz, p50", "1 kHz, p90", "drift over 10,000 ticks")]
    + [f"post: {what}" for core in ("another", "the same") for what in (
        f"awake, from {core} core", f"parked, from {core} core, wake", f"parked, from {core} core, sender")]
    + [f"echo: {size} B, {pairs}" for size in (64, 4096) for pairs in ("1 pair", "32 pairs")]
    + ["records: drain a ring behind a poll", "burst: a deadline among 256 ready", "idle: 100 tasks at 1 Hz"]
)
wrong = []


def check(holds, what):
    if not holds:
        wrong.append(what)


def run(*words):
    return subprocess.run([str(word) for word in words], text=True, capture_output=True, timeout=100)


def check_row(row):
    names = [contender["name"] for contender in row["contenders"]]
    check("floe" in names, f"{row['name']}: no floe")
    check(row["baseline"] in [*names, ""], f"{row['name']}: no baseline")
    for one in row["contenders"]:
        what = f"{row['name']}: {one['name']}"
        check(one.get("rounds") or one.get("absent"), f"{what}: neither rounds nor a reason")
        if one["name"] in ("floe", row["baseline"]):
            check("rounds" in one or "one core" in one["absent"], f"{what}: absent")
    for promise in row["promises"]:
        if "allocations/op" in promise["text"]:
            one_core = "one core" in row["contenders"][0].get("absent", "")
            check(promise["holds"] is True or one_core, f"{row['name']}: {promise['text']}: {promise['value']}")


bench = sys.argv[1]
with tempfile.TemporaryDirectory(prefix="floe-bench-") as folder:
    out, garbage = Path(folder) / "out.json", Path(folder) / "garbage.json"
    quick = run(bench, "--quick", "--json", "--out", out)
    check(quick.returncode == 0, f"--quick ended with {quick.returncode}: {quick.stderr}")
    if not wrong:
        report = json.loads(quick.stdout)
        check(report == json.loads(out.read_text()), "--out is not what --json prints")
        names = [row["name"] for row in report["rows"]]
        check(sorted(names) == sorted(ROWS), f"rows: missing {set(ROWS) - set(names)}, unknown {set(names) - set(ROWS)}")
        for row in report["rows"]:
            check_row(row)
        same = run(bench, "--quick", "--only", "nop, depth 32", "--compare", out)
        check(same.returncode == 0 and "nop, depth 32" in same.stdout and " -> " in same.stdout, f"--compare: {same.stdout}{same.stderr}")
        check("only in the old run" not in same.stdout, "--compare: rows that --only leaves out")
        shared = run(bench, "--quick", "--json", "--only", "nop, depth 1", "--processes", 3, "--rounds", 4)
        check(shared.returncode == 0, f"--processes: {shared.returncode} {shared.stderr}")
        for one in json.loads(shared.stdout)["rows"][0]["contenders"] if not wrong else []:
            check(len(one["rounds"]) == 6 and one["figures"]["allocations/op"] == 0, f"--processes: {one}")  # 2 rounds in each of 3
        garbage.write_text('{"rows": 3}')
        bad = run(bench, "--quick", "--only", "nop, depth 32", "--compare", garbage)
        check(bad.returncode == 2 and str(garbage) in bad.stderr, f"--compare of garbage: {bad.returncode} {bad.stderr}")
print("\n".join(wrong) or f"{len(ROWS)} rows")
sys.exit(bool(wrong))
