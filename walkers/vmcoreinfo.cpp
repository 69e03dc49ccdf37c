#include "walkers/vmcoreinfo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <system_error>

namespace floe::walkers {
namespace {

constexpr std::string_view kTextStart = "OSRELEASE=";
// Elf64_Nhdr {namesz, descsz, type} and the name "VMCOREINFO" with its NUL, padded to 4 bytes (VMCOREINFO_NOTE_NAME).
constexpr std::string_view kNoteName{"VMCOREINFO", 11};
constexpr std::size_t kNoteText = 24;
constexpr std::size_t kHeadBytes = kNoteText + kTextStart.size();

template <class T>
std::optional<T> parse_whole(std::string_view digits, int base) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// NUMBER() lines are decimal with a sign, or hexadecimal after 0x, depending on the field.
std::optional<std::int64_t> parse_number(std::string_view text) {
  if (!text.starts_with("0x")) return parse_whole<std::int64_t>(text, 10);
  const auto bits = parse_whole<std::uint64_t>(text.substr(2), 16);
  if (!bits) return std::nullopt;
  return static_cast<std::int64_t>(*bits);
}

tl::unexpected<Error> bad_field(std::string_view key, std::optional<std::string_view> value) {
  if (!value) return fail(fmt::format("VMCOREINFO has no {}", key));
  return fail(fmt::format("VMCOREINFO has a malformed {}=\"{}\"", key, value->substr(0, 64)));
}

bool is_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
}

// The bytes from `gpa` on as text, as many of `bytes` as are readable.
std::string read_text(const Memory& memory, Gpa gpa, std::size_t bytes) {
  std::string text(bytes, '\0');
  text.resize(memory.read(gpa, std::as_writable_bytes(std::span(text))));
  return text;
}

enum class Head { nothing, text, note };

Head classify(std::span<const std::byte> head) {
  const auto at = [&](std::size_t offset) {
    return std::string_view(reinterpret_cast<const char*>(head.data()) + offset, head.size() - offset);
  };
  if (head.size() >= kTextStart.size() && at(0).starts_with(kTextStart)) return Head::text;
  if (head.size() < kHeadBytes || !at(kNoteText).starts_with(kTextStart)) return Head::nothing;
  std::uint32_t name_bytes = 0;
  std::memcpy(&name_bytes, head.data(), sizeof name_bytes);
  return name_bytes == kNoteName.size() && at(12).starts_with(kNoteName) ? Head::note : Head::nothing;
}

Result<VmCoreInfo> parse_at(const Memory& memory, Gpa page, Head head) {
  if (head == Head::text) return VmCoreInfo::parse(read_text(memory, page, kPageBytes), page);
  std::array<std::byte, 4> descsz{};
  std::uint32_t bytes = 0;
  if (memory.read(page + 4, descsz) == descsz.size()) std::memcpy(&bytes, descsz.data(), sizeof bytes);
  if (bytes == 0 || bytes > VmCoreInfo::kMaxText) return fail(fmt::format("VMCOREINFO note claims {} bytes of text", bytes));
  return VmCoreInfo::parse(read_text(memory, page + kNoteText, bytes), page);
}

}  // namespace

Result<VmCoreInfo> VmCoreInfo::parse(std::string_view text, Gpa found_at) {
  VmCoreInfo info;
  info.found_at_ = found_at;
  text = text.substr(0, kMaxText);
  text = text.substr(0, text.find('\0'));
  info.text_ = text;
  while (!text.empty() && info.fields_.size() < kMaxFields) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto equals = line.find('=');
    if (equals == line.npos || equals == 0) continue;
    // First wins: the kernel writes each key once, and what it appends later (CRASHTIME) is new.
    info.fields_.emplace(line.substr(0, equals), line.substr(equals + 1));
  }

  const auto root = info.symbol("swapper_pg_dir");
  if (!root) return bad_field("SYMBOL(swapper_pg_dir)", info.field("SYMBOL(swapper_pg_dir)"));
  info.root_ = *root;

  const auto release = info.field("OSRELEASE");
  // The format string in the kernel's rodata looks like a copy as well: "OSRELEASE=%s".
  if (!release || release->empty() || release->size() > 64 || release->find('%') != release->npos) return bad_field("OSRELEASE", release);
  info.release_ = *release;

  const auto build_id = info.field("BUILD-ID");
  if (!build_id || !is_hex(*build_id) || build_id->size() > 64) return bad_field("BUILD-ID", build_id);
  info.build_id_ = *build_id;

  const auto phys_base = info.number("phys_base");
  if (!phys_base) return bad_field("NUMBER(phys_base)", info.field("NUMBER(phys_base)"));
  info.phys_base_ = *phys_base;

  const auto offset_text = info.field("KERNELOFFSET");
  const auto kernel_offset = offset_text ? parse_whole<std::uint64_t>(*offset_text, 16) : std::nullopt;
  if (!kernel_offset) return bad_field("KERNELOFFSET", offset_text);
  info.kernel_offset_ = *kernel_offset;

  const auto five_levels = info.number("pgtable_l5_enabled");
  if (!five_levels || (*five_levels != 0 && *five_levels != 1))
    return bad_field("NUMBER(pgtable_l5_enabled)", info.field("NUMBER(pgtable_l5_enabled)"));
  info.five_levels_ = *five_levels == 1;
  return info;
}

std::optional<std::string_view> VmCoreInfo::field(std::string_view key) const {
  const auto found = fields_.find(key);
  if (found == fields_.end()) return std::nullopt;
  return found->second;
}

std::optional<Kva> VmCoreInfo::symbol(std::string_view name) const {
  const auto text = field(fmt::format("SYMBOL({})", name));
  const auto value = text ? parse_whole<std::uint64_t>(*text, 16) : std::nullopt;
  if (!value) return std::nullopt;
  return Kva(*value);
}

std::optional<std::int64_t> VmCoreInfo::number(std::string_view name) const {
  const auto text = field(fmt::format("NUMBER({})", name));
  return text ? parse_number(*text) : std::nullopt;
}

std::optional<std::uint64_t> VmCoreInfo::offset(std::string_view name) const {
  const auto text = field(fmt::format("OFFSET({})", name));
  return text ? parse_whole<std::uint64_t>(*text, 10) : std::nullopt;
}

std::optional<std::uint64_t> VmCoreInfo::size(std::string_view name) const {
  const auto text = field(fmt::format("SIZE({})", name));
  return text ? parse_whole<std::uint64_t>(*text, 10) : std::nullopt;
}

VmCoreInfoScan scan_vmcoreinfo(const Memory& memory) {
  VmCoreInfoScan scan;
  std::size_t texts = 0;
  std::array<std::byte, kHeadBytes> head;
  for (const auto& range : memory.populated()) {
    const std::uint64_t first = (range.start.value + kPageBytes - 1) / kPageBytes;
    const std::uint64_t last = (range.start.value + range.bytes) / kPageBytes;
    for (std::uint64_t page = first; page < last; ++page) {
      const Gpa at(page * kPageBytes);
      ++scan.pages;
      const Head kind = classify(std::span(head).first(memory.read(at, head)));
      if (kind == Head::nothing) continue;
      if (++texts > kMaxTexts) {
        scan.truncated = true;
        return scan;
      }
      auto info = parse_at(memory, at, kind);
      if (!info) {
        scan.rejected.push_back(fmt::format("page {:#x}: {}", at.value, info.error().message));
        continue;
      }
      bool seen = false;
      for (const auto& candidate : scan.candidates) seen = seen || candidate.text() == info->text();
      if (!seen) scan.candidates.push_back(std::move(*info));
    }
  }
  return scan;
}

Result<VmCoreInfo> read_vmcoreinfo(const Memory& memory, Gpa page) {
  std::array<std::byte, kHeadBytes> head;
  const Head kind = classify(std::span(head).first(memory.read(page, head)));
  if (kind == Head::nothing) return fail(fmt::format("no VMCOREINFO at page {:#x}", page.value));
  return parse_at(memory, page, kind);
}

}  // namespace floe::walkers
