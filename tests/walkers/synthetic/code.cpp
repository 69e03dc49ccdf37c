#include "tests/walkers/synthetic/code.hpp"

#include <elf.h>

#include <algorithm>
#include <array>

namespace floe::walkers::synthetic {
namespace {

// In the free part, behind the text.
enum Place : std::uint64_t { kIps = 0x9000, kEntries = 0xa000, kModules = 0xc000, kBpf = 0xc100, kEnd = 0xd000 };

constexpr std::uint64_t kEntryBytes = 6;
constexpr std::uint64_t kModuleBytes = 256;

std::uint64_t number(OrcEntry::Register reg, bool old_numbers) {
  using R = OrcEntry;
  constexpr std::array<R::Register, 11> kOld = {R::none, R::prev_sp, R::dx,          R::di,          R::bp, R::sp,
                                                R::r10,  R::r13,     R::bp_indirect, R::sp_indirect, R::ax};
  constexpr std::array<R::Register, 11> kNew = {R::none, R::ax,  R::dx,      R::sp,          R::bp,         R::di,
                                                R::r10,  R::r13, R::prev_sp, R::sp_indirect, R::bp_indirect};
  const auto& numbers = old_numbers ? kOld : kNew;
  return static_cast<std::uint64_t>(std::find(numbers.begin(), numbers.end(), reg) - numbers.begin());
}

std::uint64_t encoded(const OrcEntry& entry, const CodeSpec& spec) {
  std::uint64_t word = static_cast<std::uint16_t>(entry.sp_offset) | std::uint64_t{static_cast<std::uint16_t>(entry.bp_offset)} << 16 |
                       number(entry.sp_reg, spec.old_numbers) << 32 | number(entry.bp_reg, spec.old_numbers) << 36;
  using Format = CodeSpec::Format;
  const auto type = static_cast<std::uint64_t>(entry.type);
  if (spec.format == Format::typed) return word | type << 40 | std::uint64_t{entry.signal} << 43;
  const bool end = entry.type == OrcEntry::Type::end_of_stack;
  if (type >= 2) word |= (type - 2) << 40;
  if (spec.format == Format::end_bit) return word | std::uint64_t{end} << 42;
  return word | std::uint64_t{entry.signal} << 42 | std::uint64_t{end} << 43;
}

}  // namespace

KernelSpec Code::needs(const CodeSpec& spec) {
  KernelSpec kernel;
  kernel.symbols = spec.functions;
  const std::uint64_t rows = spec.rows.size();
  const auto add = [&](const char* name, std::uint64_t place, char type) { kernel.symbols.push_back({name, place, type}); };
  add("_etext", kTextBytes, 'T');
  if (!spec.frame_pointers) {
    add("__start_orc_unwind_ip", kIps, 'R');
    add("__stop_orc_unwind_ip", kIps + 4 * rows, 'R');
    add("__start_orc_unwind", kEntries, 'R');
    add("__stop_orc_unwind", kEntries + kEntryBytes * rows, 'R');
  }
  add("modules", kModules, 'd');
  add("bpf_kallsyms", kBpf, 'd');
  add("hardirq_stack_ptr", 0xc200, 'D');
  add("_end", kEnd, 'B');
  kernel.add_types = [spec](TypeWriter& w) {
    using Format = CodeSpec::Format;
    std::vector<MemberSpec> orc = {{"sp_offset", w.u16, 0}, {"bp_offset", w.u16, 16}, {"sp_reg", w.u32, 32, 4}, {"bp_reg", w.u32, 36, 4}};
    orc.push_back({"type", w.u32, 40, spec.format == Format::typed ? 3u : 2u});
    if (spec.format == Format::end_bit) orc.push_back({"end", w.u32, 42, 1});
    if (spec.format == Format::signal_and_end) orc.push_back({"end", w.u32, 43, 1});
    if (spec.format != Format::end_bit) orc.push_back({"signal", w.u32, spec.format == Format::typed ? 43u : 42u, 1});
    w.add_struct("orc_entry", kEntryBytes, orc);
    if (spec.frame_pointers) w.add_struct("unwind_state", 16, {{"got_irq", w.u8, 0}, {"bp", w.pointer, 64}});
    w.add_struct("inactive_task_frame", 56, {{"r15", w.u64, 0}, {"bp", w.u64, 320}, {"ret_addr", w.u64, 384}});
    w.add_struct("irq_stack", 4096, {{"stack", w.array(w.character, 4096), 0}});
    std::vector<MemberSpec> regs;
    for (const char* name :
         {"r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax", "ip"})
      regs.push_back({name, w.u64, static_cast<std::uint32_t>(regs.size() * 64)});
    regs.push_back({"cs", w.u16, 17 * 64});
    regs.push_back({"flags", w.u64, 18 * 64});
    regs.push_back({"sp", w.u64, 19 * 64});
    regs.push_back({"ss", w.u64, 20 * 64});
    w.add_struct("pt_regs", 168, regs);
    w.add_struct("bpf_ksym", 96,
                 {{"start", w.u64, 0}, {"end", w.u64, 64}, {"name", w.array(w.character, 64), 128}, {"lnode", w.list_head, 640}});
    w.add_struct("mod_kallsyms", 24, {{"symtab", w.pointer, 0}, {"num_symtab", w.u32, 64}, {"strtab", w.pointer, 128}});
    const int arch =
        w.add_struct("mod_arch_specific", 24, {{"num_orcs", w.u32, 0}, {"orc_unwind_ip", w.pointer, 64}, {"orc_unwind", w.pointer, 128}});
    const int memory = w.add_struct("module_memory", 16, {{"base", w.pointer, 0}, {"size", w.u32, 64}});
    const int layout = w.add_struct("module_layout", 16, {{"base", w.pointer, 0}, {"text_size", w.u32, 64}});
    std::vector<MemberSpec> module = {{"state", w.u32, 0},
                                      {"list", w.list_head, 64},
                                      {"name", w.array(w.character, 56), 192},
                                      {"kallsyms", w.pointer, 8 * 80},
                                      {"arch", arch, 8 * 88}};
    if (spec.mem_array)
      module.push_back({"mem", w.array(memory, 7), 8 * 112});
    else
      module.push_back({"core_layout", layout, 8 * 112});
    w.add_struct("module", kModuleBytes, module);
  };
  return kernel;
}

Code::Code(SyntheticKernel& own, const CodeSpec& spec) : guest(own), spec_(spec) {
  if (!spec.frame_pointers) put_orc(at(kIps), at(kEntries), spec.rows, at(0));
  for (const Kva head : {at(kModules), at(kBpf)}) {
    guest.put(head, head.value);
    guest.put(head + 8, head.value);
  }
}

void Code::put_orc(Kva ips, Kva entries, const std::vector<OrcRow>& rows, Kva base) {
  for (std::size_t n = 0; n < rows.size(); ++n) {
    const Kva place = ips + 4 * n;
    guest.put(place, static_cast<std::int32_t>(base.value + rows[n].place - place.value));
    const std::uint64_t word = encoded(rows[n].entry, spec_);
    guest.write(entries + kEntryBytes * n, std::as_bytes(std::span(&word, 1)).first(kEntryBytes));
  }
}

void Code::link(const char* list, Kva node) {
  const Kva head = guest.symbol(list);
  std::uint64_t first = 0;
  guest.memory.read(guest.physical(head), std::as_writable_bytes(std::span(&first, 1)));
  guest.put(node, first);
  guest.put(node + 8, head.value);
  guest.put(Kva(first) + 8, node.value);
  guest.put(head, node.value);
}

Kva Code::add_module(const std::string& name, const std::vector<ModuleFunction>& functions, const std::vector<OrcRow>& rows) {
  const Kva text = guest.allocate(kPageBytes);
  const Kva module = guest.allocate(kPageBytes);
  const Kva kallsyms = module + kModuleBytes;
  const Kva symtab = module + 0x400;
  const Kva strtab = module + 0x800;
  guest.put_string(module + guest.offset("module.name"), name);
  const std::string base = spec_.mem_array ? "module.mem[0].base" : "module.core_layout.base";
  const std::string size = spec_.mem_array ? "module.mem[0].size" : "module.core_layout.text_size";
  guest.put(module + guest.offset(base), text.value);
  guest.put(module + guest.offset(size), static_cast<std::uint32_t>(kPageBytes));
  guest.put(module + guest.offset("module.kallsyms"), kallsyms.value);
  guest.put(kallsyms, symtab.value);
  guest.put(kallsyms + 8, static_cast<std::uint32_t>(functions.size() + 1));
  guest.put(kallsyms + 16, strtab.value);
  std::uint32_t string = 1;
  for (std::size_t n = 0; n < functions.size(); ++n) {
    Elf64_Sym symbol{};
    symbol.st_name = string;
    symbol.st_shndx = 1;
    symbol.st_value = text.value + functions[n].offset;
    guest.put(symtab + (n + 1) * sizeof symbol, symbol);
    guest.put_string(strtab + string, functions[n].name);
    string += static_cast<std::uint32_t>(functions[n].name.size() + 1);
  }
  if (!rows.empty()) {
    put_orc(module + 0xc00, module + 0xe00, rows, text);
    guest.put(module + guest.offset("module.arch.num_orcs"), static_cast<std::uint32_t>(rows.size()));
    guest.put(module + guest.offset("module.arch.orc_unwind_ip"), (module + 0xc00).value);
    guest.put(module + guest.offset("module.arch.orc_unwind"), (module + 0xe00).value);
  }
  link("modules", module + guest.offset("module.list"));
  return text;
}

Kva Code::add_bpf(const std::string& name, Kva start, std::uint64_t bytes) {
  const Kva symbol = guest.allocate(kPageBytes);
  guest.put(symbol + guest.offset("bpf_ksym.start"), start.value);
  guest.put(symbol + guest.offset("bpf_ksym.end"), start.value + bytes);
  guest.put_string(symbol + guest.offset("bpf_ksym.name"), name);
  const Kva node = symbol + guest.offset("bpf_ksym.lnode");
  link("bpf_kallsyms", node);
  return node;
}

Stack::Stack(SyntheticKernel& own, Kva of) : guest(own), task(of) {
  const Kva base = guest.allocate(kBytes);
  guest.put(task + guest.offset("task_struct.stack"), base.value);
  sp_ = top_ = base + kBytes;
}

Kva Stack::push(std::uint64_t word) {
  sp_ = sp_ - 8;
  guest.put(sp_, word);
  return sp_;
}

Kva Stack::push_regs(std::uint64_t ip, std::uint64_t sp, std::uint64_t bp, bool user, std::uint64_t r10) {
  sp_ = sp_ - 168;
  guest.put(sp_ + guest.offset("pt_regs.ip"), ip);
  guest.put(sp_ + guest.offset("pt_regs.sp"), sp);
  guest.put(sp_ + guest.offset("pt_regs.bp"), bp);
  guest.put(sp_ + guest.offset("pt_regs.r10"), r10);
  guest.put(sp_ + guest.offset("pt_regs.cs"), static_cast<std::uint16_t>(user ? 0x33 : 0x10));
  return sp_;
}

void Stack::switch_away(Kva return_address, std::uint64_t bp) {
  push(return_address.value);
  push(bp);
  for (int n = 0; n < 5; ++n) push(0);
  guest.put(task + guest.offset("task_struct.thread.sp"), sp_.value);
}

}  // namespace floe::walkers::synthetic
