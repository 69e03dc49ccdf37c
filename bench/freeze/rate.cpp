// How often a snapshot can be taken: the shortest period at which no tick has to be skipped because the snapshot of the one before was
// still being taken. A round tries one rate, the next one a faster rate if that went well and a slower one if not: the median of the rounds
// lies where ticks begin to be skipped.
#include <thread>

#include "bench/freeze/scene.hpp"

namespace floe::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* kRow = "shortest period without a skipped tick";
constexpr unsigned kTicks = 10;
constexpr double kRates[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};  // ticks a second
constexpr std::size_t kFirstRate = 5;

struct Load {
  const char* name;
  std::uint64_t pages;  // a second
};
constexpr Load kLoads[] = {{"idle guest", 0}, {"2000 pages/s", 2000}, {"50000 pages/s", 50'000}};

class Rate final : public Scene {
 public:
  static Result<std::unique_ptr<Rate>> create() {
    auto made = std::unique_ptr<Rate>(new Rate);
    auto writer = Writer::create(2, 96u << 20);
    if (!writer) return fail(std::move(writer.error()));
    made->writer_ = std::move(*writer);
    auto recorder = tiny::Recorder::create(made->writer_->guest(), {.depth = 60, .store_bytes = 1u << 30, .ring_bytes = 900u << 20});
    if (!recorder) return fail(std::move(recorder.error()));
    made->recorder_ = std::move(*recorder);
    return made;
  }

  Result<> round() override {
    for (std::size_t i = 0; i < std::size(kLoads); ++i) {
      // 10,000 pages of RAM, written round and round.
      writer_->write(std::min<std::uint64_t>(kLoads[i].pages, 10'000), std::chrono::milliseconds(kLoads[i].pages > 10'000 ? 200 : 1000));
      const auto kept = keeps_up(kRates[at_[i]], took_[i]);
      if (!kept) return fail(kept.error());
      if (!*kept && at_[i] > 0) --at_[i];
      periods_[i].push_back(1e6 / kRates[at_[i]]);
      if (*kept && at_[i] + 1 < std::size(kRates)) ++at_[i];
    }
    if (!writer_->guest().halt()) return fail("a vCPU of the tiny guest does not halt");
    return {};
  }

  void add_rows(Report& report) const override {
    Row row{.name = kRow, .unit = "us", .baseline = {}};
    for (std::size_t i = 0; i < std::size(kLoads); ++i)
      row.contenders.push_back({.name = kLoads[i].name,
                                .rounds = periods_[i],
                                .figures = {{"ticks/s", 1e6 / median(periods_[i])}, {"us/snapshot", median(took_[i])}}});
    report.rows.push_back(std::move(row));
  }

 private:
  Rate() = default;

  Result<bool> keeps_up(double rate, std::vector<double>& took) {
    const std::chrono::nanoseconds period(static_cast<std::int64_t>(1e9 / rate));
    const auto began = Clock::now();
    for (unsigned tick = 1; tick <= kTicks; ++tick) {
      std::this_thread::sleep_until(began + tick * period);
      const auto before = Clock::now();
      const auto taken = recorder_->take();
      if (!taken) return fail(taken.error());
      if (taken->result != freeze::TakeResult::kTaken) return false;
      took.push_back(microseconds(Clock::now() - before));
      if (Clock::now() >= began + (tick + 1) * period) return false;
    }
    return true;
  }

  std::unique_ptr<Writer> writer_;
  std::unique_ptr<tiny::Recorder> recorder_;
  std::size_t at_[std::size(kLoads)] = {kFirstRate, kFirstRate, kFirstRate};  // what to try next
  std::vector<double> periods_[std::size(kLoads)], took_[std::size(kLoads)];
};

}  // namespace

Result<> add_rate(const Settings& settings, Scenes& into) {
  if (!settings.wants(kRow)) return {};
  auto made = Rate::create();
  if (!made) return fail(std::move(made.error()));
  into.push_back(std::move(*made));
  return {};
}

}  // namespace floe::bench
