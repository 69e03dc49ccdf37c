// TLV frames from the tiny guest's ring 3 into a task of floe's engine, 64 bytes each, every one checked for content and order: with a
// notification for each frame, and with one for sixteen. The contenders are the two ways in which a notification can reach floe.
#include <array>

#include "bench/freeze/scene.hpp"
#include "tests/tiny/tlv_receiver.hpp"

namespace floe::bench {
namespace {

struct Case {
  const char* name;
  std::uint64_t batch;
  std::uint64_t frames;     // a round
  double least_per_second;  // promised
};
constexpr Case kCases[] = {{"tlv.notify_each", 1, 20'000, 20'000}, {"tlv.batched", 16, 300'000, 300'000}};

class Tlv final : public Scene {
 public:
  static Result<std::unique_ptr<Scene>> create(const Case& what, bool quick) {
    auto made = std::unique_ptr<Tlv>(new Tlv(what, quick ? what.frames / 10 : what.frames));
    for (Way& way : made->ways_) {
      auto stream = tiny::TlvReceiver::create({.by_event = way.by_event, .batch = what.batch});
      if (!stream) return fail(std::move(stream.error()));
      way.stream = std::move(*stream);
      const auto warm = made->receive(way);
      if (!warm) return fail(warm.error());
    }
    return made;
  }

  Result<> round() override {
    for (Way& way : ways_) {
      const auto received = receive(way);
      if (!received) return received;
      way.rounds.push_back(way.stream->took().count() * 1e9 / static_cast<double>(frames_));
    }
    return {};
  }

  void add_rows(Report& report) const override {
    Row row{.name = what_.name, .unit = "ns/frame", .baseline = name(false), .ratio_of = Ratio::throughput};
    for (const Way& way : ways_) {
      const Figures figures = {{"frames/s", 1e9 / median(way.rounds)},
                               {"KiB held at most", static_cast<double>(way.stream->most_held()) / 1024}};
      row.contenders.push_back({.name = name(way.by_event), .rounds = way.rounds, .figures = figures});
    }
    row.promises.push_back(median_at_most(row, name(vmm::notify_by_event(vmm::usable_cpus())), 1e9 / what_.least_per_second));
    report.rows.push_back(std::move(row));
  }

 private:
  struct Way {
    bool by_event = false;
    std::unique_ptr<tiny::TlvReceiver> stream = {};
    std::vector<double> rounds = {};
  };

  Tlv(const Case& what, std::uint64_t frames) : what_(what), frames_(frames) {}

  static const char* name(bool by_event) { return by_event ? "event" : "exit"; }

  Result<> receive(Way& way) const {
    const auto received = way.stream->receive(frames_);
    way.stream->guest().halt();
    if (!received) return fail(Error(received.error()).within(std::string(what_.name) + " by " + name(way.by_event)));
    return {};
  }

  const Case& what_;
  const std::uint64_t frames_;
  std::array<Way, 2> ways_{Way{.by_event = false}, Way{.by_event = true}};
};

}  // namespace

Result<> add_tlv(const Settings& settings, Scenes& into) {
  for (const Case& what : kCases) {
    if (!settings.wants(what.name)) continue;
    auto made = Tlv::create(what, settings.quick);
    if (!made) return fail(std::move(made.error()));
    into.push_back(std::move(*made));
  }
  return {};
}

}  // namespace floe::bench
