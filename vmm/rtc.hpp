// The CMOS real-time clock at ports 0x70 and 0x71: wall time for the guest, in BCD and 24-hour form, UTC.
//
// The kernel reads it some 70 times in a boot, for its first wall clock and for /dev/rtc0. The guest cannot set the host's
// time: writes to the clock registers are dropped and counted, alarms never fire. The remaining bytes are plain storage.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <mutex>
#include <span>

#include "base/may_block.hpp"
#include "vmm/device.hpp"

namespace floe::vmm {

class CmosRtc final : public RegisterDevice {
 public:
  using Clock = std::function<std::time_t()>;  // seconds since 1970, UTC

  static constexpr std::uint64_t kPorts = 2;

  // Without a clock: the host's.
  explicit CmosRtc(Clock clock = {});

  // Offset 0 is port 0x70 (index, bit 7 is the NMI mask), offset 1 is port 0x71 (data).
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

  std::uint64_t ignored_writes() const;

  struct State {
    std::uint32_t version = 1;
    std::uint8_t index = 0;
    std::uint8_t reserved[3] = {};
    std::array<std::uint8_t, 128> memory = {};
  };
  // For frozen time only: takes no lock and allocates nothing, since every vCPU is parked. Bytes written, 0 when `out` is
  // smaller than sizeof(State).
  std::size_t save(std::span<std::byte> out) const noexcept;

 private:
  std::uint8_t read_data() const;
  void write_data(std::uint8_t value);

  Clock clock_;
  mutable Checked<std::mutex> mutex_;
  State state_;
  std::uint64_t ignored_writes_ = 0;
};

}  // namespace floe::vmm
