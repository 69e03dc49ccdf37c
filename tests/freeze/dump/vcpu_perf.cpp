#include "freeze/dump/vcpu_perf.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "base/no_alloc.hpp"
#include "vmm/vm.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::freeze::dump;

namespace {

MachineState machine_with(std::vector<std::byte> blob) {
  MachineState machine;
  machine.devices.push_back({"serial", {}});
  machine.devices.push_back({"vcpu-perf", std::move(blob)});
  return machine;
}

std::vector<std::byte> bytes_of(const std::vector<std::uint64_t>& words) {
  std::vector<std::byte> blob(1 + words.size() * 8, std::byte{1});
  std::memcpy(blob.data() + 1, words.data(), words.size() * 8);
  return blob;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(vcpu_perf)

BOOST_AUTO_TEST_CASE(counts_come_back_by_vcpu) {
  const auto samples = vcpu_perf_of(machine_with(bytes_of({1, 10, 20, 30, 40, 50, 45, 0, 9, 9, 9, 9, 9, 9})));
  BOOST_TEST(samples.unavailable == "");
  BOOST_REQUIRE(samples.by_vcpu.size() == 2u);
  BOOST_REQUIRE(samples.by_vcpu[0].has_value());
  BOOST_TEST(samples.by_vcpu[0]->cycles == 10u);
  BOOST_TEST(samples.by_vcpu[0]->instructions == 20u);
  BOOST_TEST(samples.by_vcpu[0]->cache_misses == 30u);
  BOOST_TEST(samples.by_vcpu[0]->branch_misses == 40u);
  BOOST_TEST(samples.by_vcpu[0]->time_enabled_ns == 50u);
  BOOST_TEST(samples.by_vcpu[0]->time_running_ns == 45u);
  BOOST_TEST(!samples.by_vcpu[1].has_value());
}

BOOST_AUTO_TEST_CASE(a_host_without_counters_leaves_its_reason) {
  const vmm::VcpuPerf perf;
  const auto device = saved_vcpu_perf(perf, 2);
  std::vector<std::byte> state(device.most_bytes);
  std::size_t bytes = 0;
  {
    const NoAllocScope frozen;
    bytes = device.save(state);
  }
  state.resize(bytes);
  BOOST_TEST(device.name == "vcpu-perf");
  const auto samples = vcpu_perf_of(machine_with(state));
  BOOST_TEST(samples.unavailable == "not counted");
  BOOST_TEST(samples.by_vcpu.empty());
}

BOOST_AUTO_TEST_CASE(a_snapshot_without_and_bytes_of_any_kind) {
  BOOST_TEST(vcpu_perf_of({}).unavailable == "not counted");
  BOOST_TEST(vcpu_perf_of(machine_with({})).unavailable == "not counted");
  auto cut = bytes_of({1, 10, 20, 30, 40, 50, 45, 1, 9});
  cut.pop_back();
  BOOST_TEST(vcpu_perf_of(machine_with(cut)).by_vcpu.size() == 1u);
  const auto samples = vcpu_perf_of(machine_with(std::vector<std::byte>(5000, std::byte{0})));
  BOOST_TEST(samples.by_vcpu.empty());
  BOOST_TEST(samples.unavailable.size() <= 256u);
}

BOOST_AUTO_TEST_SUITE_END()
