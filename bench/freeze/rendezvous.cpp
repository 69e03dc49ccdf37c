// The rendezvous: an empty freeze of 1, 2, 4 or 8 vCPUs that all spin, all halt or all exit.
#include <fmt/format.h>

#include <thread>

#include "bench/freeze/scene.hpp"

namespace floe::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kFreezes = 6;  // a round's value is their median

struct State {
  const char* name;
  tiny_mode mode;
};
constexpr State kStates[] = {{"halted", TINY_HALT}, {"spinning", TINY_COUNT}, {"exiting", TINY_OUT}};

class Rendezvous final : public Scene {
 public:
  Rendezvous(std::string name, std::unique_ptr<tiny::Guest> guest) : name_(std::move(name)), guest_(std::move(guest)) {}

  Result<> round() override {
    for (const State& state : kStates) {
      guest_->set_mode(state.mode);
      if (state.mode != TINY_HALT && !guest_->wait_for_progress(state.mode)) return fail("a vCPU of the tiny guest does not run");
      std::vector<double> bare, full, gaps;
      for (unsigned i = 0; i < kFreezes; ++i) {
        std::this_thread::sleep_for(1ms);  // the guest runs
        bare.push_back(empty_freeze(guest_->vm(), false).pause);
        std::this_thread::sleep_for(1ms);
        full.push_back(empty_freeze(guest_->vm(), true).pause);
        gaps.push_back(guest_gap(guest_->vm()));
      }
      pauses_.add(std::string(state.name) + ", bare kick", median(bare));
      pauses_.add(state.name, median(full));
      gaps_.add(state.name, median(gaps));
      if (!guest_->halt()) return fail("a vCPU of the tiny guest does not halt");
    }
    return {};
  }

  void add_rows(Report& report) const override {
    Row row{.name = name_, .unit = "us", .baseline = "halted", .ratio_of = Ratio::cost};
    for (const State& state : kStates) {
      const std::string bare = std::string(state.name) + ", bare kick";
      row.contenders.push_back({.name = bare, .rounds = pauses_.of(bare)});
      row.contenders.push_back(
          {.name = state.name, .rounds = pauses_.of(state.name), .figures = {{"guest gap", median(gaps_.of(state.name))}}});
    }
    report.rows.push_back(std::move(row));
  }

 private:
  std::string name_;
  std::unique_ptr<tiny::Guest> guest_;
  Series pauses_, gaps_;
};

}  // namespace

Result<> add_rendezvous(const Settings& settings, Scenes& into) {
  for (const unsigned cpus : {1u, 2u, 4u, 8u}) {
    const std::string name = fmt::format("rendezvous, {} vCPU{}", cpus, cpus == 1 ? "" : "s");
    if (!settings.wants(name)) continue;
    auto guest = tiny::Guest::create({.cpus = cpus});
    if (!guest) return fail(std::move(guest.error()));
    (*guest)->set_mode(TINY_HALT);
    (*guest)->start();
    into.push_back(std::make_unique<Rendezvous>(name, std::move(*guest)));
  }
  return {};
}

}  // namespace floe::bench
