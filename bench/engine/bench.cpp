#include "bench/engine/bench.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <map>

#include "bench/report/allocations.hpp"

namespace floe::bench {
namespace {

constexpr const char* kAllocations = "allocations/op";
constexpr const char* kPoolMisses = "pool misses/op";

double read_clock(clockid_t which) {
  timespec now{};
  clock_gettime(which, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// The two last cores this process may use: the first ones serve interrupts on many machines.
std::pair<int, int> cores() {
  static const auto chosen = [] {
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::pair<int, int> last{-1, -1};
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &allowed)) last = {last.second, core};
    return last;
  }();
  return chosen;
}

void pin(int core) {
  if (cores().first < 0) return;
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  sched_setaffinity(0, sizeof only, &only);
}

// What the rounds of one lane add up to.
struct Collected {
  double allocations = 0, pool_misses = 0;
  std::vector<std::pair<std::string, std::vector<double>>> figures;

  void take(const Sample& sample) {
    allocations = std::max(allocations, sample.allocations);
    pool_misses = std::max(pool_misses, sample.pool_misses);
    if (figures.empty())
      for (const auto& [name, value] : sample.figures) figures.push_back({name, {}});
    for (std::size_t index = 0; index < figures.size(); ++index) figures[index].second.push_back(sample.figures[index].second);
  }
  Figures result() const {
    Figures all;
    if (allocations_are_counted()) all = {{kAllocations, allocations}, {kPoolMisses, pool_misses}};
    for (const auto& [name, values] : figures) all.emplace_back(name, spread(values).median);
    return all;
  }
};

}  // namespace

void require(bool holds, const char* what) {
  if (holds) return;
  fmt::print(stderr, "bench_engine: {}\n", what);
  std::exit(70);
}

double thread_cpu_nanos() {
  return read_clock(CLOCK_THREAD_CPUTIME_ID);
}
double monotonic_nanos() {
  return read_clock(CLOCK_MONOTONIC);
}

void sleep_until_nanos(double monotonic) {
  const auto at = static_cast<std::int64_t>(monotonic);
  const timespec until{at / 1'000'000'000, at % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}

void pin_to_engine_core() {
  pin(cores().second);
}
void pin_to_peer_core() {
  pin(cores().first);
}
bool has_two_cores() {
  return cores().first >= 0;
}
std::string cores_in_use() {
  const auto [peer, engine] = cores();
  return peer < 0 ? std::string("one core for everything") : fmt::format("engine {}, peer {}", engine, peer);
}

Meter::Meter() : allocations_(allocations()), misses_(engine::frame_pool::counters().misses), began_(thread_cpu_nanos()) {}

Sample Meter::stop(std::uint64_t operations) const {
  const double spent = thread_cpu_nanos() - began_;
  const auto count = static_cast<double>(operations);
  return {spent / count, static_cast<double>(allocations() - allocations_) / count,
          static_cast<double>(engine::frame_pool::counters().misses - misses_) / count};
}

Sample EngineMeter::stop(std::uint64_t operations) const {
  Sample taken = meter_.stop(operations);
  const engine::loop_counters now = on_.counters();
  const auto enters = static_cast<double>(now.enters - before_.enters);
  taken.figures = {{"enters/op", enters / static_cast<double>(operations)}};
  if (enters > 0) taken.figures.emplace_back("completions/enter", static_cast<double>(now.completions - before_.completions) / enters);
  return taken;
}

void race(Row& row, const std::vector<Lane>& lanes, unsigned rounds) {
  std::vector<Collected> collected(lanes.size());
  for (const Lane& lane : lanes) row.contenders.push_back({.name = lane.name, .absent = lane.absent});
  for (unsigned round = 0; round <= rounds; ++round) {
    for (std::size_t turn = 0; turn < lanes.size(); ++turn) {
      const std::size_t index = (turn + round) % lanes.size();
      if (!lanes[index].absent.empty()) continue;
      const Sample sample = lanes[index].round();
      if (round == 0) continue;
      row.contenders[index].rounds.push_back(sample.value);
      collected[index].take(sample);
    }
  }
  for (std::size_t index = 0; index < lanes.size(); ++index)
    if (lanes[index].absent.empty()) row.contenders[index].figures = collected[index].result();
}

Promise allocates_nothing(const Row& row) {
  return figure_at_most(row, "floe", kAllocations, 0);
}
bool is_of_what_should_not_be(const std::string& figure) {
  return figure == kAllocations || figure == kPoolMisses;
}

std::unique_ptr<engine::loop> make_loop(engine::loop_options options) {
  if (!options.on_stall) options.on_stall = [](const engine::stall&) {};  // a bench is one long stall
  auto made = engine::loop::create(std::move(options));
  if (made) return std::move(*made);
  fmt::print(stderr, "bench_engine: {}\n", made.error().message);
  std::exit(71);
}

}  // namespace floe::bench
