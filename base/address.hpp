// A foreign address is a type of its own. Guest-physical (Gpa) and guest kernel-virtual (Kva) addresses neither convert into
// each other nor can be dereferenced; only guest RAM turns a Gpa into host memory, only a page-table walk a Kva into a Gpa.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace floe {

template <class Tag>
struct Address {
  std::uint64_t value = 0;

  constexpr Address() = default;
  constexpr explicit Address(std::uint64_t v) : value(v) {}
  constexpr auto operator<=>(const Address&) const = default;
  constexpr explicit operator bool() const { return value != 0; }

  // Wraps at 2^64 as the guest's own arithmetic does; whoever reads through the result checks its range.
  constexpr Address operator+(std::uint64_t bytes) const { return Address(value + bytes); }
  constexpr Address operator-(std::uint64_t bytes) const { return Address(value - bytes); }
  constexpr std::uint64_t operator-(Address other) const { return value - other.value; }
};

using Gpa = Address<struct GuestPhysical>;  // guest-physical
using Kva = Address<struct KernelVirtual>;  // guest kernel-virtual

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr unsigned kPageShift = 12;
inline constexpr std::uint64_t page_floor(std::uint64_t v) {
  return v & ~std::uint64_t{kPageBytes - 1};
}
inline constexpr std::uint64_t page_ceil(std::uint64_t v) {
  return page_floor(v + kPageBytes - 1);
}

}  // namespace floe
