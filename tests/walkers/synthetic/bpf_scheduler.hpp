// A scheduler in a guest made by a test: a .bss with its BTF, an arena of which some pages are mapped, and in it the tree of one
// allocator with one leaf.
#pragma once

#include <bpf/btf.h>

#include <cstdint>

#include "tests/walkers/synthetic/bpf.hpp"
#include "walkers/bpf/dump.hpp"
#include "walkers/bpf/programs.hpp"

namespace floe::walkers::synthetic {

// A scheduler: its .bss, an arena of which `pages` are mapped, a tree of one leaf.
struct Scheduler {
  // Its BTF, and where its variables lie in .bss.
  struct Program {
    TypeWriter w;
    int task_ctx = 0, value = 0, bss = 0;
    static constexpr std::uint32_t kAllocator = 0, kArea = 64, kBssBytes = 128;

    explicit Program(bool allocator = true) {
      const int data_fwd = btf__add_fwd(w.raw(), "sdt_data", BTF_FWD_STRUCT);
      const int pool = w.add_struct("sdt_pool", 32, {{"slab", w.pointer, 0}, {"elem_size", w.u64, 64}});
      const int desc =
          w.add_struct("sdt_desc", 80, {{"allocated", w.array(w.u64, 8), 0}, {"nr_free", w.u64, 512}, {"chunk", w.pointer, 576}});
      const int root = btf__add_ptr(w.raw(), desc);
      const int alloc = w.add_struct(allocator ? "scx_allocator" : "other_allocator", 40, {{"pool", pool, 0}, {"root", root, 256}});
      const int area = w.add_struct("scx_static", 24, {{"max_alloc_bytes", w.u64, 0}, {"memory", w.pointer, 64}, {"off", w.u64, 128}});
      task_ctx = w.add_struct("task_ctx", 16, {{"pid", w.s32, 0}, {"weight", w.u32, 32}, {"self", btf__add_ptr(w.raw(), data_fwd), 64}});
      value = w.add_struct("entry", 16, {{"count", w.u64, 0}, {"data", btf__add_ptr(w.raw(), data_fwd), 64}});
      const int first = btf__add_var(w.raw(), "scx_task_allocator", BTF_VAR_GLOBAL_ALLOCATED, alloc);
      const int second = btf__add_var(w.raw(), "scx_area", BTF_VAR_GLOBAL_ALLOCATED, area);
      bss = btf__add_datasec(w.raw(), ".bss", kBssBytes);
      btf__add_datasec_var_info(w.raw(), first, kAllocator, 40);
      btf__add_datasec_var_info(w.raw(), second, kArea, 24);
    }
  };

  BpfGuest guest;
  Program program;
  Kva btf, bss, arena, pages;
  static constexpr std::uint64_t kSlotBytes = 24;
  static constexpr std::uint64_t kUser = std::uint64_t{0x12} << 32;  // where user space has the arena

  explicit Scheduler(bool allocator = true) : program(allocator) {
    btf = guest.guest.allocate(kPageBytes);
    const auto blob = program.w.bytes();
    const Kva data = guest.guest.allocate(blob.size());
    guest.guest.write(data, blob);
    guest.put_pointer(btf, "btf.data", data);
    guest.guest.put(btf + guest.offset("btf.data_size"), static_cast<std::uint32_t>(blob.size()));

    arena = guest.add_map(1, {.type = bpf::MapType::arena, .name = "arena", .key_size = 0, .value_size = 0, .max_entries = 100});
    guest.guest.put(arena + guest.offset("bpf_arena.user_vm_start"), kUser);
    const Kva area = guest.guest.allocate(kPageBytes);
    pages = guest.guest.allocate(16 * kPageBytes);
    guest.put_pointer(arena, "bpf_arena.kern_vm", area);
    guest.guest.put(area + guest.offset("vm_struct.addr"), pages.value - 0x8000);

    bss = guest.add_map(2, {.name = "my_sched.bss", .value_size = Program::kBssBytes});
    set_btf(bss, 0, program.bss);
    guest.add_program(1, bpf::kStructOpsProgram, "enqueue", {bss, arena});

    // Root, inner and leaf on a page each, their chunks on the next ones, slots from page 8 on.
    variable(Program::kAllocator + 8, kSlotBytes);
    variable(Program::kAllocator + 32, user(0));
    for (std::uint64_t level = 0; level < 3; ++level) {
      put(level * 2, 64, 500);                  // nr_free
      put(level * 2, 72, user(level * 2 + 1));  // chunk
      if (level < 2) put(level * 2 + 1, 8 * level, user(level * 2 + 2));
    }
    variable(Program::kArea, 8192);
    variable(Program::kArea + 8, user(6));
    variable(Program::kArea + 16, 100);
  }

  static std::uint64_t user(std::uint64_t page, std::uint64_t offset = 0) { return kUser + page * kPageBytes + offset; }
  void put(std::uint64_t page, std::uint64_t offset, std::uint64_t value) { guest.guest.put(pages + page * kPageBytes + offset, value); }
  void variable(std::uint32_t at, std::uint64_t value) { guest.guest.put(bss + guest.offset("bpf_array.value") + at, value); }
  void set_btf(Kva map, int key, int value) {
    guest.put_pointer(map, "bpf_map.btf", btf);
    guest.guest.put(map + guest.offset("bpf_map.btf_key_type_id"), static_cast<std::uint32_t>(key));
    guest.guest.put(map + guest.offset("bpf_map.btf_value_type_id"), static_cast<std::uint32_t>(value));
  }

  // Slot `number` in use, at `place` of the pages from 8 on.
  void add_slot(unsigned number, std::uint64_t place, std::int32_t pid) {
    const Kva bits = pages + 4 * kPageBytes + number / 64 * 8;
    guest.guest.put(bits, guest.word(bits) | std::uint64_t{1} << (number % 64));
    put(5, 8 * number, user(8, place));
    put(8, place, number | std::uint64_t{3} << 32);  // idx, genn
    put(8, place + 8, static_cast<std::uint32_t>(pid) | std::uint64_t{100} << 32);
    put(8, place + 16, user(8, place));
  }

  // A hash whose only value points to the slot at the start of page 8.
  void add_task_data(std::uint32_t id) {
    const Kva hash =
        guest.add_map(id, {.type = bpf::MapType::hash, .name = "task_data", .key_size = 4, .value_size = 16, .max_entries = 8});
    guest.add_buckets(hash, 8);
    set_btf(hash, program.w.s32, program.value);
    guest.guest.put(guest.add_element(hash, 2, 7, 9) + guest.offset("htab_elem.key") + 16, user(8));
  }

  bpf::MapsDump dump(const bpf::DumpOptions& options = {}) const {
    const auto kernel = guest.open();
    return bpf::dump_maps(kernel, options);
  }
};

}  // namespace floe::walkers::synthetic
