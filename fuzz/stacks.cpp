// A guest with two tasks' stacks, unwinding tables, a module and a BPF program, of which the input overwrites any bytes (fuzz/patched.hpp);
// before that it says what a CPU's registers hold: which of them are moved, and how far. Unwinding must end, with no more than kMaxFrames,
// and be complete or say why not.
#include <cstdlib>

#include "fuzz/patched.hpp"
#include "tests/walkers/synthetic/code.hpp"
#include "walkers/unwind.hpp"

using namespace floe;
using namespace floe::walkers;
using E = OrcEntry;

namespace {

synthetic::CodeSpec functions() {
  synthetic::CodeSpec spec;
  spec.functions = {{"schedule", 0x100},      {"worker", 0x200}, {"ret_from_fork_asm", 0x300}, {"entry", 0x400}, {"exception", 0x500},
                    {"call_on_stack", 0x600}, {"by_r10", 0x700}};
  spec.rows = {{0x100, {.sp_offset = 8, .sp_reg = E::sp, .type = E::Type::call}},
               {0x110, {.sp_offset = 16, .bp_offset = -16, .sp_reg = E::bp, .bp_reg = E::prev_sp, .type = E::Type::call}},
               {0x200, {.sp_offset = 32, .sp_reg = E::sp, .type = E::Type::call}},
               {0x300, {.type = E::Type::end_of_stack}},
               {0x400, {.sp_reg = E::sp, .type = E::Type::regs, .signal = true}},
               {0x500, {.sp_reg = E::sp, .type = E::Type::regs_partial, .signal = true}},
               {0x600, {.sp_offset = 8, .sp_reg = E::sp_indirect, .type = E::Type::call}},
               {0x700, {.sp_reg = E::r10, .type = E::Type::call}},
               {0x800, {.type = E::Type::undefined}}};
  return spec;
}

struct Guest {
  synthetic::CodeSpec spec = functions();
  synthetic::SyntheticKernel kernel{synthetic::Code::needs(spec)};
  synthetic::Code code{kernel, spec};
  Kva first, second;
  CpuRegisters registers;
  std::optional<Kernel> opened;
  std::vector<Gpa> pages;

  Guest() {
    const Kva text = kernel.allocate(kPageBytes);
    const Kva node = code.add_bpf("bpf_prog_1_dispatch", text, 0x100);
    const Kva module = code.add_module("module", {{"function", 0}}, {{0, {.sp_offset = 8, .sp_reg = E::sp, .type = E::Type::call}}});
    first = kernel.add_process(1, "first");
    second = kernel.add_process(2, "second");
    synthetic::Stack one(kernel, first);
    one.push(code.at(0x310).value);
    for (int n = 0; n < 3; ++n) one.push(0);
    one.push(code.at(0x210).value);
    const Kva outer = one.push(0);
    one.push((text + 0x10).value);
    one.switch_away(code.at(0x120), one.push(outer.value).value);
    synthetic::Stack two(kernel, second);
    two.push_regs(0x401000, 0x7ffc0000, 0, true);
    two.push(code.at(0x410).value);
    const Kva regs = two.push_regs(code.at(0x200).value, two.sp().value - 24, 0, false);
    registers = {.cpu = 0, .ip = code.at(0x510).value, .sp = regs.value + 128};
    auto open = Kernel::open(kernel.memory);
    if (!open) std::abort();
    opened.emplace(std::move(*open));
    for (const Kva part : {one.sp(), two.sp(), first, second, code.at(0x9000), code.at(0xa000), code.at(0xc000), module + kPageBytes, node})
      pages.push_back(Gpa(page_floor(kernel.physical(part).value)));
  }
};

void check(const Backtrace& trace) {
  if (trace.frames.size() > Unwinder::kMaxFrames || (!trace.complete && trace.reason.empty())) std::abort();
  for (const Frame& frame : trace.frames)
    if (frame.text.empty() || frame.text.size() > 1100) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Guest guest;
  fuzz::Input input(data, size);
  CpuRegisters registers = guest.registers;
  for (auto* const value : {&registers.ip, &registers.sp, &registers.bp, &registers.r10})
    *value += static_cast<std::uint64_t>(std::int64_t{input.take<std::int16_t>()});
  fuzz::Patched memory(guest.kernel.memory);
  memory.patch_by(input, guest.pages);
  const auto kernel = Kernel::open(memory, *guest.opened);
  if (!kernel) return 0;
  const CodeAddresses code(*kernel, WalkBudget(100));
  const auto unwinder = Unwinder::create(*kernel, code);
  if (!unwinder) return 0;
  WalkBudget budget(1000);
  check(unwinder->sleeping(guest.first, budget));
  check(unwinder->sleeping(guest.second, budget));
  check(unwinder->running(guest.second, registers, budget));
  if (budget.taken() > 3 * Unwinder::kMaxFrames + 3) std::abort();
  return 0;
}
