// A guest made by a test as the RAM of a machine: what floe reads while a guest runs.
#pragma once

#include <memory>
#include <vector>

#include "freeze/snapshot_memory.hpp"
#include "tests/walkers/synthetic/kernel.hpp"
#include "vmm/ram.hpp"

namespace floe::freeze {

struct LiveGuest {
  explicit LiveGuest(const walkers::synthetic::SyntheticKernel& kernel) : guest(kernel) { sync(); }

  // The guest has done what the test has written into it.
  void sync() {
    for (const auto& range : guest.memory.populated()) {
      std::vector<std::byte> bytes(range.bytes);
      guest.memory.read(range.start, bytes);
      if (!ram->write(range.start, bytes)) throw std::logic_error("the guest of the test is larger than its RAM");
    }
  }

  walkers::Kernel open() const { return walkers::Kernel::open(guest.memory).value(); }

  template <class T>
  T get(Kva kva) const {
    T value{};
    ram->read(guest.physical(kva), std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  const walkers::synthetic::SyntheticKernel& guest;
  std::unique_ptr<vmm::GuestRam> ram = vmm::GuestRam::create(std::uint64_t{512} << 20).value();
  LiveMemory live{*ram};
};

}  // namespace floe::freeze
