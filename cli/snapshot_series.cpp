#include "cli/snapshot_series.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>

#include "base/file.hpp"
#include "freeze/dump/json.hpp"
#include "freeze/dump/vcpu_perf.hpp"
#include "freeze/image_size.hpp"

namespace floe::cli {
namespace {

using namespace std::chrono_literals;
using vmm::Clock;

// A tick that has waited this long for its freeze has missed its time.
constexpr auto kTickLimit = 120s;

// Ticks that follow each other quickly are not all walked: after a walk the processor is the guest's for as long as it took, and no longer
// than this, which a beat of 1 Hz does not notice.
constexpr std::chrono::nanoseconds kMostRest = 200ms;

std::vector<freeze::SavedDevice> saved_devices(vmm::Pc& pc) {
  return {
      {"serial", sizeof(vmm::Serial16550::State), [&pc](std::span<std::byte> out) { return pc.serial().save(out); }},
      {"rtc", sizeof(vmm::CmosRtc::State), [&pc](std::span<std::byte> out) { return pc.rtc().save(out); }},
      {"virtio-console", sizeof(vmm::VirtioConsole::State), [&pc](std::span<std::byte> out) { return pc.console().save(out); }},
  };
}

}  // namespace

SnapshotSeries::SnapshotSeries(vmm::Vm& vm, RunFolder& folder, std::span<const std::byte> scheduler_file, double hz)
    : vm_(vm), folder_(folder), scheduler_file_(scheduler_file), hz_(hz) {}
SnapshotSeries::~SnapshotSeries() = default;

Result<std::unique_ptr<SnapshotSeries>> SnapshotSeries::create(vmm::Vm& vm, vmm::Pc& pc, const RunOptions& options, bool nested,
                                                               std::span<const std::byte> scheduler_file, RunFolder& folder) {
  auto series = std::unique_ptr<SnapshotSeries>(new SnapshotSeries(vm, folder, scheduler_file, options.snapshot_hz));
  series->byte_limit_ = options.effective_ring_bytes();
  series->walk_limit_ = options.dump_deadline;
  auto layout = freeze::RamLayout::of(vm.ram());
  if (!layout) return fail(std::move(layout.error()));
  series->layout_ = std::move(*layout);
  // The ring's bound is the promise; the store has room for one tick's staged pages more, so that the ring decides what leaves.
  const freeze::SnapshotterOptions defaults;
  auto store = freeze::PageStore::create(
      {.byte_limit = series->byte_limit_ + 2 * defaults.staging_pages * kPageBytes, .zstd_level = 1, .hash = nullptr});
  if (!store) return fail(std::move(store.error()));
  series->store_ = std::move(*store);
  series->ring_ = std::make_unique<freeze::SnapshotRing>(
      series->store_,
      freeze::SnapshotRing::Options{.pages = series->layout_.pages(), .depth = options.ring_depth, .byte_limit = series->byte_limit_});
  auto source = freeze::choose_dirty_source(vm.ram(), {.kvm_fd = vm.kvm_fd(), .vm_fd = vm.fd(), .only = {}});
  if (!source) return fail(std::move(source.error()));
  series->report_.dirty_source = source->source->name();
  for (const std::string& refusal : source->refused) series->report_.notes.push_back("dirty pages: " + refusal);
  auto devices = saved_devices(pc);
  devices.push_back(freeze::dump::saved_vcpu_perf(series->perf_, vm.cpus()));
  freeze::SnapshotterOptions how = defaults;
  how.rendezvous_limit = nested ? 10s : 2s;
  auto snapshotter = freeze::Snapshotter::create(vm, *series->ring_, series->store_, std::move(source->source), std::move(devices), how);
  if (!snapshotter) return fail(std::move(snapshotter.error()));
  series->snapshotter_ = std::move(*snapshotter);
  series->coordinator_ =
      std::make_unique<freeze::Coordinator>(vm, *series->snapshotter_, *series->ring_, series->capture_pool_, how.rendezvous_limit);
  series->coordinator_->on_capture([made = series.get()](const auto& capture) { made->captured(capture); });
  return series;
}

engine::task<> SnapshotSeries::tick() {
  if (hz_ <= 0) co_return engine::ok;
  engine::ticker beat(std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 / hz_)));
  for (;;) {
    const auto due = co_await beat.next();
    if (!due) co_return due.failure();
    report_.snapshots.missed_ticks += due->missed;
    ring_->count_skipped(due->missed);
    const auto taken = co_await coordinator_->capture(freeze::Cause::kTick, due->index + 1, kTickLimit);
    if (!taken) co_return taken.failure();
    if (!taken->capture) {  // somebody else's capture took too long, or failed
      ++report_.snapshots.missed_ticks;
      ring_->count_skipped(1);
    } else if (nothing_fits(*taken->capture)) {
      const auto refused = co_await refuse_ring();
      co_return refused.failure();
    }
  }
}

// Not even the first one.
bool SnapshotSeries::nothing_fits(const freeze::Captured& capture) const {
  return ring_->size() == 0 && capture.take.ring_full;
}

engine::task<> SnapshotSeries::hurry(freeze::Cause cause, bool latched) {
  if (!ring_too_small_.empty()) co_return engine::ok;
  if (refusing_) {  // another one would not fit either
    const auto refused = co_await refuse_ring();
    co_return refused.failure();
  }
  const auto taken = co_await coordinator_->capture(cause);
  if (!taken) co_return taken.failure();
  if (taken->capture && taken->capture->degraded()) failure_.degraded(cause, taken->capture);
  if (latched && taken->taken()) failure_.latched(taken->capture->view);
  if (taken->capture && nothing_fits(*taken->capture)) {
    const auto refused = co_await refuse_ring();
    co_return refused.failure();
  }
  if (!taken->taken()) co_return Error(taken->reason());
  co_return engine::ok;
}

// Of each freeze, before those who asked for it go on.
void SnapshotSeries::captured(const std::shared_ptr<const freeze::Captured>& capture) {
  const freeze::SnapshotMeta& meta = capture->take.meta;
  frozen_ += std::chrono::microseconds(meta.pause_us);
  switch (capture->take.result) {
    case freeze::TakeResult::kRendezvousTimeout:
      ++report_.snapshots.rendezvous_timeouts;
      if (meta.tick != 0) ring_->count_skipped(1);
      break;
    case freeze::TakeResult::kDidNotFit:
      ++report_.snapshots.did_not_fit;
      if (!std::exchange(refusal_told_, true)) report_.notes.push_back("snapshot refused: " + capture->reason);
      break;
    case freeze::TakeResult::kTaken:
      if (!meta.whole) ++report_.snapshots.partial;
      report_.pause_us.push_back(meta.pause_us);
      report_.park_us.push_back(meta.kick_to_park_us);
      report_.capture_us.push_back(meta.capture_us);
      report_.thaw_us.push_back(meta.thaw_us);
      report_.precopy_us.push_back(meta.precopy_us);
      report_.residual_pages.push_back(meta.residual_pages);
      break;
  }
  auto reading = std::make_shared<Reading>();
  reading->capture = capture;
  reading->ring_bytes = ring_->bytes();
  const bool ordered = meta.tick == 0;  // outside of the beat: somebody wants to know
  if (capture->view && (ordered || (to_read_.size() == 0 && Clock::now() >= walk_again_)))
    reading->view = capture->view;
  else if (capture->view)
    ++report_.walks_skipped;
  to_read_.post(std::move(reading));
}

// Nothing can be kept: says what could, and ends the ticks.
engine::task<> SnapshotSeries::refuse_ring() {
  refusing_ = true;
  const auto work = [this]() -> Result<freeze::ImageSize> { return freeze::measure_image(vm_.ram()); };
  const auto size = co_await capture_pool_.run(work);
  if (!size) co_return size.failure();
  const std::uint64_t would_fit = freeze::suggested_ring_bytes(*size);
  report_.ring_would_fit = would_fit;
  const auto mib = [](std::uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  ring_too_small_ = fmt::format(
      "not even one snapshot fits --ring-bytes {}: it takes {} MiB ({} MiB of the guest's RAM are in use); --ring-bytes {}M would hold it "
      "and a "
      "history",
      byte_limit_, mib(size->ring_bytes), mib(size->populated_bytes), mib(would_fit));
  co_return Error(ENOSPC, ring_too_small_);
}

// On a worker thread, one at a time.
Result<> SnapshotSeries::walk(const freeze::SnapshotView& view) {
  const freeze::RingMemory image(view, layout_);
  const freeze::RecordingMemory memory(image, layout_);
  walkers::OpenOptions options;
  options.previous = kernel_ ? &*kernel_ : nullptr;
  if (!view.machine().vcpus.empty()) options.cr3 = view.machine().vcpus.front().cr3;
  const auto deadline = walk_deadline();
  options.deadline = deadline;
  auto kernel = walkers::Kernel::open(memory, options);
  if (!kernel) return fail(std::move(kernel.error()));
  events_.look(*kernel, view.meta(), walkers::WalkBudget(walkers::kMostTaskSteps, deadline));
  watch_.look(*kernel, view.meta().sequence, walkers::WalkBudget(walkers::kMostTaskSteps, deadline));
  auto uts = walkers::uts(*kernel);
  if (!uts) return fail(std::move(uts.error()).within("init_uts_ns"));
  auto tasks = walkers::tasks(*kernel, walkers::WalkBudget(walkers::kMostTaskSteps, deadline));
  if (!tasks) return fail(std::move(tasks.error()).within("the task list"));
  report_.uts = std::move(*uts);
  report_.tasks = std::move(*tasks);
  report_.walk_error.clear();
  read_sequence_ = view.meta().sequence;
  report_.missed_reads += memory.missed();
  // The walk that searched all of RAM for its kernel wants too much.
  if (kernel->times().tables_reused) touched_ = memory.pages();
  kernel_.emplace(std::move(*kernel));
  return {};
}

// Back on the engine: keeps what may tell most, and tells of a failure.
void SnapshotSeries::after_walk(const std::shared_ptr<const freeze::SnapshotView>& view) {
  if (!touched_.empty()) snapshotter_->set_touched(std::exchange(touched_, {}));
  failure_.looked(view, watch_);
  explained_ = watch_.failure() && !watch_.failure()->message.empty();
  if (!watch_.failure() || std::exchange(failure_told_, true)) return;
  if (tell_failure_) tell_failure_();
}

engine::task<> SnapshotSeries::read() {
  for (;;) {
    auto next = co_await to_read_.receive();
    if (!next) break;
    const std::shared_ptr<Reading> reading = *next;
    std::optional<std::size_t> tasks;
    std::uint64_t walk_us = 0;
    if (reading->view) {
      const auto began = Clock::now();
      const auto work = [this, reading] { return walk(*reading->view); };
      const auto walked = co_await walk_pool_.run(work);
      if (walked.is_cancelled()) break;
      after_walk(reading->view);
      const auto took = Clock::now() - began;
      walk_again_ = began + took + std::min<std::chrono::nanoseconds>(took, kMostRest);
      walk_us = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
      ++report_.walks;
      if (walked)
        tasks = report_.tasks->tasks.size();
      else
        report_.walk_error = walked.error().message;
    }
    write_metrics(*reading, tasks, walk_us);
  }
  co_return engine::ok;
}

void SnapshotSeries::write_metrics(const Reading& reading, std::optional<std::size_t> tasks, std::uint64_t walk_us) {
  const freeze::Take& take = reading.capture->take;
  const freeze::SnapshotMeta& m = take.meta;
  const bool taken = take.result == freeze::TakeResult::kTaken;
  const boost::json::object line{
      {"sequence", m.sequence},
      {"tick", m.tick},
      {"taken", taken},
      {"whole", m.whole},
      {"absent_pages", take.absent_pages},
      {"reason", taken ? boost::json::value(nullptr) : boost::json::value(reading.capture->reason)},
      {"realtime_ns", m.realtime_ns},
      {"guest_clock_ns", m.guest_clock_ns},
      {"precopy_us", m.precopy_us},
      {"kick_to_park_us", m.kick_to_park_us},
      {"capture_us", m.capture_us},
      {"thaw_us", m.thaw_us},
      {"pause_us", m.pause_us},
      {"dirty_pages", m.dirty_pages},
      {"residual_pages", m.residual_pages},
      {"passes", m.passes},
      {"ring_bytes", reading.ring_bytes},
      {"tasks", tasks ? boost::json::value(*tasks) : boost::json::value(nullptr)},
      {"walk_us", walk_us},
  };
  folder_.append(artefact::kMetrics, boost::json::serialize(line) + "\n");
}

engine::task<> SnapshotSeries::read_newest() {
  if (ring_->size() == 0 || ring_->meta(ring_->size() - 1).sequence == read_sequence_) co_return engine::ok;
  const std::shared_ptr<const freeze::SnapshotView> view = std::make_shared<freeze::SnapshotView>(ring_->newest());
  const auto work = [this, view] { return walk(*view); };
  const auto walked = co_await walk_pool_.run(work);
  after_walk(view);
  ++report_.walks;
  if (walked.is_error()) report_.walk_error = walked.error().message;
  co_return engine::ok;
}

engine::task<> SnapshotSeries::keep() {
  if (ring_->size() == 0) co_return engine::ok;
  const auto work = [this]() -> Result<> {
    const auto sink = folder_.sink(artefact::kSnapshots);
    freeze::KeptWriter writer(*ring_, layout_, *sink);
    const auto written = writer.run();
    report_.snapshots.written = writer.summary().snapshots;
    for (const std::string& failed : writer.summary().failed) report_.notes.push_back("not written: " + failed);
    return written;
  };
  const auto kept = co_await capture_pool_.run(work);
  if (!kept) report_.snapshots.write_error = kept.is_error() ? kept.error().message : "cancelled";
  co_return engine::ok;
}

// On the walk worker, where kernel_ is, too.
freeze::dump::DumpSource SnapshotSeries::dump_source() {
  if (!casts_) casts_ = scheduler_file_.empty() ? walkers::bpf::CastAnalysis() : walkers::bpf::CastAnalysis::of_file(scheduler_file_);
  freeze::dump::DumpSource source;
  source.casts = &*casts_;
  source.layout = &layout_;
  source.events = &events_;
  source.kernel = kernel_ ? &*kernel_ : nullptr;
  source.deadline = walk_limit_;
  return source;
}

// Those whom one freeze answered ask one after the other: the worker comes to the last of them before the first lets go of what it got.
engine::task<std::shared_ptr<const Rendered>> SnapshotSeries::render(std::shared_ptr<const freeze::SnapshotView> view) {
  using Shared = std::shared_ptr<const Rendered>;
  const auto work = [this, view]() -> Result<Shared> {
    const std::uint64_t sequence = view->meta().sequence;
    if (Shared there = rendered_.lock(); there && rendered_sequence_ == sequence) return there;
    auto made = freeze::dump::report_of(*view, dump_source());
    if (!made) return fail(std::move(made.error()));
    auto report = std::make_shared<const freeze::dump::Report>(std::move(*made));
    std::string file = freeze::dump::to_json(*report) + "\n";
    const auto rendered = std::make_shared<const Rendered>(Rendered{std::move(report), std::move(file)});
    rendered_ = rendered;
    rendered_sequence_ = sequence;
    return rendered;
  };
  auto done = co_await walk_pool_.run(work);
  co_return std::move(done);
}

engine::task<> SnapshotSeries::with_tables(const freeze::LiveMemory& live, std::function<void(const walkers::Kernel&)> use) {
  const auto work = [this, &live, &use]() -> Result<> {
    if (!kernel_) {
      walkers::OpenOptions how;
      how.deadline = walk_deadline();
      auto opened = walkers::Kernel::open(live, how);
      if (!opened) return fail(std::move(opened.error()));
      kernel_.emplace(std::move(*opened));
    }
    use(*kernel_);
    return {};
  };
  const auto done = co_await walk_pool_.run(work);
  if (!done) co_return done.failure();
  co_return engine::ok;
}

engine::task<> SnapshotSeries::write(std::string name, std::shared_ptr<const std::string> text) {
  const auto work = [this, &name, &text] { return folder_.write_whole(name, as_bytes(*text)); };
  const auto done = co_await walk_pool_.run(work);
  if (!done) co_return done.failure();
  co_return engine::ok;
}

// A file that cannot be written keeps no other from being.
Result<> SnapshotSeries::write_failure() {
  const auto dump = freeze::dump::make_failure_dump(failure_, watch_, dump_source());
  stuck_ = dump.stuck;
  Result<> result;
  for (const auto& file : dump.files) {
    const auto written = folder_.write_whole(file.name, as_bytes(freeze::dump::to_json(file.report) + "\n"));
    if (result) result = written;
  }
  return result;
}

engine::task<> SnapshotSeries::dump_failure() {
  const auto work = [this] { return write_failure(); };
  const auto done = co_await walk_pool_.run(work);
  if (!done) report_.notes.push_back("no failure dump: " + (done.is_error() ? done.error().message : std::string("cancelled")));
  co_return engine::ok;
}

std::optional<Clock::time_point> SnapshotSeries::walk_deadline() const {
  if (walk_limit_.count() == 0) return std::nullopt;
  return Clock::now() + walk_limit_;
}

std::string SnapshotSeries::summary() const {
  return fmt::format("{} snapshots in {:.1f} MiB", ring_->size(), static_cast<double>(ring_->bytes()) / 1048576);
}

void SnapshotSeries::report(RunReport& report) const {
  report.scheduler_failure = watch_.failure();
  report.stuck = stuck_;
  report.dirty_source = report_.dirty_source;
  report.snapshots = report_.snapshots;
  report.snapshots.taken = ring_->counters().taken;
  report.snapshots.evicted = ring_->counters().evicted;
  report.snapshots.skipped = ring_->counters().skipped_ticks + ring_->counters().did_not_fit;
  report.snapshots.kept = ring_->size();
  report.pause_us = report_.pause_us;
  report.park_us = report_.park_us;
  report.capture_us = report_.capture_us;
  report.thaw_us = report_.thaw_us;
  report.precopy_us = report_.precopy_us;
  report.residual_pages = report_.residual_pages;
  report.ring_parts = ring_->parts();
  report.ring_pinned_bytes = ring_->pinned_bytes();
  report.ring_peak_bytes = ring_->counters().peak_bytes;
  report.ring_largest_delta = ring_->counters().largest_delta;
  report.ring_would_fit = report_.ring_would_fit;
  report.ring_bytes_limit = byte_limit_;
  report.arena_bytes = store_->stats().arena_bytes;
  report.uts = report_.uts;
  report.tasks = report_.tasks;
  report.walk_error = report_.walk_error;
  report.walks = report_.walks;
  report.walks_skipped = report_.walks_skipped;
  report.missed_reads = report_.missed_reads;
  report.notes.insert(report.notes.end(), report_.notes.begin(), report_.notes.end());
  for (const auto& range : vm_.ram().populated()) report.populated_bytes += range.count * kPageBytes;
}

}  // namespace floe::cli
