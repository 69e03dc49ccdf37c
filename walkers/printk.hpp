// The kernel log as `dmesg` would show it, from the printk ring in memory: also after a panic, and of a guest that no longer runs anything.
//
// The ring (kernel/printk/printk_ringbuffer.h, b6cf8b3f3312, 5.10) is found by the symbol `prb`. It is two rings: descriptors, whose ids
// run from tail_id to head_id, each with a printk_info and the logical positions [begin, next) of its text; and the text itself, in blocks
// that begin with the id of their descriptor. A descriptor is reserved (being written), committed (whole, but printk may still continue
// it: invisible to readers), finalized, or reusable (the oldest ones, whose text may be gone). An odd position means that there is no
// block: 3 for an empty line, 1 for a text that found no room.
//
// The ring is the guest's. Nothing is believed that does not fit: a descriptor of another id, a block of another owner or past its ring
// costs its own record, and is counted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "walkers/budget.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

// One record (struct printk_info and its text).
struct LogRecord {
  std::uint64_t seq = 0;
  std::uint64_t ts_nsec = 0;    // local_clock() when it was written
  std::uint8_t level = 0;       // 0 emergency .. 7 debug
  std::uint8_t facility = 0;    // 0 for the kernel's own
  std::uint8_t flags = 0;       // enum printk_info_flags: 1 forced to the console, 2 newline, 8 continued
  std::uint32_t caller_id = 0;  // a thread's pid; with bit 31 a CPU's number, where no thread was running
  std::string comm;             // of the thread, where the kernel keeps it (CONFIG_PRINTK_EXECUTION_CTX)
  std::string subsystem;        // of dev_printk(): "pci"
  std::string device;           // "+pci:0000:00:00.0"
  std::string text;             // without the final newline; may hold newlines and any other byte
  bool pending = false;         // committed but not finalized: dmesg does not show it yet

  // "T12" or "C0", as CONFIG_PRINTK_CALLER prints it.
  std::string caller() const;

  // "[    0.123456] text", the stamp before each line of the text.
  std::string line() const;

  bool operator==(const LogRecord&) const = default;
};

struct KernelLog {
  std::vector<LogRecord> records;  // oldest first
  std::uint64_t reserved = 0;      // being written at this instant: their text is not there yet
  std::uint64_t reusable = 0;      // given up by the kernel to make room
  std::uint64_t lost = 0;          // never had a text, for want of room (FAILED_LPOS); dmesg skips them too
  std::uint64_t damaged = 0;       // what did not fit together; the first kMaxProblems of them are in `problems`
  std::uint64_t left_out = 0;      // older ones that the bounds did not allow
  std::uint64_t failed = 0;        // printk_ringbuffer.fail: messages that did not even get a descriptor
  bool complete = true;            // nothing damaged, nothing left out
  std::vector<std::string> problems;

  static constexpr std::size_t kMaxProblems = 32;
};

// At most this many records, the newest, and this many bytes of text in all. A kernel has 8192 unless told log_buf_len.
inline constexpr std::uint64_t kMostLogRecords = 262'144;
inline constexpr std::uint64_t kMostLogBytes = std::uint64_t{64} << 20;

// Error: no ring there at all, or none that makes sense.
Result<KernelLog> kernel_log(const Kernel& kernel, WalkBudget budget = WalkBudget(kMostLogRecords));

// The id of the newest descriptor, which every record changes: whoever has read the whole log needs not read it again while it is the same.
Result<std::uint64_t> kernel_log_head(const Kernel& kernel);

}  // namespace floe::walkers
