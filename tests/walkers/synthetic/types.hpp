// BTF made by a test with libbpf's writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "walkers/types.hpp"

namespace floe::walkers::synthetic {

struct MemberSpec {
  const char* name = nullptr;  // null for an anonymous struct or union
  int type = 0;
  std::uint32_t bit_offset = 0;
  std::uint32_t bits = 0;  // width of a bit-field
};

// Ids of the types every blob has.
class TypeWriter {
 public:
  TypeWriter();

  int u8, u16, u32, u64, s32, character, pointer, list_head;

  int array(int element, std::uint32_t count);
  int add_struct(const std::string& name, std::uint32_t size, const std::vector<MemberSpec>& members, bool is_union = false);
  int add_enum(const std::string& name, const std::vector<std::pair<std::string, int>>& enumerators);
  int add_typedef(const std::string& name, int target);
  int add_const(int target);

  std::vector<std::byte> bytes() const;  // the blob
  struct btf* raw() { return btf_.get(); }

 private:
  struct Free {
    void operator()(struct btf* btf) const;
  };
  std::unique_ptr<struct btf, Free> btf_;
};

// Types of a blob that is sound; throws when it is not.
Types parsed(const std::vector<std::byte>& blob);

}  // namespace floe::walkers::synthetic
