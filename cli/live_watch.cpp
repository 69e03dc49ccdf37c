#include "cli/live_watch.hpp"

#include <fmt/format.h>

#include "freeze/task_named.hpp"
#include "walkers/scx/runnable.hpp"
#include "walkers/scx/sched.hpp"

namespace floe::cli {
namespace {

using namespace std::chrono_literals;
namespace scx = walkers::scx;

constexpr std::uint64_t kMostSteps = 200'000;  // of a look at who waits

constexpr auto kSearchPause = 5s;

constexpr std::size_t kMostListed = 1000;  // in the manifest, of watches that fired

// Polls stop while a worker has the words.
struct Held {
  unsigned& count;
  explicit Held(unsigned& holders) : count(holders) { ++count; }
  ~Held() { --count; }
};

}  // namespace

// The kernel lets go of a scheduler some 100 ms after it began to throw it out. On an emulated CPU each look costs the guest its time.
LiveWatch::LiveWatch(vmm::Vm& vm, SnapshotSeries& series, Setting setting, Tell tell)
    : vm_(vm),
      series_(series),
      hardware_(setting.hardware ? &vm.debug_registers() : nullptr),
      poll_beat_(setting.nested ? 5ms : 2ms, hardware_),
      look_period_(setting.nested ? 500ms : 250ms),
      tell_(std::move(tell)),
      live_(vm.ram()),
      words_(vm.ram(), live_, std::move(setting.latch), hardware_) {}

engine::task<> LiveWatch::run() {
  auto both = co_await engine::when_all(poll(), look());
  (void)both;
  co_return engine::ok;
}

engine::task<> LiveWatch::poll() {
  for (;;) {
    const auto due = co_await poll_beat_.next();
    if (!due) co_return due.failure();
    if (held_ == 0) look_at_words();
  }
}

void LiveWatch::last_look() {
  if (held_ == 0) look_at_words();
}

void LiveWatch::look_at_words() {
  const auto hits = words_.poll();
  if (hits.failure && !std::exchange(failure_told_, true)) tell_.failure();
  if (hits.latch && !std::exchange(latch_told_, true))
    tell_.latched(
        fmt::format("the latch {} of {} is set: {}", words_.latch_name().variable, words_.latch_name().map, words_.latch_value()));
  for (unsigned slot = 0; hits.users != 0 && slot < freeze::kMaxUserWatches; ++slot) {
    if ((hits.users >> slot & 1) == 0) continue;
    const freeze::WordWatch::UserWord word = *words_.user(slot);
    words_.release(slot);  // each fires once
    if (watched_.size() < kMostListed) watched_.push_back({word.symbol, std::string(to_string(word.method)), word.before, word.after});
    tell_.fired(word.symbol);
  }
}

engine::task<> LiveWatch::look() {
  engine::ticker beat(look_period_);
  for (;;) {
    const auto due = co_await beat.next();
    if (!due) co_return due.failure();
    freeze::WordPlaces places;
    Waits waits;
    const auto last = held_ == 0 ? words_.places() : nullptr;  // saves work
    const auto use = [this, &places, &waits, &last](const walkers::Kernel& tables) {
      places = freeze::WordWatch::find(tables, live_, words_.latch_name(), last);
      waits = measure_waits(tables);
    };
    const auto used = co_await series_.with_tables(live_, use);
    if (used.is_cancelled()) co_return used.failure();
    if (!used) {  // no kernel that can be read: looking for one in all of RAM costs too much to do it at each beat
      const auto rested = co_await engine::sleep_for(kSearchPause);
      if (!rested) co_return rested.failure();
      continue;
    }
    // Where a worker has the words now, the next look tells them what has moved.
    if (held_ == 0) {
      words_.adopt(std::move(places));
      if (words_.latch() != freeze::LatchState::not_resolved) latch_seen_ = words_.latch();
    }
    const bool long_wait = waits.oldest && waits.threshold && *waits.oldest >= *waits.threshold;
    if (long_wait && !wait_told_) tell_.long_wait();
    wait_told_ = long_wait;
  }
}

// The guest runs meanwhile: a list that changes under the walk gives a wrong age now and then, and a capture for nothing.
LiveWatch::Waits LiveWatch::measure_waits(const walkers::Kernel& tables) {
  Waits waits;
  walkers::OpenOptions how;
  how.previous = &tables;
  how.deadline = series_.walk_deadline();
  const auto now = walkers::Kernel::open(live_, how);
  if (!now) return waits;
  if (!layout_) layout_ = scx::Layout::of(*now);
  if (!layout_->exists()) return waits;
  walkers::WalkBudget budget(kMostSteps);
  scx::Walk walk(*now, *layout_, budget);
  const auto sched = scx::sched_state(walk);
  if (!sched || sched->exit_kind != 0 || !sched->watchdog_timeout || *sched->watchdog_timeout == 0) return waits;
  const auto oldest = scx::oldest_runnable(walk);
  waits.threshold = freeze::half_way_to(*sched->watchdog_timeout);
  if (oldest) waits.oldest = oldest->age_jiffies;
  return waits;
}

// While a worker has the words, what was told stays.
freeze::EndWords LiveWatch::end_words() {
  freeze::EndWords now;
  now.hit = failure_told_;
  if (held_ != 0) return now;
  now.hit = words_.poll().failure || failure_told_;
  now.exit_kind = words_.failure_kind();
  if (!now.exit_kind) now.exit_kind = words_.exit_kind();
  now.latch = words_.latch();
  return now;
}

engine::task<> LiveWatch::watch(std::string symbol) {
  Result<> result;
  const auto use = [this, &symbol, &result](const walkers::Kernel& tables) {
    // Asked for before the first look.
    if (!words_.places()) words_.adopt(freeze::WordWatch::find(tables, live_, words_.latch_name()));
    const auto slot = words_.watch(symbol, tables);
    if (!slot) result = fail(slot.error());
  };
  const Held held(held_);
  const auto used = co_await series_.with_tables(live_, use);
  if (!used) co_return used.failure();
  co_return std::move(result);
}

void LiveWatch::report(RunReport& report) const {
  report.exit_kind_method = to_string(words_.method());
  if (const auto& name = words_.latch_name(); !name.map.empty()) {
    auto& told = report.latch.emplace();
    told.map = name.map;
    told.variable = name.variable;
    told.at_least = name.at_least;
    told.state = to_string(latch_told_ ? freeze::LatchState::triggered : latch_seen_);
    if (told.state == to_string(freeze::LatchState::not_resolved)) {
      const auto places = words_.places();
      told.problem = places && places->latch_problem ? *places->latch_problem : "the guest was never looked at";
      report.notes.push_back(fmt::format("the latch {} of {} was never found: {}", name.variable, name.map, told.problem));
    }
  }
  report.watched = watched_;
  for (unsigned slot = 0; slot < freeze::kMaxUserWatches; ++slot)
    if (const auto& word = words_.user(slot))
      report.watched.push_back({word->symbol, std::string(to_string(word->method)), word->before, std::nullopt});
}

engine::task<vmm::wire::TaskTarget> LiveWatch::find_task(std::string name) {
  Result<vmm::wire::TaskTarget> found = fail("not looked for");
  const auto use = [this, &name, &found](const walkers::Kernel& tables) { found = freeze::task_named(name, tables, live_); };
  const auto used = co_await series_.with_tables(live_, use);
  if (!used) co_return used.failure();
  co_return std::move(found);
}

engine::task<freeze::KernelReply> LiveWatch::kernel_op(freeze::KernelOpRequest request) {
  std::optional<freeze::KernelOp> op;
  const auto use = [this, &request, &op](const walkers::Kernel& tables) {
    op = freeze::KernelOp::resolve(request, tables, live_, vm_.ram());
    if (!op->cold()) op->apply();
  };
  const auto used = co_await series_.with_tables(live_, use);
  if (used.is_cancelled()) co_return used.failure();
  if (!used) co_return freeze::refuse(request, used.error().message);
  if (op->cold()) {
    const auto act = [&op] { op->apply(); };
    const auto done = co_await series_.coordinator().inside(act);
    if (done.is_cancelled()) co_return done.failure();
    if (!done) co_return freeze::refuse(request, done.error().message);
  }
  co_return op->reply();
}

}  // namespace floe::cli
