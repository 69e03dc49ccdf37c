#include "walkers/orc.hpp"

#include <fmt/format.h>

#include <utility>

namespace floe::walkers {
namespace {

using Registers = std::array<OrcEntry::Register, 16>;

// ORC_REG_* up to 6.x, and as one numbering for objtool and the kernel has them in 7.x.
constexpr Registers numbering(bool old) {
  using enum OrcEntry::Register;
  Registers registers = old ? Registers{none, prev_sp, dx, di, bp, sp, r10, r13, bp_indirect, sp_indirect, ax}
                            : Registers{none, ax, dx, sp, bp, di, r10, r13, prev_sp, sp_indirect, bp_indirect};
  for (std::size_t n = 11; n < registers.size(); ++n) registers[n] = unknown;
  return registers;
}

constexpr std::uint64_t kMaxEntries = 16'777'216;  // 7.2 has 390,000

}  // namespace

Result<OrcLookup> OrcLookup::create(const Kernel& kernel, const CodeAddresses& code) {
  OrcLookup lookup(kernel, code);
  if (auto resolved = lookup.resolve(); !resolved) return fail(resolved.error());
  return lookup;
}

Result<void> OrcLookup::resolve() {
  const Symbols& symbols = kernel_->symbols();
  const auto ips = symbols.find("__start_orc_unwind_ip");
  const auto ips_end = symbols.find("__stop_orc_unwind_ip");
  const auto entries = symbols.find("__start_orc_unwind");
  const auto entries_end = symbols.find("__stop_orc_unwind");
  if (!ips || !ips_end || !entries || !entries_end)
    return fail("the kernel has no ORC tables (__start_orc_unwind): it is built without UNWINDER_ORC");

  const Types& types = kernel_->types();
  const auto bytes = types.size("orc_entry");
  if (!bytes) return fail(bytes.error());
  if (*bytes == 0 || *bytes > sizeof(std::uint64_t)) return fail(fmt::format("struct orc_entry has {} bytes, expected up to 8", *bytes));
  format_.bytes = *bytes;
  const auto bits = [&](std::string_view path) -> std::optional<Bits> {
    const auto member = types.member(path);
    if (!member) return std::nullopt;
    const auto width = member->bits != 0 ? member->bits : types.size(path).value_or(0) * 8;
    if (width == 0 || width > 16 || member->bit_offset + width > *bytes * 8) return std::nullopt;
    return Bits{static_cast<unsigned>(member->bit_offset), static_cast<unsigned>(width)};
  };
  for (const auto& [path, place] : {std::pair{"orc_entry.sp_offset", &format_.sp_offset},
                                    {"orc_entry.bp_offset", &format_.bp_offset},
                                    {"orc_entry.sp_reg", &format_.sp_reg},
                                    {"orc_entry.bp_reg", &format_.bp_reg},
                                    {"orc_entry.type", &format_.type}}) {
    const auto found = bits(path);
    if (!found) return fail(fmt::format("the kernel's BTF has no {} as expected", path));
    *place = *found;
  }
  format_.signal = bits("orc_entry.signal");
  format_.end = bits("orc_entry.end");

  const std::uint64_t count = (*ips_end - *ips) / sizeof(std::int32_t);
  if (*ips_end <= *ips || count > kMaxEntries || *entries_end - *entries != count * format_.bytes)
    return fail(fmt::format("its ORC tables do not fit together: {} addresses for {} bytes of entries", count, *entries_end - *entries));
  tables_ = {*ips, *entries, count};
  const auto text = [&](std::string_view start, std::string_view end) {
    return std::pair(symbols.find(start).value_or(Kva()), symbols.find(end).value_or(Kva()));
  };
  text_ = {text("_stext", "_etext"), text("_sinittext", "_einittext")};
  return tell_numbering();
}

Result<void> OrcLookup::tell_numbering() {
  for (const std::string_view function : {"schedule", "do_exit", "vfs_read", "kthread"}) {
    const auto start = kernel_->symbols().find(function);
    const auto word = start ? search(*start) : std::nullopt;
    if (!word || format_.sp_offset.of(*word) != 8) continue;
    const unsigned number = format_.sp_reg.of(*word);
    for (const bool old : {true, false}) {
      registers_ = numbering(old);
      if (number < registers_.size() && registers_[number] == OrcEntry::sp) return {};
    }
    return fail(fmt::format("its ORC tables count from register {} where {} begins, which should be the stack pointer", number, function));
  }
  return fail("its ORC tables do not show how they number registers: none has the beginning of a function that is known");
}

OrcEntry OrcLookup::decode(std::uint64_t word) const {
  OrcEntry entry;
  entry.sp_offset = static_cast<std::int16_t>(format_.sp_offset.of(word));
  entry.bp_offset = static_cast<std::int16_t>(format_.bp_offset.of(word));
  entry.sp_reg = registers_[format_.sp_reg.of(word) % registers_.size()];
  entry.bp_reg = registers_[format_.bp_reg.of(word) % registers_.size()];
  const unsigned type = format_.type.of(word);
  using enum OrcEntry::Type;
  if (format_.end) {
    // Types began with what is now `call`; an entry without a stack register was the end, or undefined.
    if (entry.sp_reg == OrcEntry::none)
      entry.type = format_.end->of(word) != 0 ? end_of_stack : undefined;
    else
      entry.type = type == 0 ? call : type == 1 ? regs : type == 2 ? regs_partial : undefined;
  } else {
    entry.type = type <= 4 ? static_cast<OrcEntry::Type>(type) : undefined;
  }
  entry.signal = format_.signal ? format_.signal->of(word) != 0 : entry.type == regs || entry.type == regs_partial;
  return entry;
}

// The last of those that begin at the highest address not above `ip`: of several at one address, the ones before are the ends of
// sections, which only count where nothing else begins.
std::optional<std::uint64_t> OrcLookup::search(Kva ip) const {
  OrcTables tables = tables_;
  const bool own = (text_[0].first <= ip && ip < text_[0].second) || (text_[1].first <= ip && ip < text_[1].second);
  if (!own) {
    const auto of_module = code_->module_orc(ip);
    if (!of_module || of_module->count > kMaxEntries) return std::nullopt;
    tables = *of_module;
  }
  const KernelMemory& memory = kernel_->memory();
  std::uint64_t low = 0;
  std::uint64_t high = tables.count;
  while (low < high) {  // the first that begins above `ip`
    const std::uint64_t middle = low + (high - low) / 2;
    const Kva place = tables.ips + middle * sizeof(std::int32_t);
    const auto distance = memory.get<std::int32_t>(place);
    if (!distance) return std::nullopt;
    if (place + static_cast<std::uint64_t>(std::int64_t{*distance}) <= ip)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return std::nullopt;
  std::uint64_t word = 0;
  const auto bytes = std::as_writable_bytes(std::span(&word, 1)).first(static_cast<std::size_t>(format_.bytes));
  if (!memory.read_all(tables.entries + (low - 1) * format_.bytes, bytes)) return std::nullopt;
  return word;
}

std::optional<OrcEntry> OrcLookup::find(Kva ip) const {
  Cached& cached = cache_[(ip.value ^ ip.value >> 9) % cache_.size()];
  if (cached.ip != ip.value) {
    const auto word = search(ip);
    cached = {ip.value, word ? std::optional(decode(*word)) : std::nullopt};
  }
  return cached.entry;
}

}  // namespace floe::walkers
