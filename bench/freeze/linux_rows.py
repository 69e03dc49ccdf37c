"""What the scripts linux* of this folder share: floe in the nested machine, rows as bench/report writes them, and how they are shown."""

import argparse
import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOE = ROOT / "build/release/cli/floe"
PROGRAMS = ROOT / "build/release/bench/freeze"
MARK = "nested, emulated CPU"
CANNOT = (2, 71)  # exit codes of a floe that says why this machine cannot
SKIPPED = 77


def spread(values):
    """As bench/report does it."""
    ordered = sorted(values)

    def at(part):
        return ordered[int(part * (len(ordered) - 1) + 0.5)]

    return {"median": statistics.median(ordered), "best": ordered[0], "worst": ordered[-1], "p10": at(0.1), "p90": at(0.9)}


def contender(name, values, figures=None):
    return {"name": name, **spread(values), "figures": figures or {}, "rounds": values}


def last_words(stderr):
    said = [line for line in stderr.splitlines() if line.startswith("floe: ")]
    return said[-1] if said else ""


def skip(reason):
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)


def show(row):
    print(f"\n{row['name']}  [{row['unit']}]")
    for entry in row["contenders"]:
        if "absent" in entry:
            print(f"  {entry['name']:<26} absent: {entry['absent']}")
            continue
        figures = "  ".join(f"{key} {value:.6g}" for key, value in entry.get("figures", {}).items())
        between = f"{entry['p10']:.4g}-{entry['p90']:.4g}, at most {entry['worst']:.4g}"
        print(f"  {entry['name']:<26} {entry['median']:>9.4g} ({between})  {figures}")
    for promise in row.get("promises", []):
        value = "not measured" if promise["value"] is None else f"{promise['value']:.4g}"
        print(f"  {'holds' if promise['holds'] else 'MISSED'}  {promise['text']}: {value}")
    sys.stdout.flush()


def options(description, quick):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", help="write the JSON to this file too")
    parser.add_argument("--compare", help="taken, since all benches have it; the rows are compared by scripts/bench")
    return parser.parse_args()


def need(*programs):
    for program in programs:
        if not program.exists():
            sys.exit(f"{program} is not there: cmake --build --preset release")


def write(report, out):
    """The exit code: whether all was measured."""
    if out:
        pathlib.Path(out).write_text(json.dumps(report) + "\n")
    return 1 if any("absent" in entry for row in report["rows"] for entry in row["contenders"]) else 0
