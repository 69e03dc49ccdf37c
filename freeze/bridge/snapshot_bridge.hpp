// Between a scenario and the captures: the scenario asks for snapshots, watches and kernel operations by name, whoever owns the freeze
// answers, and what was captured waits here, tagged and in order, until it is drained.
//
//   SnapshotBridge bridge({.capture = ..., .register_watch = ..., .kernel_op = ...});
//   const auto guard = SnapshotBridge::set_thread_local(bridge);     // this thread's, until the guard goes
//   with_active_bridge([](SnapshotBridge& active) { return active.capture("a"); });
//   for (auto& entry : bridge.drain_ordered_with_stats()) ...
//
// Copies are handles of one state. All of it may be used by any number of threads. Callbacks are called without a lock held, so they may
// use the bridge, and may be called by several threads at once.
//
// At most 64 reports are kept, the oldest goes first; a report under a tag that is there replaces it, with every fact of the old one. What
// is lost that way is an event: the log of them holds 1,024, logs of cgroups and kernel operations as many (and 16 MiB each).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "freeze/bridge/records.hpp"
#include "vmm/requests.hpp"

namespace floe::freeze {

using KernelOpRequest = vmm::wire::KernelOpRequest;
using KernelReply = vmm::wire::KernelOpReply;

inline constexpr std::size_t kMaxStoredSnapshots = 64;
inline constexpr std::size_t kMaxStoredEvents = 1024;
inline constexpr unsigned kMaxWatchSnapshots = 3;

// Only `capture` has to be there.
struct BridgeCallbacks {
  std::function<std::optional<SharedReport>(const std::string& name)> capture;
  std::function<Result<void>(const std::string& symbol)> register_watch = {};
  std::function<KernelReply(const KernelOpRequest& request)> kernel_op = {};  // does not record its reply: kernel_op() below does
  std::function<void(const std::string& line)> log = {};                      // of every event; by default stderr
};

// The reply to a kernel operation and the tag it was asked under.
struct TaggedReply {
  std::string tag;
  KernelReply reply;
};

class BridgeGuard;

class SnapshotBridge {
 public:
  explicit SnapshotBridge(BridgeCallbacks callbacks);

  // --- Asking

  // Captures and stores. False, with an event, when nothing was captured.
  bool capture(const std::string& name) { return capture_with_step(name, std::nullopt); }
  bool capture_with_step(const std::string& name, std::optional<std::uint16_t> step);

  // Takes one of the three watches, for good unless the callback fails or throws. Errors: the callback's; there is none; all are taken.
  Result<void> register_watch(const std::string& symbol);
  // A watch has fired, which it does once, and is free again.
  void release_watch();
  unsigned watch_count() const;

  // Does and records it. Without a callback the reply is a failure that says so.
  KernelReply kernel_op(const KernelOpRequest& request);

  // --- Storing what was captured elsewhere

  void store(const std::string& tag, SharedReport report) { store(tag, std::move(report), {}); }
  void store(const std::string& tag, SharedReport report, CaptureFacts facts);

  void record_cgroup_procs(CgroupProcs procs);
  void record_kernel_op(const std::string& tag, KernelReply reply);

  // --- Taking out. Every drain leaves nothing of its reports behind.

  std::unordered_map<std::string, SharedReport> drain();
  std::vector<TaggedReport> drain_ordered();  // oldest first
  std::vector<DrainedReport> drain_ordered_with_stats();

  // Ends with an EventLogTruncated when some were dropped since the last drain. The count is without that.
  std::vector<BridgeEvent> drain_events();
  std::size_t event_count() const;

  std::vector<CgroupProcs> drain_cgroup_procs();
  std::optional<CgroupProcs> cgroup_procs_by_tag(std::string_view tag) const;  // the first of that tag
  std::vector<TaggedReply> drain_kernel_ops();
  // The first value that was read by the first successful operation of that tag.
  std::optional<vmm::wire::KernelValue> kernel_op_value(std::string_view tag) const;
  // Entries of both logs that had to go for newer ones.
  std::uint64_t dropped_records() const;

  // --- Looking

  bool has(const std::string& tag) const;
  SharedReport find(const std::string& tag) const;  // null when there is none
  std::size_t len() const;
  bool is_empty() const { return len() == 0; }
  // Reports tagged "periodic_" and three digits that are no placeholders.
  std::size_t periodic_real_count() const;

  // Makes the bridge the active one of this thread, until the guard goes: then it is again the one that was.
  [[nodiscard]] static BridgeGuard set_thread_local(SnapshotBridge bridge);
  // The active one of this thread.
  static std::optional<SnapshotBridge> active();

 private:
  friend struct BridgeTestAccess;
  struct State;
  std::shared_ptr<State> state_;
};

// Goes on the thread that made it, the youngest first.
class BridgeGuard {
 public:
  ~BridgeGuard();
  BridgeGuard(const BridgeGuard&) = delete;
  BridgeGuard& operator=(const BridgeGuard&) = delete;

 private:
  friend class SnapshotBridge;
  explicit BridgeGuard(SnapshotBridge bridge);
  std::optional<SnapshotBridge> previous_;
};

// What `use` returns, called with this thread's bridge; nothing, and it is not called, when there is none. For a `use` that returns
// nothing: whether it was called.
template <class Use>
auto with_active_bridge(Use&& use) {
  using Value = std::invoke_result_t<Use, SnapshotBridge&>;
  auto bridge = SnapshotBridge::active();
  if constexpr (std::is_void_v<Value>) {
    if (bridge) std::forward<Use>(use)(*bridge);
    return bridge.has_value();
  } else {
    if (!bridge) return std::optional<Value>();
    return std::optional<Value>(std::forward<Use>(use)(*bridge));
  }
}

// This thread's bridge, for what makes no sense without one: the error says what to do.
Result<SnapshotBridge> require_active_bridge(std::string_view what);

}  // namespace floe::freeze
