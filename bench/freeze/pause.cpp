// The pause of a snapshot against the number of pages dirtied since the last one: of a tick, of a capture that an operator asks the
// coordinator for, and with everything copied in the pause.
//
// The guest has 2 vCPUs, of which one writes pages evenly while the other halts: with spinning vCPUs on all of a small machine's
// cores the scheduler would be measured. Each snapshot stands beside an empty freeze of the same guest, doing the same, just before.
#include <fmt/format.h>

#include <thread>

#include "bench/freeze/scene.hpp"
#include "bench/report/allocations.hpp"

namespace floe::bench {
namespace {

using namespace std::chrono_literals;

enum class Kind { kTick, kOnDemand, kNoPrecopy };
constexpr const char* kNames[] = {"pause of a snapshot", "pause of a snapshot on demand", "pause of a snapshot, no pre-copy"};

constexpr std::uint64_t kPages[] = {0, 500, 2000, 10'000, 50'000};
constexpr auto kInterval = 500ms;  // between two snapshots: twice as often as in a run
constexpr std::uint64_t kMemory = 256u << 20;
constexpr const char* kBare = "bare kick";
constexpr const char* kEmpty = "empty freeze";

std::string contender(std::uint64_t pages) {
  return fmt::format(std::locale("C"), "{} pages", pages);
}

// Of the coordinator that owns a run's freezes; refused ones are errors.
engine::task<> ask(freeze::Coordinator& coordinator, freeze::Take& into) {
  const auto answer = co_await coordinator.capture(freeze::Cause::kOperator);
  if (!answer) co_return answer.failure();
  if (!answer->capture) co_return Error(answer->refused);
  into = answer->capture->take;
  co_return engine::ok;
}

class Pause final : public Scene {
 public:
  static Result<std::unique_ptr<Pause>> create(Kind kind) {
    auto made = std::unique_ptr<Pause>(new Pause);
    made->name_ = kNames[static_cast<std::size_t>(kind)];
    made->kind_ = kind;
    const bool precopy = kind != Kind::kNoPrecopy;
    auto writer = Writer::create(2, kMemory);
    if (!writer) return fail(std::move(writer.error()));
    made->writer_ = std::move(*writer);
    tiny::RecorderOptions options{.depth = 2, .store_bytes = 1u << 30, .ring_bytes = 900u << 20};
    options.how.precopy = precopy;
    if (!precopy) options.how.staging_pages = kMemory / kPageBytes;
    options.how.rendezvous_limit = kFreezeLimit;
    auto recorder = tiny::Recorder::create(made->writer_->guest(), options);
    if (!recorder) return fail(std::move(recorder.error()));
    made->recorder_ = std::move(*recorder);
    return made;
  }

  Result<> round() override {
    std::vector<double> bare, empty;
    for (const std::uint64_t pages : kPages) {
      if (const auto measured = measure(pages, bare, empty); !measured) return measured;
    }
    pauses_.add(kBare, median(bare));
    pauses_.add(kEmpty, median(empty));
    if (!writer_->guest().halt()) return fail("a vCPU of the tiny guest does not halt");
    return {};
  }

  unsigned every() const override { return kind_ == Kind::kNoPrecopy ? Scene::every() : 1; }

  void add_rows(Report& report) const override {
    Row row{.name = name_, .unit = "us", .baseline = kEmpty, .ratio_of = Ratio::cost};
    for (const char* name : {kBare, kEmpty}) row.contenders.push_back({.name = name, .rounds = pauses_.of(name)});
    for (std::size_t i = 0; i < std::size(kPages); ++i) {
      const std::string name = contender(kPages[i]);
      row.contenders.push_back({.name = name, .rounds = pauses_.of(name), .figures = figures_[i].medians()});
    }
    if (kind_ != Kind::kNoPrecopy) add_promises(row);
    report.rows.push_back(std::move(row));
    if (skipped_ > 0) report.conditions.notes.emplace_back("ticks skipped in '" + name_ + "'", std::to_string(skipped_));
    report.conditions.notes.emplace_back("dirty pages of '" + name_ + "'", recorder_->source());
  }

 private:
  Pause() = default;

  void add_promises(Row& row) const {
    row.promises.push_back(at_most_times(2000, 1.3, kEmpty));
    for (const std::uint64_t pages : {10'000, 50'000}) row.promises.push_back(at_most_times(pages, 1.5, contender(500)));
    for (const std::uint64_t pages : kPages) row.promises.push_back(figure_at_most(row, contender(pages), "residual pages", 64));
  }

  // Of the medians: what lies half a second apart is not of the same moment anyway.
  Promise at_most_times(std::uint64_t pages, double bound, const std::string& than) const {
    const std::vector<double>&mine = pauses_.of(contender(pages)), &theirs = pauses_.of(than);
    const bool measured = !mine.empty() && !theirs.empty();
    return {fmt::format("p50 of {} at most {:g} times that of {}", contender(pages), bound, than), bound, false,
            measured ? std::optional(median(mine) / median(theirs)) : std::nullopt};
  }

  // On a machine so busy that pre-copy does not get ahead of the guest a tick is skipped; the next one may be luckier.
  Result<freeze::Take> take() {
    constexpr unsigned kTries = 10;
    for (unsigned i = 1;; ++i) {
      auto taken = kind_ == Kind::kOnDemand ? take_on_demand() : recorder_->take();
      if (!taken || taken->result == freeze::TakeResult::kTaken) return taken;
      ++skipped_;
      if (i == kTries) return fail("no snapshot was taken in " + std::to_string(kTries) + " tries: " + taken->reason);
    }
  }

  Result<freeze::Take> take_on_demand() {
    freeze::Coordinator coordinator(writer_->guest().vm(), recorder_->snapshotter(), recorder_->ring(), recorder_->pool(), kFreezeLimit);
    freeze::Take taken;
    const auto asked = recorder_->loop().run(tiny::beside(coordinator, ask(coordinator, taken))).to_result();
    if (!asked) return fail(asked.error());
    return taken;
  }

  Result<> measure(std::uint64_t pages, std::vector<double>& bare, std::vector<double>& empty) {
    vmm::Vm& vm = writer_->guest().vm();
    writer_->write(pages, kInterval);
    // One for what the scene before has left.
    if (const auto cleared = take(); !cleared) return fail(cleared.error());
    if (pages == 0) std::this_thread::sleep_for(10ms);
    if (const auto written = writer_->wait(pages); !written) return written;
    bare.push_back(empty_freeze(vm, false).pause);
    std::this_thread::sleep_for(1ms);
    empty.push_back(empty_freeze(vm, true).pause);
    const std::uint64_t before = allocations();
    const auto taken = take();
    if (!taken) return fail(taken.error());
    record(pages, *taken, allocations() - before);
    return {};
  }

  void record(std::uint64_t pages, const freeze::Take& taken, std::uint64_t allocated) {
    const auto index = static_cast<std::size_t>(std::find(std::begin(kPages), std::end(kPages), pages) - std::begin(kPages));
    Series& figures = figures_[index];
    const freeze::PauseParts& parts = taken.parts;
    pauses_.add(contender(pages), static_cast<double>(taken.meta.pause_us));
    const std::pair<const char*, Clock::duration> durations[] = {
        {"rendezvous", parts.rendezvous}, {"dirty log", parts.dirty_log}, {"copy", parts.copy},
        {"devices", parts.devices},       {"states", parts.states},       {"thaw", parts.thaw}};
    for (const auto& [name, took] : durations) figures.add(name, microseconds(took));
    figures.add("guest gap", guest_gap(writer_->guest().vm()));
    figures.add("dirty pages", static_cast<double>(taken.meta.dirty_pages));
    figures.add("residual pages", static_cast<double>(taken.meta.residual_pages));
    figures.add("passes", static_cast<double>(taken.meta.passes));
    figures.add("pre-copy ms", static_cast<double>(taken.meta.precopy_us) / 1000);
    if (allocations_are_counted()) figures.add("allocations", static_cast<double>(allocated));
  }

  std::string name_;
  Kind kind_ = Kind::kTick;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<tiny::Recorder> recorder_;
  Series pauses_;
  unsigned skipped_ = 0;
  Series figures_[std::size(kPages)];
};

}  // namespace

Result<> add_pause(const Settings& settings, Scenes& into) {
  for (const Kind kind : {Kind::kTick, Kind::kOnDemand, Kind::kNoPrecopy}) {
    if (!settings.wants(kNames[static_cast<std::size_t>(kind)])) continue;
    auto made = Pause::create(kind);
    if (!made) return fail(std::move(made.error()));
    into.push_back(std::move(*made));
  }
  return {};
}

}  // namespace floe::bench
