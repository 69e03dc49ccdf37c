// bench_soak: does a history that goes on for hours stay as large as it was after a minute?
//
// A tiny guest writes the same number of pages between any two ticks; each tick goes through the coordinator as in a run: pre-copy, freeze,
// store, ring, compression of what is cold, and a reader that holds the newest snapshot and reads from it. By the second half every
// mechanism that may grow (ring, store, arena, change lists, views) has long been full. The ticks that came too late are counted.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <span>

#include "bench/freeze/scene.hpp"
#include "freeze/coordinator.hpp"

using namespace floe;
using namespace floe::bench;
using namespace std::chrono_literals;

namespace {

constexpr int kSkipped = 77, kGrew = 1, kFailed = 2;

struct Options {
  std::uint64_t ticks = 7200;
  double hz = 50;
  std::uint64_t depth = 60;
  std::uint64_t pages = 500;
  double percent = 2;    // that may move
  bool resident = true;  // judge RssAnon
};

struct Sample {
  std::uint64_t tick = 0;
  std::uint64_t resident = 0;  // RssAnon
  std::uint64_t arena = 0;     // committed by the page store
  std::uint64_t store = 0;     // of it in use
  std::uint64_t ring = 0;
  std::uint64_t descriptors = 0;
};

std::uint64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "RssAnon:" && status >> word) return std::stoull(word) << 10;
  return 0;
}

std::uint64_t open_descriptors() {
  std::error_code error;
  std::uint64_t count = 0;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error); at != std::filesystem::directory_iterator(); ++at) ++count;
  return count - 1;  // without the one that looks
}

class Soak {
 public:
  static Result<std::unique_ptr<Soak>> create(const Options& options) {
    auto made = std::unique_ptr<Soak>(new Soak(options));
    auto writer = Writer::create(2, 96u << 20);
    if (!writer) return fail(std::move(writer.error()));
    made->writer_ = std::move(*writer);
    // However busy the machine: a vCPU that is late is none that is lost.
    auto recorder = tiny::Recorder::create(
        made->writer_->guest(),
        {.how = {.rendezvous_limit = kFreezeLimit}, .depth = options.depth, .store_bytes = 1u << 30, .ring_bytes = 900u << 20});
    if (!recorder) return fail(std::move(recorder.error()));
    made->recorder_ = std::move(*recorder);
    return made;
  }

  Result<> run() {
    auto story = tell(*this);
    auto ended = recorder_->loop().run(std::move(story), "soak");
    if (!writer_->guest().halt()) return fail("a vCPU of the tiny guest does not halt");
    return std::move(ended).to_result();
  }

  const std::vector<Sample>& samples() const { return samples_; }
  std::uint64_t late() const { return late_; }
  std::uint64_t not_taken() const { return not_taken_; }
  const freeze::SnapshotRing::Counters& counters() const { return recorder_->ring().counters(); }

 private:
  explicit Soak(const Options& options) : options_(options), samples_(options.ticks) {}

  static engine::task<> tell(Soak& soak) {
    tiny::Recorder& recorder = *soak.recorder_;
    freeze::Coordinator coordinator(soak.writer_->guest().vm(), recorder.snapshotter(), recorder.ring(), recorder.pool(), kFreezeLimit);
    auto told = tiny::beside(coordinator, ticks(soak, coordinator));
    const auto ended = co_await std::move(told);
    if (!ended) co_return ended.failure();
    co_return engine::ok;
  }

  // Until the guest has been through all its pages since the last tick, so that every tick brings the same, however busy the machine is.
  static engine::task<> written(Soak& soak) {
    const tiny::Guest& guest = soak.writer_->guest();
    for (unsigned waited_ms = 0; guest.status(0, &tiny_status::dirtied) < soak.seen_ + soak.options_.pages; ++waited_ms) {
      if (waited_ms > 20'000) co_return Error("the tiny guest does not write its pages any more");
      const auto slept = co_await engine::sleep_for(1ms);
      if (!slept) co_return slept.failure();
    }
    co_return engine::ok;
  }

  static engine::task<> ticks(Soak& soak, freeze::Coordinator& coordinator) {
    const std::chrono::nanoseconds period(static_cast<std::int64_t>(1e9 / soak.options_.hz));
    // Twice in a period: a tick has hardly ever to wait for it.
    soak.writer_->write(soak.options_.pages, std::chrono::duration_cast<std::chrono::milliseconds>(period / 2));
    engine::ticker beat(period);
    for (std::uint64_t tick = 0; tick < soak.options_.ticks;) {
      const auto due = co_await beat.next();
      if (!due) co_return due.failure();
      soak.late_ += due->missed;
      soak.recorder_->ring().count_skipped(due->missed);
      const auto wrote = co_await written(soak);
      if (!wrote) co_return wrote.failure();
      const auto answer = co_await coordinator.capture(freeze::Cause::kTick, ++tick);
      if (!answer) co_return answer.failure();
      soak.seen_ = soak.writer_->guest().status(0, &tiny_status::dirtied);
      if (!answer->taken()) {
        ++soak.not_taken_;
        fmt::print("tick {}: {}\n", tick, answer->reason());
      }
      if (answer->taken()) soak.read(answer->capture->view);
      soak.sample(tick);
    }
    co_return engine::ok;
  }

  // Every eighth snapshot is held for eight ticks, as a slow walk does.
  void read(const std::shared_ptr<const freeze::SnapshotView>& view) {
    std::array<std::byte, kPageBytes> page;
    for (std::uint32_t n = 0; n < view->pages(); n += 97) read_ += view->read(n, 0, page);
    if (view->meta().sequence % 8 == 0) held_ = view;
  }

  void sample(std::uint64_t tick) {
    const freeze::PageStore::Stats store = recorder_->store().stats();
    samples_[tick - 1] = {tick, resident_bytes(), store.arena_bytes, store.bytes_in_use, recorder_->ring().bytes(), open_descriptors()};
  }

  Options options_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<tiny::Recorder> recorder_;
  std::shared_ptr<const freeze::SnapshotView> held_;
  std::vector<Sample> samples_;
  std::uint64_t seen_ = 0, late_ = 0, not_taken_ = 0, read_ = 0;
};

using Field = std::uint64_t Sample::*;
using Samples = std::span<const Sample>;

std::uint64_t least(Samples samples, Field field) {
  return (*std::min_element(samples.begin(), samples.end(), [field](const auto& a, const auto& b) { return a.*field < b.*field; })).*field;
}
std::uint64_t most(Samples samples, Field field) {
  return (*std::max_element(samples.begin(), samples.end(), [field](const auto& a, const auto& b) { return a.*field < b.*field; })).*field;
}

double grown(std::uint64_t from, std::uint64_t to) {
  return from == 0 || to <= from ? 0 : static_cast<double>(to - from) / static_cast<double>(from);
}

// A line about the second half, by what it moved in there; false: more than `allowed`.
bool judge(const char* name, Samples samples, Field field, double allowed, double unit, double moved) {
  const Samples half = samples.last(samples.size() / 2);
  const bool flat = moved <= allowed;
  fmt::print("{:<20} {:>10.2f} {:>10.2f} {:>10.2f} {:>8.2f} %  {}\n", name, static_cast<double>(samples.front().*field) / unit,
             static_cast<double>(least(half, field)) / unit, static_cast<double>(most(half, field)) / unit, 100 * moved,
             flat ? "flat" : fmt::format("more than {:.0f} %", 100 * allowed));
  return flat;
}

// What shall stand still: nowhere in the second half far from its least.
bool stands(const char* name, Samples samples, Field field, double allowed, double unit) {
  const Samples half = samples.last(samples.size() / 2);
  return judge(name, samples, field, allowed, unit, grown(least(half, field), most(half, field)));
}

// What goes up and down with each tick, until its cold pages are compressed: the peak of the last quarter against that of the one before.
bool peak_stands(const char* name, Samples samples, Field field, double allowed, double unit) {
  const std::size_t quarter = samples.size() / 4;
  const Samples last = samples.last(quarter), before = samples.last(2 * quarter).first(quarter);
  return judge(name, samples, field, allowed, unit, grown(most(before, field), most(last, field)));
}

bool report(const Soak& soak, const Options& options, double seconds) {
  constexpr double kMib = 1 << 20;
  const Samples samples = soak.samples();
  fmt::print("{} ticks in {:.1f} s, {} evicted, {} skipped (the tick before was not done), {} not taken\n", samples.size(), seconds,
             soak.counters().evicted, soak.late(), soak.not_taken());
  fmt::print("{:<20} {:>10} {:>10} {:>10} {:>8}    of the second half\n", "", "first tick", "least", "most", "moved");
  const double allowed = options.percent / 100;
  bool flat = stands("page store, MiB", samples, &Sample::arena, allowed, kMib);
  flat &= peak_stands("pages in use, MiB", samples, &Sample::store, allowed, kMib);
  flat &= peak_stands("ring, MiB", samples, &Sample::ring, allowed, kMib);
  flat &= stands("descriptors", samples, &Sample::descriptors, 0, 1);
  const bool resident = stands("RssAnon, MiB", samples, &Sample::resident, allowed, kMib);
  return flat && (resident || !options.resident) && soak.not_taken() == 0 && soak.counters().skipped_ticks == soak.late();
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  CLI::App app("Takes as many snapshots of a tiny guest as two hours have seconds, and says whether anything grows");
  app.add_option("--ticks", options.ticks, "how many; 7200")->check(CLI::Range(10, 10'000'000));
  app.add_option("--hz", options.hz, "ticks a second; 50")->check(CLI::Range(0.01, 1000.0));
  app.add_option("--depth", options.depth, "snapshots in the ring; 60")->check(CLI::Range(1, 3600));
  app.add_option("--pages", options.pages, "that the guest writes between two ticks; 500")->check(CLI::Range(1, 10'000));
  app.add_option("--percent", options.percent, "that may move and still be flat; 2")->check(CLI::Range(0.0, 100.0));
  app.add_flag("!--ignore-resident", options.resident, "RssAnon is shown and not judged, for a run of minutes or with a sanitizer");
  CLI11_PARSE(app, count, arguments);
  if (tiny::unavailable()) {
    fmt::print(stderr, "bench_soak: skipped: {}\n", *tiny::unavailable());
    return kSkipped;
  }
  auto soak = Soak::create(options);
  const auto began = Clock::now();
  const auto ran = soak ? (*soak)->run() : Result<>(fail(std::move(soak.error())));
  if (!ran) {
    fmt::print(stderr, "bench_soak: {}\n", ran.error().message);
    return kFailed;
  }
  return report(**soak, options, std::chrono::duration<double>(Clock::now() - began).count()) ? 0 : kGrew;
}
