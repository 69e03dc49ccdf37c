#include "walkers/bpf/casts.hpp"

#include <bpf/btf.h>
#include <linux/bpf.h>

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <fstream>
#include <iterator>

#include "tests/walkers/synthetic/types.hpp"
#include "walkers/bpf/bpf_object.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::bpf;
using render::Cast;
using render::CastSpace;
using synthetic::TypeWriter;

namespace {

Instruction insn(int code, int dst, int src, int off, int imm) {
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(dst | src << 4), static_cast<std::int16_t>(off), imm};
}
Instruction mov(int dst, int src) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}
Instruction set(int dst, int value) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}
Instruction add(int dst, int value) {
  return insn(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value);
}
Instruction load(int dst, int src, int off, int size = BPF_DW) {
  return insn(BPF_LDX | BPF_MEM | size, dst, src, off, 0);
}
Instruction store(int dst, int off, int src, int size = BPF_DW) {
  return insn(BPF_STX | BPF_MEM | size, dst, src, off, 0);
}
Instruction jump_if_zero(int reg, int off) {
  return insn(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, off, 0);
}
Instruction jump(int off) {
  return insn(BPF_JMP | BPF_JA, 0, 0, off, 0);
}
Instruction helper(int number) {
  return insn(BPF_JMP | BPF_CALL, 0, 0, 0, number);
}
Instruction to_arena_pointer(int dst, int src) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 1, 1);
}
const Instruction kExit = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

// An object with one program main(struct holder*, struct task*), to which tests add types, code and callees.
struct Program {
  TypeWriter w;
  int task, other, holder, list;
  int holder_pointer, task_pointer, other_pointer;
  BpfObject object;

  Program() {
    task = w.add_struct("task", 24, {{"pid", w.u32, 0}, {"self", w.u64, 64}, {"weight", w.u64, 128}});
    other = w.add_struct("other", 16, {{"a", w.u64, 0}, {"b", w.u64, 64}});
    task_pointer = btf__add_ptr(w.raw(), task);
    other_pointer = btf__add_ptr(w.raw(), other);
    list = w.add_struct("", 16, {{"first", w.u64, 0}, {"last", w.u64, 64}});
    holder = w.add_struct("holder", 80,
                          {{"slot", w.u64, 0},
                           {"task", task_pointer, 64},
                           {"copy", w.u64, 128},
                           {nullptr, list, 192},
                           {"many", w.array(w.u64, 4), 320},
                           {"narrow", w.u32, 576},
                           {"sign", w.s32, 608}});
    holder_pointer = btf__add_ptr(w.raw(), holder);
  }

  int prototype(int result, const std::vector<int>& parameters) {
    const int id = btf__add_func_proto(w.raw(), result);
    for (const int parameter : parameters) btf__add_func_param(w.raw(), "p", parameter);
    return id;
  }

  // Adds a function behind what is there; returns its index.
  std::uint32_t function(const std::string& name, int proto, const std::vector<Instruction>& code) {
    const auto start = static_cast<std::uint32_t>(object.code.size());
    object.code.insert(object.code.end(), code.begin(), code.end());
    object.functions.push_back({.name = name,
                                .start = start,
                                .end = static_cast<std::uint32_t>(object.code.size()),
                                .prototype = static_cast<std::uint32_t>(proto)});
    return static_cast<std::uint32_t>(object.functions.size() - 1);
  }
  void main(const std::vector<Instruction>& code) {
    function("main", prototype(w.u32, {holder_pointer, task_pointer, other_pointer}), code);
  }

  void refer(std::uint32_t at, Reference reference) { object.references.emplace(at, std::move(reference)); }
  void call_kfunc(std::uint32_t at, const std::string& name, int proto = 0) {
    refer(at, {.kind = Reference::Kind::kfunc, .index = static_cast<std::uint32_t>(proto), .name = name});
  }
  void call_function(std::uint32_t at, std::uint32_t index) { refer(at, {.kind = Reference::Kind::function, .index = index}); }

  std::vector<Cast> casts() {
    auto types = render::TypeTable::parse(w.bytes());
    if (!types) throw std::runtime_error(types.error().message);
    object.types = *types;
    return casts_of(object).all();
  }
};

const Instruction kCall = insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, -1);
const Instruction kKfunc = insn(BPF_JMP | BPF_CALL, 0, 2, 0, -1);

struct Expected {
  int parent;
  unsigned offset;
  CastSpace space;
  int target;
  int size_match = 0;
};

void expect(Program& program, const std::vector<Expected>& expected) {
  const auto found = program.casts();
  BOOST_TEST(found.size() == expected.size());
  for (std::size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    BOOST_TEST(found[i].key.parent == static_cast<unsigned>(expected[i].parent));
    BOOST_TEST(found[i].key.offset == expected[i].offset);
    BOOST_TEST((found[i].space == expected[i].space));
    BOOST_TEST(found[i].target == static_cast<unsigned>(expected[i].target));
    BOOST_TEST(found[i].size_match == static_cast<unsigned>(expected[i].size_match));
  }
}

constexpr auto kArena = CastSpace::kArena;
constexpr auto kKernel = CastSpace::kKernel;

}  // namespace

BOOST_AUTO_TEST_SUITE(casts)

BOOST_AUTO_TEST_CASE(a_parameter_that_is_stored_is_a_pointer) {
  Program p;
  p.main({store(1, 0, 2), kExit});
  expect(p, {{p.holder, 0, kKernel, p.task}});
}

BOOST_AUTO_TEST_CASE(only_whole_words_in_plain_u64_members_count) {
  Program p;
  p.main({store(1, 72, 2, BPF_W), store(1, 4, 2), store(1, 8, 2), store(1, 0, 2, BPF_W), store(1, 76, 2, BPF_W), kExit});
  expect(p, {});
}

BOOST_AUTO_TEST_CASE(members_are_named_by_the_struct_they_stand_in) {
  Program p;  // of the anonymous struct in holder its `last`, and of the array any element
  p.main({store(1, 32, 2), store(1, 56, 3), kExit});
  expect(p, {{p.list, 8, kKernel, p.task}, {p.holder, 40, kKernel, p.other}});
}

BOOST_AUTO_TEST_CASE(moves_additions_spills_and_loads_carry_pointers) {
  Program p;
  p.main({mov(6, 1), add(6, 16), store(10, -8, 2), load(7, 10, -8), store(6, 0, 7),  // copy = task
          load(8, 1, 8), store(1, 0, 8), kExit});                                    // slot = holder->task
  expect(p, {{p.holder, 0, kKernel, p.task}, {p.holder, 16, kKernel, p.task}});
}

BOOST_AUTO_TEST_CASE(what_is_overwritten_is_forgotten) {
  Program p;
  p.main({store(10, -8, 2), store(10, -6, 3, BPF_B), load(7, 10, -8), store(1, 0, 7),  // a byte of the spill changed
          mov(6, 2), insn(BPF_ALU64 | BPF_LSH | BPF_K, 6, 0, 0, 3), store(1, 16, 6),   // shifted
          mov(8, 2), add(8, 8), store(1, 24, 8),                                       // into the middle
          kExit});
  expect(p, {});
}

BOOST_AUTO_TEST_CASE(ways_that_meet_agree_or_nothing_is_known) {
  Program same;
  same.main({jump_if_zero(3, 2), mov(6, 2), jump(1), set(6, 0), store(1, 0, 6), kExit});  // a pointer or null
  expect(same, {{same.holder, 0, kKernel, same.task}});
  Program reversed;
  reversed.main({jump_if_zero(3, 2), set(6, 0), jump(1), mov(6, 2), store(1, 0, 6), kExit});
  expect(reversed, {{reversed.holder, 0, kKernel, reversed.task}});
  Program different;
  different.main({jump_if_zero(3, 2), mov(6, 2), jump(1), mov(6, 3), store(1, 0, 6), kExit});
  expect(different, {});
  Program number;
  number.main({jump_if_zero(3, 2), mov(6, 2), jump(1), set(6, 5), store(1, 0, 6), kExit});
  expect(number, {});
}

BOOST_AUTO_TEST_CASE(loops_end) {
  Program p;
  p.main({set(6, 0), store(1, 0, 2), add(6, 1), insn(BPF_JMP | BPF_JLT | BPF_K, 6, 0, -3, 10), jump(-4), kExit});
  expect(p, {{p.holder, 0, kKernel, p.task}});
}

BOOST_AUTO_TEST_CASE(two_kinds_of_pointer_in_one_member_cancel_out) {
  Program p;
  p.main({store(1, 0, 2), store(1, 0, 3), store(1, 16, 3), kExit});
  expect(p, {{p.holder, 16, kKernel, p.other}});
}

BOOST_AUTO_TEST_CASE(a_struct_stored_into_itself_is_no_finding) {
  Program p;
  p.main({store(2, 8, 2), kExit});
  expect(p, {});
}

BOOST_AUTO_TEST_CASE(what_allocators_return_lies_in_the_arena) {
  Program p;
  const auto allocator = p.function("scx_static_alloc_internal", p.prototype(p.w.u64, {p.w.u64, p.w.u64}), {set(0, 0), kExit});
  p.main({mov(6, 1), set(1, 24), set(2, 8), kCall, store(6, 0, 0), kKfunc, store(6, 16, 0), kExit});
  p.call_function(2 + 3, allocator);
  p.call_kfunc(2 + 5, "bpf_arena_alloc_pages");
  expect(p, {{p.holder, 0, kArena, 0, p.task}, {p.holder, 16, kArena, 0}});  // `task` alone has 24 bytes
}

BOOST_AUTO_TEST_CASE(a_local_allocator_hands_its_result_on) {
  Program p;
  const auto wrapper = p.function("get", p.prototype(p.w.u64, {}), {kKfunc, add(0, 64), kExit});
  p.call_kfunc(0, "bpf_arena_alloc_pages");
  p.main({mov(6, 1), kCall, store(6, 0, 0), kExit});
  p.call_function(3 + 1, wrapper);
  expect(p, {{p.holder, 0, kArena, 0}});
}

BOOST_AUTO_TEST_CASE(allocations_of_two_sizes_tell_no_size) {
  Program p;
  const auto allocator = p.function("scx_static_alloc_internal", p.prototype(p.w.u64, {p.w.u64, p.w.u64}), {set(0, 0), kExit});
  p.main({mov(6, 1), set(1, 16), kCall, store(6, 0, 0), set(1, 24), kCall, store(6, 0, 0), kExit});
  p.call_function(2 + 2, allocator);
  p.call_function(2 + 5, allocator);
  expect(p, {{p.holder, 0, kArena, 0}});
}

BOOST_AUTO_TEST_CASE(a_cast_to_the_arena_proves_the_member_it_was_loaded_from) {
  Program p;
  p.main({load(6, 1, 0), to_arena_pointer(6, 6), load(7, 1, 16), mov(7, 7), kExit});
  expect(p, {{p.holder, 0, kArena, 0}});
}

BOOST_AUTO_TEST_CASE(accesses_tell_what_lies_there) {
  Program p;
  // pid is 4 bytes at 0, weight 8 at 16: of the structs only `task` has both.
  p.main({load(6, 1, 0), to_arena_pointer(6, 6), load(7, 6, 0, BPF_W), load(7, 6, 16), kExit});
  expect(p, {{p.holder, 0, kArena, p.task}});
  // 8 bytes at 8: several have that.
  Program vague;
  vague.main({load(6, 1, 0), to_arena_pointer(6, 6), load(7, 6, 8), kExit});
  expect(vague, {{vague.holder, 0, kArena, 0}});
  // Without a proof that it is the arena, accesses alone are nothing.
  Program unproven;
  unproven.main({load(6, 1, 0), load(7, 6, 0, BPF_W), store(6, 16, 3), kExit});
  expect(unproven, {});
}

BOOST_AUTO_TEST_CASE(members_that_are_copied_keep_their_proof) {
  Program p;
  p.main({load(6, 1, 0), store(1, 16, 6), to_arena_pointer(6, 6), kExit});
  expect(p, {{p.holder, 0, kArena, 0}, {p.holder, 16, kArena, 0}});
}

BOOST_AUTO_TEST_CASE(arena_and_kernel_evidence_cancel_out_unless_the_type_is_only_declared) {
  Program p;
  p.main({store(1, 0, 2), load(6, 1, 0), to_arena_pointer(6, 6), kExit});
  expect(p, {});
  Program declared;
  const int fwd = btf__add_fwd(declared.w.raw(), "later", BTF_FWD_STRUCT);
  const int pointer = btf__add_ptr(declared.w.raw(), fwd);
  declared.function("main", declared.prototype(declared.w.u32, {declared.holder_pointer, pointer}),
                    {store(1, 0, 2), load(6, 1, 0), to_arena_pointer(6, 6), kExit});
  expect(declared, {{declared.holder, 0, kArena, fwd}});
}

BOOST_AUTO_TEST_CASE(kfuncs_return_what_they_declare_and_calls_clobber) {
  Program p;
  const int proto = p.prototype(p.other_pointer, {});
  p.main({mov(6, 1), kKfunc, store(6, 0, 0), store(6, 16, 2), kExit});  // r2 did not survive
  p.call_kfunc(1, "get_other", proto);
  expect(p, {{p.holder, 0, kKernel, p.other}});
}

BOOST_AUTO_TEST_CASE(arguments_are_carried_into_functions) {
  Program p;
  const auto callee = p.function("keep", p.prototype(p.w.u32, {p.w.u64, p.w.u64}), {store(1, 0, 2), kExit});
  p.main({mov(4, 1), mov(1, 4), kCall, kExit});
  p.call_function(2 + 2, callee);
  expect(p, {{p.holder, 0, kKernel, p.task}});
  // Another caller that passes something else leaves nothing known.
  Program two;
  const auto keep = two.function("keep", two.prototype(two.w.u32, {two.w.u64, two.w.u64}), {store(1, 0, 2), kExit});
  two.main({kCall, kExit});
  two.function("main2", two.prototype(two.w.u32, {two.holder_pointer, two.other_pointer}), {kCall, kExit});
  two.call_function(2, keep);
  two.call_function(4, keep);
  expect(two, {});
}

BOOST_AUTO_TEST_CASE(map_values_have_the_type_of_the_map) {
  Program p;
  p.object.maps = {{}, {.value = static_cast<std::uint32_t>(p.holder)}};
  const Reference reference{.kind = Reference::Kind::map, .index = 1};
  const auto wide = insn(BPF_LD | BPF_IMM | BPF_DW, 1, 1, 0, 0);
  p.main({mov(6, 2), wide, insn(0, 0, 0, 0, 0), helper(BPF_FUNC_task_storage_get), jump_if_zero(0, 1), store(0, 0, 6), kExit});
  p.refer(1, reference);
  // And a value that is put together on the stack and then handed over.
  p.function("update", p.prototype(p.w.u32, {p.holder_pointer, p.task_pointer}),
             {store(10, -64, 2), mov(3, 10), add(3, -80), wide, insn(0, 0, 0, 0, 0), helper(BPF_FUNC_map_update_elem), kExit});
  p.refer(7 + 3, reference);
  expect(p, {{p.holder, 0, kKernel, p.task}, {p.holder, 16, kKernel, p.task}});
}

BOOST_AUTO_TEST_CASE(variables_of_sections_are_members_too) {
  Program p;
  const int number = btf__add_var(p.w.raw(), "last", BTF_VAR_GLOBAL_ALLOCATED, p.w.u64);
  const int whole = btf__add_var(p.w.raw(), "state", BTF_VAR_STATIC, p.holder);
  p.object.variables = {{5, 0, 8, static_cast<std::uint32_t>(number)}, {5, 8, 80, static_cast<std::uint32_t>(whole)}};
  const auto wide = insn(BPF_LD | BPF_IMM | BPF_DW, 6, 0, 0, 0);
  const auto rest = insn(0, 0, 0, 0, 0);
  p.main({wide, rest, store(6, 0, 2), wide, rest, store(6, 16, 3), kExit});
  p.refer(0, {.kind = Reference::Kind::data, .index = 5, .offset = 0});
  p.refer(3, {.kind = Reference::Kind::data, .index = 5, .offset = 8});
  expect(p, {{p.holder, 16, kKernel, p.other}, {number, 0, kKernel, p.task}});
}

BOOST_AUTO_TEST_CASE(a_struct_ops_context_holds_the_parameters_of_its_member) {
  Program p;
  const int member = p.prototype(p.w.u32, {p.holder_pointer, p.task_pointer});
  p.function("ops", p.prototype(p.w.u32, {p.w.pointer}),
             {load(6, 1, 0), load(7, 1, 8), store(6, 0, 7), load(8, 1, 16), store(6, 16, 8), kExit});
  p.object.functions.back().context = static_cast<std::uint32_t>(member);
  expect(p, {{p.holder, 0, kKernel, p.task}});
}

BOOST_AUTO_TEST_CASE(atomics_that_fetch_clobber) {
  Program p;
  const auto exchange = insn(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_XCHG);
  p.main({mov(6, 2), exchange, store(1, 16, 2), store(1, 24, 6), kExit});
  expect(p, {{p.list, 0, kKernel, p.task}});
  Program acquire;
  acquire.main({insn(BPF_STX | BPF_ATOMIC | BPF_DW, 2, 1, 0, 0x100), store(1, 16, 2), kExit});
  expect(acquire, {});
}

BOOST_AUTO_TEST_CASE(code_that_makes_no_sense_is_survived) {
  Program p;
  p.main({insn(0xff, 15, 15, -1, -1), jump(30000), jump_if_zero(3, -30000), store(15, 0, 14), load(13, 12, 0),
          insn(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 0)});
  p.object.functions.push_back({.name = "beyond", .start = 4, .end = 9999, .prototype = 9999});
  expect(p, {});
}

BOOST_AUTO_TEST_CASE(a_file_without_objects_is_told) {
  const auto none = CastAnalysis::of_file({});
  BOOST_TEST(none.objects().empty());
  BOOST_TEST(none.problems().size() == 1u);
  const std::string junk =
      "\x7f"
      "ELF" +
      std::string(500, '\x02');
  BOOST_TEST(CastAnalysis::of_file(std::as_bytes(std::span(junk))).objects().empty());
}

#ifdef FLOE_TEST_SCHEDULERS
BOOST_AUTO_TEST_CASE(the_schedulers_of_this_tree_keep_pointers_where_their_source_says) {
  std::ifstream file(FLOE_TEST_SCHEDULERS, std::ios::binary);
  const std::string program(std::istreambuf_iterator<char>(file), {});
  const auto analysis = CastAnalysis::of_file(std::as_bytes(std::span(program)));
  BOOST_TEST(analysis.problems().empty());
  BOOST_REQUIRE(!analysis.objects().empty());
  const CastAnalysis::Object* maps = nullptr;
  for (const auto& object : analysis.objects()) {
    BOOST_TEST(analysis.find(*object.types) == &object.casts);
    if (object.types->find("task_entry")) maps = &object;
  }
  BOOST_REQUIRE(maps != nullptr);
  const auto finding = [&](const char* parent, std::uint32_t offset) { return maps->casts.find({*maps->types->find(parent), offset}); };
  const Cast* slot = finding("task_entry", 0);
  BOOST_REQUIRE(slot != nullptr);
  BOOST_TEST((slot->space == kArena));
  const Cast* owner = finding("task_entry", 16);
  BOOST_REQUIRE(owner != nullptr);
  BOOST_TEST((owner->space == kKernel));
  BOOST_TEST(maps->types->name_of(owner->target) == "task_struct");
  const Cast* cell = finding("task_ctx", 40);
  BOOST_REQUIRE(cell != nullptr);
  BOOST_TEST(maps->types->name_of(cell->target) == "cell_ctx");
  BOOST_TEST(finding("task_entry", 24) == nullptr);  // a number
  BOOST_TEST(analysis.complete_type("cell_ctx", false).has_value());
  // Cut anywhere, it is a file with fewer objects.
  for (std::size_t bytes = 0; bytes < program.size(); bytes += program.size() / 50)
    BOOST_TEST(CastAnalysis::of_file(std::as_bytes(std::span(program).first(bytes))).objects().size() <= analysis.objects().size());
}
#endif

BOOST_AUTO_TEST_SUITE_END()
