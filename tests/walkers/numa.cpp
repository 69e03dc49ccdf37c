#include "walkers/numa.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::KernelSpec;
using synthetic::SyntheticKernel;
using synthetic::TypeWriter;

namespace {

constexpr std::uint64_t kZoneBytes = 128;

KernelSpec nodes() {
  KernelSpec spec;
  spec.add_types = [](TypeWriter& w) {
    const int events = w.array(w.u64, 6);
    const int zone = w.add_struct("zone", kZoneBytes,
                                  {{"present_pages", w.u64, 0}, {"per_cpu_zonestats", w.pointer, 64}, {"vm_numa_event", events, 128}});
    const int zones = w.array(zone, 3);
    w.add_struct("pglist_data", 3 * kZoneBytes, {{"node_zones", zones, 0}});
    const int diffs = w.array(w.u8, 16);
    w.add_struct("per_cpu_zonestat", 64, {{"vm_stat_diff", diffs, 0}, {"vm_numa_event", events, 128}});
  };
  spec.symbols = {{"node_data", 0, 'D'}, {"nr_node_ids", 0x100, 'D'}};
  return spec;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(numa)

BOOST_AUTO_TEST_CASE(zones_and_what_cpus_have_not_folded_are_summed) {
  SyntheticKernel guest(nodes());
  guest.put(guest.symbol("nr_node_ids"), std::uint32_t{3});
  // Node 1 does not exist.
  for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{2}}) {
    const Kva node = guest.allocate(kPageBytes);
    guest.put(guest.symbol("node_data") + 8 * id, node.value);
    for (std::uint64_t zone = 0; zone < 3; ++zone) {
      guest.put(node + zone * kZoneBytes, std::uint64_t{zone == 1 ? 0u : 500u});  // the middle one has no memory
      for (std::uint64_t event = 0; event < 6; ++event) guest.put(node + zone * kZoneBytes + 16 + 8 * event, 10 * (event + 1) + id);
    }
  }
  // The first zone of node 0 has counters of each CPU, at a per-cpu address.
  const Kva stats = guest.symbol("nr_node_ids") + 0x700;
  std::uint64_t node0 = 0;
  guest.memory.read(guest.physical(guest.symbol("node_data")), std::as_writable_bytes(std::span(&node0, 1)));
  guest.put(Kva(node0) + 8, stats.value);
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    std::uint64_t offset = 0;
    guest.memory.read(guest.physical(guest.symbol("__per_cpu_offset") + 8 * cpu), std::as_writable_bytes(std::span(&offset, 1)));
    guest.map(stats + offset);
    guest.put(stats + offset + 16 + 8 * 4, std::uint64_t{7});  // NUMA_LOCAL
  }
  const auto kernel = Kernel::open(guest.memory);
  BOOST_REQUIRE(kernel);
  const auto found = numa_events(*kernel);
  BOOST_REQUIRE_MESSAGE(found, found.error().message);
  BOOST_REQUIRE(found->size() == 2u);
  BOOST_TEST((*found)[0].node == 0u);
  BOOST_TEST((*found)[0].numa_hit == 20u);
  BOOST_TEST((*found)[0].numa_local == 100u + 14u);
  BOOST_TEST((*found)[0].numa_other == 120u);
  BOOST_TEST((*found)[1].node == 2u);
  BOOST_TEST((*found)[1].numa_miss == 44u);
}

BOOST_AUTO_TEST_CASE(a_kernel_without_numa_is_told) {
  SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory);
  BOOST_TEST(!numa_events(*kernel));
}

BOOST_AUTO_TEST_SUITE_END()
