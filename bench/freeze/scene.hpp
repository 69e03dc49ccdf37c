// What bench_freeze is made of: scenes, each with guests of its own, that take turns round by round, so that a busy second of the machine
// hits every row alike. A guest that is not measured at the moment halts, and costs the others nothing.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/report/report.hpp"
#include "bench/report/settings.hpp"
#include "tests/tiny/recorder.hpp"

namespace floe::bench {

using vmm::Clock;

inline constexpr auto kFreezeLimit = std::chrono::seconds(20);

class Scene {
 public:
  virtual ~Scene() = default;
  virtual Result<> round() = 0;
  // In every how many rounds it has its turn. Two, but where a round is a single pause and medians of pauses are compared.
  virtual unsigned every() const { return 2; }
  virtual void add_rows(Report& report) const = 0;
};

// Each scene of whose rows some are wanted, ready for its first round.
using Scenes = std::vector<std::unique_ptr<Scene>>;
Result<> add_rendezvous(const Settings& settings, Scenes& into);   // rendezvous.cpp: kick and let go, vCPUs spinning, halted, exiting
Result<> add_guest_clock(const Settings& settings, Scenes& into);  // guest_clock.cpp: the same pause by the guest's own clock
Result<> add_pause(const Settings& settings, Scenes& into);        // pause.cpp: snapshots against the number of dirty pages
Result<> add_tracking(const Settings& settings, Scenes& into);     // tracking.cpp: what snapshots cost a running guest
Result<> add_rate(const Settings& settings, Scenes& into);         // rate.cpp: how often a snapshot can be taken
Result<> add_storm(const Settings& settings, Scenes& into);        // storm.cpp: ten thousand freezes in a row
Result<> add_tlv(const Settings& settings, Scenes& into);          // tlv.cpp: frames a second through the console

inline double microseconds(Clock::duration span) {
  return std::chrono::duration<double, std::micro>(span).count();
}

double median(std::vector<double> values);
double quantile(std::vector<double> values, double part);

// One empty freeze, in microseconds.
struct EmptyFreeze {
  double pause = 0;      // first kick to the last vCPU let go
  double stop = 0;       // of it, until all had stopped, their registers captured
  double guest_gap = 0;  // the first vCPU out of its guest to the last one back: what the guest misses; valid after settle()
};
// With capture: each vCPU's state is taken, as for a snapshot. Without: the bare kick.
EmptyFreeze empty_freeze(vmm::Vm& vm, bool capture);
// What the guest missed in the last freeze; waits until every vCPU is back.
double guest_gap(vmm::Vm& vm);

// Values of many rounds under names, in the order of their first appearance.
class Series {
 public:
  void add(const std::string& name, double value);
  const std::vector<double>& of(const std::string& name) const;
  Figures medians() const;

 private:
  std::vector<std::pair<std::string, std::vector<double>>> all_;
};

// A tiny guest whose vCPU 0 writes pages one after the other while it counts.
class Writer {
 public:
  static Result<std::unique_ptr<Writer>> create(unsigned cpus, std::uint64_t memory_bytes);
  tiny::Guest& guest() { return *guest_; }
  // Spreads `pages` evenly over `interval`, again and again; 0: only counts.
  void write(std::uint64_t pages, std::chrono::milliseconds interval);
  // Until that many pages more have been written.
  Result<> wait(std::uint64_t pages);

 private:
  Writer() = default;
  void calibrate();
  std::unique_ptr<tiny::Guest> guest_;
  double turns_per_second_ = 0;
};

}  // namespace floe::bench
