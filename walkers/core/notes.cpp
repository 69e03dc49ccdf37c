#include "walkers/core/notes.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace floe::walkers::core {
namespace {

using namespace std::string_view_literals;

constexpr std::uint32_t kNtTaskStruct = 4;  // NT_TASKSTRUCT
constexpr std::size_t kMaxProblems = 16;

// struct elf_prstatus: what stands before and behind pr_reg is of no use here.
struct PrStatus {
  std::uint8_t before_pid[32];
  std::uint32_t pid;
  std::uint8_t before_regs[76];
  std::uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax;
  std::uint64_t rip, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
  std::uint64_t fpvalid;
};
static_assert(sizeof(PrStatus) == 336 && offsetof(PrStatus, r15) == 112);

struct QemuSegment {
  std::uint32_t selector, limit, flags, pad;
  std::uint64_t base;
};

struct QemuCpu {
  std::uint32_t version, size;
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  std::uint64_t cr[5];
  std::uint64_t kernel_gs_base;  // since QEMU 2.11
};
constexpr std::size_t kQemuWithoutGs = offsetof(QemuCpu, kernel_gs_base);
static_assert(kQemuWithoutGs == 432 && sizeof(QemuCpu) == 440);

struct FloeNote {
  std::uint32_t version, reserved;
  std::uint64_t sequence, realtime_ns;
};

// Calls visit(a's member, b's member) for each register that both have under one name.
template <class A, class B, class Visit>
void visit_general(A& a, B& b, Visit visit) {
  visit(a.rax, b.rax), visit(a.rbx, b.rbx), visit(a.rcx, b.rcx), visit(a.rdx, b.rdx);
  visit(a.rsi, b.rsi), visit(a.rdi, b.rdi), visit(a.rsp, b.rsp), visit(a.rbp, b.rbp);
  visit(a.r8, b.r8), visit(a.r9, b.r9), visit(a.r10, b.r10), visit(a.r11, b.r11);
  visit(a.r12, b.r12), visit(a.r13, b.r13), visit(a.r14, b.r14), visit(a.r15, b.r15);
  visit(a.rip, b.rip);
}

template <class A, class B, class Visit>
void visit_segments(A& a, B& b, Visit visit) {
  visit(a.cs, b.cs), visit(a.ds, b.ds), visit(a.es, b.es), visit(a.fs, b.fs), visit(a.gs, b.gs), visit(a.ss, b.ss);
  visit(a.ldt, b.ldt), visit(a.tr, b.tr), visit(a.gdt, b.gdt), visit(a.idt, b.idt);
}

constexpr auto copy = [](auto& to, const auto& from) { to = from; };

void take(const PrStatus& note, Registers& cpu) {
  visit_general(cpu, note, copy);
  cpu.rflags = note.eflags;
  const auto selector = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  cpu.cs.selector = selector(note.cs);
  cpu.ds.selector = selector(note.ds);
  cpu.es.selector = selector(note.es);
  cpu.ss.selector = selector(note.ss);
  cpu.fs.selector = selector(note.fs);
  cpu.gs.selector = selector(note.gs);
  cpu.fs.base = note.fs_base;
  cpu.gs.base = note.gs_base;
}

void take(const QemuCpu& note, bool has_kernel_gs, Registers& cpu) {
  visit_general(cpu, note, copy);
  cpu.rflags = note.rflags;
  visit_segments(cpu, note, [](SegmentRegister& to, const QemuSegment& from) { to = {from.selector, from.limit, from.flags, from.base}; });
  cpu.cr = std::to_array(note.cr);
  if (has_kernel_gs) cpu.kernel_gs_base = note.kernel_gs_base;
}

// A CPU has one note of each kind, in the same order.
class Reader {
 public:
  explicit Reader(Notes& into) : into_(into), statuses_(0), qemus_(0) {}

  void note(std::string_view name, std::uint32_t type, std::span<const std::byte> text) {
    if (name == "CORE"sv && type == NT_PRSTATUS)
      status(text);
    else if (name == "CORE"sv && type == kNtTaskStruct)
      into_.task_struct = true;
    else if (name == "QEMU"sv && type == 0)
      qemu(text);
    else if (name == "VMCOREINFO"sv)
      vmcoreinfo(text);
    else if (name == "FLOE"sv)
      floe(text);
  }

  void problem(std::string text) {
    if (into_.problems.size() < kMaxProblems) into_.problems.push_back(std::move(text));
  }

 private:
  Registers* cpu(std::size_t index) {
    if (index >= kMaxCpus) {
      if (index == kMaxCpus) problem(fmt::format("more than {} CPUs: the others are left out", kMaxCpus));
      return nullptr;
    }
    while (into_.cpus.size() <= index) {
      const auto id = static_cast<std::uint32_t>(into_.cpus.size());
      into_.cpus.emplace_back().id = id;
    }
    return &into_.cpus[index];
  }

  void status(std::span<const std::byte> text) {
    PrStatus note{};
    if (text.size() < sizeof note) return problem(fmt::format("an NT_PRSTATUS note of {} bytes, expected {}", text.size(), sizeof note));
    std::memcpy(&note, text.data(), sizeof note);
    if (Registers* const to = cpu(statuses_++)) take(note, *to);
  }

  void qemu(std::span<const std::byte> text) {
    QemuCpu note{};
    if (text.size() < kQemuWithoutGs)
      return problem(fmt::format("a QEMU note of {} bytes, expected at least {}", text.size(), kQemuWithoutGs));
    std::memcpy(&note, text.data(), std::min(text.size(), sizeof note));
    if (note.version != 1) return problem(fmt::format("a QEMU note of version {}, expected 1", note.version));
    into_.qemu = true;
    if (Registers* const to = cpu(qemus_++)) take(note, text.size() >= sizeof note, *to);
  }

  void vmcoreinfo(std::span<const std::byte> text) {
    if (into_.vmcoreinfo) return;
    auto info = VmCoreInfo::parse({reinterpret_cast<const char*>(text.data()), text.size()});
    if (!info) return problem(std::move(info.error()).within("the VMCOREINFO note").message);
    into_.vmcoreinfo = std::move(*info);
  }

  void floe(std::span<const std::byte> text) {
    FloeNote note{};
    if (text.size() < sizeof note) return problem("a FLOE note that is cut short");
    std::memcpy(&note, text.data(), sizeof note);
    into_.floe = Origin{note.sequence, note.realtime_ns};
  }

  Notes& into_;
  std::size_t statuses_, qemus_;
};

template <class T>
void append_bytes(std::vector<std::byte>& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void pad(std::vector<std::byte>& out) {
  out.resize((out.size() + 3) / 4 * 4);
}

void append_note(std::vector<std::byte>& out, std::string_view name, std::uint32_t type, std::span<const std::byte> text) {
  append_bytes(out, Elf64_Nhdr{static_cast<std::uint32_t>(name.size() + 1), static_cast<std::uint32_t>(text.size()), type});
  const auto letters = std::as_bytes(std::span(name));
  out.insert(out.end(), letters.begin(), letters.end());
  out.push_back(std::byte{0});
  pad(out);
  out.insert(out.end(), text.begin(), text.end());
  pad(out);
}

template <class T>
void append_note(std::vector<std::byte>& out, std::string_view name, std::uint32_t type, const T& value) {
  append_note(out, name, type, std::as_bytes(std::span(&value, 1)));
}

PrStatus status_of(const Registers& cpu) {
  PrStatus note{};
  visit_general(note, cpu, copy);
  note.pid = cpu.id + 1;  // as QEMU numbers them
  note.eflags = cpu.rflags;
  note.cs = cpu.cs.selector;
  note.ds = cpu.ds.selector;
  note.es = cpu.es.selector;
  note.ss = cpu.ss.selector;
  note.fs = cpu.fs.selector;
  note.gs = cpu.gs.selector;
  note.fs_base = cpu.fs.base;
  note.gs_base = cpu.gs.base;
  return note;
}

QemuCpu qemu_of(const Registers& cpu) {
  QemuCpu note{};
  note.version = 1;
  note.size = sizeof note;
  visit_general(note, cpu, copy);
  note.rflags = cpu.rflags;
  visit_segments(note, cpu,
                 [](QemuSegment& to, const SegmentRegister& from) { to = {from.selector, from.limit, from.flags, 0, from.base}; });
  for (std::size_t n = 0; n < cpu.cr->size(); ++n) note.cr[n] = (*cpu.cr)[n];
  note.kernel_gs_base = cpu.kernel_gs_base.value_or(0);
  return note;
}

}  // namespace

void read_notes(std::span<const std::byte> bytes, Notes& into) {
  Reader reader(into);
  while (bytes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr head;
    std::memcpy(&head, bytes.data(), sizeof head);
    bytes = bytes.subspan(sizeof head);
    const std::uint64_t name_bytes = (std::uint64_t{head.n_namesz} + 3) / 4 * 4;
    const std::uint64_t text_bytes = (std::uint64_t{head.n_descsz} + 3) / 4 * 4;
    // The last note may go without its padding.
    if (name_bytes > bytes.size() || head.n_descsz > bytes.size() - name_bytes) {
      reader.problem(fmt::format("a note of {} + {} bytes goes beyond its segment", head.n_namesz, head.n_descsz));
      return;
    }
    std::string_view name(reinterpret_cast<const char*>(bytes.data()), head.n_namesz);
    name = name.substr(0, name.find('\0'));
    reader.note(name, head.n_type, bytes.subspan(name_bytes, head.n_descsz));
    bytes = bytes.subspan(std::min<std::uint64_t>(name_bytes + text_bytes, bytes.size()));
  }
}

std::vector<std::byte> write_notes(const Notes& notes) {
  std::vector<std::byte> out;
  for (const Registers& cpu : notes.cpus) append_note(out, "CORE", NT_PRSTATUS, status_of(cpu));
  // The n-th of them is CPU n's: all or none.
  if (std::all_of(notes.cpus.begin(), notes.cpus.end(), [](const Registers& cpu) { return cpu.cr.has_value(); }))
    for (const Registers& cpu : notes.cpus) append_note(out, "QEMU", 0, qemu_of(cpu));
  if (notes.vmcoreinfo) append_note(out, "VMCOREINFO", 0, std::as_bytes(std::span(notes.vmcoreinfo->text())));
  if (notes.floe) append_note(out, "FLOE", 1, FloeNote{1, 0, notes.floe->sequence, notes.floe->realtime_ns});
  return out;
}

}  // namespace floe::walkers::core
