#include "freeze/dump/vcpu_perf.hpp"

#include <algorithm>
#include <cstring>

namespace floe::freeze::dump {
namespace {

constexpr const char* kName = "vcpu-perf";
constexpr std::size_t kMostReason = 256;

// The state is one of these bytes, and then a record for each vCPU, or text.
constexpr std::byte kCounts{1}, kReason{0};

struct Record {
  std::uint64_t known = 0;
  vmm::PerfCounts perf;
};

std::size_t save(const vmm::VcpuPerf& perf, std::span<std::byte> out) {
  const std::span<std::byte> body = out.subspan(1);
  if (!perf.why().empty()) {
    out[0] = kReason;
    const std::size_t bytes = std::min({perf.why().size(), body.size(), kMostReason});
    std::memcpy(body.data(), perf.why().data(), bytes);
    return 1 + bytes;
  }
  out[0] = kCounts;
  std::size_t done = 0;
  for (std::size_t vcpu = 0; vcpu < perf.vcpus() && body.size() - done >= sizeof(Record); ++vcpu, done += sizeof(Record)) {
    Record record;
    if (const auto counts = perf.read(vcpu)) record = {1, *counts};
    std::memcpy(body.data() + done, &record, sizeof record);
  }
  return 1 + done;
}

std::optional<VcpuPerf> sample_of(const Record& record) {
  if (record.known == 0) return std::nullopt;
  const auto& [cycles, instructions, cache_misses, branch_misses] = record.perf.counts;
  return VcpuPerf{cycles, instructions, cache_misses, branch_misses, record.perf.time_enabled_ns, record.perf.time_running_ns};
}

}  // namespace

SavedDevice saved_vcpu_perf(const vmm::VcpuPerf& perf, unsigned vcpus) {
  return {kName, 1 + std::max(kMostReason, vcpus * sizeof(Record)), [&perf](std::span<std::byte> out) { return save(perf, out); }};
}

VcpuPerfSamples vcpu_perf_of(const MachineState& machine) {
  VcpuPerfSamples samples;
  const auto found =
      std::find_if(machine.devices.begin(), machine.devices.end(), [](const DeviceState& device) { return device.name == kName; });
  if (found == machine.devices.end() || found->blob.empty()) {
    samples.unavailable = "not counted";
    return samples;
  }
  const std::span<const std::byte> body = std::span(found->blob).subspan(1);
  if (found->blob[0] != kCounts) {
    samples.unavailable.assign(reinterpret_cast<const char*>(body.data()), std::min(body.size(), kMostReason));
    return samples;
  }
  for (std::size_t at = 0; body.size() - at >= sizeof(Record); at += sizeof(Record)) {
    Record record;
    std::memcpy(&record, body.data() + at, sizeof record);
    samples.by_vcpu.push_back(sample_of(record));
  }
  return samples;
}

}  // namespace floe::freeze::dump
