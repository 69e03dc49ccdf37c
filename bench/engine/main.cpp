// bench_engine: what coroutines cost on top of io_uring and of the language. See measure.hpp for how, bare.hpp for the rivals.
#include <fmt/format.h>

#include <cstring>
#include <string>
#include <thread>

#include "bench/engine/bare.hpp"
#include "bench/engine/measure.hpp"
#include "engine/engine.hpp"

namespace {

using namespace floe;
using namespace floe::bench;
using engine::ok;
using engine::task;

struct settings {
  bool json = false;
  unsigned rounds = 11;
  std::uint64_t scale = 10;
};

task<void> nop_loop(std::uint64_t count) {
  for (std::uint64_t done = 0; done < count; ++done) {
    const auto did = co_await engine::nop();
    if (!did) co_return did.failure();
  }
  co_return ok;
}

task<void> nops(std::uint64_t count, unsigned depth) {
  engine::scope all("nops");
  for (unsigned lane = 0; lane < depth; ++lane) all.spawn(nop_loop(count / depth), "nop");
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

task<std::uint64_t> number(std::uint64_t value) {
  co_return value;
}

task<std::uint64_t> sum(std::uint64_t count) {
  std::uint64_t all = 0;
  for (std::uint64_t value = 0; value < count; ++value) {
    const auto got = co_await number(value);
    all += *got;
  }
  co_return all;
}

task<std::uint64_t> receive(engine::mailbox<std::uint64_t>& box, std::uint64_t count) {
  std::uint64_t all = 0;
  for (std::uint64_t received = 0; received < count; ++received) {
    const auto got = co_await box.receive();
    if (!got) co_return got.failure();
    all += *got;
  }
  co_return all;
}

void require(bool holds, const char* what) {
  if (holds) return;
  fmt::print(stderr, "bench_engine: {}\n", what);
  std::exit(70);
}

row measure_nops(engine::loop& on, bare_ring& ring, const settings& how, unsigned depth) {
  const std::uint64_t count = (depth == 1 ? 10'000 : 40'000) * how.scale / depth * depth;
  row measured{fmt::format("nop, depth {}", depth), {}, {}};
  for (unsigned round = 0; round <= how.rounds; ++round) {
    measured.baseline.push_back(charge(count, [&] { ring.nops(count, depth); }));
    measured.engine.push_back(charge(count, [&] { require(on.run(nops(count, depth)).has_value(), "a nop failed"); }));
  }
  return measured;
}

row measure_tasks(engine::loop& on, const settings& how) {
  const std::uint64_t count = 200'000 * how.scale;
  const std::uint64_t expected = count * (count - 1) / 2;
  row measured{"task create + await + destroy", {}, {}};
  for (unsigned round = 0; round <= how.rounds; ++round) {
    measured.baseline.push_back(charge(count, [&] { require(bare_tasks(count) == expected, "wrong sum of bare tasks"); }));
    measured.engine.push_back(charge(count, [&] {
      const auto got = on.run(sum(count));
      require(got.has_value() && *got == expected, "wrong sum of tasks");
    }));
  }
  return measured;
}

// The cost of posting is what the posting thread pays; the receiver's is part of its loop.
row measure_posts(engine::loop& on, const settings& how) {
  const std::uint64_t count = 20'000 * how.scale;
  const std::uint64_t expected = count * (count - 1) / 2;
  row measured{"cross-thread post (sender)", {}, {}};
  engine::mailbox<std::uint64_t> box(on);
  // The receiver may fall behind by any number: once, everything is on its way at the same time. From then on posts allocate nothing.
  for (std::uint64_t value = 0; value < count; ++value) require(box.post(value), "a post was refused");
  require(on.run(receive(box, count)).has_value(), "a post was lost");
  for (unsigned round = 0; round <= how.rounds; ++round) {
    double nanos = 0;
    sample bare = charge(count, [&] { require(bare_posts(count, nanos) == expected, "wrong sum of bare posts"); });
    bare.nanos_per_operation = nanos / static_cast<double>(count);
    measured.baseline.push_back(bare);
    sample ours = charge(count, [&] {
      std::thread poster([&] {
        const double began = thread_cpu_nanos();
        for (std::uint64_t value = 0; value < count; ++value) require(box.post(value), "a post was refused");
        nanos = thread_cpu_nanos() - began;
      });
      const auto got = on.run(receive(box, count));
      poster.join();
      require(got.has_value() && *got == expected, "wrong sum of posts");
    });
    ours.nanos_per_operation = nanos / static_cast<double>(count);
    measured.engine.push_back(ours);
  }
  return measured;
}

settings parse(int count, char** arguments) {
  settings how;
  for (int index = 1; index < count; ++index) {
    if (std::strcmp(arguments[index], "--json") == 0) {
      how.json = true;
    } else if (std::strcmp(arguments[index], "--quick") == 0) {
      how.rounds = 3;
      how.scale = 1;
    } else if (std::strcmp(arguments[index], "--rounds") == 0 && index + 1 < count) {
      how.rounds = static_cast<unsigned>(std::stoul(arguments[++index]));
    } else {
      fmt::print(stderr, "usage: bench_engine [--json] [--quick] [--rounds N]\n");
      std::exit(2);
    }
  }
  return how;
}

}  // namespace

int main(int count, char** arguments) {
  const settings how = parse(count, arguments);
  engine::loop_options options;
  options.on_stall = [](const engine::stall&) {};  // a bench is one long stall
  auto made = engine::loop::create(options);
  if (!made) {
    fmt::print(stderr, "bench_engine: {}\n", made.error().message);
    return 71;
  }
  engine::loop& on = **made;
  bare_ring ring;
  std::vector<result> results;
  for (const unsigned depth : {1U, 32U, 256U}) results.push_back(evaluate(measure_nops(on, ring, how, depth)));
  results.push_back(evaluate(measure_tasks(on, how)));
  results.push_back(evaluate(measure_posts(on, how)));
  fmt::print("{}", how.json ? to_json(results, on.features()) : to_text(results));
  return 0;
}
