// One BTF as values are rendered by it: a BPF program's, read out of guest memory, or the kernel's own.
//
// The table keeps alive what it is made of (its blob, the kernel's types that a split one continues), so ids of it stay good for as long
// as somebody holds the table. It never changes and may be read by several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "walkers/types.hpp"

struct btf;
struct btf_type;

namespace floe::walkers::render {

class TypeTable {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{32} << 20;

  // A program's BTF, copied and checked: magic, sections, every record, and by libbpf every id and string offset. With a `base` it is
  // split BTF: its ids and strings follow on from the base's.
  static Result<std::shared_ptr<const TypeTable>> parse(std::span<const std::byte> blob, std::shared_ptr<const Types> base = nullptr);

  // The kernel's own types.
  static std::shared_ptr<const TypeTable> of_kernel(std::shared_ptr<const Types> types);

  // Null for an id that is none; void, id 0, is a type.
  const btf_type* type(std::uint32_t id) const;

  // A name of at most 512 bytes; empty where there is none.
  std::string_view name(std::uint32_t offset) const;
  std::string_view name_of(std::uint32_t id) const;

  // The type behind typedefs, qualifiers, tags and variables. Nothing for a chain of more than 32 or one that leads nowhere.
  std::optional<std::uint32_t> peel(std::uint32_t id) const;

  // Bytes of a type. Nothing for one that has no size (a function, a forward declaration) and above 2 GiB.
  std::optional<std::uint64_t> size(std::uint32_t id) const;

  // A complete struct, or union, by name. A program's own come before those of its base; of several the largest counts.
  std::optional<std::uint32_t> find(std::string_view name, bool is_union = false) const;

  std::uint32_t count() const;                        // ids are below
  std::uint32_t first_own() const { return first_; }  // ids from here on are not the base's
  const struct btf* raw() const { return raw_; }

 private:
  struct Free {
    void operator()(struct btf* btf) const;
  };
  struct Named {
    std::uint32_t hash;
    std::uint32_t bytes;
    std::uint32_t id;
  };

  TypeTable() = default;

  std::shared_ptr<const Types> base_;  // of split BTF, or of the kernel's own
  std::unique_ptr<struct btf, Free> own_;
  const struct btf* raw_ = nullptr;
  std::uint32_t first_ = 1;
  std::vector<Named> structs_;  // by hash, the largest first
};

}  // namespace floe::walkers::render
