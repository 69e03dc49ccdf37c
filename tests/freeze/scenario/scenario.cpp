#include "freeze/scenario/scenario.hpp"

#include <boost/test/unit_test.hpp>
#include <random>

#include "base/file.hpp"
#include "freeze/scenario/run.hpp"

using namespace floe;
using namespace floe::freeze::scenario;
using namespace std::chrono_literals;
namespace wire = floe::vmm::wire;

namespace {

constexpr const char* kWhole = R"({
  "description": "all there is",
  "step-deadline": "10s",
  "steps": [
    {"do": "make-cgroup", "path": "a/b", "weight": 200, "cpus": "0-1", "files": {"cpu.max": "50000 100000"}},
    {"do": "start-scheduler", "command": ["floe_sched", "fair"], "environment": ["A=b"]},
    {"do": "attach-scheduler", "ops": "fair"},
    {"do": "spawn", "workers": [
      {"name": "w0", "kind": "spin", "count": 4, "cpus": "0", "nice": -5, "cgroup": "a/b"},
      {"name": "w1", "kind": "sleep-wake", "period": "2ms"},
      {"name": "w2", "kind": "yield"}, {"name": "w3", "kind": "pipe-ping-pong"}, {"name": "w4", "kind": "fork-storm"}]},
    {"do": "run", "name": "sh", "command": ["/bin/sh", "-c", "exit 3"]},
    {"do": "wait", "time": 2.5},
    {"do": "wait-for", "name": "sh", "deadline": "1s"},
    {"do": "capture", "name": "a"},
    {"do": "watch", "symbol": "scx_root"},
    {"do": "replace-scheduler", "command": ["floe_sched", "stall"]},
    {"do": "read", "as": "jiffies", "symbol": "jiffies_64"},
    {"do": "read", "as": "flags", "per-cpu": {"symbol": "runqueues", "field": "scx.flags", "cpu": 1}, "bytes": 4, "mode": "cold"},
    {"do": "read", "as": "head", "address": "0xffffffff81000000", "bytes": 3},
    {"do": "write", "direct": 4096, "or-u32": 1},
    {"do": "write", "task": {"pid": 7, "start-time-ns": "123", "field": "scx.slice"}, "u64": "0xffffffffffffffff"},
    {"do": "write", "symbol": "x", "hex": "00 fF"},
    {"do": "procs", "as": "p", "cgroup": "a/b"},
    {"do": "capture", "name": "b"},
    {"do": "assert", "value": {"report": "b", "path": "scx_sched_state.exit_kind"}, "is": "==", "to": 0},
    {"do": "assert", "value": {"read": "jiffies"}, "is": ">", "to": {"read": "flags"}},
    {"do": "assert", "value": {"process": "sh"}, "is": "==", "to": "exited 3"},
    {"do": "assert", "value": {"procs": "p", "count": true}, "is": ">=", "to": 4},
    {"do": "stop", "name": "w0"},
    {"do": "stop-scheduler"},
    {"do": "remove-cgroup", "path": "a/b"}
  ]
})";

Scenario whole() {
  auto scenario = parse_scenario(kWhole, "all.json");
  BOOST_REQUIRE_MESSAGE(scenario.has_value(), scenario.error().message);
  return std::move(*scenario);
}

template <class T>
const T& at(const Scenario& scenario, std::size_t index) {
  return std::get<T>(scenario.steps.at(index).action);
}

// The error of a scenario of these steps, which stand from line 2 on.
std::string refusal(const std::string& steps) {
  const auto scenario = parse_scenario("{\"steps\": [\n" + steps + "]}", "f");
  return scenario ? "none" : scenario.error().message;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(scenario)

BOOST_AUTO_TEST_CASE(every_kind_of_step_is_read) {
  const Scenario all = whole();
  BOOST_REQUIRE(all.steps.size() == 25u);
  const MakeCgroup cgroup{"a/b", {{"cpu.weight", "200"}, {"cpuset.cpus", "0-1"}, {"cpu.max", "50000 100000"}}};
  BOOST_TEST((at<MakeCgroup>(all, 0) == cgroup));
  BOOST_TEST((at<StartScheduler>(all, 1).program == Program{{"floe_sched", "fair"}, {"A=b"}, "", "", 0}));
  BOOST_TEST(at<AttachScheduler>(all, 2).ops == "fair");
  const auto& workers = at<Spawn>(all, 3).workers;
  BOOST_REQUIRE(workers.size() == 5u);
  BOOST_TEST((workers[0] == Workers{"w0", Workers::Kind::kSpin, 4, 0ns, "a/b", "0", -5}));
  BOOST_TEST((workers[1] == Workers{"w1", Workers::Kind::kSleepWake, 1, 2ms, "", "", 0}));
  BOOST_TEST((workers[4].kind == Workers::Kind::kForkStorm));
  BOOST_TEST(at<RunProgram>(all, 4).program.command.back() == "exit 3");
  BOOST_TEST((at<WaitTime>(all, 5).time == 2500ms));
  BOOST_TEST(at<Capture>(all, 7).name == "a");
  BOOST_TEST(at<Watch>(all, 8).symbol == "scx_root");
  BOOST_TEST(at<ReplaceScheduler>(all, 9).program.command[1] == "stall");
  BOOST_TEST(at<CaptureProcs>(all, 16).cgroup == "a/b");
  BOOST_TEST((at<Assert>(all, 18) == Assert{OfReport{"b", "scx_sched_state.exit_kind"}, Assert::Relation::kEqual, Constant{"0"}}));
  BOOST_TEST((at<Assert>(all, 21) == Assert{OfProcs{"p", true}, Assert::Relation::kAtLeast, Constant{"4"}}));
}

BOOST_AUTO_TEST_CASE(kernel_operations_are_read_into_their_requests) {
  const Scenario all = whole();
  const auto request = [&all](std::size_t index) { return at<KernelOp>(all, index).request; };
  BOOST_TEST((request(10).entries[0] == wire::KernelOpEntry{wire::SymbolTarget{"jiffies_64"}, std::uint64_t{0}}));
  BOOST_TEST((request(10).mode == wire::KernelOpRequest::Mode::kHot));
  BOOST_TEST((request(11).mode == wire::KernelOpRequest::Mode::kCold));
  BOOST_TEST((request(11).entries[0] == wire::KernelOpEntry{wire::PerCpuTarget{"runqueues", "scx.flags", 1}, std::uint32_t{0}}));
  BOOST_TEST((request(12).entries[0] == wire::KernelOpEntry{wire::KvaTarget{0xffffffff81000000}, std::vector<std::byte>(3)}));
  BOOST_TEST((request(13).direction == wire::KernelOpRequest::Direction::kWrite));
  BOOST_TEST((request(13).entries[0] == wire::KernelOpEntry{wire::DirectTarget{4096}, wire::OrU32{1}}));
  BOOST_TEST((request(14).entries[0] == wire::KernelOpEntry{wire::TaskTarget{7, 123, "scx.slice"}, ~std::uint64_t{0}}));
  BOOST_TEST((request(15).entries[0].value == wire::KernelValue(std::vector{std::byte{0}, std::byte{0xff}})));
  for (const std::size_t index : {10, 11, 12, 13, 14, 15}) BOOST_TEST(wire::encode(request(index)).has_value(), index);
}

BOOST_AUTO_TEST_CASE(deadlines_and_places) {
  const Scenario all = whole();
  BOOST_TEST((all.steps[0].deadline == 10s));
  BOOST_TEST((all.steps[5].deadline == 12500ms));  // a wait takes its time besides
  BOOST_TEST((all.steps[6].deadline == 1s));
  BOOST_TEST((all.steps[0].place == Place{5, 5}));
  BOOST_TEST((parse_scenario(R"({"steps": [{"do": "stop-scheduler"}]})", "f")->steps[0].deadline == 30s));
}

BOOST_AUTO_TEST_CASE(steps_have_names_and_the_programs_are_known) {
  const Scenario all = whole();
  std::vector<std::string> names;
  for (const Step& step : all.steps) names.emplace_back(name_of(step.action));
  const std::vector<std::string> expected = {"make-cgroup",
                                             "start-scheduler",
                                             "attach-scheduler",
                                             "spawn",
                                             "run",
                                             "wait",
                                             "wait-for",
                                             "capture",
                                             "watch",
                                             "replace-scheduler",
                                             "read",
                                             "read",
                                             "read",
                                             "write",
                                             "write",
                                             "write",
                                             "procs",
                                             "capture",
                                             "assert",
                                             "assert",
                                             "assert",
                                             "assert",
                                             "stop",
                                             "stop-scheduler",
                                             "remove-cgroup"};
  BOOST_TEST(names == expected, boost::test_tools::per_element());
  BOOST_TEST(describe(all.steps[3].action) == "spawn w0, w1, w2, w3, w4");
  BOOST_TEST(describe(all.steps[18].action) == "assert report b scx_sched_state.exit_kind == \"0\"");
  BOOST_TEST((programs_of(all) == std::vector<std::string>{"floe_sched", "/bin/sh"}));
}

BOOST_AUTO_TEST_CASE(mistakes_name_their_place_path_and_what_is_allowed) {
  const auto is = [](const std::string& steps, const std::string& expected) {
    const std::string found = refusal(steps);
    BOOST_TEST(found.starts_with(expected), found << " instead of " << expected);
  };
  is(R"({"do": "dance"})", "f:2:8: steps[0].do: is \"dance\", not one of start-scheduler, attach-scheduler,");
  is("{}", "f:2:1: steps[0].do: is missing; one of start-scheduler,");
  is("{\"do\": \"capture\",\n \"nam\": \"a\"}", "f:2:1: steps[0].name: is missing");
  is("{\"do\": \"capture\", \"name\": \"a\",\n \"speed\": 1}", "f:3:2: steps[0].speed: is no key of this; there are do, name, deadline");
  is(R"({"do": "capture", "name": 7})", "f:2:27: steps[0].name: is the number 7, not a text");
  is(R"({"do": "capture", "name": ""})", "f:2:27: steps[0].name: has 0 bytes; 1 to 64");
  is(R"({"do": "wait", "time": "2 weeks"})", "f:2:24: steps[0].time: '2 weeks' is no time");
  is(R"({"do": "wait", "time": 0})", "f:2:24: steps[0].time: is 0s; more than 0");
  is(R"({"do": "wait", "time": 1, "deadline": true})", "f:2:39: steps[0].deadline: is true, not a time");
  is(R"({"do": "spawn", "workers": []})", "f:2:28: steps[0].workers: has 0 elements");
  is(R"({"do": "spawn", "workers": [7]})", "f:2:29: steps[0].workers[0]: is the number 7, not an object");
  is(R"({"do": "spawn", "workers": [{"name": "w", "kind": "spinn"}]})",
     "f:2:51: steps[0].workers[0].kind: is \"spinn\", not one of spin, sleep-wake, yield, pipe-ping-pong, fork-storm");
  is(R"({"do": "spawn", "workers": [{"name": "w", "kind": "spin", "nice": 20}]})",
     "f:2:67: steps[0].workers[0].nice: is the number 20, not an integer from -20 to 19");
  is(R"({"do": "spawn", "workers": [{"name": "w", "kind": "spin", "cpus": "a"}]})",
     "f:2:67: steps[0].workers[0].cpus: \"a\" is no list of CPUs");
  is(R"({"do": "spawn", "workers": [{"name": "w", "kind": "spin", "cgroup": "../a"}]})",
     "f:2:69: steps[0].workers[0].cgroup: \"../a\" is no path like a/b");
  is(R"({"do": "start-scheduler", "command": ["x", 1]})", "f:2:44: steps[0].command[1]: is the number 1, not a text");
  is(R"({"do": "start-scheduler", "command": ["x"], "environment": ["=b"]})", "f:2:60: steps[0].environment: \"=b\" is not NAME=value");
  is(R"({"do": "run", "name": "x", "command": ["build/x"]})",
     "f:2:39: steps[0].command: \"build/x\" is neither an absolute path nor a name to be found in PATH");
  is(R"({"do": "read", "as": "x"})", "f:2:1: steps[0]: needs one of symbol, direct, address, per-cpu, task");
  is(R"({"do": "read", "as": "x", "symbol": "a", "address": 1})", "f:2:53: steps[0].address: stands beside symbol");
  is(R"({"do": "read", "as": "x", "address": "0xg"})", "f:2:38: steps[0].address: is \"0xg\", not a number of 64 bits");
  is(R"({"do": "write", "symbol": "a", "u32": 4294967296})", "f:2:39: steps[0].u32: is above 32 bits");
  is(R"({"do": "write", "symbol": "a", "hex": "0 1"})", "none");
  is(R"({"do": "write", "symbol": "a", "hex": "0"})", "f:2:39: steps[0].hex: is no bytes");
  is(R"({"do": "assert", "value": 1, "is": "==", "to": 1})", "f:2:27: steps[0].value: is the number 1, not an object with read, report,");
  is(R"({"do": "make-cgroup", "path": "a", "files": {"../b": ""}})", "f:2:45: steps[0].files: \"../b\" is no name of a file");
}

BOOST_AUTO_TEST_CASE(what_is_named_must_have_been_made_before) {
  const std::string capture = R"({"do": "capture", "name": "a"})";
  const std::string check = R"({"do": "assert", "value": {"report": "b", "path": "x"}, "is": "==", "to": 1})";
  BOOST_TEST(refusal(capture + ",\n" + check)
                 .starts_with("f:3:38: steps[1].value.report: no earlier step captures or watches as \"b\"; there are \"a\""));
  BOOST_TEST(refusal(R"({"do": "stop", "name": "w"})").starts_with("f:2:24: steps[0].name: no earlier step spawns workers"));
  const std::string run = R"({"do": "run", "name": "p", "command": ["x"]})";
  BOOST_TEST(refusal(run + ",\n" + run).starts_with("f:3:23: steps[1].name: an earlier step calls a process \"p\" already"));
  const std::string ended = R"({"do": "assert", "value": {"process": "p"}, "is": "==", "to": "exited 0"})";
  BOOST_TEST(refusal(run + "," + ended).find("no earlier step waits for a process or stops it as \"p\"") != std::string::npos);
  BOOST_TEST(refusal(run + R"(,{"do": "wait-for", "name": "p"},)" + ended) == "none");
  BOOST_TEST(refusal(capture + "," + capture) == "none");  // a name may be captured again
}

BOOST_AUTO_TEST_CASE(the_file_as_a_whole) {
  const auto error = [](std::string_view text) { return parse_scenario(text, "f").error().message; };
  BOOST_TEST(error("{}") == "f:1:1: steps: is missing");
  BOOST_TEST(error("[]").starts_with("f:1:1: is a list, not an object"));
  BOOST_TEST(error(R"({"steps": []})").starts_with("f:1:11: steps: has 0 elements; 1 to 10000"));
  BOOST_TEST(error(R"({"steps": [{"do": "stop-scheduler"}], "step": 1})").starts_with("f:1:39: step: is no key of this"));
  BOOST_TEST(error("{").starts_with("f:1:"));
  const auto missing = read_scenario("/nonexistent/scenario.json");
  BOOST_REQUIRE(!missing.has_value());
  BOOST_TEST(missing.error().message.find("/nonexistent/scenario.json") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(the_example_of_the_documentation_is_sound) {
  const std::string page = read_text(std::string(FLOE_SOURCE_DIR) + "/docs/scenario.md").value();
  const std::size_t begin = page.find("```json") + 7;
  const auto scenario = parse_scenario(page.substr(begin, page.find("```", begin) - begin), "scenario.md");
  BOOST_TEST(scenario.has_value(), (scenario ? "" : scenario.error().message));
}

BOOST_AUTO_TEST_CASE(damaged_files_give_an_error_with_a_place_or_a_sound_scenario) {
  const std::string sound = kWhole;
  std::mt19937 random(3);
  unsigned refused = 0;
  for (int round = 0; round < 3'000; ++round) {
    std::string text = sound;
    for (int flips = 0; flips < 2; ++flips) text[random() % text.size()] = "{}[]\",:0a \xff"[random() % 11];
    if (round % 10 == 0) text.resize(random() % text.size());
    const auto scenario = parse_scenario(text, "f");
    if (scenario) continue;
    ++refused;
    unsigned line = 0, column = 0;
    BOOST_TEST(std::sscanf(scenario.error().message.c_str(), "f:%u:%u: ", &line, &column) == 2, scenario.error().message);
    BOOST_TEST((line >= 1 && column >= 1));
  }
  BOOST_TEST(refused > 1'000u);
}

BOOST_AUTO_TEST_SUITE_END()
