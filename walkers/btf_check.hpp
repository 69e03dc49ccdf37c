// Checks a BTF blob before libbpf sees it, since every offset and count in it is the guest's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace floe::walkers {

struct NamedType {
  std::uint32_t id;
  std::uint32_t name_offset;
  std::uint32_t bytes;
  bool is_enum;
};

// Checks the header and the frame of every record, in 64-bit arithmetic, and gives the structs, unions and enums that have names, by id.
// What types and strings refer to is left to libbpf. Ids start at `first_id`: above 1 it is split BTF, whose strings may be none.
Result<std::vector<NamedType>> check_btf(std::span<const std::byte> blob, std::uint32_t first_id = 1);

// Switches libbpf's log output off for the process, once.
void silence_libbpf();

}  // namespace floe::walkers
