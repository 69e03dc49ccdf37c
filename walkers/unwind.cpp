#include "walkers/unwind.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace floe::walkers {
namespace {

constexpr std::uint64_t kUserEnd = std::uint64_t{1} << 63;
constexpr std::uint64_t kDefaultStack = 16384;                          // THREAD_SIZE and IRQ_STACK_SIZE without KASAN
constexpr std::uint64_t kEntryAreas = 0xfffffe0000000000 + kPageBytes;  // CPU_ENTRY_AREA_PER_CPU, the IDT's alias below it
constexpr std::uint64_t kUserMode = 3;                                  // the ring in pt_regs.cs
constexpr std::uint64_t kStackTopPadding = 64;                          // more than TOP_OF_KERNEL_STACK_PADDING, less than a frame

// How the kernel itself goes on where it has no ORC: push %rbp; mov %rsp,%rbp.
constexpr OrcEntry kByFramePointer{
    .sp_offset = 16, .bp_offset = -16, .sp_reg = OrcEntry::bp, .bp_reg = OrcEntry::prev_sp, .type = OrcEntry::Type::call, .signal = false};
// A call of a null pointer has only pushed its return address.
constexpr OrcEntry kAtNull{
    .sp_offset = 8, .bp_offset = 0, .sp_reg = OrcEntry::sp, .bp_reg = OrcEntry::none, .type = OrcEntry::Type::call, .signal = false};

}  // namespace

Result<Unwinder::Fields> Unwinder::Fields::resolve(const Kernel& kernel) {
  const Types& types = kernel.types();
  Fields fields{};
  const auto filled = types.fill({{"task_struct.stack", &fields.stack},
                                  {"task_struct.thread.sp", &fields.thread_sp},
                                  {"inactive_task_frame.bp", &fields.frame_bp},
                                  {"inactive_task_frame.ret_addr", &fields.frame_ip},
                                  {"pt_regs.ip", &fields.ip},
                                  {"pt_regs.cs", &fields.cs},
                                  {"pt_regs.sp", &fields.sp},
                                  {"pt_regs.bp", &fields.bp},
                                  {"pt_regs.ax", &fields.ax},
                                  {"pt_regs.dx", &fields.dx},
                                  {"pt_regs.di", &fields.di},
                                  {"pt_regs.r10", &fields.r10},
                                  {"pt_regs.r13", &fields.r13}});
  if (!filled) return fail(filled.error());
  const auto frame_bytes = types.size("inactive_task_frame");
  const auto regs_bytes = types.size("pt_regs");
  if (!frame_bytes) return fail(frame_bytes.error());
  if (!regs_bytes) return fail(regs_bytes.error());
  fields.frame_bytes = *frame_bytes;
  fields.regs_bytes = *regs_bytes;

  // THREAD_SIZE is a macro; the stack of init_task has that size, between these two.
  const auto between = [&](std::string_view start, std::string_view end) {
    const auto from = kernel.symbols().find(start);
    const auto to = kernel.symbols().find(end);
    return from && to && *from < *to ? *to - *from : 0;
  };
  std::uint64_t bytes = between("__start_init_stack", "__end_init_stack");
  if (bytes == 0) bytes = between("__start_init_task", "__end_init_task");  // their names up to 6.9
  fields.thread_bytes = std::has_single_bit(bytes) && bytes >= kPageBytes && bytes <= 64 * kPageBytes ? bytes : kDefaultStack;
  const std::uint64_t irq_bytes = types.size("irq_stack").value_or(kDefaultStack);
  fields.irq_bytes = irq_bytes <= 64 * kPageBytes ? irq_bytes : kDefaultStack;
  fields.hot_irq_stack = types.maybe_field("pcpu_hot.hardirq_stack_ptr");
  for (const char* name : {"DF", "NMI", "DB", "MCE", "VC", "VC2"})
    if (const auto stack = types.maybe_field(fmt::format("cea_exception_stacks.{}_stack", name))) fields.exception_stacks.push_back(*stack);
  fields.entry_stack = types.maybe_field("cpu_entry_area.entry_stack_page");
  fields.entry_area_bytes = types.size("cpu_entry_area").value_or(0);
  return fields;
}

Result<Unwinder> Unwinder::create(const Kernel& kernel, const CodeAddresses& code) {
  const auto fields = Fields::resolve(kernel);
  if (!fields) return fail(fields.error());
  // Only frame-pointer kernels have this member (arch/x86/include/asm/unwind.h).
  if (kernel.types().has("unwind_state.got_irq")) return Unwinder(kernel, code, *fields, std::nullopt);
  auto orc = OrcLookup::create(kernel, code);
  if (!orc) return fail(orc.error());
  return Unwinder(kernel, code, *fields, std::move(*orc));
}

std::optional<Unwinder::Stack> Unwinder::task_stack(Kva task) const {
  const auto start = kernel_->memory().get_pointer(task, fields_.stack);
  if (!start || start->value % 8 != 0 || start->value > ~std::uint64_t{0} - fields_.thread_bytes) return std::nullopt;
  return Stack{start->value, start->value + fields_.thread_bytes};
}

std::vector<Unwinder::Stack> Unwinder::cpu_stacks(std::uint32_t cpu) const {
  const KernelMemory& memory = kernel_->memory();
  std::vector<Stack> stacks;
  const auto add = [&](std::uint64_t start, std::uint64_t bytes) {
    if (start % 8 == 0 && start >= kUserEnd && start <= ~std::uint64_t{0} - bytes) stacks.push_back({start, start + bytes});
  };
  // hardirq_stack_ptr points at the topmost word (951c2a51ae75).
  const auto hot = fields_.hot_irq_stack ? kernel_->per_cpu("pcpu_hot", cpu) : kernel_->per_cpu("hardirq_stack_ptr", cpu);
  const auto top = hot ? memory.get<std::uint64_t>(*hot + (fields_.hot_irq_stack ? fields_.hot_irq_stack->offset : 0)) : std::nullopt;
  if (top && *top != 0) add(*top + 8 - fields_.irq_bytes, fields_.irq_bytes);
  if (const auto place = kernel_->per_cpu("cea_exception_stacks", cpu))
    if (const auto base = memory.get<std::uint64_t>(*place); base && *base != 0)
      for (const Field& stack : fields_.exception_stacks) add(*base + stack.offset, stack.bytes);
  if (fields_.entry_stack && fields_.entry_area_bytes != 0) {
    // The areas are shuffled since 97e3d26b5e5f (6.2).
    const auto place = kernel_->per_cpu("_cea_offset", cpu);
    const auto slot = place ? memory.get<std::uint32_t>(*place) : std::optional(cpu);
    if (slot) add(kEntryAreas + *slot * fields_.entry_area_bytes + fields_.entry_stack->offset, fields_.entry_stack->bytes);
  }
  return stacks;
}

// One stack trace. `sp`, `bp` and `ip` are those of the frame that is about to be left.
class Unwinder::Walk {
 public:
  Walk(const Unwinder& unwinder, std::vector<Stack> stacks, WalkBudget& budget)
      : unwinder_(unwinder), fields_(unwinder.fields_), memory_(unwinder.kernel_->memory()), stacks_(std::move(stacks)), budget_(budget) {}

  Backtrace sleeping(Kva sp) {
    sp_ = sp.value;
    if (!enter(sp_, fields_.frame_bytes)) return refuse(fmt::format("its saved stack pointer {:#x} is not on its stack", sp_));
    const auto bp = memory_.get_number(sp, fields_.frame_bp);
    const auto ip = memory_.get_number(sp, fields_.frame_ip);
    if (!bp || !ip) return refuse("its saved registers are not readable");
    bp_ = *bp;
    ip_ = *ip;
    sp_ += fields_.frame_bytes;
    // A task that never ran yet returns to the very start of this.
    for (const char* fork : {"ret_from_fork_asm", "ret_from_fork"}) signal_ |= unwinder_.kernel_->symbols().find(fork) == Kva(ip_);
    return run();
  }

  Backtrace running(const CpuRegisters& registers) {
    ip_ = registers.ip;
    sp_ = registers.sp;
    bp_ = registers.bp;
    if (!enter(sp_, 1)) return refuse(fmt::format("the stack pointer {:#x} is on no stack of the task or the CPU", sp_));
    live_ = &registers;
    signal_ = true;
    full_ = true;
    return run();
  }

 private:
  enum class Next { frame, end, stop };

  Backtrace refuse(std::string reason) {
    trace_.reason = std::move(reason);
    return std::move(trace_);
  }

  Next stop(std::string reason) {
    trace_.reason = std::move(reason);
    return Next::stop;
  }

  Backtrace run() {
    for (Next next = Next::frame; next == Next::frame;) {
      next = add_frame();
      if (next == Next::frame) next = unwinder_.orc_ ? leave_by_orc() : leave_by_frame_pointer();
      trace_.complete = next == Next::end;
    }
    return std::move(trace_);
  }

  Next add_frame() {
    if (trace_.frames.size() == kMaxFrames) return stop(fmt::format("more than {} frames", kMaxFrames));
    if (!budget_.step()) return stop(std::string(budget_.reason()));
    const auto found = signal_ ? unwinder_.code_->find(Kva(ip_)) : unwinder_.code_->find_return(Kva(ip_));
    const bool null_call = signal_ && ip_ == 0;
    if (!found && !null_call)
      return stop(fmt::format("the {} {}", signal_ ? "interrupted address" : "return address", found.error().message));
    trace_.frames.push_back({Kva(ip_), found ? found->text() : "0x0", reliable_});
    return Next::frame;
  }

  // Is it on a stack that may be read: the current one, or another that was not visited before, which becomes the current one?
  bool enter(std::uint64_t address, std::uint64_t bytes) {
    if (stack_ < stacks_.size() && stacks_[stack_].holds(address, bytes)) return true;
    for (std::size_t n = 0; n < stacks_.size(); ++n) {
      if ((visited_ >> n & 1) != 0 || !stacks_[n].holds(address, bytes)) continue;
      stack_ = n;
      visited_ |= std::uint64_t{1} << n;
      return true;
    }
    return false;
  }

  std::optional<std::uint64_t> word(std::uint64_t address) {
    if (!enter(address, 8)) return std::nullopt;
    return memory_.get<std::uint64_t>(Kva(address));
  }

  std::optional<std::uint64_t> saved(const Field& field, std::uint64_t CpuRegisters::* live) const {
    if (const CpuRegisters* const own = full_ ? live_ : earlier_live_) return own->*live;
    const std::uint64_t from = full_ ? regs_ : earlier_regs_;
    return from != 0 ? memory_.get_number(Kva(from), field) : std::nullopt;
  }

  Next leave_by_orc() {
    const Kva place(signal_ ? ip_ : ip_ - 1);
    std::optional<OrcEntry> entry = ip_ == 0 ? kAtNull : unwinder_.orc_->find(place);
    if (!entry) {
      entry = kByFramePointer;
      // An interrupted program may not have set its frame up yet.
      if (signal_ || !unwinder_.code_->in_bpf(place)) reliable_ = false;
    }
    if (entry->type == OrcEntry::Type::end_of_stack) return Next::end;
    if (entry->type == OrcEntry::Type::undefined) return stop(why_undefined());

    const std::uint64_t before = sp_;
    const std::size_t stack_before = stack_;
    const auto base = stack_base(*entry);
    if (!base) return stop(fmt::format("the stack below {} cannot be found: a register or stack word it needs is not there", here()));
    const std::uint64_t frame = *base;
    signal_ = entry->signal;
    if (!load_caller(*entry, frame)) return stop(fmt::format("{} has its caller at {:#x}, which is not readable stack", here(), frame));
    if (!load_bp(*entry, frame)) return stop(fmt::format("the frame pointer saved by {} is not readable", here()));
    if (in_user_mode_) return Next::end;
    if (stack_ == stack_before && stacks_[stack_].holds(sp_, 8) && sp_ <= before) return stop(fmt::format("{} leads downwards", here()));
    return Next::frame;
  }

  std::string here() const { return trace_.frames.back().text; }

  std::string why_undefined() const {
    for (const char* hook : {"return_to_handler", "arch_rethook_trampoline", "__kretprobe_trampoline"})
      if (unwinder_.kernel_->symbols().find(hook) == Kva(ip_)) return "tracing has replaced the return address";
    return fmt::format("the kernel has no unwinding information at {}", here());
  }

  // Where the caller's frame ends: its stack pointer, or its registers.
  std::optional<std::uint64_t> stack_base(const OrcEntry& entry) {
    const auto offset = static_cast<std::uint64_t>(std::int64_t{entry.sp_offset});
    switch (entry.sp_reg) {
      case OrcEntry::sp:
        return sp_ + offset;
      case OrcEntry::bp:
        return bp_ + offset;
      case OrcEntry::sp_indirect: {  // the offset counts from what is found there (87ccc826bf1c)
        const auto found = word(sp_);
        return found ? std::optional(*found + offset) : std::nullopt;
      }
      case OrcEntry::bp_indirect:
        return word(bp_ + offset);
      case OrcEntry::r10:
        return saved(fields_.r10, &CpuRegisters::r10);
      case OrcEntry::r13:
        return saved(fields_.r13, &CpuRegisters::r13);
      case OrcEntry::di:
        return saved(fields_.di, &CpuRegisters::di);
      case OrcEntry::ax:
        return saved(fields_.ax, &CpuRegisters::ax);
      case OrcEntry::dx:
        return saved(fields_.dx, &CpuRegisters::dx);
      default:
        return std::nullopt;
    }
  }

  bool load_caller(const OrcEntry& entry, std::uint64_t frame) {
    if (entry.type == OrcEntry::Type::call) {
      const auto ip = word(frame - 8);
      if (!ip) return false;
      ip_ = *ip;
      sp_ = frame;
      live_ = earlier_live_ = nullptr;
      regs_ = earlier_regs_ = 0;
      return true;
    }
    const bool whole = entry.type == OrcEntry::Type::regs;
    const std::uint64_t iret = fields_.ip.offset;  // what the CPU itself pushes begins with the instruction pointer
    if (!(whole ? enter(frame, fields_.regs_bytes) : enter(frame, fields_.regs_bytes - iret))) return false;
    return load_regs(whole ? frame : frame - iret, whole);
  }

  bool load_regs(std::uint64_t regs, bool whole) {
    const auto ip = memory_.get_number(Kva(regs), fields_.ip);
    const auto sp = memory_.get_number(Kva(regs), fields_.sp);
    const auto cs = memory_.get_number(Kva(regs), fields_.cs);
    if (!ip || !sp || !cs) return false;
    earlier_regs_ = whole || !full_ ? 0 : regs_;
    earlier_live_ = whole || !full_ ? nullptr : live_;
    ip_ = *ip;
    sp_ = *sp;
    regs_ = regs;
    live_ = nullptr;
    full_ = whole;
    in_user_mode_ = (*cs & kUserMode) != 0;
    return true;
  }

  bool load_bp(const OrcEntry& entry, std::uint64_t frame) {
    const auto offset = static_cast<std::uint64_t>(std::int64_t{entry.bp_offset});
    std::optional<std::uint64_t> bp = bp_;
    if (entry.bp_reg == OrcEntry::prev_sp)
      bp = word(frame + offset);
    else if (entry.bp_reg == OrcEntry::bp)
      bp = word(bp_ + offset);
    else if (entry.bp_reg != OrcEntry::none)
      bp = std::nullopt;
    else if (full_ && regs_ != 0)
      bp = memory_.get_number(Kva(regs_), fields_.bp);
    if (bp) bp_ = *bp;
    return bp.has_value();
  }

  // arch/x86/kernel/unwind_frame.c: a frame pointer with bit 0 set points at saved registers.
  Next leave_by_frame_pointer() {
    const std::uint64_t before = bp_;
    const std::size_t stack_before = stack_;
    if (bp_ == 0) return Next::end;
    if (signal_) reliable_ = false;
    if ((bp_ & 1) != 0) {
      const std::uint64_t regs = bp_ - 1;
      if (!enter(regs, fields_.regs_bytes)) return stop(fmt::format("the registers below {} at {:#x} are on no stack", here(), regs));
      // What a task entered the kernel with, at the top of its stack; a kernel thread has nothing in it.
      if (stacks_[stack_].end - (regs + fields_.regs_bytes) < kStackTopPadding) return Next::end;
      if (!load_regs(regs, true)) return stop(fmt::format("the registers below {} are not readable", here()));
      if (in_user_mode_) return Next::end;
      bp_ = memory_.get_number(Kva(regs), fields_.bp).value_or(0);
      signal_ = true;
    } else {
      const auto next = word(bp_);
      const auto ip = word(bp_ + 8);
      if (!next || !ip) return stop(fmt::format("the frame pointer of {}, {:#x}, is on no stack", here(), bp_));
      bp_ = *next;
      ip_ = *ip;
      signal_ = false;
    }
    if (stack_ == stack_before && bp_ != 0 && stacks_[stack_].holds(bp_ & ~std::uint64_t{1}, 8) && bp_ <= before)
      return stop(fmt::format("{} leads downwards", here()));
    return Next::frame;
  }

  const Unwinder& unwinder_;
  const Fields& fields_;
  const KernelMemory& memory_;
  std::vector<Stack> stacks_;  // fewer than 64
  WalkBudget& budget_;
  Backtrace trace_;
  std::size_t stack_ = ~std::size_t{0};  // the one that sp_ is on
  std::uint64_t visited_ = 0;            // a bit for each of stacks_
  std::uint64_t ip_ = 0, sp_ = 0, bp_ = 0;
  bool signal_ = false;  // ip_ was interrupted: it is no return address
  bool reliable_ = true;
  bool in_user_mode_ = false;
  // Registers of the frame about to be left, where it was interrupted: the vCPU's, or a struct pt_regs.
  const CpuRegisters* live_ = nullptr;
  std::uint64_t regs_ = 0;
  bool full_ = false;  // all of regs_ is there, not only what the CPU pushed
  const CpuRegisters* earlier_live_ = nullptr;
  std::uint64_t earlier_regs_ = 0;  // whole ones of the frame before, if regs_ is not whole
};

Backtrace Unwinder::sleeping(Kva task, WalkBudget& budget) const {
  const auto stack = task_stack(task);
  const auto sp = kernel_->memory().get_number(task, fields_.thread_sp);
  Backtrace none;
  none.reason = !sp ? "its task_struct is not readable" : "it has no kernel stack any more";
  if (!stack || !sp) return none;
  return Walk(*this, {*stack}, budget).sleeping(Kva(*sp));
}

Backtrace Unwinder::running(Kva task, const CpuRegisters& registers, WalkBudget& budget) const {
  if (registers.ip != 0 && registers.ip < kUserEnd) {
    Backtrace user;
    user.complete = true;
    user.reason = fmt::format("in user space, at {:#x}", registers.ip);
    return user;
  }
  std::vector<Stack> stacks = cpu_stacks(registers.cpu);
  if (const auto stack = task_stack(task)) stacks.push_back(*stack);
  // In the midst of a switch two tasks count as running: the one whose stack is not in use has its registers saved.
  const auto holds = [&](const Stack& stack) { return stack.holds(registers.sp, 1); };
  if (std::none_of(stacks.begin(), stacks.end(), holds)) {
    auto switching = sleeping(task, budget);
    if (!switching.frames.empty()) return switching;
  }
  return Walk(*this, std::move(stacks), budget).running(registers);
}

Backtrace Unwinder::of(const Task& task, std::span<const CpuRegisters> cpus, WalkBudget& budget) const {
  if (!task.on_cpu.value_or(false)) return sleeping(task.address, budget);
  for (const CpuRegisters& registers : cpus)
    if (task.cpu == registers.cpu) return running(task.address, registers, budget);
  Backtrace none;
  none.reason = fmt::format("it runs on CPU {}, whose registers are not known", task.cpu ? std::to_string(*task.cpu) : "?");
  return none;
}

}  // namespace floe::walkers
