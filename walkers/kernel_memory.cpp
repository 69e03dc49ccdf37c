#include "walkers/kernel_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace floe::walkers {

std::optional<std::string> KernelMemory::get_string(Kva kva, std::size_t max) const {
  std::string text(max, '\0');
  text.resize(read(kva, std::as_writable_bytes(std::span(text))));
  const auto end = text.find('\0');
  if (end == text.npos) return text.size() == max ? std::optional(text) : std::nullopt;
  text.resize(end);
  return text;
}

std::optional<std::uint64_t> KernelMemory::get_number(Kva object, Field field) const {
  std::uint64_t value = 0;
  if (!std::has_single_bit(field.bytes) || field.bytes > sizeof value) return std::nullopt;
  const auto bytes = std::as_writable_bytes(std::span(&value, 1)).first(static_cast<std::size_t>(field.bytes));
  if (!read_all(object + field.offset, bytes)) return std::nullopt;
  return value;  // little-endian, as x86-64 hosts and guests are
}

std::optional<std::string> KernelMemory::get_string(Kva object, Field field) const {
  return get_string(object + field.offset, static_cast<std::size_t>(std::min<std::uint64_t>(field.bytes, 256)));
}

std::optional<Kva> KernelMemory::get_pointer(Kva object, Field field) const {
  const auto value = get<std::uint64_t>(object + field.offset);
  if (!value || *value == 0) return std::nullopt;
  return Kva(*value);
}

tl::unexpected<Error> KernelMemory::unreadable(Kva kva, std::size_t bytes, std::string_view what) const {
  std::byte one;
  std::size_t good = 0;
  // Whole pages at a time: readability does not change within one.
  while (good < bytes && read(kva + good, std::span(&one, 1)) == 1) {
    const std::uint64_t at = kva.value + good;
    good += static_cast<std::size_t>(kPageBytes - (at % kPageBytes));
  }
  return fail(fmt::format("cannot read {}: {}", what, explain(kva + std::min(good, bytes ? bytes - 1 : 0))));
}

std::optional<Gpa> PagedMemory::translate(Kva kva) const {
  const std::uint64_t small_page = kva.value >> kPageShift;
  Entry& small = small_[small_page % kSmall];
  if (small.page == small_page) return Gpa(small.gpa + (kva.value & (kPageBytes - 1)));

  constexpr std::uint64_t kLargeMask = (std::uint64_t{1} << kLargeShift) - 1;
  const std::uint64_t large_page = kva.value >> kLargeShift;
  Entry& large = large_[large_page % kLarge];
  if (large.page == large_page) return Gpa(large.gpa + (kva.value & kLargeMask));

  Entry& table = tables_of_[large_page % kTables];
  if (table.page == large_page) {
    const auto gpa = tables_.translate_in(Gpa(table.gpa), kva);
    if (gpa) small = {small_page, page_floor(gpa->value)};
    return gpa;
  }

  const auto found = tables_.translate(kva);
  if (!found) return std::nullopt;
  if (found->page_bytes > kLargeMask) {
    large = {large_page, found->gpa.value - (kva.value & kLargeMask)};
  } else {
    small = {small_page, page_floor(found->gpa.value)};
    table = {large_page, found->table.value};
  }
  return found->gpa;
}

bool PagedMemory::prefetch(Kva kva, std::size_t bytes) const {
  const auto here = std::min<std::size_t>(bytes, kPageBytes - kva.value % kPageBytes);
  const auto gpa = translate(kva);
  if (!gpa || !memory_->prefetch(*gpa, here)) return false;
  if (here < bytes && kva.value + here > kva.value)
    if (const auto next = translate(kva + here)) memory_->prefetch(*next, std::min<std::size_t>(bytes - here, kPageBytes));
  return true;
}

std::size_t PagedMemory::read(Kva kva, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::uint64_t at = kva.value + done;
    if (at < kva.value) break;  // past the top of the address space
    const auto chunk = std::min<std::size_t>(out.size() - done, kPageBytes - at % kPageBytes);
    const auto gpa = translate(Kva(at));
    if (!gpa) break;
    const std::size_t got = memory_->read(*gpa, out.subspan(done, chunk));
    done += std::min(got, chunk);
    if (got < chunk) break;
  }
  return done;
}

}  // namespace floe::walkers
