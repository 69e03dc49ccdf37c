// What the guest's init shall do, as one file that floe writes into the initramfs and init reads: /etc/floe/run.
//
// Init could take this from the kernel's command line, but that has 2 KiB, no quoting and a parser of its own; a scheduler with
// its options and a shell one-liner as the command need exact words.
//
// Layout, by wire::Writer: u32 version (1); the lists scheduler, command, environment, each a u16 count and that many strings;
// u8 1 or 0 and, when 1, the hostname. Decoding is strict: every bound holds, nothing is left over. Depends on base/ and the wire
// alone: the static program inside the guest uses this file too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/wire.hpp"

namespace floe::vmm::wire {

// Host to guest, empty: end the command and the scheduler, say bye, power off.
inline constexpr std::uint32_t kStop = tag("STOP");

}  // namespace floe::vmm::wire

namespace floe::vmm {

struct GuestPlan {
  static constexpr const char* kPath = "/etc/floe/run";
  static constexpr std::size_t kMaxString = 65535;    // bytes of one word
  static constexpr std::size_t kMaxStrings = 4096;    // words of one list
  static constexpr std::size_t kMaxBytes = 4U << 20;  // of the whole file
  static constexpr std::size_t kMaxHostname = 64;     // HOST_NAME_MAX

  std::vector<std::string> scheduler;    // argv, or empty: no scheduler
  std::vector<std::string> command;      // argv, or empty: init waits to be told to stop
  std::vector<std::string> environment;  // NAME=value, over init's own defaults
  std::optional<std::string> hostname;
  bool operator==(const GuestPlan&) const = default;
};

// The file's bytes. Errors name the word that cannot be passed on: too long, with a NUL byte in it, an environment entry without
// a name, an empty program name.
Result<std::vector<std::byte>> encode(const GuestPlan& plan);
// An Error for everything that encode() would not have written.
Result<GuestPlan> decode_guest_plan(std::span<const std::byte> bytes);

}  // namespace floe::vmm
