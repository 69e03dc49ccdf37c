// For tests of what floe does about a vCPU that does not come when it is kicked: a port that a guest has when it is run with
// --test-deaf-port. Who writes N to it has its vCPU's thread held, in this process, for N tenths of a second, and kicks do not reach it.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "vmm/device.hpp"

namespace floe::cli {

class DeafPort final : public vmm::RegisterDevice {
 public:
  void read(std::uint64_t, std::span<std::byte> data) override { std::fill(data.begin(), data.end(), std::byte{0}); }
  void write(std::uint64_t, std::span<const std::byte> data) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(100) * static_cast<int>(data.front()));
  }
};

}  // namespace floe::cli
