#include "bench/freeze/tlv.hpp"

#include <array>
#include <memory>

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
constexpr unsigned kRounds = 11;

struct Way {
  std::unique_ptr<tiny::TlvReceiver> stream;
  Contender result;
};

Result<Way> make_way(bool by_event, std::uint64_t batch) {
  Way way;
  way.result.name = by_event ? "event" : "exit";
  auto made = tiny::TlvReceiver::create({.by_event = by_event, .batch = batch});
  if (!made) return fail(std::move(made.error()));
  way.stream = std::move(*made);
  return way;
}

Result<> measure(Way& way, std::uint64_t frames, bool count) {
  const auto received = way.stream->receive(frames);
  way.stream->guest().halt();  // costs the other one nothing
  if (!received) return fail(Error(received.error()).within("TLV frames by " + way.result.name));
  if (count) way.result.rounds.push_back(way.stream->took().count() * 1e9 / static_cast<double>(frames));
  return {};
}

Result<Row> measure(const Case& what, unsigned rounds, std::uint64_t frames) {
  std::array<Way, 2> ways;
  for (const bool by_event : {false, true}) {
    auto made = make_way(by_event, what.batch);
    if (!made) return fail(std::move(made.error()));
    ways[by_event ? 1 : 0] = std::move(*made);
  }
  for (unsigned round = 0; round <= rounds; ++round) {  // the first warms up
    for (Way& way : ways) {
      const auto measured = measure(way, frames, round > 0);
      if (!measured) return fail(measured.error());
    }
  }
  Row row{.name = what.name, .unit = "ns/frame", .baseline = "exit", .ratio_of = Ratio::throughput};
  for (Way& way : ways) {
    way.result.figures = {{"frames/s", 1e9 / spread(way.result.rounds).median},
                          {"KiB held at most", static_cast<double>(way.stream->most_held()) / 1024}};
    row.contenders.push_back(std::move(way.result));
  }
  const char* chosen = vmm::notify_by_event(vmm::usable_cpus()) ? "event" : "exit";
  row.promises.push_back(median_at_most(row, chosen, 1e9 / what.least_per_second));
  return row;
}

}  // namespace

Result<> tlv_rows(const Settings& settings, Report& report) {
  const unsigned rounds = settings.rounds > 0 ? settings.rounds : settings.quick ? 3 : kRounds;
  for (const Case& what : kCases) {
    if (!settings.wants(what.name)) continue;
    auto row = measure(what, rounds, settings.quick ? what.frames / 10 : what.frames);
    if (!row) return fail(std::move(row.error()));
    report.rows.push_back(std::move(*row));
  }
  return {};
}

}  // namespace floe::bench
