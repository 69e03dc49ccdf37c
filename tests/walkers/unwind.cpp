#include "walkers/unwind.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/code.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::Code;
using synthetic::CodeSpec;
using synthetic::Stack;
using synthetic::SyntheticKernel;
using E = OrcEntry;
using Type = OrcEntry::Type;

namespace {

// Functions of one kernel, each with the frame that its name says.
CodeSpec functions() {
  CodeSpec spec;
  spec.functions = {
      {"schedule", 0x100},         {"by_bp", 0x200},         {"worker", 0x300},        {"the_end", 0x380},     {"ret_from_fork_asm", 0x400},
      {"entry_SYSCALL_64", 0x500}, {"asm_interrupt", 0x580}, {"asm_exception", 0x600}, {"without_orc", 0x680}, {"on_irq_stack", 0x700},
      {"by_r10", 0x780},           {"bp_indirect", 0x800}};
  const OrcEntry call{.sp_offset = 8, .sp_reg = E::sp, .type = Type::call};
  spec.rows = {{0x000, {.type = Type::undefined}},
               {0x100, call},
               {0x110, {.sp_offset = 16, .bp_offset = -16, .sp_reg = E::bp, .bp_reg = E::prev_sp, .type = Type::call}},
               {0x200, {.sp_offset = 16, .bp_offset = -16, .sp_reg = E::bp, .bp_reg = E::prev_sp, .type = Type::call}},
               {0x300, call},
               {0x304, {.sp_offset = 32, .sp_reg = E::sp, .type = Type::call}},
               {0x400, {.type = Type::end_of_stack}},
               {0x500, {.sp_reg = E::sp, .type = Type::regs, .signal = true}},
               {0x600, {.sp_reg = E::sp, .type = Type::regs_partial, .signal = true}},
               {0x680, {.type = Type::undefined}},
               {0x700, {.sp_offset = 8, .sp_reg = E::sp_indirect, .type = Type::call}},
               {0x780, {.sp_reg = E::r10, .bp_reg = E::none, .type = Type::call}},
               {0x800, {.sp_offset = -8, .sp_reg = E::bp_indirect, .type = Type::call}},
               {0x900, {.type = Type::undefined}}};
  return spec;
}

struct Guest {
  explicit Guest(const CodeSpec& spec = functions()) : kernel(Code::needs(spec)), code(kernel, spec) {
    task = kernel.add_process(7, "sleeper");
    stack.emplace(kernel, task);
    irq_top = kernel.allocate(kPageBytes) + kPageBytes - 8;
    // CPU 0's copy of hardirq_stack_ptr, next to its run queue.
    const Kva offset(kernel.symbol("__per_cpu_offset"));
    std::uint64_t distance = 0;
    kernel.memory.read(kernel.physical(offset), std::as_writable_bytes(std::span(&distance, 1)));
    per_cpu = kernel.symbol("hardirq_stack_ptr") + distance;
    kernel.map(per_cpu);
  }

  template <class Ask>
  Backtrace ask(const Ask& ask_unwinder) const {
    const auto opened = Kernel::open(kernel.memory);
    BOOST_REQUIRE_MESSAGE(opened, opened.error().message);
    const CodeAddresses addresses(*opened);
    const auto unwinder = Unwinder::create(*opened, addresses);
    BOOST_REQUIRE_MESSAGE(unwinder, unwinder.error().message);
    WalkBudget budget(10'000);
    return ask_unwinder(*unwinder, budget);
  }
  Backtrace sleeping() const {
    return ask([&](const Unwinder& unwinder, WalkBudget& budget) { return unwinder.sleeping(task, budget); });
  }
  Backtrace running(const CpuRegisters& registers) const {
    return ask([&](const Unwinder& unwinder, WalkBudget& budget) { return unwinder.running(task, registers, budget); });
  }
  std::uint64_t place(std::uint64_t at) const { return code.at(at).value; }

  SyntheticKernel kernel;
  Code code;
  Kva task;
  std::optional<Stack> stack;
  Kva irq_top;
  Kva per_cpu;
};

std::vector<std::string> names(const Backtrace& trace) {
  std::vector<std::string> list;
  for (const auto& frame : trace.frames) list.push_back((frame.reliable ? "" : "? ") + frame.text);
  return list;
}

using Names = std::vector<std::string>;

#define CHECK_FRAMES(trace, ...) BOOST_TEST(names(trace) == (Names{__VA_ARGS__}), boost::test_tools::per_element())

// A kernel thread that sleeps: schedule() called by worker(), which ret_from_fork_asm called.
void sleep_in_worker(Guest& guest) {
  guest.stack->push(guest.place(0x404));  // worker() returns here
  for (int n = 0; n < 3; ++n) guest.stack->push(0);
  guest.stack->push(guest.place(0x310));  // schedule() returns here
  const Kva bp = guest.stack->push(0x1234);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(unwind)

BOOST_AUTO_TEST_CASE(a_sleeping_kernel_thread_unwinds_to_its_fork) {
  Guest guest;
  sleep_in_worker(guest);
  const auto trace = guest.sleeping();
  CHECK_FRAMES(trace, "schedule+0x20/0x100", "worker+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
  BOOST_TEST(trace.complete);
  BOOST_TEST(trace.reason == "");
  BOOST_TEST(trace.frames[1].ip.value == guest.place(0x310));
}

BOOST_AUTO_TEST_CASE(every_form_of_the_tables_says_the_same) {
  using Format = CodeSpec::Format;
  for (const Format format : {Format::end_bit, Format::signal_and_end, Format::typed})
    for (const bool old_numbers : {true, false}) {
      CodeSpec spec = functions();
      spec.format = format;
      spec.old_numbers = old_numbers;
      Guest guest(spec);
      sleep_in_worker(guest);
      const auto trace = guest.sleeping();
      CHECK_FRAMES(trace, "schedule+0x20/0x100", "worker+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
      BOOST_TEST(trace.complete);
    }
}

BOOST_AUTO_TEST_CASE(a_system_call_ends_in_user_space) {
  Guest guest;
  guest.stack->push_regs(0x401234, 0x7ffc0000, 0, true);
  guest.stack->push(guest.place(0x520));
  const Kva bp = guest.stack->push(0);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  const auto trace = guest.sleeping();
  CHECK_FRAMES(trace, "schedule+0x20/0x100", "entry_SYSCALL_64+0x20/0x80");
  BOOST_TEST(trace.complete);
}

BOOST_AUTO_TEST_CASE(a_task_that_never_ran_is_at_the_start_of_its_fork) {
  Guest guest;
  guest.stack->push_regs(0, 0, 0, false);
  guest.stack->switch_away(guest.code.at(0x400), 0);
  const auto trace = guest.sleeping();
  CHECK_FRAMES(trace, "ret_from_fork_asm+0x0/0x100");
  BOOST_TEST(trace.complete);
}

BOOST_AUTO_TEST_CASE(an_interrupt_unwinds_from_its_stack_to_what_it_interrupted) {
  Guest guest;
  guest.kernel.put(guest.per_cpu, guest.irq_top.value);
  guest.stack->push(guest.place(0x404));  // of worker(), interrupted at its first instruction
  const Kva interrupted = guest.stack->sp();
  guest.stack->push_regs(guest.place(0x300), interrupted.value, 0x77, false);
  guest.stack->push(guest.place(0x590));  // on_irq_stack() was called from the interrupt's entry
  // The topmost word of the interrupt stack says where that was; below it the frames of the handler.
  guest.kernel.put(guest.irq_top, guest.stack->sp().value);
  guest.kernel.put(guest.irq_top - 8, guest.place(0x710));
  guest.kernel.put(guest.irq_top - 16, std::uint64_t{0x55});
  const CpuRegisters registers{.ip = guest.place(0x118), .sp = guest.irq_top.value - 64, .bp = guest.irq_top.value - 16};
  const auto trace = guest.running(registers);
  CHECK_FRAMES(trace, "schedule+0x18/0x100", "on_irq_stack+0x10/0x80", "asm_interrupt+0x10/0x80", "worker+0x0/0x80",
               "ret_from_fork_asm+0x4/0x100");
  BOOST_TEST(trace.complete);
}

BOOST_AUTO_TEST_CASE(a_register_that_only_saved_registers_have_is_found_there) {
  Guest guest;
  const Kva target = guest.stack->push(guest.place(0x404)) + 8;
  guest.stack->push(0);
  // by_r10() was interrupted; what it had in r10 is in the registers that the interrupt saved.
  guest.stack->push_regs(guest.place(0x790), guest.stack->sp().value, 0, false, target.value);
  guest.stack->push(guest.place(0x520));
  const Kva bp = guest.stack->push(0);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  const auto trace = guest.sleeping();
  CHECK_FRAMES(trace, "schedule+0x20/0x100", "entry_SYSCALL_64+0x20/0x80", "by_r10+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
  BOOST_TEST(trace.complete);

  // And of a running CPU in its own.
  const CpuRegisters registers{.ip = guest.place(0x790), .sp = guest.stack->sp().value, .r10 = target.value};
  CHECK_FRAMES(guest.running(registers), "by_r10+0x10/0x80", "ret_from_fork_asm+0x4/0x100");

  // Called in the ordinary way there are none.
  guest.stack->push(guest.place(0x790));
  const Kva called = guest.stack->push(0);
  guest.stack->switch_away(guest.code.at(0x120), called.value);
  const auto without = guest.sleeping();
  CHECK_FRAMES(without, "schedule+0x20/0x100", "by_r10+0x10/0x80");
  BOOST_TEST(!without.complete);
  BOOST_TEST(without.reason.find("a register or stack word it needs is not there") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_the_processor_pushed_is_enough_for_an_exception) {
  Guest guest;
  guest.stack->push(guest.place(0x404));
  const Kva sp = guest.stack->sp();
  const Kva regs = guest.stack->push_regs(guest.place(0x300), sp.value, 0, false);
  // asm_exception() has nothing but the processor's five words below it.
  const CpuRegisters registers{.ip = guest.place(0x610), .sp = regs.value + 128, .bp = 0};
  const auto trace = guest.running(registers);
  CHECK_FRAMES(trace, "asm_exception+0x10/0x80", "worker+0x0/0x80", "ret_from_fork_asm+0x4/0x100");
  BOOST_TEST(trace.complete);
}

BOOST_AUTO_TEST_CASE(registers_of_the_frame_before_serve_where_the_processor_saved_few) {
  Guest guest;
  const Kva target = guest.stack->push(guest.place(0x404)) + 8;
  const Kva few = guest.stack->push_regs(guest.place(0x790), guest.stack->sp().value, 0, false, 0xdead);
  const std::uint64_t pushed = few.value + 128;
  guest.stack->push_regs(guest.place(0x610), pushed, 0, false, target.value);
  guest.stack->push(guest.place(0x520));
  const Kva bp = guest.stack->push(0);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  CHECK_FRAMES(guest.sleeping(), "schedule+0x20/0x100", "entry_SYSCALL_64+0x20/0x80", "asm_exception+0x10/0x80", "by_r10+0x10/0x80",
               "ret_from_fork_asm+0x4/0x100");
  const CpuRegisters registers{.ip = guest.place(0x610), .sp = pushed, .r10 = target.value};
  CHECK_FRAMES(guest.running(registers), "asm_exception+0x10/0x80", "by_r10+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
}

BOOST_AUTO_TEST_CASE(no_stack_is_entered_twice) {
  Guest guest;
  guest.kernel.put(guest.per_cpu, guest.irq_top.value);
  const Kva here = guest.irq_top - 64;
  guest.stack->push(guest.place(0x210));
  const Kva there = guest.stack->push(here.value);
  guest.kernel.put(here, there.value);
  guest.kernel.put(here + 8, guest.place(0x210));
  const auto trace = guest.running({.ip = guest.place(0x220), .sp = here.value - 8, .bp = here.value});
  BOOST_TEST(trace.frames.size() == 3u);
  BOOST_TEST(!trace.complete);
  BOOST_TEST(trace.reason.find("which is not readable stack") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(an_indirect_frame_pointer_is_followed) {
  Guest guest;
  const Kva target = guest.stack->push(guest.place(0x404)) + 8;
  const Kva word = guest.stack->push(target.value);
  guest.stack->push(guest.place(0x810));
  const Kva bp = guest.stack->push((word + 8).value);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  CHECK_FRAMES(guest.sleeping(), "schedule+0x20/0x100", "bp_indirect+0x10/0x7800", "ret_from_fork_asm+0x4/0x100");
}

BOOST_AUTO_TEST_CASE(bpf_programs_keep_frame_pointers_and_other_code_may) {
  for (const bool bpf : {true, false}) {
    Guest guest;
    const Kva text = bpf ? guest.kernel.allocate(kPageBytes) : guest.code.add_module("without_tables", {{"function", 0}});
    if (bpf) guest.code.add_bpf("bpf_prog_1_dispatch", text, 0x100);
    guest.stack->push(guest.place(0x404));
    for (int n = 0; n < 3; ++n) guest.stack->push(0);
    guest.stack->push(guest.place(0x310));  // the program returns here
    const Kva outer = guest.stack->push(0x99);
    guest.stack->push(0);                    // its own variables
    guest.stack->push((text + 0x20).value);  // schedule() returns here
    const Kva bp = guest.stack->push(outer.value);
    guest.stack->switch_away(guest.code.at(0x120), bp.value);
    const auto trace = guest.sleeping();
    if (bpf)
      CHECK_FRAMES(trace, "schedule+0x20/0x100", "bpf_prog_1_dispatch+0x20/0x100 [bpf]", "worker+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
    else
      CHECK_FRAMES(trace, "schedule+0x20/0x100", "function+0x20/0x1000 [without_tables]", "? worker+0x10/0x80",
                   "? ret_from_fork_asm+0x4/0x100");
    BOOST_TEST(trace.complete);
  }
}

BOOST_AUTO_TEST_CASE(a_module_brings_its_own_tables) {
  Guest guest;
  const Kva text = guest.code.add_module(
      "nf_tables", {{"nft_do_chain", 0}},
      {{0, {.sp_offset = 8, .sp_reg = E::sp, .type = Type::call}}, {0x10, {.sp_offset = 40, .sp_reg = E::sp, .type = Type::call}}});
  guest.stack->push(guest.place(0x404));
  for (int n = 0; n < 4; ++n) guest.stack->push(0);
  guest.stack->push((text + 0x20).value);
  const Kva bp = guest.stack->push(0);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  CHECK_FRAMES(guest.sleeping(), "schedule+0x20/0x100", "nft_do_chain+0x20/0x1000 [nf_tables]", "ret_from_fork_asm+0x4/0x100");
}

BOOST_AUTO_TEST_CASE(a_call_of_a_null_pointer_shows_its_caller) {
  Guest guest;
  guest.stack->push(guest.place(0x404));
  for (int n = 0; n < 3; ++n) guest.stack->push(0);
  guest.stack->push(guest.place(0x310));
  const auto trace = guest.running({.ip = 0, .sp = guest.stack->sp().value});
  CHECK_FRAMES(trace, "0x0", "worker+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
}

BOOST_AUTO_TEST_CASE(endless_recursion_is_cut) {
  Guest guest;
  for (int n = 0; n < 400; ++n) {
    guest.stack->push(guest.place(0x310));
    for (int word = 0; word < 3; ++word) guest.stack->push(0);
  }
  guest.stack->push(guest.place(0x310));
  const Kva bp = guest.stack->push(0);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  const auto trace = guest.sleeping();
  BOOST_TEST(trace.frames.size() == Unwinder::kMaxFrames);
  BOOST_TEST(!trace.complete);
  BOOST_TEST(trace.reason == "more than 128 frames");
}

BOOST_AUTO_TEST_CASE(frames_that_lead_downwards_end_the_walk) {
  Guest guest;
  guest.stack->push(guest.place(0x404));
  guest.stack->push(0);
  // by_bp()'s frame pointer leads back to the frame it was called from.
  guest.stack->push(guest.place(0x210));
  const Kva bp = guest.stack->push(0);
  guest.kernel.put(bp, bp.value);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  const auto trace = guest.sleeping();
  BOOST_TEST(!trace.complete);
  BOOST_TEST(trace.frames.size() < 4u);
  BOOST_TEST(trace.reason == "by_bp+0x10/0x100 leads downwards");
}

BOOST_AUTO_TEST_CASE(nothing_off_the_stack_is_followed) {
  Guest guest;
  const Kva elsewhere = guest.kernel.allocate(kPageBytes);
  guest.kernel.put(elsewhere + 8, guest.place(0x404));
  guest.stack->switch_away(guest.code.at(0x120), elsewhere.value);
  const auto trace = guest.sleeping();
  CHECK_FRAMES(trace, "schedule+0x20/0x100");
  BOOST_TEST(trace.reason.find("which is not readable stack") != std::string::npos);

  guest.kernel.put(guest.task + guest.kernel.offset("task_struct.thread.sp"), elsewhere.value);
  BOOST_TEST(guest.sleeping().reason.find("is not on its stack") != std::string::npos);
  guest.kernel.put(guest.task + guest.kernel.offset("task_struct.stack"), std::uint64_t{0});
  BOOST_TEST(guest.sleeping().reason == "it has no kernel stack any more");
  BOOST_TEST(guest.running({.ip = guest.place(0x120), .sp = elsewhere.value}).reason.find("on no stack") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_stops_a_walk_is_told) {
  Guest guest;
  const auto ends_at = [&](std::uint64_t word) {
    guest.stack->push(word);
    const Kva bp = guest.stack->push(0);
    guest.stack->switch_away(guest.code.at(0x120), bp.value);
    return guest.sleeping();
  };
  BOOST_TEST(ends_at(guest.place(0x690)).reason == "the kernel has no unwinding information at without_orc+0x10/0x80");
  BOOST_TEST(ends_at(0xdead).reason == "the return address 0xdeac is an address of user space");
  const auto late = guest.ask([&](const Unwinder& unwinder, WalkBudget&) {
    WalkBudget none(1);
    return unwinder.sleeping(guest.task, none);
  });
  BOOST_TEST(late.frames.size() == 1u);
  BOOST_TEST(late.reason == "step limit reached");
}

BOOST_AUTO_TEST_CASE(a_task_is_taken_where_it_is) {
  Guest guest;
  sleep_in_worker(guest);
  Task task;
  task.address = guest.task;
  task.cpu = 1;
  const std::vector<CpuRegisters> cpus = {{.cpu = 0, .ip = 0x401000, .sp = 0x7ffc0000},
                                          {.cpu = 1, .ip = guest.place(0x100), .sp = guest.stack->top().value - 40}};
  const auto of = [&](std::span<const CpuRegisters> known) {
    return guest.ask([&](const Unwinder& unwinder, WalkBudget& budget) { return unwinder.of(task, known, budget); });
  };
  BOOST_TEST(of(cpus).frames.size() == 3u);
  task.on_cpu = true;
  CHECK_FRAMES(of(cpus), "schedule+0x0/0x100", "worker+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
  BOOST_TEST(of({}).reason == "it runs on CPU 1, whose registers are not known");
  task.cpu = 0;
  const auto user = of(cpus);
  BOOST_TEST(user.frames.empty());
  BOOST_TEST(user.complete);
  BOOST_TEST(user.reason == "in user space, at 0x401000");
  // Two tasks count as running while one switches to the other; this one's stack is not the one in use.
  const Kva other = guest.kernel.allocate(kPageBytes);
  const std::vector<CpuRegisters> switching = {{.cpu = 0, .ip = guest.place(0x100), .sp = other.value + 64}};
  BOOST_TEST(of(switching).frames.size() == 3u);
}

BOOST_AUTO_TEST_CASE(kernels_without_tables_say_so) {
  const auto refused = [](const CodeSpec& spec) {
    SyntheticKernel kernel(Code::needs(spec));
    Code code(kernel, spec);
    const auto opened = Kernel::open(kernel.memory);
    BOOST_REQUIRE(opened);
    const CodeAddresses addresses(*opened);
    const auto unwinder = Unwinder::create(*opened, addresses);
    return unwinder ? std::string() : unwinder.error().message;
  };
  CodeSpec odd = functions();
  for (auto& row : odd.rows)
    if (row.place == 0x100) row.entry.sp_reg = E::r13;
  BOOST_TEST(refused(odd).find("which should be the stack pointer") != std::string::npos);
  CodeSpec unknown = functions();
  unknown.functions.erase(unknown.functions.begin());
  BOOST_TEST(refused(unknown).find("do not show how they number registers") != std::string::npos);
  CodeSpec none = functions();
  none.rows.clear();
  BOOST_TEST(refused(none).find("do not fit together") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(frame_pointer_kernels_are_walked_by_them) {
  CodeSpec spec = functions();
  spec.frame_pointers = true;
  Guest guest(spec);
  // A kernel thread: its frames end at the empty registers at the top of its stack.
  const Kva regs = guest.stack->push_regs(0, 0, 0, false);
  guest.stack->push(guest.place(0x404));
  const Kva outer = guest.stack->push(regs.value | 1);
  guest.stack->push(guest.place(0x310));
  const Kva bp = guest.stack->push(outer.value);
  guest.stack->switch_away(guest.code.at(0x120), bp.value);
  const auto trace = guest.sleeping();
  CHECK_FRAMES(trace, "schedule+0x20/0x100", "worker+0x10/0x80", "ret_from_fork_asm+0x4/0x100");
  BOOST_TEST(trace.complete);

  // Interrupted in the kernel.
  const Kva saved = guest.stack->push_regs(guest.place(0x310), guest.stack->sp().value, bp.value, false);
  guest.stack->push(guest.place(0x590));
  const Kva inner = guest.stack->push(saved.value | 1);
  guest.stack->switch_away(guest.code.at(0x120), inner.value);
  CHECK_FRAMES(guest.sleeping(), "schedule+0x20/0x100", "asm_interrupt+0x10/0x80", "worker+0x10/0x80", "? worker+0x10/0x80",
               "? ret_from_fork_asm+0x4/0x100");

  guest.kernel.put(inner, inner.value);  // a loop
  const auto loop = guest.sleeping();
  BOOST_TEST(!loop.complete);
  BOOST_TEST(loop.frames.size() < 4u);
}

BOOST_AUTO_TEST_SUITE_END()
