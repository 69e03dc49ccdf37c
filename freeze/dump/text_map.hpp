// BPF maps and what allocators in an arena hold, as text.
#pragma once

#include <cstdint>
#include <string>

#include "walkers/bpf/records.hpp"

namespace floe::freeze::dump {

std::string to_text(const walkers::bpf::Map& map);
std::string to_text(const walkers::bpf::SdtAllocator& allocator);
std::string to_text(const walkers::bpf::ScxStatic& ranges);
std::string to_text(const walkers::bpf::SdtAllocEntry& slot);  // one line, for one that stands alone

// enum bpf_map_type in lower case; the number where it is unknown.
std::string map_type_name(std::uint32_t type);

}  // namespace floe::freeze::dump
