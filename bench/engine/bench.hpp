// What every row of bench_engine is made with: contenders that take turns, charged with CPU time, on fixed cores.
//
// A folder beside this file is one task. Its rows.cpp says what the rows mean and what is promised; every other file there is one
// contender, or the task's own checks. Contenders do the same work and check it: a wrong sum, sequence or byte ends the bench.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/report/report.hpp"
#include "bench/report/settings.hpp"
#include "engine/engine.hpp"

namespace floe::bench {

// Ends the program (70) when a contender did not do its work.
void require(bool holds, const char* what);

double thread_cpu_nanos();
double monotonic_nanos();
void sleep_until_nanos(double monotonic);

// The engine and its rivals run on one core, threads that post to them on another (or, asked for, on the same). No-ops on one core.
void pin_to_engine_core();
void pin_to_peer_core();
bool has_two_cores();
std::string cores_in_use();

// One round of one contender.
struct Sample {
  double value = 0;
  double allocations = 0;  // per operation; the row keeps the worst round
  double pool_misses = 0;  // the same, of the engine's frame pool
  Figures figures = {};    // the row keeps each one's median
};

struct Lane {
  std::string name;
  std::function<Sample()> round = {};
  std::string absent = {};  // why it cannot run here
};

// Runs `body`, which does `operations`, and charges this thread's CPU time and the process's allocations to them.
template <class Body>
Sample charge(std::uint64_t operations, Body body);
// The same for work on an engine: also io_uring_enter calls per operation, and completions per call.
template <class Body>
Sample charge(engine::loop& on, std::uint64_t operations, Body body);

// Fills the row: every lane once to warm up, then in turns, each round beginning with another lane.
void race(Row& row, const std::vector<Lane>& lanes, unsigned rounds);

struct Bench;
// The same in several processes, a share of the rounds in each (--processes). Where a process finds its code, stack and pages, and what ran
// before, is worth several per cent of a row of a few ns, in each of its rounds: the median of one process says little.
void race_in_processes(const Bench& bench, Row& row, const std::vector<Lane>& lanes, unsigned usual_rounds);

// "floe: allocations/op at most 0", of the worst round: for rows whose work repeats itself.
Promise allocates_nothing(const Row& row);
bool is_of_what_should_not_be(const std::string& figure);

std::unique_ptr<engine::loop> make_loop(engine::loop_options options = {});

struct Bench {
  Settings settings;
  unsigned asked_processes = 0;  // 0: as many as it takes
  std::string only_row;          // exactly this one; empty: what `settings` says
  Report report;

  bool wants(const Row& row) const { return settings.wants(row.name) && (only_row.empty() || row.name == only_row); }
  unsigned processes() const { return asked_processes != 0 ? asked_processes : settings.quick ? 1 : 5; }
  unsigned rounds(unsigned usual = 11) const { return settings.rounds != 0 ? settings.rounds : settings.quick ? 2 : usual; }
  std::uint64_t scaled(std::uint64_t work) const { return settings.quick ? (work + 9) / 10 : work; }
  void add(Row row) { report.rows.push_back(std::move(row)); }
};

// One per folder.
void nop_rows(Bench& bench);
void task_rows(Bench& bench);
void yield_rows(Bench& bench);
void timer_rows(Bench& bench);
void lateness_rows(Bench& bench);
void post_rows(Bench& bench);
void echo_rows(Bench& bench);
void record_rows(Bench& bench);
void burst_rows(Bench& bench);
void idle_rows(Bench& bench);

// ---- details ------------------------------------------------------------------------------------------------------------------------

class Meter {
 public:
  Meter();
  Sample stop(std::uint64_t operations) const;

 private:
  std::uint64_t allocations_, misses_;
  double began_;
};

class EngineMeter {
 public:
  explicit EngineMeter(engine::loop& on) : on_(on), before_(on.counters()) {}
  Sample stop(std::uint64_t operations) const;

 private:
  engine::loop& on_;
  engine::loop_counters before_;
  Meter meter_;
};

template <class Body>
Sample charge(std::uint64_t operations, Body body) {
  const Meter meter;
  body();
  return meter.stop(operations);
}

template <class Body>
Sample charge(engine::loop& on, std::uint64_t operations, Body body) {
  const EngineMeter meter(on);
  body();
  return meter.stop(operations);
}

}  // namespace floe::bench
