// "post: awake, ...": what a post costs its sender while the engine is busy anyway. Promised: at most 45 ns, or 1.3 times the bare queue's.
// "post: parked, ...": the engine sleeps before each post, 200 us apart. What the sender pays, and how long until the task runs. Promised:
// from another core the median wake takes at most 1.10 times a thread's that sleeps in a read of an eventfd.
#include <fmt/format.h>

#include <algorithm>

#include "bench/engine/post/post.hpp"

namespace floe::bench {
namespace {

enum class From { other_core, same_core };

const char* name_of(From where) {
  return where == From::other_core ? "from another core" : "from the same core";
}

// A sender on another core needs one.
void leave_out_on_one_core(std::vector<Lane>& lanes, From where) {
  if (where == From::same_core || has_two_cores()) return;
  for (Lane& lane : lanes) lane.absent = "only one core here";
}

template <class Send>
std::thread sender(From where, Send send) {
  return std::thread([where, send] {
    if (where == From::other_core) pin_to_peer_core();
    send();
  });
}

template <class Target>
Sample flood(Target& target, std::uint64_t count, From where) {
  Inbox inbox = Inbox::flood(count);
  double spent = 0;
  std::atomic<bool> go{false};
  std::thread from = sender(where, [&] {
    while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
    const double began = thread_cpu_nanos();
    for (std::uint64_t value = 1; value <= count; ++value) target.post(value);
    spent = thread_cpu_nanos() - began;
  });
  Sample taken = charge(count, [&] {
    go.store(true, std::memory_order_release);
    target.receive(inbox, true);
  });
  from.join();
  taken.value = spent / static_cast<double>(count);
  return taken;
}

void awake_row(Bench& bench, From where) {
  Row row{fmt::format("post: awake, {}", name_of(where)), "ns/post", "bare queue"};
  if (!bench.wants(row)) return;
  const std::uint64_t count = bench.scaled(200'000);
  BareTarget bare(count);
  FloeTarget floe;
  EventfdTarget eventfd;
  // The receiver may fall behind by any number: once, everything is on its way at the same time. From then on posts allocate nothing.
  Inbox all = Inbox::flood(count);
  for (std::uint64_t value = 1; value <= count; ++value) floe.post(value);
  floe.receive(all, true);
  std::vector<Lane> lanes = {{"bare queue", [&] { return flood(bare, count, where); }},
                             {"eventfd write each", [&] { return flood(eventfd, count / 10, where); }}};
  for (const AsioPeer& peer : asio_peers()) {
    const auto round = [&peer, count, where] {
      AsioTarget target(peer);
      return flood(target, count / 4, where);
    };
    lanes.push_back({peer.name, round, peer.absent});
  }
  lanes.push_back({"floe", [&] { return flood(floe, count, where); }});
  leave_out_on_one_core(lanes, where);
  race(row, lanes, bench.rounds());
  if (where == From::other_core) row.promises.push_back(either(median_at_most(row, "floe", 45), ratio_at_most(row, "floe", 1.3)));
  row.promises.push_back(allocates_nothing(row));
  bench.add(std::move(row));
}

struct Wakes {
  Spread latency, paid;  // us
};

template <class Target>
Wakes wakes(Target& target, std::uint64_t count, From where) {
  constexpr double kGap = 200'000;
  Inbox inbox = Inbox::wakes(count);
  std::vector<double> paid, latencies;
  std::thread from = sender(where, [&] {
    for (std::uint64_t sent = 0; sent < count; ++sent) {
      double at = monotonic_nanos();
      do sleep_until_nanos(at += kGap);
      while (inbox.received() < sent);
      const double began = monotonic_nanos();
      target.post(static_cast<std::uint64_t>(began));
      paid.push_back((monotonic_nanos() - began) / 1000);
    }
  });
  target.receive(inbox, false);
  from.join();
  for (const double nanos : inbox.latencies()) latencies.push_back(nanos / 1000);
  return {spread(std::move(latencies)), spread(std::move(paid))};
}

// The sender's cost and the wake's length come from the same wakes: one race, two rows.
void parked_rows(Bench& bench, From where) {
  Row wake{fmt::format("post: parked, {}, wake", name_of(where)), "us, p50", "eventfd read"};
  Row paid{fmt::format("post: parked, {}, sender", name_of(where)), "us, p50", "eventfd read"};
  if (!bench.wants(wake) && !bench.wants(paid)) return;
  const std::uint64_t count = bench.scaled(300);
  BareTarget bare(count);
  FloeTarget floe;
  EventfdTarget eventfd;
  std::vector<std::pair<std::string, std::vector<double>>> sender_costs;
  const auto lane = [&](const std::string& name, auto& target) {
    sender_costs.push_back({name, {}});
    return Lane{name, [&, index = sender_costs.size() - 1] {
                  const Wakes taken = wakes(target, count, where);
                  sender_costs[index].second.push_back(taken.paid.median);
                  Sample sample{taken.latency.median};
                  sample.figures = {{"p90", taken.latency.p90}};
                  return sample;
                }};
  };
  std::vector<std::unique_ptr<AsioTarget>> asio;
  std::vector<Lane> lanes = {lane("eventfd read", eventfd), lane("bare queue", bare)};
  for (const AsioPeer& peer : asio_peers()) {
    if (!peer.absent.empty()) {
      lanes.push_back({.name = peer.name, .absent = peer.absent});
      continue;
    }
    asio.push_back(std::make_unique<AsioTarget>(peer));
    lanes.push_back(lane(peer.name, *asio.back()));
  }
  lanes.push_back(lane("floe", floe));
  leave_out_on_one_core(lanes, where);
  race(wake, lanes, bench.rounds());
  for (const Contender& one : wake.contenders) {
    const auto costs =
        std::find_if(sender_costs.begin(), sender_costs.end(), [&one](const auto& other) { return other.first == one.name; });
    paid.contenders.push_back({.name = one.name, .absent = one.absent});
    if (one.absent.empty()) paid.contenders.back().rounds.assign(costs->second.begin() + 1, costs->second.end());
  }
  if (where == From::other_core) wake.promises.push_back(ratio_at_most(wake, "floe", 1.1));
  bench.add(std::move(wake));
  bench.add(std::move(paid));
}

}  // namespace

void post_rows(Bench& bench) {
  for (const From where : {From::other_core, From::same_core}) {
    awake_row(bench, where);
    parked_rows(bench, where);
  }
}

}  // namespace floe::bench
