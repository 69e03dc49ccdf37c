"""What the maps of floe_maps and floe_maps_all hold, computed again from their seed: bpf/schedulers/records.h in other words."""

import struct

MASK = (1 << 64) - 1

HASH, LRU, ARRAY, PERCPU_ARRAY, PERCPU_HASH, RINGBUF, TASK, CELLS, STATIC, SECTION = range(1, 11)
CPU_STRIDE = 64
VALUE_SIZE = 64


def mix(seed, kind, entry, word):
    z = (seed + 0x9E3779B97F4A7C15 * (kind * 1000003 + entry * 101 + word + 1)) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def entries_of(seed, kind):
    return 10 + mix(seed, kind, 0, 200) % 32


def key(seed, kind, entry):
    return struct.pack("<II", entry, mix(seed, kind, entry, 100) & 0xFFFFFFFF)


def value(seed, kind, entry):
    """struct floe_value as bytes."""
    a, b, c, d = (mix(seed, kind, entry, word) for word in range(4))
    colour = (1, 7, -1)[(c >> 32) % 3]
    high = ((d >> 39) & 0x3FFFF) - 0x20000
    bits = ((d >> 25) & 7) | ((d >> 28) & 0x7FF) << 3 | (high & 0x3FFFF) << 14
    name = bytes(ord("a") + ((b >> (i * 4)) & 15) for i in range(15))
    points = [(c >> 8) & 0xFFFF, (c >> 24) & 0xFFFF, (a >> 16) & 0xFFFF, (a >> 40) & 0xFFFF]
    head = struct.pack("<QqIiHB?", a, -(b >> 1), c & 0xFFFFFFFF, colour, d & 0xFFFF, (d >> 16) & 0xFF, bool((d >> 24) & 1))
    return head + struct.pack("<II16s4HI", bits, a >> 32, name, *points, (b >> 24) & 0xFFFFFFFF)


def members(data):
    """The bytes of a struct floe_value as (name, value) in the order of the declaration, anonymous members spliced in."""
    wide, negative, weight, colour, small, byte, flag, bits, word = struct.unpack_from("<QqIihB?II", data)
    name = data[36:52]
    x0, y0, x1, y1, inner = struct.unpack_from("<4hI", data, 52)
    high = bits >> 14
    high -= (high & 0x20000) << 1
    return [
        ("wide", wide),
        ("negative", negative),
        ("weight", weight),
        ("colour", {0: "FLOE_RED", 1: "FLOE_GREEN", 7: "FLOE_BLUE", -1: "FLOE_BLACK"}[colour]),
        ("small", small),
        ("byte", byte),
        ("flag", flag),
        ("low", bits & 7),
        ("middle", (bits >> 3) & 0x7FF),
        ("high", high),
        ("as_word", word),
        ("as_bytes", list(struct.pack("<I", word))),
        ("name", list(name)),
        ("points", [[("x", x0), ("y", y0)], [("x", x1), ("y", y1)]]),
        ("inner", inner),
    ]


def plain(rendered):
    """A rendered value of a dump as members() has it."""
    kind = rendered["kind"]
    if kind == "struct":
        return [(member["name"], plain(member["value"])) for member in rendered["members"]]
    if kind == "array":
        return [plain(element) for element in rendered["elements"]]
    if kind == "enum":
        return rendered["variant"]
    if kind == "bytes":
        return bytes.fromhex(rendered["hex"])
    return rendered.get("value")
