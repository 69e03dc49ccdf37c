#include "walkers/cpu_time.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::KernelSpec;
using synthetic::SyntheticKernel;
using synthetic::TypeWriter;

namespace {

enum class Idle { in_tick_sched, in_cpustat, without_dynticks };

// The counters' types, with the enumerators in another order than usual.
KernelSpec counters(Idle idle) {
  KernelSpec spec;
  spec.add_types = [idle](TypeWriter& w) {
    const int stats = w.array(w.u64, 10);
    if (idle == Idle::in_cpustat)
      w.add_struct("kernel_cpustat", 96, {{"idle_elapse", w.u8, 0}, {"idle_entrytime", w.u64, 64}, {"cpustat", stats, 128}});
    else
      w.add_struct("kernel_cpustat", 80, {{"cpustat", stats, 0}});
    const int counts = w.array(w.u32, 10);
    w.add_struct("kernel_stat", 48, {{"irqs_sum", w.u64, 0}, {"softirqs", counts, 64}});
    if (idle != Idle::in_cpustat)
      w.add_struct("tick_sched", 32,
                   {{"flags", w.u64, 0}, {"idle_entrytime", w.u64, 64}, {"idle_sleeptime", w.u64, 128}, {"iowait_sleeptime", w.u64, 192}});
    else
      w.add_struct("tick_sched", 16, {{"flags", w.u64, 0}, {"idle_entrytime", w.u64, 64}});
    w.add_enum("cpu_usage_stat", {{"CPUTIME_NICE", 0}, {"CPUTIME_USER", 1}, {"CPUTIME_SYSTEM", 2}});
  };
  spec.symbols = {{"kernel_cpustat", 0, 'D'}, {"kstat", 0x100, 'D'}, {"tick_cpu_sched", 0x200, 'D'}};
  if (idle != Idle::without_dynticks) spec.symbols.push_back({"tick_nohz_active", 0x300, 'D'});
  return spec;
}

Kva of_cpu(SyntheticKernel& guest, const std::string& symbol, std::uint32_t cpu) {
  std::uint64_t offset = 0;
  guest.memory.read(guest.physical(guest.symbol("__per_cpu_offset") + 8 * cpu), std::as_writable_bytes(std::span(&offset, 1)));
  return guest.symbol(symbol) + offset;
}

std::vector<PerCpuTime> times_of(const SyntheticKernel& guest) {
  const auto kernel = Kernel::open(guest.memory);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  auto times = cpu_times(*kernel);
  BOOST_REQUIRE_MESSAGE(times, times.error().message);
  return std::move(*times);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cpu_time)

BOOST_AUTO_TEST_CASE(times_and_counts_are_those_of_each_cpu) {
  SyntheticKernel guest(counters(Idle::in_tick_sched));
  guest.put(guest.symbol("tick_nohz_active"), std::uint64_t{1});
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    guest.map(of_cpu(guest, "kernel_cpustat", cpu));
    for (std::uint64_t i = 0; i < 10; ++i) guest.put(of_cpu(guest, "kernel_cpustat", cpu) + 8 * i, 1000 * (cpu + 1) + i);
    guest.put(of_cpu(guest, "kstat", cpu), std::uint64_t{77} + cpu);
    for (std::uint32_t i = 0; i < 10; ++i) guest.put(of_cpu(guest, "kstat", cpu) + 8 + 4 * i, 100 + i);
    const Kva tick = of_cpu(guest, "tick_cpu_sched", cpu);
    guest.put(tick, std::uint64_t{cpu == 1 ? 0b110u : 0b010u});  // the second one idles
    guest.put(tick + 8, std::uint64_t{5000});
    guest.put(tick + 16, std::uint64_t{6000});
    guest.put(tick + 24, std::uint64_t{7000});
  }
  const auto times = times_of(guest);
  BOOST_REQUIRE(times.size() == 2u);
  BOOST_TEST(times[1].cpu == 1u);
  BOOST_TEST(times[1].cpustat_user_ns == 2001u);  // as its enumerators say
  BOOST_TEST(times[1].cpustat_nice_ns == 2000u);
  BOOST_TEST(times[1].cpustat_steal_ns == 2007u);  // and where they say nothing, as ever
  BOOST_TEST(times[0].irqs_sum == 77u);
  BOOST_TEST(times[0].softirqs[9] == 109u);
  BOOST_TEST(times[0].iowait_sleeptime_ns.value() == 7000u);
  BOOST_TEST(times[0].idle_sleeptime_ns.value() == 6000u);
  BOOST_TEST(!times[0].idle_entrytime_ns);
  BOOST_TEST(times[1].idle_entrytime_ns.value() == 5000u);
}

// It counts there all the same, but /proc/stat does not show it.
BOOST_AUTO_TEST_CASE(a_kernel_that_stops_no_ticks_has_its_idle_time_in_cpustat) {
  for (const Idle idle : {Idle::in_tick_sched, Idle::without_dynticks}) {
    SyntheticKernel guest(counters(idle));
    for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
      guest.map(of_cpu(guest, "kernel_cpustat", cpu));
      guest.put(of_cpu(guest, "kernel_cpustat", cpu) + 8 * 5, std::uint64_t{3000});
      const Kva tick = of_cpu(guest, "tick_cpu_sched", cpu);
      guest.put(tick, std::uint64_t{0b100});
      guest.put(tick + 8, std::uint64_t{5000});
      guest.put(tick + 16, std::uint64_t{6000});
    }
    const auto times = times_of(guest);
    BOOST_REQUIRE(times.size() == 2u);
    BOOST_TEST(times[1].cpustat_idle_ns == 3000u);
    BOOST_TEST(!times[1].idle_sleeptime_ns);
    BOOST_TEST(!times[1].idle_entrytime_ns);
    BOOST_TEST(!times[1].iowait_sleeptime_ns);
  }
}

BOOST_AUTO_TEST_CASE(newer_kernels_have_the_idle_time_in_cpustat) {
  SyntheticKernel guest(counters(Idle::in_cpustat));
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    const Kva stat = of_cpu(guest, "kernel_cpustat", cpu);
    guest.map(stat);
    guest.put(stat, static_cast<std::uint8_t>(cpu));
    guest.put(stat + 8, std::uint64_t{4000});
    guest.put(of_cpu(guest, "tick_cpu_sched", cpu) + 8, std::uint64_t{9999});
  }
  const auto times = times_of(guest);
  BOOST_TEST(!times[0].idle_entrytime_ns);
  BOOST_TEST(times[1].idle_entrytime_ns.value() == 4000u);
  BOOST_TEST(!times[1].idle_sleeptime_ns);
  BOOST_TEST(!times[1].iowait_sleeptime_ns);
}

BOOST_AUTO_TEST_CASE(a_cpu_whose_counters_are_unreadable_is_left_out) {
  SyntheticKernel guest(counters(Idle::in_tick_sched));
  guest.map(of_cpu(guest, "kernel_cpustat", 1));
  const auto times = times_of(guest);
  BOOST_REQUIRE(times.size() == 1u);
  BOOST_TEST(times[0].cpu == 1u);
}

BOOST_AUTO_TEST_CASE(a_kernel_without_them_is_told) {
  SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory);
  const auto times = cpu_times(*kernel);
  BOOST_REQUIRE(!times);
  BOOST_TEST(times.error().message.find("kernel_cpustat") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
