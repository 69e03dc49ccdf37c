#include "walkers/code_address.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "walkers/list.hpp"

namespace floe::walkers {
namespace {

// enum mod_mem_type, include/linux/module.h. It has kept its order since ac3b43283923.
constexpr std::uint32_t kModText = 0;
constexpr std::uint32_t kModInitText = 4;
constexpr std::uint32_t kModuleUnformed = 3;                // MODULE_STATE_UNFORMED: not set up yet
constexpr std::uint64_t kMaxText = std::uint64_t{1} << 30;  // MODULES_LEN is 1 GiB at most
constexpr std::uint64_t kUserEnd = std::uint64_t{1} << 63;
constexpr std::size_t kMaxModuleName = 512;  // KSYM_NAME_LEN

std::optional<Field> field_of(const Types& types, std::string_view path) {
  const auto found = types.field(path);
  return found ? std::optional(*found) : std::nullopt;
}

}  // namespace

std::string CodeLocation::text() const {
  std::string text = fmt::format("{}+{:#x}", symbol, offset);
  if (size != 0) text += fmt::format("/{:#x}", size);
  if (!owner.empty()) text += fmt::format(" [{}]", owner);
  return text;
}

CodeAddresses::CodeAddresses(const Kernel& kernel, WalkBudget budget) : kernel_(kernel) {
  read_modules(budget);
  read_bpf(budget);
  module_symbols_.resize(modules_.size());
}

// The nodes of a ring, at most so many of them.
template <class Visit>
void CodeAddresses::follow(Kva head, std::string_view list, WalkBudget& budget, std::size_t most, const Visit& visit) {
  const auto walk = walk_list(kernel_.memory(), head, budget, [&](Kva node) {
    if (most-- == 0) return false;
    visit(node);
    return true;
  });
  auto problem = walk.problem(list, budget);
  if (walk.end == ListEnd::stopped) problem = fmt::format("{}: left after {} entries", list, walk.nodes - 1);
  if (problem) problems_.push_back(std::move(*problem));
}

void CodeAddresses::read_modules(WalkBudget& budget) {
  const auto head = kernel_.symbols().find("modules");
  if (!head) return;  // built without CONFIG_MODULES
  const Types& types = kernel_.types();
  const auto list = field_of(types, "module.list");
  const auto name = field_of(types, "module.name");
  const auto state = field_of(types, "module.state");
  const auto kallsyms = field_of(types, "module.kallsyms");
  const auto orc_ips = field_of(types, "module.arch.orc_unwind_ip");
  const auto orc_entries = field_of(types, "module.arch.orc_unwind");
  const auto orc_count = field_of(types, "module.arch.num_orcs");
  // Base and size of each text.
  std::vector<std::pair<Field, Field>> texts;
  const auto add_text = [&](const std::string& base_path, const std::string& size_path) {
    const auto base = field_of(types, base_path);
    const auto size = field_of(types, size_path);
    if (base && size) texts.emplace_back(*base, *size);
  };
  for (const std::uint32_t part : {kModText, kModInitText})
    add_text(fmt::format("module.mem[{}].base", part), fmt::format("module.mem[{}].size", part));
  for (const char* part : {"core_layout", "init_layout"})
    add_text(fmt::format("module.{}.base", part), fmt::format("module.{}.text_size", part));
  if (!list || !name || !state || texts.empty()) return problems_.push_back("modules: the kernel's BTF does not say where their text is");

  const KernelMemory& memory = kernel_.memory();
  follow(*head, "modules", budget, kMaxModules, [&](Kva node) {
    const Kva module = node - list->offset;
    const auto number = [&](const std::optional<Field>& field) {
      return field ? memory.get_number(module, *field).value_or(0) : std::uint64_t{0};
    };
    if (memory.get_number(module, *state) == kModuleUnformed) return;
    Module found;
    found.name = memory.get_string(module, *name).value_or("?");
    for (const auto& [base, size] : texts) {
      const auto start = memory.get_number(module, base).value_or(0);
      const auto bytes = memory.get_number(module, size).value_or(0);
      if (start >= kUserEnd && bytes != 0 && bytes <= kMaxText) found.text.push_back({start, start + bytes});
    }
    found.kallsyms = Kva(number(kallsyms));
    found.orc = {Kva(number(orc_ips)), Kva(number(orc_entries)), number(orc_count)};
    modules_.push_back(std::move(found));
  });
}

void CodeAddresses::read_bpf(WalkBudget& budget) {
  const auto head = kernel_.symbols().find("bpf_kallsyms");
  if (!head) return;  // built without CONFIG_BPF_JIT
  const auto node_field = field_of(kernel_.types(), "bpf_ksym.lnode");
  const auto start = field_of(kernel_.types(), "bpf_ksym.start");
  const auto end = field_of(kernel_.types(), "bpf_ksym.end");
  const auto name = field_of(kernel_.types(), "bpf_ksym.name");
  if (!node_field || !start || !end || !name)
    return problems_.push_back("BPF programs: the kernel's BTF has no struct bpf_ksym as expected");
  const KernelMemory& memory = kernel_.memory();
  follow(*head, "bpf_kallsyms", budget, kMaxBpfSymbols, [&](Kva node) {
    const Kva symbol = node - node_field->offset;
    const auto from = memory.get_number(symbol, *start).value_or(0);
    const auto to = memory.get_number(symbol, *end).value_or(0);
    auto called = memory.get_string(symbol + name->offset, std::min<std::size_t>(name->bytes, kMaxModuleName));
    if (from < kUserEnd || to <= from || to - from > kMaxText) return;
    bpf_.push_back({{from, to}, std::move(called).value_or("?")});
  });
  std::sort(bpf_.begin(), bpf_.end(), [](const BpfSymbol& a, const BpfSymbol& b) { return a.range.start < b.range.start; });
}

const CodeAddresses::Module* CodeAddresses::module_at(Kva address) const {
  for (const Module& module : modules_)
    for (const Range& range : module.text)
      if (range.holds(address)) return &module;
  return nullptr;
}

const CodeAddresses::BpfSymbol* CodeAddresses::bpf_at(Kva address) const {
  const auto above = std::upper_bound(bpf_.begin(), bpf_.end(), address.value,
                                      [](std::uint64_t value, const BpfSymbol& s) { return value < s.range.start; });
  if (above == bpf_.begin() || !std::prev(above)->range.holds(address)) return nullptr;
  return &*std::prev(above);
}

std::optional<OrcTables> CodeAddresses::module_orc(Kva address) const {
  const Module* module = module_at(address);
  if (module == nullptr || !module->orc.ips || !module->orc.entries || module->orc.count == 0) return std::nullopt;
  return module->orc;
}

// find_kallsyms_symbol() looks at all of a module's symbols each time; here they are sorted once.
const CodeAddresses::ModuleSymbols& CodeAddresses::symbols_of(const Module& module) const {
  auto& cached = module_symbols_[static_cast<std::size_t>(&module - modules_.data())];
  if (cached) return *cached;
  ModuleSymbols& found = cached.emplace();
  const auto table = field_of(kernel_.types(), "mod_kallsyms.symtab");
  const auto count_field = field_of(kernel_.types(), "mod_kallsyms.num_symtab");
  const auto strings = field_of(kernel_.types(), "mod_kallsyms.strtab");
  if (!module.kallsyms || !table || !count_field || !strings) return found;
  const KernelMemory& memory = kernel_.memory();
  const auto symtab = memory.get_pointer(module.kallsyms, *table);
  const auto count = memory.get_number(module.kallsyms, *count_field);
  const auto strtab = memory.get_pointer(module.kallsyms, *strings);
  if (!symtab || !count || !strtab) return found;
  found.strings = *strtab;
  std::array<Elf64_Sym, 128> chunk;
  const std::uint64_t wanted = std::min<std::uint64_t>(*count, kMaxModuleSymbols);
  for (std::uint64_t done = 0; done < wanted;) {
    const auto piece = std::min<std::uint64_t>(chunk.size(), wanted - done);
    const auto bytes = std::as_writable_bytes(std::span(chunk).first(static_cast<std::size_t>(piece)));
    if (!memory.read_all(*symtab + done * sizeof(Elf64_Sym), bytes)) break;
    for (std::size_t i = 0; i < piece; ++i)
      if (chunk[i].st_shndx != SHN_UNDEF && chunk[i].st_name != 0)
        found.symbols.push_back({chunk[i].st_value, chunk[i].st_name, static_cast<std::uint32_t>(done + i)});
    done += piece;
  }
  // Of several at one address the kernel takes the first in the table.
  std::sort(found.symbols.begin(), found.symbols.end(),
            [](const ModuleSymbol& a, const ModuleSymbol& b) { return std::tie(a.start, a.index) < std::tie(b.start, b.index); });
  return found;
}

Result<CodeLocation> CodeAddresses::find_in_module(const Module& module, Kva address) const {
  const auto range = std::find_if(module.text.begin(), module.text.end(), [&](const Range& text) { return text.holds(address); });
  const auto& [symbols, strings] = symbols_of(module);
  const auto by_start = [](std::uint64_t value, const ModuleSymbol& symbol) { return value < symbol.start; };
  const auto above = std::upper_bound(symbols.begin(), symbols.end(), address.value, by_start);
  if (above == symbols.begin() || std::prev(above)->start < range->start)
    return fail(fmt::format("{:#x} is in module {}, which has no symbol for it", address.value, module.name));
  const std::uint64_t start = std::prev(above)->start;
  const std::uint64_t end = above == symbols.end() ? range->end : std::min(above->start, range->end);
  const auto first =
      std::lower_bound(symbols.begin(), above, start, [](const ModuleSymbol& symbol, std::uint64_t value) { return symbol.start < value; });
  const auto name = kernel_.memory().get_string(strings + first->name, kMaxModuleName);
  if (!name || name->empty())
    return fail(fmt::format("{:#x} is in module {}, whose symbol names are not readable", address.value, module.name));
  return CodeLocation{*name, address.value - start, end - start, module.name};
}

Result<CodeLocation> CodeAddresses::find(Kva address) const {
  if (address.value < kUserEnd) return fail(fmt::format("{:#x} is an address of user space", address.value));
  const auto end = kernel_.symbols().find("_end");
  const auto start = kernel_.symbols().find("_stext");
  if (start && *start <= address && (!end || address < *end))
    if (const auto found = kernel_.symbols().at(address)) return CodeLocation{std::string(found->name), found->offset, found->size, {}};
  if (const Module* module = module_at(address)) return find_in_module(*module, address);
  if (const BpfSymbol* symbol = bpf_at(address))
    return CodeLocation{symbol->name, address.value - symbol->range.start, symbol->range.end - symbol->range.start, "bpf"};
  return fail(fmt::format("{:#x} is in no function of the kernel, of a module or of BPF", address.value));
}

Result<CodeLocation> CodeAddresses::find_return(Kva address) const {
  auto found = find(address - 1);
  if (found) ++found->offset;
  return found;
}

std::string CodeAddresses::text(Kva address) const {
  const auto found = find(address);
  return found ? found->text() : fmt::format("{:#x}", address.value);
}

}  // namespace floe::walkers
