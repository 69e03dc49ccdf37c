// Kernel-virtual bytes. Walkers follow the kernel's own pointers, so they read by Kva; whatever can serve such reads is a
// KernelMemory: PagedMemory below walks page tables over a Memory, /proc/kcore needs none.
//
// Reads are page-wise, since neighbouring virtual pages need not be neighbours in RAM, and stop at the first byte that is not
// mapped or not RAM. A value that could not be read is absent, never zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/address.hpp"
#include "base/result.hpp"
#include "walkers/field.hpp"
#include "walkers/memory.hpp"
#include "walkers/page_tables.hpp"

namespace floe::walkers {

class KernelMemory {
 public:
  virtual ~KernelMemory() = default;

  // Copies from `kva` on into `out` and returns how many bytes were readable from the start of it. Never faults.
  virtual std::size_t read(Kva kva, std::span<std::byte> out) const = 0;

  // These bytes are read soon: asks for their cache lines where they are at hand, or returns false. Any address is allowed.
  virtual bool prefetch(Kva /*kva*/, std::size_t /*bytes*/) const { return false; }

  // Why a byte is unreadable, for messages; begins with its address.
  virtual std::string explain(Kva kva) const = 0;

  bool read_all(Kva kva, std::span<std::byte> out) const { return read(kva, out) == out.size(); }

  // One value, if all of it is readable.
  template <class T>
  std::optional<T> get(Kva kva) const {
    static_assert(std::is_trivially_copyable_v<T>);
    std::array<std::byte, sizeof(T)> bytes;
    if (!read_all(kva, bytes)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  // The same with a message: "cannot read init_task.tasks: ffff...: not present at the PTE".
  template <class T>
  Result<T> load(Kva kva, std::string_view what) const {
    if (const auto value = get<T>(kva)) return *value;
    return unreadable(kva, sizeof(T), what);
  }

  // A NUL-terminated string in a field of `max` bytes: what stands before the NUL, or all of it when there is none.
  // Nothing when a byte before the NUL is unreadable.
  std::optional<std::string> get_string(Kva kva, std::size_t max) const;

  // A member of the struct at `object`, by its own width: an unsigned number of 1, 2, 4 or 8 bytes, zero-extended. Nothing when
  // it is unreadable or has another width.
  std::optional<std::uint64_t> get_number(Kva object, Field field) const;

  // A member that is a char array, as get_string() reads it; at most 256 bytes whatever BTF says.
  std::optional<std::string> get_string(Kva object, Field field) const;

  // A member that is a pointer. A null one is absent, like an unreadable one.
  std::optional<Kva> get_pointer(Kva object, Field field) const;

  // The error of a failed read of `bytes` bytes: names the first unreadable byte.
  tl::unexpected<Error> unreadable(Kva kva, std::size_t bytes, std::string_view what) const;
};

// KernelMemory over guest-physical memory by its page tables.
//
// Translations are cached, successes only, for the life of the object: it belongs to one instant of the guest and is made
// anew for the next (the guest changes its mappings). The cache makes reads of one object from two threads a race; copy it,
// a copy is 20 KiB.
class PagedMemory final : public KernelMemory {
 public:
  PagedMemory(const Memory& memory, PageTables tables) : memory_(&memory), tables_(tables) {}

  std::size_t read(Kva kva, std::span<std::byte> out) const override;
  bool prefetch(Kva kva, std::size_t bytes) const override;
  std::string explain(Kva kva) const override { return tables_.explain(kva); }

  std::optional<Gpa> translate(Kva kva) const;
  const Memory& physical() const { return *memory_; }
  const PageTables& tables() const { return tables_; }

 private:
  struct Entry {
    std::uint64_t page = ~std::uint64_t{0};  // virtual address shifted by the page size; all ones is no page's
    std::uint64_t gpa = 0;                   // where that page starts
  };
  static constexpr std::size_t kSmall = 1024;  // 4 KiB pages
  static constexpr std::size_t kLarge = 64;    // 2 MiB pages; a 1 GiB page enters as the 2 MiB of it that were asked for
  static constexpr std::size_t kTables = 64;   // last tables, each by the 2 MiB that its pages make up
  static constexpr unsigned kLargeShift = 21;

  const Memory* memory_;
  PageTables tables_;
  mutable std::array<Entry, kSmall> small_{};
  mutable std::array<Entry, kLarge> large_{};
  mutable std::array<Entry, kTables> tables_of_{};
};

}  // namespace floe::walkers
