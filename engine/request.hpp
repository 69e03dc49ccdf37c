// The content of one submission entry, so that public headers need not include liburing.
//
// It is kept as the 64-bit words of struct io_uring_sqe (include/uapi/linux/io_uring.h): composed from constants by the compiler and copied
// word by word. Building it field by field and copying it with wider loads costs several ns per operation in failed store forwarding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/file_ref.hpp"

namespace floe::engine::detail {

// enum io_uring_op
enum class opcode : std::uint8_t {
  nop = 0,
  readv = 1,
  writev = 2,
  fsync = 3,
  poll_add = 6,
  accept = 13,
  async_cancel = 14,
  connect = 16,
  openat = 18,
  close = 19,
  read = 22,
  write = 23,
  send = 26,
  recv = 27,
  renameat = 35,
  read_multishot = 49,  // Linux 6.7
};

inline constexpr std::uint8_t kSqeFixedFile = 1 << 0;     // IOSQE_FIXED_FILE
inline constexpr std::uint8_t kSqeBufferSelect = 1 << 5;  // IOSQE_BUFFER_SELECT
inline constexpr std::uint8_t kSqeSkipSuccess = 1 << 6;   // IOSQE_CQE_SKIP_SUCCESS

inline std::uint64_t address_of(const void* what) {
  return reinterpret_cast<std::uint64_t>(what);
}

struct request {
  std::uint64_t what;    // opcode:8 flags:8 ioprio:16 fd:32
  std::uint64_t offset;  // or addr2
  std::uint64_t address;
  std::uint64_t length_and_flags;  // len:32, then the operation's own flags:32
  std::uint64_t buffer_group;

  request(opcode op, file_ref file, std::uint64_t from, std::size_t length, std::uint64_t at, std::uint32_t op_flags,
          std::uint8_t sqe_flags = 0, std::uint16_t ioprio = 0, std::uint16_t group = 0)
      : what(static_cast<std::uint64_t>(op) | std::uint64_t{with_file(sqe_flags, file)} << 8 | std::uint64_t{ioprio} << 16 |
             std::uint64_t{static_cast<std::uint32_t>(file.number())} << 32),
        offset(at),
        address(from),
        length_and_flags(bounded(op, length) | std::uint64_t{op_flags} << 32),
        buffer_group(group) {}
  request(opcode op, file_ref file, const void* from, std::size_t length, std::uint64_t at, std::uint32_t op_flags)
      : request(op, file, address_of(from), length, at, op_flags) {}

  opcode op() const { return static_cast<opcode>(what & 0xff); }
  file_ref file() const {
    const int number = static_cast<int>(what >> 32);
    return (what >> 8 & kSqeFixedFile) != 0 ? file_ref::fixed(static_cast<unsigned>(number)) : file_ref(number);
  }

  void write(std::uint64_t* entry, std::uint64_t user_data) const {
    entry[0] = what;
    entry[1] = offset;
    entry[2] = address;
    entry[3] = length_and_flags;
    entry[4] = user_data;
    entry[5] = buffer_group;
    entry[6] = 0;  // every word, so that nothing of the entry's former use remains
    entry[7] = 0;
  }

 private:
  static std::uint8_t with_file(std::uint8_t flags, file_ref file) {
    return file.is_fixed() ? static_cast<std::uint8_t>(flags | kSqeFixedFile) : flags;
  }
  // The kernel's length has 32 bits, and it moves at most 2 GiB less a page at once anyway: longer ones are partial. For a rename it is a
  // descriptor.
  static constexpr std::uint64_t bounded(opcode op, std::size_t length) {
    constexpr std::size_t kMost = 0x7ffff000;  // MAX_RW_COUNT
    return op == opcode::renameat || length < kMost ? length & 0xffffffff : kMost;
  }
};

// Where the next entries go. Only the kernel's consumption moves the limit, and that happens only inside io_uring_enter.
struct submission_queue {
  std::uint64_t (*entries)[8] = nullptr;
  unsigned tail = 0;
  unsigned limit = 0;
  unsigned mask = 0;
};

// The low bits of user_data say whose completion it is; the rest is the address of that: for an operation, of the promise that waits for
// it.
enum class tag : std::uint64_t { operation = 0, stream = 1, doorbell = 2, ignored = 3 };
inline constexpr std::uint64_t kTagMask = 7;

}  // namespace floe::engine::detail
