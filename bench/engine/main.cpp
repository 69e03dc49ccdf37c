// bench_engine: what floe's engine costs beside the bare kernel, the bare structures it is built from, and Boost.Asio.
//
// bench.hpp says how it measures, bench/report/report.hpp what a result is, and each folder here is one task.
#include <CLI/CLI.hpp>
#include <vector>

#include "bench/engine/bench.hpp"

namespace {
// Which features a ring has is known once it runs.
floe::engine::task<void> task_of_nothing() {
  co_return floe::engine::ok;
}
}  // namespace

int main(int count, char** arguments) {
  using namespace floe::bench;
  Bench bench;
  CLI::App app("floe's engine beside its rivals; a full run takes two minutes");
  add_options(app, bench.settings);
  app.add_option("--processes", bench.asked_processes, "processes that share the rounds of a row of CPU work (5; with --quick 1)")
      ->check(CLI::Range(1, 100));
  app.add_option("--row", bench.only_row, "the row of exactly this name");
  std::size_t heap_offset = 0;
  app.add_option("--heap-offset", heap_offset, "bytes to lay before all that is measured")->check(CLI::Range(0, 1 << 20));
  CLI11_PARSE(app, count, arguments);
  const std::vector<char> before(heap_offset);
  pin_to_engine_core();
  bench.report.bench = "engine";
  bench.report.conditions = conditions();
  const auto engine = make_loop();
  require(engine->run(task_of_nothing()).has_value(), "the engine does not run");
  bench.report.conditions.notes = {{"ring", engine->features()}, {"cores", cores_in_use()}};
  nop_rows(bench);
  task_rows(bench);
  yield_rows(bench);
  timer_rows(bench);
  lateness_rows(bench);
  post_rows(bench);
  echo_rows(bench);
  record_rows(bench);
  burst_rows(bench);
  idle_rows(bench);
  return finish(bench.report, bench.settings);
}
