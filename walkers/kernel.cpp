#include "walkers/kernel.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace floe::walkers {
namespace {

constexpr std::uint32_t kMaxCpus = 8192;    // NR_CPUS with MAXSMP
constexpr std::size_t kUtsFieldBytes = 65;  // __NEW_UTS_LEN + 1
constexpr std::size_t kShownReasons = 8;
// How many candidates may go as far as having their tables decoded, which costs tens of milliseconds each.
constexpr int kMaxDecoded = 16;

using Clock = std::chrono::steady_clock;

OpenTimes::Duration since(Clock::time_point start) {
  return std::chrono::duration_cast<OpenTimes::Duration>(Clock::now() - start);
}

Result<SymbolTables> places_of(const VmCoreInfo& info) {
  SymbolTables places;
  const std::array<std::pair<std::string_view, Kva*>, 4> needed = {{{"kallsyms_num_syms", &places.num_syms},
                                                                    {"kallsyms_names", &places.names},
                                                                    {"kallsyms_token_table", &places.token_table},
                                                                    {"kallsyms_token_index", &places.token_index}}};
  for (const auto& [name, place] : needed) {
    const auto address = info.symbol(name);
    if (!address) return fail(fmt::format("VMCOREINFO has no SYMBOL({}): the kernel is older than 6.0 or built without KALLSYMS", name));
    *place = *address;
  }
  places.offsets = info.symbol("kallsyms_offsets");
  places.relative_base = info.symbol("kallsyms_relative_base");
  places.addresses = info.symbol("kallsyms_addresses");
  return places;
}

// The page walk must agree with the image formula, or these page tables are not this kernel's.
Result<void> check_image_mapping(const VmCoreInfo& info, const PageTables& tables, std::string_view whose) {
  const auto text = info.symbol("_stext");
  if (!text) return fail("VMCOREINFO has no SYMBOL(_stext)");
  const auto mapped = tables.translate(*text);
  if (!mapped) return fail(fmt::format("{} do not map _stext: {}", whose, tables.explain(*text)));
  const Gpa expected = info.image_gpa(*text);
  if (mapped->gpa != expected)
    return fail(fmt::format("{} map _stext to {:#x}, phys_base puts it at {:#x}", whose, mapped->gpa.value, expected.value));
  return {};
}

Result<void> check_cr3(const VmCoreInfo& info, const Memory& memory, std::uint64_t cr3) {
  const auto check = [&](std::uint64_t root) {
    return check_image_mapping(info, PageTables(memory, Gpa(root), info.five_levels()), "the page tables of the vCPU");
  };
  constexpr std::uint64_t kFrameMask = 0x000ffffffffff000;
  auto mapped = check(cr3 & kFrameMask);
  // Page-table isolation: the user copy is the page behind the kernel's (PTI_USER_PGTABLE_BIT) and maps only entry code.
  if (!mapped && (cr3 & kPageBytes) != 0)
    if (check(cr3 & kFrameMask & ~std::uint64_t{kPageBytes})) return {};
  return mapped;
}

Result<Types> read_types(const KernelMemory& memory, const Symbols& symbols) {
  const auto start = symbols.find("__start_BTF");
  const auto stop = symbols.find("__stop_BTF");
  if (!start || !stop) return fail("no symbol __start_BTF: the kernel is built without DEBUG_INFO_BTF or KALLSYMS_ALL");
  const std::uint64_t bytes = *stop - *start;
  if (stop->value < start->value || bytes > Types::kMaxBytes) return fail(fmt::format("__start_BTF to __stop_BTF are {} bytes", bytes));
  const auto storage = std::make_unique_for_overwrite<std::byte[]>(bytes);
  const std::span blob(storage.get(), bytes);
  if (!memory.read_all(*start, blob)) return memory.unreadable(*start, bytes, "BTF");
  return Types::parse(blob);
}

std::string join(const std::vector<std::string>& reasons) {
  const auto shown = std::min(reasons.size(), kShownReasons);
  auto text = fmt::format("{}", fmt::join(reasons.begin(), reasons.begin() + static_cast<std::ptrdiff_t>(shown), "; "));
  if (shown < reasons.size()) text += fmt::format("; and {} more", reasons.size() - shown);
  return text;
}

}  // namespace

Result<std::shared_ptr<const Kernel::Tables>> Kernel::read_tables(const VmCoreInfo& info, const KernelMemory& memory, OpenTimes& times) {
  const auto places = places_of(info);
  if (!places) return fail(places.error());

  std::vector<KnownSymbol> known;
  for (const std::string_view name : {"_stext", "init_uts_ns"})
    if (const auto address = info.symbol(name)) known.push_back({name, *address});

  const auto symbols_start = Clock::now();
  auto symbols = Symbols::decode(memory, *places, known);
  times.symbols = since(symbols_start);
  if (!symbols) return fail(std::move(symbols.error()).within("symbols"));

  const auto types_start = Clock::now();
  auto types = read_types(memory, *symbols);
  times.types = since(types_start);
  if (!types) return fail(std::move(types.error()).within("types"));
  return std::make_shared<const Tables>(Tables{*places, std::move(*symbols), std::move(*types)});
}

Result<Kernel> Kernel::try_candidate(const Memory& memory, VmCoreInfo info, const OpenOptions& options, OpenTimes times, int& decoded) {
  const PageTables tables(memory, info.page_table_root(), info.five_levels());
  if (auto mapped = check_image_mapping(info, tables, "the kernel's page tables"); !mapped) return fail(mapped.error());
  if (options.cr3)
    if (auto runs = check_cr3(info, memory, *options.cr3); !runs) return fail(runs.error());

  Kernel kernel(std::move(info));
  kernel.paged_.emplace(memory, tables);
  if (auto loaded = kernel.load(options, times, decoded); !loaded) return fail(std::move(loaded.error()));
  return kernel;
}

// The tables, and the proof that they are this kernel's.
Result<void> Kernel::load(const OpenOptions& options, OpenTimes times, int& decoded) {
  if (const Kernel* previous = options.previous; previous != nullptr && previous->info_.build_id() == info_.build_id() &&
                                                 previous->info_.kernel_offset() == info_.kernel_offset() &&
                                                 places_of(info_) == previous->tables_->places) {
    tables_ = previous->tables_;
    times.tables_reused = true;
  } else {
    ++decoded;
    auto read = read_tables(info_, memory(), times);
    if (!read) return fail(std::move(read.error()));
    tables_ = std::move(*read);
  }

  const auto start = Clock::now();
  auto valid = validate();
  times.validate = since(start);
  if (!valid) return fail(std::move(valid.error()).within("validation"));
  times_ = times;
  return {};
}

Result<Kernel> Kernel::open(const KernelMemory& memory, VmCoreInfo info, const OpenOptions& options) {
  const auto start = Clock::now();
  const auto release = info.release();
  Kernel kernel(std::move(info));
  kernel.direct_ = &memory;
  int decoded = 0;
  if (auto loaded = kernel.load(options, {}, decoded); !loaded)
    return fail(std::move(loaded.error()).within(fmt::format("VMCOREINFO of {}", release)));
  kernel.times_.total = since(start);
  return kernel;
}

Result<Kernel> Kernel::open(const Memory& memory, const OpenOptions& options) {
  const auto start = Clock::now();
  OpenTimes times;
  const auto finish = [&](Kernel kernel, std::vector<std::string> rejected) {
    kernel.rejected_ = std::move(rejected);
    kernel.times_.total = since(start);
    return kernel;
  };

  // The same boot has its VMCOREINFO where it was, and the same text in it.
  if (options.previous != nullptr) {
    auto again = read_vmcoreinfo(memory, options.previous->info_.found_at());
    times.scan = since(start);
    if (again && again->text() == options.previous->info_.text())
      if (int decoded = 0; auto kernel = try_candidate(memory, std::move(*again), options, times, decoded))
        return finish(std::move(*kernel), {});
  }

  std::vector<std::string> rejected;
  int decoded = 0;
  if (options.vmcoreinfo != nullptr) {
    auto kernel = try_candidate(memory, *options.vmcoreinfo, options, times, decoded);
    if (kernel) return finish(std::move(*kernel), {});
    rejected.push_back(std::move(kernel.error()).within("the VMCOREINFO note").message);
  }

  const auto scan_start = Clock::now();
  auto scan = scan_vmcoreinfo(memory);
  times.scan = since(scan_start);
  std::move(scan.rejected.begin(), scan.rejected.end(), std::back_inserter(rejected));
  for (auto& candidate : scan.candidates) {
    const auto where = fmt::format("VMCOREINFO of {} at {:#x}", candidate.release(), candidate.found_at().value);
    if (options.deadline && Clock::now() >= *options.deadline) {
      rejected.push_back(fmt::format("{}: not tried, deadline reached", where));
      continue;
    }
    if (decoded == kMaxDecoded) {
      rejected.push_back(fmt::format("{}: not tried after {} that failed", where, decoded));
      continue;
    }
    auto kernel = try_candidate(memory, std::move(candidate), options, times, decoded);
    if (kernel) return finish(std::move(*kernel), std::move(rejected));
    rejected.push_back(std::move(kernel.error()).within(where).message);
  }
  if (rejected.empty())
    return fail(
        fmt::format("no VMCOREINFO at the start of any of {} populated pages: no Linux kernel has booted far enough here", scan.pages));
  return fail(fmt::format("no usable kernel among {} populated pages{}: {}", scan.pages,
                          scan.truncated ? " (not all looked at: too many look-alikes)" : "", join(rejected)));
}

std::optional<Kernel> Kernel::over(const Memory& memory) const {
  if (!paged_) return std::nullopt;
  Kernel other(*this);
  other.paged_.emplace(memory, PageTables(memory, paged_->tables().root(), paged_->tables().five_levels()));
  return other;
}

Result<void> Kernel::validate() const {
  const auto btf = symbols().find("__start_BTF");
  const auto magic = btf ? memory().get<std::uint16_t>(*btf) : std::nullopt;
  if (!magic) return fail("BTF is not readable");
  if (*magic != Types::kMagic) return fail(fmt::format("BTF magic is {:#x}, not 0xeb9f", *magic));

  const auto init_task = symbol("init_task");
  if (!init_task) return fail(init_task.error());
  const auto comm = types().offset("task_struct.comm");
  if (!comm) return fail(comm.error());
  const auto name = memory().get_string(*init_task + *comm, 16);
  if (!name) return memory().unreadable(*init_task + *comm, 16, "init_task.comm");
  // init_idle() numbers it on SMP kernels only.
  if (*name != "swapper/0" && *name != "swapper") return fail(fmt::format("init_task.comm is \"{}\", not \"swapper/0\"", *name));

  const auto uts = symbol("init_uts_ns");
  if (!uts) return fail(uts.error());
  const auto offset = types().offset("uts_namespace.name.release");
  if (!offset) return fail(offset.error());
  const auto release = memory().get_string(*uts + *offset, kUtsFieldBytes);
  if (!release) return memory().unreadable(*uts + *offset, kUtsFieldBytes, "init_uts_ns.name.release");
  if (*release != info_.release()) return fail(fmt::format("init_uts_ns has release \"{}\", VMCOREINFO \"{}\"", *release, info_.release()));
  return {};
}

Result<Kva> Kernel::symbol(std::string_view name) const {
  const auto found = symbols().find(name);
  if (!found) return fail(fmt::format("the kernel has no symbol {}", name));
  return *found;
}

Result<std::vector<std::uint32_t>> Kernel::possible_cpus() const {
  const auto count = cpu_count();
  if (!count) return fail(count.error());
  const auto mask = symbols().find("__cpu_possible_mask");
  std::vector<std::uint32_t> cpus;
  for (std::uint32_t cpu = 0; cpu < *count; ++cpu) {
    if (mask) {
      const auto bits = memory().load<std::uint8_t>(*mask + cpu / 8, "__cpu_possible_mask");
      if (!bits) return fail(bits.error());
      if ((*bits >> (cpu % 8) & 1) == 0) continue;
    }
    cpus.push_back(cpu);
  }
  return cpus;
}

Result<std::uint32_t> Kernel::cpu_count() const {
  // A compile-time constant, and no symbol, in kernels built for one CPU or with FORCE_NR_CPUS.
  const auto place = symbols().find("nr_cpu_ids");
  if (!place) return fail("the kernel has no symbol nr_cpu_ids");
  const auto count = memory().load<std::uint32_t>(*place, "nr_cpu_ids");
  if (!count) return fail(count.error());
  if (*count == 0 || *count > kMaxCpus) return fail(fmt::format("nr_cpu_ids is {}, expected 1 to {}", *count, kMaxCpus));
  return *count;
}

Result<Kva> Kernel::per_cpu(std::string_view name, std::uint32_t cpu) const {
  const auto variable = symbol(name);
  if (!variable) return fail(variable.error());
  const auto count = cpu_count();
  if (!count) return fail(count.error());
  if (cpu >= *count) return fail(fmt::format("CPU {} of {} has no {}", cpu, *count, name));
  const auto offsets = symbol("__per_cpu_offset");
  if (!offsets) return fail(offsets.error());
  const auto offset = memory().load<std::uint64_t>(*offsets + std::uint64_t{8} * cpu, "__per_cpu_offset");
  if (!offset) return fail(offset.error());
  return *variable + *offset;
}

}  // namespace floe::walkers
