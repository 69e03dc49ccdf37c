// A ring buffer of records in shared memory with an eventfd for a doorbell, after the kernel's BPF ring buffer (kernel/bpf/ringbuf.c):
// positions that only grow, a header per record, and a wake only for the record at which the reader stands.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace floe::bench {

class RecordRing {
 public:
  RecordRing() : memory_(kBytes), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~RecordRing() { close(event_); }
  RecordRing(const RecordRing&) = delete;
  RecordRing& operator=(const RecordRing&) = delete;

  int doorbell() const { return event_; }

  // The writer's thread. False: full.
  bool write(std::uint64_t number) {
    const std::uint64_t at = written_.load(std::memory_order_relaxed);
    if (at + kRecord - read_.load(std::memory_order_acquire) > kBytes) return false;
    std::byte* const record = memory_.data() + at % kBytes;
    std::memset(record, static_cast<int>(number & 0xff), kRecord);
    std::memcpy(record, &number, sizeof number);
    written_.store(at + kRecord, std::memory_order_seq_cst);
    if (read_.load(std::memory_order_seq_cst) == at) eventfd_write(event_, 1);
    return true;
  }

  // The reader's: everything there is, including what comes meanwhile. False: a record is not what was written.
  bool drain() {
    for (std::uint64_t at = read_.load(std::memory_order_relaxed); at != written_.load(std::memory_order_seq_cst);) {
      const std::byte* const record = memory_.data() + at % kBytes;
      std::uint64_t number = 0;
      std::memcpy(&number, record, sizeof number);
      if (number != drained_ || record[kRecord - 1] != static_cast<std::byte>(number & 0xff)) return false;
      ++drained_;
      at += kRecord;
      read_.store(at, std::memory_order_seq_cst);
    }
    return true;
  }
  std::uint64_t drained() const { return drained_; }

 private:
  static constexpr std::size_t kRecord = 64, kBytes = std::size_t{64} << 10;
  std::vector<std::byte> memory_;
  int event_;
  alignas(64) std::atomic<std::uint64_t> written_{0};
  alignas(64) std::atomic<std::uint64_t> read_{0};
  std::uint64_t drained_ = 0;
};

}  // namespace floe::bench
