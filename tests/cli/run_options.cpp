#include "cli/run_options.hpp"

#include <boost/test/unit_test.hpp>
#include <chrono>

#include "cli/command.hpp"

using namespace floe::cli;
using namespace std::chrono_literals;

namespace {

RunOptions parsed(std::vector<std::string> words) {
  RunOptions options;
  BOOST_REQUIRE(split_words(words, options).has_value());
  Flags flags("", "floe run");
  add_run_flags(flags, options);
  BOOST_REQUIRE(!flags.parse(std::move(words)).has_value());
  return options;
}

using Words = std::vector<std::string>;

}  // namespace

BOOST_AUTO_TEST_SUITE(run_options)

BOOST_AUTO_TEST_CASE(a_scheduler_takes_its_words_up_to_the_next_flag_of_floe) {
  const RunOptions options =
      parsed({"--cpus", "4", "--scheduler", "scx_simple", "-f", "--slice", "20", "--memory", "1024", "--", "make", "--cpus", "8"});
  BOOST_TEST(options.scheduler == (Words{"scx_simple", "-f", "--slice", "20"}), boost::test_tools::per_element());
  BOOST_TEST(options.command == (Words{"make", "--cpus", "8"}), boost::test_tools::per_element());
  BOOST_TEST(options.cpus == 4u);
  BOOST_TEST(options.memory_mib == 1024u);
}

BOOST_AUTO_TEST_CASE(words_that_lead_nowhere_are_refused) {
  RunOptions options;
  Words no_command = {"--cpus", "1", "--"};
  BOOST_TEST(!split_words(no_command, options).has_value());
  Words no_scheduler = {"--scheduler", "--cpus", "1"};
  BOOST_TEST(!split_words(no_scheduler, options).has_value());
}

BOOST_AUTO_TEST_CASE(every_flag_has_an_environment_twin) {
  ::setenv("FLOE_RING_DEPTH", "7", 1);
  ::setenv("FLOE_DURATION", "5s", 1);
  ::setenv("FLOE_SCHEDULER", "scx_rusty -v", 1);
  const RunOptions options = parsed({"--ring-bytes", "64M"});
  ::unsetenv("FLOE_RING_DEPTH");
  ::unsetenv("FLOE_DURATION");
  ::unsetenv("FLOE_SCHEDULER");
  BOOST_TEST(options.ring_depth == 7u);
  BOOST_TEST((options.duration == 5s));
  BOOST_TEST(options.ring_bytes == 64u << 20);
  BOOST_TEST(options.scheduler == (Words{"scx_rusty", "-v"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_deadline_of_dumps_is_a_time_and_may_be_none) {
  BOOST_TEST((parsed({}).dump_deadline == 10s));
  BOOST_TEST((parsed({"--dump-deadline", "250ms"}).dump_deadline == 250ms));
  BOOST_TEST((parsed({"--dump-deadline=0"}).dump_deadline == 0s));
  ::setenv("FLOE_DUMP_DEADLINE", "3s", 1);
  BOOST_TEST((parsed({}).dump_deadline == 3s));
  BOOST_TEST((parsed({"--dump-deadline", "4s"}).dump_deadline == 4s));  // what is written out goes first
  ::unsetenv("FLOE_DUMP_DEADLINE");
  const RunOptions behind = parsed({"--scheduler", "scx_simple", "-f", "--dump-deadline", "2s"});
  BOOST_TEST(behind.scheduler == (Words{"scx_simple", "-f"}), boost::test_tools::per_element());
  BOOST_TEST((behind.dump_deadline == 2s));
}

BOOST_AUTO_TEST_CASE(values_out_of_range_name_their_flag) {
  const auto refused = [](auto change) {
    RunOptions options;
    change(options);
    const auto checked = check(options);
    return checked ? std::string() : checked.error().message;
  };
  BOOST_TEST(refused([](RunOptions&) {}).empty());
  BOOST_TEST(refused([](RunOptions& o) { o.cpus = 0; }).find("--cpus") == 0u);
  BOOST_TEST(refused([](RunOptions& o) { o.memory_mib = 1; }).find("--memory") == 0u);
  BOOST_TEST(refused([](RunOptions& o) { o.snapshot_hz = -1; }).find("--snapshot-hz") == 0u);
  BOOST_TEST(refused([](RunOptions& o) { o.ring_depth = 0; }).find("--ring-depth") == 0u);
  BOOST_TEST(refused([](RunOptions& o) { o.duration = 0s; }).find("--duration") == 0u);
  BOOST_TEST(refused([](RunOptions& o) { o.latch = "probe_bp.bss:error"; }).empty());
  BOOST_TEST(refused([](RunOptions& o) { o.latch = "error"; }).find("--latch") == 0u);
  BOOST_TEST(refused([](RunOptions& o) { o.periodic = 64; }).empty());
  BOOST_TEST(refused([](RunOptions& o) { o.periodic = 65; }).find("--periodic") == 0u);
  const auto too_close = [](RunOptions& o) {
    o.periodic = 8;
    o.duration = 1s;
  };
  BOOST_TEST(refused(too_close).find("--periodic") == 0u);
  const auto without_end = [](RunOptions& o) {
    o.periodic = 1;
    o.scenario = "story.json";
  };
  BOOST_TEST(refused(without_end).find("--duration") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
