// More than ten thousand freezes, two thousand in a row each round, of a guest with one vCPU that spins and one that exits. A lost kick is
// one that never brings its vCPU to the gate; what would repeat it after 10 ms is switched off here.
#include "bench/freeze/scene.hpp"
#include "freeze/frozen.hpp"

namespace floe::bench {
namespace {

constexpr const char* kRow = "freezes in a row, 2 vCPUs";
constexpr unsigned kFreezes = 2000;

class Storm final : public Scene {
 public:
  explicit Storm(std::unique_ptr<tiny::Guest> guest) : guest_(std::move(guest)) {}

  Result<> round() override {
    guest_->set_mode(0, TINY_COUNT);
    guest_->set_mode(1, TINY_OUT);
    std::vector<double> pauses;
    for (unsigned i = 0; i < kFreezes; ++i) {
      freeze::Frozen frozen(guest_->vm(), kFreezeLimit);
      lost_ += !frozen.await_states();
      frozen.thaw();
      pauses.push_back(microseconds(frozen.thawed_at() - frozen.kicked_at()));
    }
    if (!guest_->halt()) return fail("a vCPU of the tiny guest does not run any more");
    medians_.push_back(median(pauses));
    all_.insert(all_.end(), pauses.begin(), pauses.end());
    return {};
  }

  void add_rows(Report& report) const override {
    Row row{.name = kRow, .unit = "us", .baseline = {}};
    row.contenders.push_back({.name = "floe",
                              .rounds = medians_,
                              .figures = {{"freezes", static_cast<double>(all_.size())},
                                          {"p50", quantile(all_, 0.5)},
                                          {"p99", quantile(all_, 0.99)},
                                          {"max", quantile(all_, 1)},
                                          {"lost kicks", static_cast<double>(lost_)}}});
    row.promises.push_back(figure_at_most(row, "floe", "lost kicks", 0));
    report.rows.push_back(std::move(row));
  }

 private:
  std::unique_ptr<tiny::Guest> guest_;
  std::vector<double> medians_, all_;
  unsigned lost_ = 0;
};

}  // namespace

Result<> add_storm(const Settings& settings, Scenes& into) {
  if (!settings.wants(kRow)) return {};
  auto guest = tiny::Guest::create({.cpus = 2});
  if (!guest) return fail(std::move(guest.error()));
  (*guest)->vm().set_rekick(2 * kFreezeLimit);
  (*guest)->set_mode(TINY_HALT);
  (*guest)->start();
  into.push_back(std::make_unique<Storm>(std::move(*guest)));
  return {};
}

}  // namespace floe::bench
