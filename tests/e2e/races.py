"""Captures on demand, asked for by many at once, while ticks go on and a scheduler stalls: everybody has exactly one answer.

FLOE_CAPTURES is how many are asked for at least: 100; the long test: 1,000. The guest starts the task that is never run when it has asked
so often itself that the others have asked for about as many; they all go on until the run refuses them.
"""

import collections
import json
import os
import socket
import sys
import threading
import time
import unittest

import floe

CAPTURES = int(os.environ.get("FLOE_CAPTURES", "100"))
ASKERS = 20
TURNS = -(-CAPTURES // ASKERS)
# Not answered by a capture, or the lack of one, but by the end.
ENDED = {"the run is ending", "the run has ended", "the run has not begun yet", "the guest has not said hello yet"}

LOAD = (
    f"{floe.WORKERS} 0 worker:sleep & i=0; while :; do i=$((i+1)); echo asks g$i; "
    f"if floe-guest snapshot g$i; then echo got g$i; else echo refused g$i; fi; "
    f"if [ $i = {TURNS} ]; then {floe.WORKERS} 0 stallme:sleep & fi; done"
)


class Asker(threading.Thread):
    """Asks over a connection of its own, two at a time, until nothing can be sent any more; then reads what is left."""

    def __init__(self, folder, name):
        super().__init__()
        at = os.open(folder, os.O_PATH)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(f"/proc/self/fd/{at}/control.sock")
        os.close(at)
        self.prefix, self.asked, self.answers, self.error = name, [], [], None
        self.heard = b""

    def ask(self):
        tag = f"{self.prefix}-{len(self.asked)}"
        self.socket.sendall(json.dumps({"snapshot": tag}).encode() + b"\n")
        self.asked.append(tag)

    def hear(self):
        while b"\n" not in self.heard:
            got = self.socket.recv(4096)
            if not got:
                return None
            self.heard += got
        line, _, self.heard = self.heard.partition(b"\n")
        return json.loads(line)

    def run(self):
        try:
            while True:
                self.ask()
                self.ask()
                self.answers += [self.hear(), self.hear()]
                if self.answers[-1] and self.answers[-1].get("error") in ENDED:
                    time.sleep(0.5)  # the run has better things to do now
        except BrokenPipeError:
            while (answer := self.hear()) is not None:
                self.answers.append(answer)
        except OSError as error:
            self.error = error
        finally:
            self.socket.close()


class Races(floe.Case):
    def test_captures_race_with_ticks_and_a_stall(self):
        machine = ("--kernel", floe.kernel("7."), "--cpus", 1, "--memory", 512, "--duration", f"{120 + 10 * TURNS}s")
        scheduler = ("--scheduler", floe.SCHED, "stall", "--timeout-ms", 8000)  # its watchdog is to come to its turn meanwhile
        process = self.start(*machine, "--add", floe.WORKERS, *scheduler, "--", "/bin/sh", "-c", LOAD)
        workload = self.folder / "workload.log"
        self.wait_for(lambda: workload.exists() and "asks g1" in workload.read_text(), 240, "the guest's first question")
        askers = [Asker(self.folder, f"op{number}") for number in range(ASKERS)]
        for asker in askers:
            asker.start()
        run = self.finish(process, timeout=240 + 10 * TURNS)
        for asker in askers:
            asker.join()
        self.assertEqual(run.code, 5, run.reason)
        self.assertIn("stallme", run.reason)
        self.assertFalse((self.folder / "control.sock").exists())
        self.assertEqual(json.loads((self.folder / "run.failure-dump.json").read_text())["schema"], "dual")
        answered = self.check_askers(askers)
        self.check_manifest(run.manifest["captures"], answered)
        self.check_files(answered)
        windows = run.manifest["freeze_us"]
        print(f"{windows['count']} freezes, window p50 {windows['p50']} us, p99 {windows['p99']} us", file=sys.stderr)

    def check_askers(self, askers):
        """None lost, none twice. Tag -> answer, of those that were not refused for the run's end."""
        answered = {}
        for asker in askers:
            self.assertIsNone(asker.error, f"{asker.prefix}: {len(asker.answers)} answers to {len(asker.asked)}")
            self.assertEqual(len(asker.answers), len(asker.asked), f"{asker.prefix}: {asker.answers[-3:]}")
            self.assertNotIn(None, asker.answers)
            for tag, answer in zip(asker.asked, asker.answers):
                if answer["ok"]:
                    self.assertEqual(answer["file"], f"run.snapshot.{tag}.json")
                    answered[tag] = answer
                else:
                    self.assertIn(answer["error"], ENDED, tag)
        asked = sum(len(asker.asked) for asker in askers)
        self.assertGreaterEqual(asked, CAPTURES)
        print(f"{asked} asked, {len(answered)} answered by a capture, {asked - len(answered)} refused at the end", file=sys.stderr)
        return answered

    def check_manifest(self, captures, answered):
        said = collections.defaultdict(list)
        for line in (self.folder / "workload.log").read_text().splitlines():
            word, _, tag = line.partition(" ")
            said[word].append(tag)
        # The last one may have been on its way when the guest was stopped.
        self.assertLessEqual(len(said["asks"]) - len(said["got"]) - len(said["refused"]), 1)
        self.assertEqual(len(set(said["got"])), len(said["got"]))
        from_guest = captures["answered"] - len(answered)
        self.assertIn(from_guest, range(len(said["got"]), len(said["asks"]) + 1))
        self.assertEqual(len(captures["first"]), min(captures["answered"], 1000))
        listed = collections.Counter(capture["tag"] for capture in captures["first"])
        self.assertEqual(set(listed.values()), {1}, listed.most_common(3))
        self.assertLessEqual(set(listed), set(answered) | set(said["asks"]))
        if captures["answered"] <= 1000:
            self.assertLessEqual(set(answered) | set(said["got"]), set(listed))
        for capture in captures["first"]:
            self.assertTrue(capture["ok"], capture)

    def check_files(self, answered):
        """Those whom one freeze answered have the same report."""
        by_freeze = collections.defaultdict(set)
        for answer in answered.values():
            text = (self.folder / answer["file"]).read_text()
            by_freeze[answer["sequence"]].add(text)
        for sequence, texts in by_freeze.items():
            self.assertEqual(len(texts), 1, f"snapshot {sequence} was rendered more than once")
            self.assertEqual(json.loads(texts.pop())["schema"], "single")
        self.assertLess(len(by_freeze), len(answered))
        print(f"{len(answered)} requests shared {len(by_freeze)} freezes", file=sys.stderr)


if __name__ == "__main__":
    floe.main()
