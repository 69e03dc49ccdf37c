#include "freeze/scenario/run.hpp"

#include <fmt/format.h>

#include <boost/test/unit_test.hpp>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::freeze::scenario;
using namespace std::chrono_literals;
namespace wire = floe::vmm::wire;

namespace {

// Notes what it is asked for. What is to fail, or never to end, is told by its name.
class MadeUpHost final : public ScenarioHost {
 public:
  std::vector<std::string> asked;
  std::vector<std::size_t> begun;

  void step_begins(std::size_t index, const Step&) override { begun.push_back(index); }
  engine::task<> capture(const std::string& name) override { return done("capture", name); }
  engine::task<> watch(const std::string& symbol) override { return done("watch", symbol); }
  engine::task<wire::KernelOpReply> kernel_op(const wire::KernelOpRequest& request) override {
    asked.push_back("kernel_op " + request.tag + (request.entries.size() > 1 ? fmt::format(" x{}", request.entries.size()) : ""));
    if (const auto* task = std::get_if<wire::TaskTarget>(&request.entries.front().target))
      asked.back() += fmt::format(" of {} since {}: {}", task->pid, task->start_time_ns, task->field);
    wire::KernelOpReply reply;
    reply.id = request.id;
    reply.success = request.tag != "fails";
    if (!reply.success) reply.reason = "entry 0: no such symbol";
    for (std::size_t i = 0; i < request.entries.size(); ++i)
      if (const auto* symbol = std::get_if<wire::SymbolTarget>(&request.entries[i].target);
          symbol != nullptr && symbol->name == "missing") {
        reply.success = false;
        reply.reason = fmt::format("entry {}: no such symbol", i);
      }
    if (request.direction == wire::KernelOpRequest::Direction::kRead) reply.values.emplace_back(std::uint64_t{1} << 63);
    co_return std::move(reply);
  }
  engine::task<wire::TaskTarget> find_task(const std::string& name) override {
    asked.push_back("find_task " + name);
    if (name == "nobody") co_return fail("there is no task named nobody");
    wire::TaskTarget found;
    found.pid = 42;
    found.start_time_ns = 4200;
    co_return std::move(found);
  }
  engine::task<std::string> report_value(const std::string& capture, const std::string& path) override {
    asked.push_back("report_value " + capture + " " + path);
    if (path == "nothing") co_return fail("there is no key \"nothing\"");
    co_return std::string("1026");
  }
  engine::task<std::vector<std::uint32_t>> capture_procs(const std::string& name, const std::string& cgroup) override {
    asked.push_back("procs " + name + " of " + cgroup);
    co_return std::vector<std::uint32_t>{12, 13};
  }
  engine::task<> start_scheduler(const Program& program) override { return done("start", program.command.front()); }
  engine::task<> attach_scheduler(const std::string& ops) override { return done("attach", ops); }
  engine::task<> stop_scheduler() override { return done("stop", "scheduler"); }
  engine::task<> replace_scheduler(const Program& program) override { return done("replace", program.command.front()); }
  engine::task<> spawn(const Workers& workers) override { return done("spawn", workers.name); }
  engine::task<> run_program(const std::string& name, const Program&) override { return done("run", name); }
  engine::task<> stop_process(const std::string& name) override { return done("stop", name); }
  engine::task<wire::Outcome> wait_process(const std::string& name) override {
    asked.push_back("wait " + name);
    co_return wire::Outcome{wire::Outcome::Kind::kSignalled, 15};
  }
  engine::task<> make_cgroup(const MakeCgroup& cgroup) override { return done("make", cgroup.path); }
  engine::task<> remove_cgroup(const std::string& path) override { return done("remove", path); }

 private:
  engine::task<> done(std::string what, std::string name) {
    asked.push_back(what + " " + name);
    if (name == "fails") co_return fail("it is broken\nfor two lines");
    if (name == "hangs") {
      const auto slept = co_await engine::sleep_for(1h);
      if (!slept) co_return slept.failure();
    }
    co_return engine::ok;
  }
};

struct Trial {
  engine::manual_clock clock;
  std::unique_ptr<engine::loop> loop = engine::testing::make_loop(&clock);
  MadeUpHost host;

  ScenarioOutcome run(const std::string& steps) {
    auto scenario = parse_scenario("{\"steps\": [\n" + steps + "]}", "f");
    BOOST_REQUIRE_MESSAGE(scenario.has_value(), scenario.error().message);
    auto ended = loop->run(run_scenario(*scenario, host));
    BOOST_REQUIRE(ended.has_value());
    return std::move(*ended);
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(scenario_run)

BOOST_AUTO_TEST_CASE(steps_happen_in_their_order) {
  Trial trial;
  const auto outcome = trial.run(R"(
    {"do": "make-cgroup", "path": "a"}, {"do": "attach-scheduler"}, {"do": "spawn", "workers": [
      {"name": "w0", "kind": "spin"}, {"name": "w1", "kind": "yield"}]},
    {"do": "run", "name": "p", "command": ["x"]},
    {"do": "capture", "name": "a"}, {"do": "watch", "symbol": "scx_root"}, {"do": "replace-scheduler", "command": ["s"]},
    {"do": "capture", "name": "b"}, {"do": "read", "as": "r", "symbol": "x"}, {"do": "write", "symbol": "x", "u32": 1},
    {"do": "procs", "as": "q", "cgroup": "a"}, {"do": "wait-for", "name": "p"}, {"do": "stop", "name": "w0"},
    {"do": "stop-scheduler"}, {"do": "remove-cgroup", "path": "a"})");
  BOOST_TEST(outcome.reason == "");
  BOOST_TEST(outcome.passed());
  const std::vector<std::string> expected = {"make a",         "attach ",   "spawn w0",  "spawn w1",       "run p",      "capture a",
                                             "watch scx_root", "replace s", "capture b", "kernel_op r",    "kernel_op ", "procs q of a",
                                             "wait p",         "stop w0",   "wait w0",   "stop scheduler", "remove a"};
  BOOST_TEST(trial.host.asked == expected, boost::test_tools::per_element());
  BOOST_TEST(outcome.steps.size() == 15u);
  BOOST_TEST(trial.host.begun.size() == 15u);
  BOOST_TEST(outcome.steps[4].what == "capture a");
}

BOOST_AUTO_TEST_CASE(a_failed_step_ends_it_with_one_line) {
  Trial trial;
  const auto outcome = trial.run("{\"do\": \"capture\", \"name\": \"fails\"},\n{\"do\": \"stop-scheduler\"}");
  BOOST_TEST(outcome.reason == "f:2:1: steps[0] capture fails: it is broken for two lines");
  BOOST_TEST(trial.host.asked.size() == 1u);
  BOOST_TEST(outcome.steps.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_step_has_its_deadline) {
  Trial trial;
  const auto outcome =
      trial.run("{\"do\": \"wait\", \"time\": \"3s\"},\n  {\"do\": \"capture\", \"name\": \"hangs\", \"deadline\": \"5s\"}");
  BOOST_TEST(outcome.reason == "f:3:3: steps[1] capture hangs: not done within 5s");
  BOOST_REQUIRE(outcome.steps.size() == 2u);
  BOOST_TEST((outcome.steps[0].took == 3s));
  BOOST_TEST((outcome.steps[1].began == 3s));
  BOOST_TEST((outcome.steps[1].took == 5s));
}

BOOST_AUTO_TEST_CASE(a_kernel_operation_without_success_fails_the_step) {
  Trial trial;
  const auto outcome = trial.run(R"({"do": "read", "as": "fails", "symbol": "x"})");
  BOOST_TEST(outcome.reason == "f:2:1: steps[0] read fails: entry 0: no such symbol");
}

BOOST_AUTO_TEST_CASE(a_task_is_found_by_its_name_when_the_step_begins) {
  Trial trial;
  const auto outcome = trial.run(R"({"do": "read", "as": "r", "task": {"name": "w0", "field": "static_prio"}, "bytes": 4})");
  BOOST_TEST(outcome.reason == "");
  const std::vector<std::string> expected = {"find_task w0", "kernel_op r of 42 since 4200: static_prio"};
  BOOST_TEST(trial.host.asked == expected, boost::test_tools::per_element());
  const auto none = trial.run(R"({"do": "read", "as": "r", "task": {"name": "nobody", "field": "static_prio"}})");
  BOOST_TEST(none.reason == "f:2:1: steps[0] read r: there is no task named nobody");
}

BOOST_AUTO_TEST_CASE(cold_writes_that_follow_each_other_are_one_freeze) {
  const std::string cold = R"({"do": "write", "symbol": "x", "u32": 1, "mode": "cold"},
)";
  const std::string hot = R"({"do": "write", "symbol": "x", "u32": 1},
)";
  const std::string missing = R"({"do": "write", "symbol": "missing", "u32": 1, "mode": "cold"},
)";
  const std::string read = R"({"do": "read", "as": "r", "symbol": "x", "mode": "cold"})";
  Trial trial;
  const auto all = trial.run(cold + cold + cold + hot + cold + read);
  BOOST_TEST(all.reason == "");
  const std::vector<std::string> expected = {"kernel_op  x3", "kernel_op ", "kernel_op ", "kernel_op r"};
  BOOST_TEST(trial.host.asked == expected, boost::test_tools::per_element());
  BOOST_TEST(all.steps.size() == 6u);
  BOOST_TEST(trial.host.begun.size() == 6u);

  Trial other;
  const auto second = other.run(cold + missing + cold + read);
  BOOST_TEST(second.reason == "f:3:1: steps[1] write: entry 1: no such symbol");
  BOOST_TEST(second.steps.size() == 2u);
  BOOST_TEST(other.host.asked.size() == 1u);
}

BOOST_AUTO_TEST_CASE(assertions_see_what_earlier_steps_got) {
  Trial trial;
  const std::string before = R"({"do": "capture", "name": "a"}, {"do": "read", "as": "r", "symbol": "x"}, {"do": "procs", "as": "q"},
    {"do": "run", "name": "p", "command": ["x"]}, {"do": "wait-for", "name": "p"},
)";
  const auto check = [&](const std::string& value, const char* relation, const std::string& to) {
    const auto outcome =
        trial.run(before + "{\"do\": \"assert\", \"value\": " + value + ", \"is\": \"" + relation + "\", \"to\": " + to + "}");
    return outcome.passed() ? "" : outcome.reason.substr(outcome.reason.find("steps[5]"));
  };
  BOOST_TEST(check(R"({"report": "a", "path": "k"})", "==", "1026") == "");
  BOOST_TEST(check(R"({"report": "a", "path": "k"})", "<", "1026") == "steps[5] assert report a k < \"1026\": \"1026\" is not < \"1026\"");
  BOOST_TEST(check(R"({"report": "a", "path": "nothing"})", "==", "1").ends_with("there is no key \"nothing\""));
  BOOST_TEST(check(R"({"read": "r"})", "==", "\"0x8000000000000000\"") == "");
  BOOST_TEST(check(R"({"read": "r"})", ">", R"({"report": "a", "path": "k"})") == "");
  BOOST_TEST(check(R"({"process": "p"})", "==", "\"killed 15\"") == "");
  BOOST_TEST(check(R"({"process": "p"})", "==", "\"exited 0\"").ends_with("\"killed 15\" is not == \"exited 0\""));
  BOOST_TEST(check(R"({"procs": "q", "count": true})", ">=", "2") == "");
  BOOST_TEST(check(R"({"procs": "q"})", "==", "\"12 13\"") == "");
  BOOST_TEST(check(R"({"procs": "q"})", "contains", "\"13\"") == "");
}

BOOST_AUTO_TEST_CASE(cancelling_is_no_failure) {
  Trial trial;
  const auto scenario = parse_scenario(R"({"steps": [{"do": "capture", "name": "hangs"}]})", "f").value();
  const auto ended = trial.loop->run(engine::with_timeout(run_scenario(scenario, trial.host), 1s));
  BOOST_TEST(ended.is_error());  // the timeout of the test; from inside it is a cancellation
  BOOST_TEST(ended.error().code == ETIMEDOUT);
}

BOOST_AUTO_TEST_CASE(values_compare_as_what_they_are) {
  using R = Assert::Relation;
  const auto holds = [](const char* left, R relation, const char* right) { return compare(left, relation, right).has_value(); };
  BOOST_TEST(holds("18446744073709551615", R::kMore, "18446744073709551614"));  // not as doubles
  BOOST_TEST(holds("-1", R::kLess, "18446744073709551615"));
  BOOST_TEST(holds("0x10", R::kEqual, "16"));
  BOOST_TEST(holds("007", R::kEqual, "7"));
  BOOST_TEST(holds("2.5", R::kAtMost, "2.5"));
  BOOST_TEST(!holds("2.5", R::kAtLeast, "3"));
  BOOST_TEST(holds("abc", R::kContains, "bc"));
  BOOST_TEST(!holds("abc", R::kContains, "x"));
  BOOST_TEST(holds("abc", R::kNotEqual, "abd"));
  BOOST_TEST(!holds("", R::kEqual, "0"));
  BOOST_TEST(compare("abc", R::kLess, "7").error().message == "\"abc\" is no number: < compares numbers");
  BOOST_TEST(compare(std::string(500, 'x'), R::kEqual, "7").error().message.size() < 260u);
}

BOOST_AUTO_TEST_SUITE_END()
