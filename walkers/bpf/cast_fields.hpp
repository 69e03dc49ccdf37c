// Where in a program's types an access lands: the integer or the pointer at some offset of a struct, however deep it is nested. Private to
// the cast analysis.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "walkers/render/casts.hpp"
#include "walkers/render/type_table.hpp"

namespace floe::walkers::bpf {

// A u64, or a pointer.
struct Leaf {
  bool is_pointer = false;
  render::CastKey key = {};   // of a u64
  std::uint32_t pointee = 0;  // of a pointer: what it leads to, peeled
};

// Bytes read or written at an offset of something.
using Access = std::pair<std::uint32_t, std::uint32_t>;

class CastFields {
 public:
  // With the types of the kernel that runs the code: accesses to the kernel's structs lie where they are in that kernel (CO-RE), however
  // the program declares them.
  explicit CastFields(std::shared_ptr<const render::TypeTable> types, std::shared_ptr<const render::TypeTable> kernel = nullptr)
      : types_(std::move(types)), in_kernel_(kernel ? std::make_unique<CastFields>(std::move(kernel)) : nullptr) {}

  // What 8 bytes at an offset of a struct or union are.
  std::optional<Leaf> leaf(std::uint32_t struct_id, std::uint64_t offset) const { return leaf(struct_id, offset, 0); }
  // And of a variable of a data section.
  std::optional<Leaf> variable_leaf(std::uint32_t variable_id, std::uint64_t offset) const;

  // The struct, union or forward declaration that a pointer type leads to.
  std::optional<std::uint32_t> pointee_struct(std::uint32_t type_id) const;

  // The only named struct of the program that has something of the width at each of the places, not counting one; of that size.
  std::optional<std::uint32_t> only_shaped(const std::set<Access>& accesses, std::uint32_t except) const;
  std::optional<std::uint32_t> only_sized(std::uint64_t bytes) const;

  const render::TypeTable& types() const { return *types_; }

 private:
  std::optional<Leaf> leaf(std::uint32_t struct_id, std::uint64_t offset, int nesting) const;
  std::optional<Leaf> value_leaf(std::uint32_t type_id, render::CastKey key, std::uint64_t offset, int nesting) const;
  bool has(std::uint32_t type_id, Access access, int nesting) const;
  template <class Fits>
  std::optional<std::uint32_t> only_struct(Fits fits) const;

  std::uint32_t moved_by_kernel(std::uint32_t struct_id) const;
  std::optional<Leaf> kernel_leaf(std::uint32_t struct_id, std::uint64_t offset) const;
  bool spend() const { return visits_left_ != 0 && visits_left_-- != 0; }

  std::shared_ptr<const render::TypeTable> types_;
  std::unique_ptr<const CastFields> in_kernel_;
  mutable std::map<std::uint32_t, std::uint32_t> moved_;  // what moved_by_kernel() found
  mutable std::uint64_t visits_left_ = 50'000'000;        // of members and structs; then nothing more is found
};

}  // namespace floe::walkers::bpf
