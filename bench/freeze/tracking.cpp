// What snapshots cost a guest that runs: the CPU time of one turn of its loop with the dirty log and a snapshot a second, against none.
// Time of the vCPU's thread, which is where the write faults are; that others want the CPU too does not count.
#include <thread>

#include "bench/freeze/scene.hpp"

namespace floe::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMemory = 96u << 20;
constexpr auto kRound = 1000ms;

struct Load {
  const char* row;
  std::uint64_t pages;  // a second
  double most;          // times the guest without snapshots
};
constexpr Load kLoads[] = {{"guest slow-down, idle memory", 0, 1.01}, {"guest slow-down, 33000 pages/s", 33'000, 1.12}};

class Tracking final : public Scene {
 public:
  static Result<std::unique_ptr<Tracking>> create(const Load& load) {
    auto made = std::unique_ptr<Tracking>(new Tracking(load));
    for (auto* writer : {&made->plain_, &made->tracked_}) {
      auto created = Writer::create(1, kMemory + load.pages * kPageBytes);
      if (!created) return fail(std::move(created.error()));
      *writer = std::move(*created);
    }
    auto recorder = tiny::Recorder::create(made->tracked_->guest(), {.depth = 2});
    if (!recorder) return fail(std::move(recorder.error()));
    made->recorder_ = std::move(*recorder);
    return made;
  }

  Result<> round() override {
    const auto without = turn(*plain_, false);
    if (!without) return fail(without.error());
    const auto with = turn(*tracked_, true);
    if (!with) return fail(with.error());
    plain_turns_.push_back(*without);
    tracked_turns_.push_back(*with);
    return {};
  }

  void add_rows(Report& report) const override {
    Row row{.name = load_.row, .unit = "ns/turn", .baseline = "no tracking", .ratio_of = Ratio::cost};
    row.contenders.push_back({.name = "no tracking", .rounds = plain_turns_});
    row.contenders.push_back({.name = "dirty log, 1 snapshot/s", .rounds = tracked_turns_});
    row.promises.push_back(ratio_at_most(row, "dirty log, 1 snapshot/s", load_.most));
    report.rows.push_back(std::move(row));
  }

 private:
  explicit Tracking(const Load& load) : load_(load) {}

  // CPU nanoseconds of a turn over one second, in whose middle the snapshot lies.
  Result<double> turn(Writer& writer, bool snapshot) {
    tiny::Guest& guest = writer.guest();
    writer.write(load_.pages, std::chrono::milliseconds(1000));
    std::this_thread::sleep_for(20ms);
    const auto began = Clock::now();
    const auto spent_before = guest.vm().vcpu(0).cpu_time();
    const std::uint64_t first = guest.counter(0);
    std::this_thread::sleep_until(began + kRound / 2);
    if (snapshot) {
      const auto taken = recorder_->take();
      if (!taken) return fail(taken.error());
    }
    std::this_thread::sleep_until(began + kRound);
    const std::uint64_t turns = guest.counter(0) - first;
    const double spent = std::chrono::duration<double, std::nano>(guest.vm().vcpu(0).cpu_time() - spent_before).count();
    if (!guest.halt()) return fail("a vCPU of the tiny guest does not halt");
    if (turns == 0) return fail("the tiny guest did not run for a second");
    return spent / static_cast<double>(turns);
  }

  const Load& load_;
  std::unique_ptr<Writer> plain_, tracked_;
  std::unique_ptr<tiny::Recorder> recorder_;
  std::vector<double> plain_turns_, tracked_turns_;
};

}  // namespace

Result<> add_tracking(const Settings& settings, Scenes& into) {
  for (const Load& load : kLoads) {
    if (!settings.wants(load.row)) continue;
    auto made = Tracking::create(load);
    if (!made) return fail(std::move(made.error()));
    into.push_back(std::move(*made));
  }
  return {};
}

}  // namespace floe::bench
