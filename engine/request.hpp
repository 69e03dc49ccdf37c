// The content of one submission entry, so that public headers need not include liburing.
#pragma once

#include <cstdint>

namespace floe::engine::detail {

// Fields as in struct io_uring_sqe (include/uapi/linux/io_uring.h).
struct request {
  std::uint8_t opcode = 0;
  std::uint8_t flags = 0;
  std::uint16_t ioprio = 0;
  std::int32_t fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint32_t op_flags = 0;
  std::uint16_t buffer_group = 0;
};

// The low bits of user_data say whose completion it is; the rest is the address of that.
enum class tag : std::uint64_t { operation = 0, stream = 1, doorbell = 2, ignored = 3 };
inline constexpr std::uint64_t kTagMask = 7;

}  // namespace floe::engine::detail
