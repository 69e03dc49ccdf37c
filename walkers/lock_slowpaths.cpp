#include "walkers/lock_slowpaths.hpp"

#include <array>
#include <string>
#include <utility>

namespace floe::walkers {
namespace {

constexpr std::string_view kSpin = "queued_spin_lock_slowpath";
constexpr std::string_view kReadWrite = "queued_rw_lock_slowpath";
constexpr std::string_view kMutex = "mutex_lock_slowpath";
constexpr std::string_view kRead = "rwsem_down_read_slowpath";
constexpr std::string_view kWrite = "rwsem_down_write_slowpath";
constexpr std::string_view kRtMutex = "rt_mutex_slowlock";

// Name in the kernel, and the name it is reported by.
constexpr std::array<std::pair<std::string_view, std::string_view>, 22> kFunctions = {{
    {"queued_spin_lock_slowpath", kSpin},
    {"native_queued_spin_lock_slowpath", kSpin},
    {"__pv_queued_spin_lock_slowpath", kSpin},
    {"resilient_queued_spin_lock_slowpath", kSpin},
    {"queued_read_lock_slowpath", kReadWrite},
    {"queued_write_lock_slowpath", kReadWrite},
    {"__mutex_lock_slowpath", kMutex},
    {"__mutex_lock_killable_slowpath", kMutex},
    {"__mutex_lock_interruptible_slowpath", kMutex},
    {"__mutex_lock", kMutex},
    {"__mutex_lock_common", kMutex},
    {"__ww_mutex_lock", kMutex},
    {"__ww_mutex_lock_slowpath", kMutex},
    {"mutex_optimistic_spin", kMutex},
    {"mutex_spin_on_owner", kMutex},
    {"rwsem_down_read_slowpath", kRead},
    {"rwsem_down_write_slowpath", kWrite},
    {"rt_mutex_slowlock", kRtMutex},
    {"rt_mutex_slowlock_block", kRtMutex},
    {"__rt_mutex_slowlock", kRtMutex},
    {"__rt_mutex_slowlock_locked", kRtMutex},
    {"rtlock_slowlock_locked", kRtMutex},
}};

// What compilers append to a function's clones.
constexpr std::array<std::string_view, 7> kSuffixes = {
    "", ".constprop.0", ".isra.0", ".part.0", ".isra.0.constprop.0", ".constprop.0.isra.0", ".cold"};

}  // namespace

LockSlowpaths::LockSlowpaths(const Symbols& symbols) {
  std::string name;
  for (const auto& [function, reported] : kFunctions)
    for (const std::string_view suffix : kSuffixes) {
      name.assign(function).append(suffix);
      for (const Kva start : symbols.find_all(name))
        if (const auto at = symbols.at(start)) ranges_.push_back({start.value, at->size, reported});
    }
}

std::string_view LockSlowpaths::match(std::uint64_t ip) const {
  for (const Range& range : ranges_)
    if (ip - range.start < range.bytes) return range.name;
  return {};
}

}  // namespace floe::walkers
