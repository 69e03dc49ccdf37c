#include "freeze/bridge/snapshot_bridge.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "freeze/bridge/bridge_state.hpp"

namespace floe::freeze {
namespace {

thread_local std::optional<SnapshotBridge> active_bridge;

bool is_periodic(std::string_view tag) {
  constexpr std::string_view kPrefix = "periodic_";
  if (!tag.starts_with(kPrefix)) return false;
  const auto digits = tag.substr(kPrefix.size());
  return digits.size() == 3 && std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::size_t bytes_of(const KernelReply& reply) {
  std::size_t bytes = sizeof reply + reply.reason.size();
  for (const auto& value : reply.values) {
    bytes += sizeof value;
    if (const auto* raw = std::get_if<std::vector<std::byte>>(&value)) bytes += raw->size();
  }
  return bytes;
}

}  // namespace

void SnapshotBridge::State::log(const BridgeEvent& event) const {
  const auto line = describe(event);
  if (callbacks.log)
    callbacks.log(line);
  else
    fmt::print(stderr, "floe: {}\n", line);
}

void SnapshotBridge::State::keep_within_cap(const std::string& newest, Events& noted) {
  while (reports.size() > kMaxStoredSnapshots) {
    if (order.empty()) {
      noted.add(CapInvariantViolation{reports.size(), kMaxStoredSnapshots});
      reports.clear();
      return;
    }
    const auto oldest = std::move(order.front());
    order.pop_front();
    if (reports.erase(oldest) != 0) noted.add(Eviction{oldest, newest, kMaxStoredSnapshots});
  }
}

SnapshotBridge::SnapshotBridge(BridgeCallbacks callbacks) : state_(std::make_shared<State>(std::move(callbacks))) {}

bool SnapshotBridge::capture_with_step(const std::string& name, std::optional<std::uint16_t> step) {
  auto report = state_->callbacks.capture ? state_->callbacks.capture(name) : std::nullopt;
  if (!report || !*report) {
    State::Events(*state_).add(CaptureUnavailable{name});
    return false;
  }
  store(name, std::move(*report), {.step_index = step});
  return true;
}

void SnapshotBridge::store(const std::string& tag, SharedReport report, CaptureFacts facts) {
  State::Events noted(*state_);
  auto& state = *state_;
  const auto [entry, is_new] = state.reports.try_emplace(tag);
  if (!is_new) {
    noted.add(Overwrite{tag, entry->second.report->schema});
    std::erase(state.order, tag);
  }
  entry->second = {std::move(report), std::move(facts)};
  state.order.push_back(tag);
  state.keep_within_cap(tag, noted);
}

Result<void> SnapshotBridge::register_watch(const std::string& symbol) {
  auto& watches = state_->watches;
  if (!state_->callbacks.register_watch) return fail(fmt::format("cannot watch {}: this bridge registers no watches", symbol));
  unsigned taken = watches.load(std::memory_order_relaxed);
  do {
    if (taken >= kMaxWatchSnapshots)
      return fail(fmt::format("cannot watch {}: all {} watches are taken until one fires", symbol, kMaxWatchSnapshots));
  } while (!watches.compare_exchange_weak(taken, taken + 1, std::memory_order_acq_rel, std::memory_order_relaxed));
  struct Reservation {
    std::atomic<unsigned>* held;
    ~Reservation() {
      if (held != nullptr) held->fetch_sub(1, std::memory_order_acq_rel);
    }
  } reservation{&watches};
  auto registered = state_->callbacks.register_watch(symbol);
  if (registered) reservation.held = nullptr;
  return registered;
}

void SnapshotBridge::release_watch() {
  auto& watches = state_->watches;
  unsigned taken = watches.load(std::memory_order_relaxed);
  while (taken > 0 && !watches.compare_exchange_weak(taken, taken - 1, std::memory_order_acq_rel, std::memory_order_relaxed)) {
  }
}

unsigned SnapshotBridge::watch_count() const {
  return state_->watches.load(std::memory_order_acquire);
}

KernelReply SnapshotBridge::kernel_op(const KernelOpRequest& request) {
  KernelReply reply;
  if (state_->callbacks.kernel_op) {
    reply = state_->callbacks.kernel_op(request);
  } else {
    reply.id = request.id;
    reply.success = false;
    reply.reason = "this bridge does no kernel operations";
  }
  record_kernel_op(request.tag, reply);
  return reply;
}

void SnapshotBridge::record_cgroup_procs(CgroupProcs procs) {
  const std::size_t bytes = sizeof procs + procs.tag.size() + procs.cgroup.size() + procs.pids.size() * sizeof(std::int32_t);
  const std::lock_guard lock(state_->mutex);
  state_->cgroups.push(std::move(procs), bytes);
}

void SnapshotBridge::record_kernel_op(const std::string& tag, KernelReply reply) {
  const std::size_t bytes = tag.size() + bytes_of(reply);
  const std::lock_guard lock(state_->mutex);
  state_->kernel_ops.push({tag, std::move(reply)}, bytes);
}

std::unordered_map<std::string, SharedReport> SnapshotBridge::drain() {
  std::unordered_map<std::string, SharedReport> all;
  const std::lock_guard lock(state_->mutex);
  for (auto& [tag, stored] : state_->reports) all.emplace(tag, std::move(stored.report));
  state_->reports.clear();
  state_->order.clear();
  return all;
}

std::vector<TaggedReport> SnapshotBridge::drain_ordered() {
  std::vector<TaggedReport> all;
  State::Events noted(*state_);
  state_->take_ordered("drain_ordered", noted,
                       [&](const std::string& tag, State::Stored& stored) { all.push_back({tag, std::move(stored.report)}); });
  return all;
}

std::vector<DrainedReport> SnapshotBridge::drain_ordered_with_stats() {
  std::vector<DrainedReport> all;
  State::Events noted(*state_);
  state_->take_ordered("drain_ordered_with_stats", noted, [&](const std::string& tag, State::Stored& stored) {
    auto& facts = stored.facts;
    auto stats = facts.stats ? std::move(*facts.stats) : tl::unexpected(MissingStats{});
    all.push_back({tag, std::move(stored.report), std::move(stats), facts.elapsed_ms, facts.boundary_offset_ms, facts.step_index});
  });
  return all;
}

std::vector<BridgeEvent> SnapshotBridge::drain_events() {
  const std::lock_guard lock(state_->mutex);
  std::vector<BridgeEvent> all(std::make_move_iterator(state_->events.begin()), std::make_move_iterator(state_->events.end()));
  state_->events.clear();
  if (const auto dropped = std::exchange(state_->events_dropped, 0)) all.emplace_back(EventLogTruncated{dropped});
  return all;
}

std::size_t SnapshotBridge::event_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->events.size();
}

std::vector<CgroupProcs> SnapshotBridge::drain_cgroup_procs() {
  const std::lock_guard lock(state_->mutex);
  return state_->cgroups.drain();
}

std::optional<CgroupProcs> SnapshotBridge::cgroup_procs_by_tag(std::string_view tag) const {
  const std::lock_guard lock(state_->mutex);
  const auto* found = state_->cgroups.find([&](const CgroupProcs& procs) { return procs.tag == tag; });
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

std::vector<TaggedReply> SnapshotBridge::drain_kernel_ops() {
  const std::lock_guard lock(state_->mutex);
  return state_->kernel_ops.drain();
}

std::optional<vmm::wire::KernelValue> SnapshotBridge::kernel_op_value(std::string_view tag) const {
  const std::lock_guard lock(state_->mutex);
  const auto* found = state_->kernel_ops.find([&](const TaggedReply& one) { return one.tag == tag && one.reply.success; });
  return found != nullptr && !found->reply.values.empty() ? std::optional(found->reply.values.front()) : std::nullopt;
}

std::uint64_t SnapshotBridge::dropped_records() const {
  const std::lock_guard lock(state_->mutex);
  return state_->cgroups.dropped() + state_->kernel_ops.dropped();
}

bool SnapshotBridge::has(const std::string& tag) const {
  const std::lock_guard lock(state_->mutex);
  return state_->reports.contains(tag);
}

SharedReport SnapshotBridge::find(const std::string& tag) const {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->reports.find(tag);
  return found == state_->reports.end() ? nullptr : found->second.report;
}

std::size_t SnapshotBridge::len() const {
  const std::lock_guard lock(state_->mutex);
  return state_->reports.size();
}

std::size_t SnapshotBridge::periodic_real_count() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<std::size_t>(std::count_if(state_->reports.begin(), state_->reports.end(), [](const auto& one) {
    return is_periodic(one.first) && !one.second.report->is_placeholder;
  }));
}

BridgeGuard SnapshotBridge::set_thread_local(SnapshotBridge bridge) {
  return BridgeGuard(std::move(bridge));
}

std::optional<SnapshotBridge> SnapshotBridge::active() {
  return active_bridge;
}

BridgeGuard::BridgeGuard(SnapshotBridge bridge) : previous_(std::exchange(active_bridge, std::move(bridge))) {}

BridgeGuard::~BridgeGuard() {
  active_bridge = std::move(previous_);
}

Result<SnapshotBridge> require_active_bridge(std::string_view what) {
  if (auto bridge = SnapshotBridge::active()) return std::move(*bridge);
  return fail(
      fmt::format("{}: no snapshot bridge is installed on this thread; run it in a scenario of floe run, or install one with "
                  "SnapshotBridge::set_thread_local()",
                  what));
}

}  // namespace floe::freeze
