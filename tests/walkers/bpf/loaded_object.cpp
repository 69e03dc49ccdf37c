// The BPF object that is put together out of a guest's kernel, and what the cast analysis finds in code as its verifier leaves it.
#include "walkers/bpf/loaded_object.hpp"

#include <bpf/btf.h>
#include <linux/bpf.h>

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "tests/walkers/synthetic/bpf.hpp"
#include "walkers/bpf/casts.hpp"
#include "walkers/render/program_types.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::bpf;
using render::Cast;
using render::CastSpace;
using synthetic::BpfGuest;
using synthetic::TypeWriter;

namespace {

constexpr int kArenaLoad = BPF_LDX | 0xa0;  // BPF_PROBE_MEM32
constexpr int kArenaStore = BPF_ST | 0xa0;
constexpr int kKernelFunction = 2;  // BPF_PSEUDO_KFUNC_CALL

std::uint64_t insn(int code, int dst, int src, int off, int imm) {
  const Instruction one{static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(dst | src << 4), static_cast<std::int16_t>(off), imm};
  std::uint64_t word = 0;
  std::memcpy(&word, &one, sizeof word);
  return word;
}
std::uint64_t mov(int dst, int src) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}
std::uint64_t set(int dst, int value) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}
std::uint64_t add(int dst, int value) {
  return insn(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value);
}
std::uint64_t load(int dst, int src, int off) {
  return insn(BPF_LDX | BPF_MEM | BPF_DW, dst, src, off, 0);
}
std::uint64_t store(int dst, int off, int src) {
  return insn(BPF_STX | BPF_MEM | BPF_DW, dst, src, off, 0);
}
std::uint64_t skip_if_zero(int reg) {
  return insn(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, 1, 0);
}
const std::uint64_t kExit = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

// A guest with one struct_ops program, enqueue(struct holder*, struct floe_moved*), whose struct floe_moved the kernel has otherwise.
struct Loaded {
  BpfGuest guest;
  TypeWriter w;
  int holder = 0, entry = 0, ops = 0, moved = 0, allocator = 0, main = 0, other = 0, last = 0, bss_type = 0;
  Kva btf, program, bss, hash, storage, array, per_cpu;
  std::vector<std::uint64_t> code;
  std::vector<std::uint32_t> functions;

  Loaded() {
    holder = w.add_struct("holder", 32, {{"slot", w.u64, 0}, {"op", w.u64, 64}, {"page", w.u64, 128}, {"taken", w.u64, 192}});
    entry = w.add_struct("entry", 24, {{"count", w.u64, 0}, {"who", w.u64, 64}, {"again", w.u64, 128}});
    const int forward = btf__add_fwd(w.raw(), "sched_ext_ops", BTF_FWD_STRUCT);
    moved = w.add_struct("floe_moved", 8, {{"to", btf__add_ptr(w.raw(), forward), 0}});
    const int holder_pointer = btf__add_ptr(w.raw(), holder), moved_pointer = btf__add_ptr(w.raw(), moved);
    const int member = btf__add_func_proto(w.raw(), w.u32);
    btf__add_func_param(w.raw(), "h", holder_pointer);
    btf__add_func_param(w.raw(), "m", moved_pointer);
    ops = w.add_struct("sched_ext_ops", 8, {{"enqueue", btf__add_ptr(w.raw(), member), 0}});
    const int plain = btf__add_func_proto(w.raw(), w.u64);
    btf__add_func_param(w.raw(), "ctx", w.pointer);
    main = btf__add_func(w.raw(), "mine_enqueue", BTF_FUNC_GLOBAL, plain);
    allocator = btf__add_func(w.raw(), "scx_static_alloc_internal", BTF_FUNC_GLOBAL, plain);
    other = btf__add_func(w.raw(), "other", BTF_FUNC_GLOBAL, plain);
    last = btf__add_var(w.raw(), "last", BTF_VAR_GLOBAL_ALLOCATED, w.u64);
    const int state = btf__add_var(w.raw(), "state", BTF_VAR_GLOBAL_ALLOCATED, holder);
    bss_type = btf__add_datasec(w.raw(), ".bss", 40);
    btf__add_datasec_var_info(w.raw(), last, 0, 8);
    btf__add_datasec_var_info(w.raw(), state, 8, 32);

    btf = guest.guest.allocate(kPageBytes);
    const auto blob = w.bytes();
    const Kva data = guest.guest.allocate(blob.size());
    guest.guest.write(data, blob);
    guest.put_pointer(btf, "btf.data", data);
    guest.guest.put(btf + guest.offset("btf.data_size"), static_cast<std::uint32_t>(blob.size()));

    bss = add_map(1, {.name = "mine.bss", .value_size = 40}, bss_type);
    hash = add_map(2, {.type = MapType::hash, .name = "hash", .key_size = 4, .value_size = 24, .max_entries = 8}, entry);
    storage = add_map(3, {.type = MapType::task_storage, .name = "storage", .value_size = 24}, entry);
    array = add_map(4, {.name = "array", .value_size = 24, .max_entries = 8}, entry);
    per_cpu = add_map(5, {.type = MapType::percpu_array, .name = "per_cpu", .value_size = 24, .max_entries = 8}, entry);
    program = guest.add_program(1, kStructOpsProgram, "enqueue", {bss});
    const Kva aux(guest.word(program + guest.offset("bpf_prog.aux")));
    guest.guest.put(aux + guest.offset("bpf_prog_aux.attach_btf_id"), guest.open().types().find("sched_ext_ops").value());
    guest.guest.put(program + guest.offset("bpf_prog.expected_attach_type"), std::uint32_t{1});  // its second member
    add_function(main);
  }

  Kva add_map(std::uint32_t id, const synthetic::MapSpec& spec, int value) {
    const Kva map = guest.add_map(id, spec);
    guest.put_pointer(map, "bpf_map.btf", btf);
    guest.guest.put(map + guest.offset("bpf_map.btf_value_type_id"), static_cast<std::uint32_t>(value));
    return map;
  }
  void add_function(int type) {
    functions.push_back(static_cast<std::uint32_t>(code.size()));
    functions.push_back(static_cast<std::uint32_t>(type));
  }
  void emit(std::initializer_list<std::uint64_t> words) { code.insert(code.end(), words); }
  void emit_address(int reg, Kva address) {
    emit({insn(BPF_LD | BPF_IMM | BPF_DW, reg, 0, 0, static_cast<int>(address.value)),
          insn(0, 0, 0, 0, static_cast<int>(address.value >> 32))});
  }
  std::uint64_t call(const std::string& symbol) const {
    return insn(BPF_JMP | BPF_CALL, 0, 0, 0, static_cast<int>(guest.guest.symbol(symbol) - guest.guest.symbol("__bpf_call_base")));
  }
  // A lookup's key, and then what every lookup here does with the value: who = r6.
  void emit_use() { emit({skip_if_zero(0), store(0, 8, 6)}); }
  void begin() { emit({load(6, 1, 0), load(7, 1, 8), mov(2, 10), add(2, -8)}); }

  LoadedObject object(std::uint64_t steps = 1000) {
    guest.set_code(program, btf, code, functions);
    const auto kernel = guest.open();
    WalkBudget budget(steps);
    const auto programs = find_programs(kernel, budget).value();
    const auto maps = find_maps(kernel, budget).value();
    WalkBudget own(steps);
    return loaded_object(kernel, programs, maps, btf, render::ProgramTypes(kernel).at(kernel.memory(), btf).value(), own).value();
  }
  std::vector<Cast> casts() {
    auto loaded = object();
    BOOST_TEST(loaded.programs == 1u);
    BOOST_TEST(loaded.problems.empty());
    return casts_of(loaded.object).all();
  }
};

struct Expected {
  int parent;
  unsigned offset;
  CastSpace space;
  int target;
};

void expect(Loaded& loaded, const std::vector<Expected>& expected) {
  const auto found = loaded.casts();
  BOOST_REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    BOOST_TEST(found[i].key.parent == static_cast<unsigned>(expected[i].parent));
    BOOST_TEST(found[i].key.offset == expected[i].offset);
    BOOST_TEST((found[i].space == expected[i].space));
    BOOST_TEST(found[i].target == static_cast<unsigned>(expected[i].target));
  }
}

constexpr auto kArena = CastSpace::kArena;
constexpr auto kKernel = CastSpace::kKernel;

}  // namespace

BOOST_AUTO_TEST_SUITE(loaded_object)

BOOST_AUTO_TEST_CASE(the_context_and_the_kernel_s_own_structs_are_followed) {
  Loaded p;
  // floe_moved.to is 8 bytes in there, not 0 as the program was compiled.
  p.begin();
  p.emit({load(8, 7, 8), store(6, 8, 8), load(8, 7, 0), store(6, 16, 8), kExit});
  expect(p, {{p.holder, 8, kKernel, p.ops}});
}

BOOST_AUTO_TEST_CASE(accesses_that_the_verifier_marked_prove_the_arena) {
  Loaded p;
  p.begin();
  const auto narrow = insn(BPF_ALU | BPF_MOV | BPF_X, 8, 8, 0, 0);
  p.emit({load(8, 6, 0), narrow, insn(kArenaLoad | BPF_W, 9, 8, 4, 0)});                 // slot
  p.emit({load(8, 6, 16), narrow, insn(kArenaStore | BPF_W, 8, 0, 0, 1)});               // page
  p.emit({load(8, 6, 24), narrow, insn(BPF_LDX | BPF_MEM | BPF_W, 9, 8, 0, 0), kExit});  // taken: only narrowed
  expect(p, {{p.holder, 0, kArena, 0}, {p.holder, 16, kArena, 0}});
}

BOOST_AUTO_TEST_CASE(variables_and_functions_are_found_by_address_and_number) {
  for (const bool distance_in_imm : {false, true}) {
    Loaded p;
    p.begin();
    p.emit({set(1, 16)});
    const int distance = 6;  // to behind the exit
    p.emit({distance_in_imm ? insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 1, distance)
                            : insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, distance, 1)});
    p.emit_address(3, p.bss + p.guest.offset("bpf_array.value"));
    p.emit({store(3, 0, 0), store(3, 8 + 24, 0), mov(0, 6), kExit});
    p.add_function(p.allocator);
    p.emit({set(0, 0), kExit});
    expect(p, {{p.holder, 24, kArena, 0}, {p.last, 0, kArena, 0}});
  }
}

BOOST_AUTO_TEST_CASE(kernel_functions_are_named_by_the_kernel_s_types) {
  Loaded p;
  const auto kernel = p.guest.open();
  const int id = btf__find_by_name_kind(kernel.types().raw(), "bpf_arena_alloc_pages", BTF_KIND_FUNC);
  p.begin();
  p.emit({insn(BPF_JMP | BPF_CALL, 0, kKernelFunction, 0, id), store(6, 16, 0)});
  p.emit({insn(BPF_JMP | BPF_CALL, 0, kKernelFunction, 1, id), store(6, 24, 0), kExit});  // of a module's BTF
  expect(p, {{p.holder, 16, kArena, 0}});
}

BOOST_AUTO_TEST_CASE(values_of_maps_are_found_however_they_are_looked_up) {
  Loaded called;
  called.begin();
  called.emit_address(1, called.storage);
  called.emit({called.call("bpf_task_storage_get")});
  called.emit_use();
  called.emit({kExit});
  expect(called, {{called.entry, 8, kKernel, called.holder}});

  Loaded hash;  // htab_map_gen_lookup()
  hash.begin();
  hash.emit_address(1, hash.hash);
  hash.emit({hash.call("__htab_map_lookup_elem"), skip_if_zero(0), add(0, static_cast<int>(hash.guest.offset("htab_elem.key")) + 8)});
  hash.emit_use();
  hash.emit({kExit});
  expect(hash, {{hash.entry, 8, kKernel, hash.holder}});

  const int values = static_cast<int>(called.guest.offset("bpf_array.value"));
  Loaded array;  // array_map_gen_lookup()
  array.begin();
  array.emit_address(1, array.array);
  array.emit({add(1, values), insn(BPF_LDX | BPF_MEM | BPF_W, 0, 2, 0, 0), insn(BPF_ALU64 | BPF_MUL | BPF_K, 0, 0, 0, 24),
              insn(BPF_ALU64 | BPF_ADD | BPF_X, 0, 1, 0, 0)});
  array.emit_use();
  array.emit({kExit});
  expect(array, {{array.entry, 8, kKernel, array.holder}});

  Loaded per_cpu;  // there it is a pointer per CPU: nothing is known of what it leads to
  per_cpu.begin();
  per_cpu.emit_address(1, per_cpu.per_cpu);
  per_cpu.emit({add(1, values), insn(BPF_LDX | BPF_MEM | BPF_W, 0, 2, 0, 0), insn(BPF_ALU64 | BPF_LSH | BPF_K, 0, 0, 0, 3),
                insn(BPF_ALU64 | BPF_ADD | BPF_X, 0, 1, 0, 0), store(0, 8, 6), load(0, 0, 0)});
  per_cpu.emit_use();
  per_cpu.emit({kExit});
  expect(per_cpu, {});

  Loaded unknown;  // a helper that nobody knows, and one that is none
  unknown.begin();
  unknown.emit_address(1, unknown.storage);
  unknown.emit({unknown.call("bpf_get_prandom_u32")});
  unknown.emit_use();
  unknown.emit_address(1, unknown.storage);
  unknown.emit({insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_task_storage_get)});
  unknown.emit_use();
  unknown.emit({kExit});
  expect(unknown, {});
}

BOOST_AUTO_TEST_CASE(the_verifier_s_own_register_and_marks_are_no_evidence) {
  Loaded p;
  p.begin();
  p.emit({insn(BPF_ALU64 | BPF_MOV | BPF_X, 11, 6, 0, 0), insn(BPF_ALU64 | BPF_MOV | BPF_X, 8, 11, 0, 0), store(6, 8, 8)});
  p.emit({mov(0, 6), store(6, 16, 11)});               // not r0
  p.emit({insn(BPF_ST | 0xc0 | BPF_DW, 6, 0, 0, 0)});  // BPF_NOSPEC
  p.emit({kExit});
  expect(p, {});
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_told) {
  const auto told = [](auto spoil, std::uint64_t steps = 1000) {
    Loaded p;
    p.begin();
    p.emit({kExit});
    spoil(p);
    const auto loaded = p.object(steps);
    BOOST_TEST(loaded.programs == 0u);
    BOOST_TEST(loaded.object.code.empty());
    BOOST_TEST(loaded.object.functions.empty());
    BOOST_REQUIRE(loaded.problems.size() == 1u);
    BOOST_TEST(loaded.problems[0] == "the instructions of program 1 (enqueue) are unreadable or too many");
  };
  told([](Loaded& p) { p.code.resize(0); });             // none
  told([](Loaded& p) { p.functions = {5, 1, 3, 1}; });   // out of order
  told([](Loaded& p) { p.functions = {0, 1, 77, 1}; });  // beyond the end
  told([](Loaded& p) { p.functions.clear(); });
  Loaded huge;
  huge.emit({kExit});
  huge.guest.set_code(huge.program, huge.btf, huge.code, huge.functions);
  huge.guest.guest.put(huge.program + huge.guest.offset("bpf_prog.len"), std::uint32_t{1} << 30);
  const auto kernel = huge.guest.open();
  WalkBudget budget(100'000);
  const auto programs = find_programs(kernel, budget).value();
  const auto types = render::ProgramTypes(kernel).at(kernel.memory(), huge.btf).value();
  BOOST_TEST(bpf::loaded_object(kernel, programs, {}, huge.btf, types, budget)->programs == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
