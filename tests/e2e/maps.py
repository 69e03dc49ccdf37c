"""Every BPF map that the bpftool in the guest can dump, compared with floe's dump of a snapshot between two such looks: every key and every
value, byte for byte, and as rendered. What bpftool cannot show is compared with what the program that made it says it put in."""

import json
import re
import shutil
import unittest

import floe
import seeded

SEED = 4711
# What a lookup gives nothing for, or nothing of interest.
BLIND = "ringbuf user_ringbuf queue stack bloom_filter arena sk_storage inode_storage task_storage cgrp_storage"

# Calls itself rep-N while it makes report N and until the next, so a snapshot shows between which reports it was taken.
REPORT = f"""
report() {{
  printf rep-$1 > /proc/$$/comm
  echo "=== REPORT $1"
  bpftool -j map show; echo
  bpftool map show | while read -r id type rest; do
    case $id in *:) ;; *) continue ;; esac
    case $rest in *exit_dump*) continue ;; esac
    case " {BLIND} " in *" $type "*) continue ;; esac
    echo "MAP ${{id%:}}"; bpftool -j map dump id ${{id%:}}; echo
  done
}}
"""
HOLD = f"{floe.MAPS_ALL} --seed {SEED} --hold 600 > /tmp/held & until grep -q holding /tmp/held; do sleep 0.2; done; cat /tmp/held"

HASHES = ("hash", "lru_hash", "lpm_trie", "cgroup_storage", "rhash")
PERCPU_HASHES = ("percpu_hash", "lru_percpu_hash", "percpu_cgroup_storage")
# Of these user space gets no value, only which slots there are; which are taken, the program that filled them says.
HELD = ("perf_event_array", "cgroup_array", "xskmap")
SLOTS = ("prog_array", "array_of_maps", "devmap", "sockmap", "cpumap", "reuseport_sockarray", "devmap_hash", "sockhash", "hash_of_maps")
# Maps of floe_maps_all that every kernel has, and of which all must be seen.
PLAIN = {"all_hash", "all_hash_lazy", "all_hash_empty", "all_hash_bare", "all_pcpu_hash", "all_lru", "all_pcpu_lru", "all_array",
         "all_array_one", "all_array_mmap", "all_pcpu_array", "all_lpm_trie", "all_stacks", "all_prog_array", "all_array_maps",
         "all_hash_maps", "all_devmap", "all_devmap_hash", "all_cpumap", "all_sockmap", "all_sockhash", "all_reuseport", "all_cgroup_old",
         "all_cgroup_pcpu", "all_perf_array", "all_cgroup_arr", "all_xskmap", "all_struct_ops", "floe_fil.bss"}


def octets(strings):
    return bytes(int(word, 16) for word in strings)


def raw(text):
    return bytes.fromhex(text)


def merged(pairs):
    """A JSON object of bpftool's: every anonymous member is called "", and its own members are what floe shows in its place."""
    flat = {}
    for name, value in pairs:
        if name == "" and isinstance(value, dict):
            flat |= value
        else:
            flat[name] = value
    return flat


def number(printed):
    """Bit-fields and pointers are hexadecimal text."""
    return int(printed, 16) if isinstance(printed, str) and printed.startswith("0x") else printed


def differences(rendered, printed, path=""):
    """Where a value of a dump is not what bpftool prints of the same bytes by the same BTF, as sentences."""
    kind = rendered["kind"]
    if kind == "struct" and isinstance(printed, list):  # a data section: a list of variables
        printed = {name: value for variable in printed for name, value in variable.items()}
    if kind == "struct" and isinstance(printed, dict):
        mine = {member["name"]: member["value"] for member in rendered["members"]}
        if set(mine) != set(printed):
            return [f"{path}: members {sorted(set(mine) ^ set(printed))} are in one of both only"]
        return [line for name, value in mine.items() for line in differences(value, printed[name], f"{path}.{name}")]
    if kind == "array" and isinstance(printed, list):
        if len(rendered["elements"]) != len(printed):
            return [f"{path}: {len(rendered['elements'])} elements, {len(printed)} in the guest"]
        return [line for n, (mine, its) in enumerate(zip(rendered["elements"], printed)) for line in differences(mine, its, f"{path}[{n}]")]
    if kind == "array" and isinstance(printed, str):  # of char, printed to its NUL
        mine = bytes(element["value"] & 0xFF for element in rendered["elements"])
        return [] if mine.split(b"\0", 1)[0] == printed.encode() else [f"{path}: {mine} and {printed!r}"]
    mine = rendered["variant"] if kind == "enum" and rendered["variant"] is not None else rendered.get("value")
    its = number(printed)
    if kind == "int" and isinstance(printed, str) and mine < 0:  # a signed bit-field, printed without its sign
        mine &= (1 << rendered["bits"]) - 1
    return [] if mine == its else [f"{path}: {kind} {mine!r} and {printed!r}"]


def parse_reports(text):
    """{number: ({id: bpftool's description}, {id: bpftool's entries})}"""
    reports = {}
    for number, body in re.findall(r"^=== REPORT (\d+)\n(.*?)(?=^=== |\Z)", text, re.S | re.M):
        lines = body.splitlines()
        shown = {described["id"]: described for described in json.loads(lines[0])}
        dumped = [(int(line[4:]), lines[i + 1]) for i, line in enumerate(lines) if line.startswith("MAP ")]
        dumps = {map_id: json.loads(entries, object_pairs_hook=merged) for map_id, entries in dumped}
        reports[int(number)] = (shown, dumps)
    return reports


class Maps(floe.Case):
    def look(self, kernel, *scheduler):
        """Runs it; the reports, what the loader says, and the dump of a snapshot between the first report and the second."""
        bpftool = shutil.which("bpftool", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if not bpftool:
            self.skipTest("no bpftool here: scripts/setup installs it")
        machine = ("--kernel", kernel, "--cpus", 1, "--memory", 512, "--duration", "80s", "--keep-snapshots")
        programs = [word for path in (floe.MAPS_ALL, bpftool, "/bin/cat", "/bin/sleep", "/bin/grep") for word in ("--add", path)]
        command = f"PATH=$PATH:/usr/sbin; {REPORT} {HOLD}; report 1; sleep 2.5; report 2"
        run = self.floe(*machine, *programs, *scheduler, "--", "/bin/sh", "-c", command)
        self.assertEqual(run.code, 0, run.reason)
        log = (self.folder / "workload.log").read_text(errors="replace")
        reports = parse_reports(log)
        self.assertEqual(sorted(reports), [1, 2], log[-400:])
        made = [json.loads(line) for line in log.splitlines() if line.startswith('{"type":')]
        return run, reports, made, self.between(run)

    def between(self, run):
        """A snapshot after the first report and before the second."""
        for snapshot in reversed(run.snapshots()):
            if self.numbers_of(self.show(snapshot)) == {1}:
                return snapshot
        self.fail("no snapshot between the reports")

    @staticmethod
    def numbers_of(shown, prefix="rep-"):
        return {int(task["comm"][len(prefix):]) for task in shown["tasks"] if re.fullmatch(prefix + r"\d+", task["comm"])}

    def same_value(self, rendered, data, where):
        """Whether it could be compared at all; fails when it differs."""
        self.assertIsNotNone(rendered, where)
        if rendered["kind"] == "bytes":
            self.assertEqual(raw(rendered["hex"]), data, where)
        elif rendered["kind"] == "struct" and rendered.get("type_name") == "floe_value":
            self.assertEqual(seeded.plain(rendered), seeded.members(data), where)
        else:
            return False
        return True

    def same_printed(self, mine, entry, where):
        """Compares with what bpftool prints by BTF, if it does. Whether it does."""
        printed = entry.get("formatted", {})
        for part in ("key", "value"):
            if part in printed and mine.get(part) is not None:
                value = printed[part]
                if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), list):
                    self.sections += 1
                    value = next(iter(value.values()))
                self.assertFalse(differences(mine[part], value), where)
                self.printed += 1
        return "value" in printed

    def same_operations(self, mine, printed, where):
        """A lookup gives what the program that registered them said, with program ids for functions; floe shows the kernel's own copy,
        with the trampolines. What the kernel adds at registration is in that copy alone."""
        added = {"tcp_congestion_ops": {"owner", "list", "key"}, "sched_ext_ops": {"priv"}}[mine["type_name"]]
        self.assertEqual({member["name"] for member in mine["members"]}, set(printed), where)
        functions = 0
        for member in mine["members"]:
            name, value = member["name"], member["value"]
            if name in added:
                continue
            if value["kind"] == "ptr":
                functions += bool(value["value"])
                self.assertEqual(bool(value["value"]), bool(number(printed[name])), f"{where} {name}")
            else:
                self.assertFalse(differences(value, printed[name]), f"{where} {name}")
        self.assertGreater(functions, 2, where)
        return functions > 0

    def same_map(self, info, entries, mine):
        """Compares one map. What of it could not be compared, or an empty string."""
        kind, name = info.get("type", ""), f"{info.get('name')} ({info['id']})"
        kind = "rhash" if info.get("name") == "all_rhash" else kind  # newer than Debian 12's bpftool
        if kind in HASHES:
            guest = {octets(e["key"]): octets(e["value"]) for e in entries}
            host = {raw(e["key_hex"]): e for e in mine.get("entries", [])}
            self.assertEqual({key: raw(e["value_hex"]) for key, e in host.items()}, guest, name)
            for key, e in host.items():
                if e.get("value"):
                    self.same_value(e["value"], guest[key], f"{name} {key.hex()}")
            for e in entries:
                self.same_printed(host[octets(e["key"])], e, name)
            return ""
        if kind in PERCPU_HASHES or kind == "percpu_array":
            listed = mine.get("percpu_entries" if kind == "percpu_array" else "percpu_hash_entries", [])
            key_of = (lambda e: e["key"].to_bytes(4, "little")) if kind == "percpu_array" else (lambda e: raw(e["key_hex"]))
            host = {key_of(e): e["per_cpu"] for e in listed}
            self.assertEqual(sorted(host), sorted(octets(e["key"]) for e in entries), name)
            for e in entries:
                per_cpu = host[octets(e["key"])]
                self.assertEqual(len(per_cpu), len(e["values"]), name)
                for one in e.get("formatted", {}).get("values", []):
                    self.same_printed({"value": per_cpu[one["cpu"]]}, {"formatted": one}, name)
                for one in e["values"]:
                    if not self.same_value(per_cpu[one["cpu"]], octets(one["value"]), f"{name} {e['key']} cpu {one['cpu']}"):
                        return "values of a type that is not known here"
            return ""
        if kind == "array" or info.get("name") == "all_insn_array":
            values = [octets(e["value"]) for e in entries]
            if len(values) == 1 and mine.get("value") is not None:
                if "value_hex" in mine:
                    self.assertEqual(raw(mine["value_hex"]), values[0], name)
                shown = self.same_printed(mine, entries[0], name) and "value_hex" in mine
                return "" if self.same_value(mine["value"], values[0], name) or shown else "a section without BTF"
            host = {e["key"]: e.get("value") for e in mine["array_entries"]}
            self.assertEqual(sorted(host), list(range(len(values))), name)
            for i, e in enumerate(entries):
                self.same_printed({"value": host[i]}, e, name)
            compared = [self.same_value(host[i], value, f"{name} {i}") for i, value in enumerate(values)]
            return "" if all(compared) else "values of a type that is not known here"
        if kind == "stack_trace":
            host = {e["bucket_id"]: raw(e["data_hex"]) for e in mine["stack_trace"]["entries"]}
            guest = {int.from_bytes(octets(e["key"]), "little"): octets(e["value"]) for e in entries}
            self.assertEqual(sorted(host), sorted(guest), name)
            for bucket, data in host.items():
                self.assertGreaterEqual(len(data), 8, name)
                self.assertEqual(data, guest[bucket][: len(data)], name)
                self.assertEqual(guest[bucket][len(data):].strip(b"\0"), b"", name)
            return ""
        if kind == "struct_ops":
            return "" if self.same_operations(mine["value"], entries[0]["formatted"]["value"]["data"], name) else "no operations"
        if kind in HELD:
            self.assertEqual([octets(e["key"]) for e in entries], [i.to_bytes(4, "little") for i in range(info["max_entries"])], name)
            self.assertEqual(mine["fd_array"]["scanned"], len(entries), name)
            return ""
        if kind in SLOTS and mine.get("fd_array"):
            guest = {octets(e["key"]): octets(e["value"]) for e in entries if "error" not in e["value"]}
            array = mine["fd_array"]
            self.assertEqual(array["populated"], len(guest), name)
            self.assertEqual(sorted(array["indices"]), sorted(int.from_bytes(key, "little") for key in guest), name)
            if kind in ("prog_array", "array_of_maps") and "ids" in array:
                held = {i.to_bytes(4, "little"): (of or 0).to_bytes(4, "little") for i, of in zip(array["indices"], array["ids"])}
                self.assertEqual(held, guest, name)
            return ""
        return f"type {kind or 'unnamed'}"

    def check(self, reports, dump):
        """All maps of both reports. Returns the names of those that were compared whole."""
        (shown, before), (_, after) = reports[1], reports[2]
        mine = {m["id"]: m for m in dump["maps"]}
        self.assertEqual(sorted(mine), sorted(shown), "the same maps exist")
        compared, left = set(), {}
        self.printed = self.sections = 0
        for number, info in shown.items():
            m = mine[number]
            self.assertEqual(m["name"], info.get("name", ""), info)
            self.assertEqual((m.get("key_size", 0), m["value_size"], m["max_entries"]),
                             (info["bytes_key"], info["bytes_value"], info["max_entries"]), info)
            if number not in before or before[number] != after[number]:
                left[info.get("name")] = "not dumped in the guest" if number not in before else "it changed"
                continue
            why = self.same_map(info, before[number], m)
            if why:
                left[info.get("name")] = why
            else:
                compared.add(info.get("name"))
        print(f"compared: {len(compared)} maps,", " ".join(sorted(compared)), "\nleft:", left)
        self.assertGreater(self.printed, 500)
        self.assertGreater(self.sections, 0)
        print(f"keys and values also as bpftool prints them by BTF: {self.printed}, whole sections among them: {self.sections}")
        return compared

    def check_made(self, made, dump):
        """What bpftool cannot see, against what floe_maps_all says it put in."""
        mine = {m["id"]: m for m in dump["maps"]}
        for row in made:
            if "refused" in row:
                continue
            self.assertNotIn("failed", row)
            m, values = mine[row["id"]], [raw(e.get("value_hex", "")) for e in row["entries"]]
            if row["type_name"] in ("queue", "stack") and m.get("entries"):
                self.assertEqual(sorted(raw(e["value_hex"]) for e in m["entries"]), sorted(values), row["name"])
            if row["type_name"] in HELD:
                slots = [int.from_bytes(raw(e["key_hex"]), "little") for e in row["entries"]]
                self.assertEqual(len(slots), 1, row["name"])
                self.assertEqual(m["fd_array"]["indices"], slots, row["name"])
            if row["type_name"] in ("sk_storage", "inode_storage", "task_storage", "cgrp_storage"):
                self.assertEqual(sorted(raw(e["value_hex"]) for e in m["entries"]), sorted(values), row["name"])
            if row["type_name"] == "arena":
                pages = {p["user_addr"] & 0xFFFFFFFF: bytes(p["bytes"]) for p in m["arena"]["pages"]}
                for e in row["entries"]:
                    page = pages[int.from_bytes(raw(e["key_hex"]), "little") * 4096]
                    self.assertEqual(page[128:128 + seeded.VALUE_SIZE], raw(e["value_hex"]), row["name"])
            if row["type_name"] == "ringbuf":
                self.assertEqual(m["ringbuf"]["producer_pos"], 9 * (8 + seeded.VALUE_SIZE), row["name"])
                self.assertEqual(m["ringbuf"]["consumer_pos"], 0, row["name"])
            if row["type_name"] == "user_ringbuf":
                self.assertEqual(m["ringbuf"]["producer_pos"], 5 * (8 + seeded.VALUE_SIZE), row["name"])

    def test_7_2(self):
        kernel = floe.kernel("7.")
        scheduler = ("--scheduler", floe.SCHED, "maps", "--seed", SEED, "--report-ms", 1500)
        run, reports, made, snapshot = self.look(kernel, *scheduler)
        dump = self.dump(snapshot)
        compared = self.check(reports, dump)
        own = {"floe_hash", "floe_lru", "floe_array", "floe_pcpu_array", "floe_pcpu_hash", "floe_stacks", "all_rhash", "all_insn_array",
               "floe_map.bss", "floe_map.data", "floe_map.rodata", "maps_ops"}
        self.assertFalse((own | PLAIN) - compared)
        self.check_made(made, dump)
        self.check_seeded(dump)
        self.check_allocators(dump)
        self.check_task_storage(run, snapshot, dump)

    def test_6_12(self):
        _, reports, made, snapshot = self.look(floe.kernel("6.12"))
        dump = self.dump(snapshot)
        compared = self.check(reports, dump)
        self.assertFalse(PLAIN - compared)
        self.check_made(made, dump)

    def check_seeded(self, dump):
        """The sections of floe_maps, by what the seed says of their variables."""
        by_name = {m["name"]: m for m in dump["maps"]}

        def variable(map_name, name):
            members = {m["name"]: m["value"] for m in by_name[map_name]["value"]["members"]}
            return members[name]

        self.assertEqual(variable("floe_map.rodata", "maps_seed")["value"], SEED)
        for number, section in enumerate(("data", "bss", "rodata")):
            name, data = f"maps_{section}_value", seeded.value(SEED, seeded.SECTION, number)
            self.assertEqual(seeded.plain(variable(f"floe_map.{section}", name)), seeded.members(data), name)
        self.assertEqual(variable("floe_map.bss", "maps_cells")["value"], 24 + seeded.mix(SEED, seeded.CELLS, 0, 9) % 40)
        things = 3 + seeded.mix(SEED, seeded.STATIC, 0, 9) % 10
        self.assertEqual(variable("floe_map.bss", "maps_things")["value"], things)
        area = dump["scx_static_ranges"]["ranges"][0]
        self.assertEqual((area["instance_name"], area["size"], area["capacity"]), ("scx_static_area", (things - 1) * 64 + 24, 8192))

    def check_allocators(self, dump):
        """The slots of floe_maps' allocators: those of the cells by the seed, those of the tasks by the task storage."""
        slots = {a["allocator_name"]: [dict(seeded.plain(e["payload"])) for e in a["entries"]] for a in dump["sdt_allocations"]}
        wanted = 24 + seeded.mix(SEED, seeded.CELLS, 0, 9) % 40
        kept = [n for n in range(wanted) if n == 0 or seeded.mix(SEED, seeded.CELLS, n, 8) % 5]
        self.assertLess(len(kept), wanted)
        cells = [(cell["number"], cell["stamp"], cell["weight"]) for cell in slots["scx_cell_allocator"]]
        expected = [(n, seeded.mix(SEED, seeded.CELLS, n, 0), seeded.mix(SEED, seeded.CELLS, n, 1) & 0xFFFFFFFF) for n in kept]
        self.assertEqual(cells, expected)
        stored = next(m for m in dump["maps"] if m["name"] == "floe_task_data")["entries"]
        stamps = {int.from_bytes(raw(e["value_hex"])[24:], "little") for e in stored}
        allocated = [task["stamp"] for task in slots["scx_task_allocator"]]
        self.assertEqual(len(set(allocated)), len(allocated))
        self.assertLessEqual(set(allocated), stamps)
        # A task that has ended gives its slot back at once; the kernel keeps its storage until the task itself is freed.
        self.assertLessEqual(len(stamps) - len(allocated), 2)

    def check_task_storage(self, run, snapshot, dump):
        """bpftool shows no task storage; the scheduler's own side looks it up by pidfd, before the snapshot and after."""
        log = (run.folder / "scheduler.log").read_text(errors="replace")
        reports = {int(n): {e["pid"]: raw(e["value_hex"]) for e in json.loads(body)["tasks"]}
                   for n, body in re.findall(r"^TASKS (\d+) (\{.*\})$", log, re.M)}
        number = max(self.numbers_of(self.show(snapshot), "maps-"))
        before, after = reports[number], reports[number + 1]
        storage = next(m for m in dump["maps"] if m["name"] == "floe_task_data")
        mine = [raw(e["value_hex"]) for e in storage["entries"]]
        lasting = {pid: value for pid, value in before.items() if after.get(pid) == value}
        self.assertGreater(len(lasting), 30)
        for pid, value in lasting.items():
            self.assertEqual(int.from_bytes(value[24:], "little"), seeded.mix(SEED, seeded.TASK, pid, 0), pid)
            self.assertEqual(mine.count(value), 1, f"the storage of pid {pid}")
        for entry in storage["entries"]:
            value = raw(entry["value_hex"])
            self.assertEqual(raw(entry["key_hex"]), value[16:24], "the key is the owner, which the scheduler noted in the value")
            if entry.get("payload"):
                payload = dict(seeded.plain(entry["payload"]))
                self.assertEqual(payload["stamp"], int.from_bytes(value[24:], "little"))
                self.assertEqual(payload["stamp"], seeded.mix(SEED, seeded.TASK, payload["pid"], 0))


if __name__ == "__main__":
    floe.main()
