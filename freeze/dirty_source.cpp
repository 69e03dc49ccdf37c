#include "freeze/dirty_source.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace floe::freeze {
namespace {

// A page written is reported, once, and again when written again; its neighbours are not.
Result<> self_test(DirtySource& source, vmm::GuestRam& ram) {
  std::array<std::uint64_t, 1> seen{};
  const auto collected = [&]() -> Result<std::uint64_t> {
    seen[0] = 0;
    if (auto done = source.collect(seen); !done) return fail(std::move(done).error());
    return seen[0];
  };
  if (auto armed = source.arm(); !armed) return armed;
  for (unsigned round = 1; round <= 2; ++round) {
    ram.page(5)[17] = static_cast<std::byte>(round);
    const auto written = collected();
    if (!written) return fail(written.error());
    if (*written != std::uint64_t{1} << 5)
      return fail("self-test: after writing page 5, bits " + std::to_string(*written) + " were reported");
    const auto quiet = collected();
    if (!quiet) return fail(quiet.error());
    if (*quiet != 0) return fail("self-test: bits " + std::to_string(*quiet) + " were reported though nothing was written");
  }
  return {};
}

Result<std::unique_ptr<vmm::GuestRam>> scratch_ram() {
  auto ram = vmm::GuestRam::create(16 * kPageBytes);
  if (ram)
    for (std::uint64_t page = 0; page < 16; ++page) (*ram)->page(page)[0] = std::byte{1};
  return ram;
}

Result<std::unique_ptr<DirtySource>> tested_pagemap_scan(vmm::GuestRam& ram) {
  auto scratch = scratch_ram();
  if (!scratch) return fail(std::move(scratch).error());
  auto trial = create_pagemap_scan(**scratch);
  if (!trial) return trial;
  if (auto passed = self_test(**trial, **scratch); !passed) return fail(std::move(passed).error());
  return create_pagemap_scan(ram);
}

Result<std::unique_ptr<DirtySource>> tested_compare(vmm::GuestRam& ram) {
  auto scratch = scratch_ram();
  if (!scratch) return fail(std::move(scratch).error());
  const auto trial = create_compare(**scratch);
  if (auto passed = self_test(*trial, **scratch); !passed) return fail(std::move(passed).error());
  return create_compare(ram);
}

}  // namespace

Result<ChosenDirtySource> choose_dirty_source(vmm::GuestRam& ram, const DirtySourceOptions& options) {
  ChosenDirtySource chosen;
  for (const std::string name : {"kvm-dirty-log", "pagemap-scan", "compare"}) {
    if (!options.only.empty() && options.only != name) continue;
    auto made = name == "kvm-dirty-log"  ? create_kvm_dirty_log(ram, options.kvm_fd, options.vm_fd)
                : name == "pagemap-scan" ? tested_pagemap_scan(ram)
                                         : tested_compare(ram);
    if (made) {
      chosen.source = std::move(*made);
      return chosen;
    }
    chosen.refused.push_back(name + ": " + made.error().message);
  }
  if (chosen.refused.empty())
    return fail("no dirty page source is called " + options.only + ": there are kvm-dirty-log, pagemap-scan and compare");
  return fail("no way to track dirty pages works: " + chosen.refused.back());
}

}  // namespace floe::freeze
