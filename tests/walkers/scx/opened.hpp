// A made-up guest, opened and ready to be walked.
#pragma once

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/scx.hpp"
#include "walkers/scx/state.hpp"

namespace floe::walkers::scx {

struct Opened {
  explicit Opened(const synthetic::ScxGuest& guest, std::uint64_t steps = 10'000)
      : kernel(Kernel::open(guest.guest.memory)), layout(make()), budget(steps), walk(*kernel, layout, budget) {}

  Result<Kernel> kernel;
  Layout layout;
  WalkBudget budget;
  Walk walk;

 private:
  Layout make() {
    BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
    return Layout::of(*kernel);
  }
};

inline bool any_mentions(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return line.find(part) != line.npos; });
}

inline const DsqState* find(const std::vector<DsqState>& dsqs, const std::string& origin, std::uint64_t id) {
  const auto found = std::find_if(dsqs.begin(), dsqs.end(), [&](const auto& dsq) { return dsq.origin == origin && dsq.id == id; });
  return found == dsqs.end() ? nullptr : &*found;
}

inline std::vector<std::int32_t> pids(const std::vector<QueuedTask>& tasks) {
  std::vector<std::int32_t> list;
  for (const auto& task : tasks) list.push_back(task.pid);
  return list;
}

using Pids = std::vector<std::int32_t>;

}  // namespace floe::walkers::scx
