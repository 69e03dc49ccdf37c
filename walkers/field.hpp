// Where a member of a struct lies and how wide it is: what a walker keeps of a member's path once BTF has resolved it. The
// width counts: `task_struct.on_cpu` was an int in 6.12 and is one byte in 7.2, with other members right behind it.
#pragma once

#include <cstdint>

namespace floe::walkers {

struct Field {
  std::uint32_t offset = 0;  // bytes from the start of the struct
  std::uint64_t bytes = 0;
};

}  // namespace floe::walkers
