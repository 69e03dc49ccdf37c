#include "freeze/scenario/guest_host.hpp"

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <list>
#include <set>

#include "freeze/scenario/run.hpp"
#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::freeze::scenario;
using namespace std::chrono_literals;
namespace wire = floe::vmm::wire;

namespace {

// An init with made-up files and processes, which answers while it is asked.
class MadeUpGuest {
 public:
  GuestControl control{[this](std::uint32_t type, std::span<const std::byte> payload) { return handle(type, payload); }};
  std::map<std::string, std::string> files{{"/sys/kernel/sched_ext/state", "disabled\n"}, {"/sys/kernel/sched_ext/root/ops", "fair\n"}};
  std::set<std::string> folders;
  std::vector<std::string> log;
  std::map<std::uint32_t, wire::StartProcess> running;
  bool deaf_to_term = false;
  bool scheduler_fails = false;
  bool stays_enabled = false;
  bool takes_nothing = false;

  std::string& state() { return files["/sys/kernel/sched_ext/state"]; }
  void end(std::uint32_t process, wire::Outcome outcome) {
    if (running[process].role == wire::StartProcess::Role::kScheduler && !stays_enabled) set_state("disabled\n");
    running.erase(process);
    control.take(wire::kProcessEnd, wire::encode(wire::ProcessEnd{process, outcome}));
  }
  void set_state(const char* text) {
    state() = text;
    auto waiting = std::exchange(awaiting_, {});
    for (auto& [id, file] : waiting) await(id, file);
  }

 private:
  bool handle(std::uint32_t type, std::span<const std::byte> payload) {
    if (takes_nothing) return false;
    BOOST_REQUIRE(type == wire::kControlRequest);
    const auto request = wire::decode_control_request(payload);
    BOOST_REQUIRE(request.has_value());
    std::visit([&](const auto& action) { act(request->id, action); }, request->action);
    return true;
  }
  void answer(wire::ControlReply reply) { control.take(wire::kControlReply, wire::encode(reply)); }
  void answer(std::uint32_t id, int error = 0, const std::string& reason = "") { answer(wire::ControlReply{id, error, reason, 0, {}}); }
  void data(std::uint32_t id, const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text));
    answer(wire::ControlReply{id, 0, "", 0, {bytes.begin(), bytes.end()}});
  }

  void act(std::uint32_t id, const wire::StartProcess& start) {
    if (start.argv.front() == "missing") return answer(id, ENOENT, "cannot execute missing: No such file or directory");
    std::string line = "start";
    for (const auto& word : start.argv) line += " " + word;
    log.push_back(line);
    running[start.process] = start;
    answer(wire::ControlReply{id, 0, "", 1000 + start.process, {}});
    if (start.role != wire::StartProcess::Role::kScheduler) return;
    if (scheduler_fails)
      end(start.process, {wire::Outcome::Kind::kExited, 1});
    else
      set_state("enabled\n");
  }
  void act(std::uint32_t id, const wire::SignalProcess& signal) {
    log.push_back("signal " + std::to_string(signal.signal));
    if (signal.process == wire::kRunScheduler) {
      answer(id);
      set_state("disabled\n");
      std::vector<std::byte> outcome;
      wire::encode(wire::Outcome{}, outcome);
      BOOST_TEST(!control.take(wire::kSchedulerExit, outcome));  // the run wants to know too
      return;
    }
    if (!running.contains(signal.process)) return answer(id, ESRCH, "there is no such process");
    answer(id);
    if (signal.signal == SIGTERM && deaf_to_term) return;
    end(signal.process, {wire::Outcome::Kind::kSignalled, signal.signal});
  }
  void act(std::uint32_t id, const wire::MakeFolder& folder) {
    folders.insert(folder.path);
    answer(id);
  }
  void act(std::uint32_t id, const wire::RemoveFolder& folder) {
    folders.erase(folder.path);
    answer(id);
  }
  void act(std::uint32_t id, const wire::WriteFile& file) {
    log.push_back("write " + file.path + " " + std::string(reinterpret_cast<const char*>(file.data.data()), file.data.size()));
    answer(id);
  }
  void act(std::uint32_t id, const wire::ReadFile& file) {
    const auto found = files.find(file.path);
    if (found == files.end()) return answer(id, ENOENT, file.path + ": No such file or directory");
    data(id, found->second);
  }
  void act(std::uint32_t id, const wire::AwaitFile& file) { await(id, file); }
  void await(std::uint32_t id, const wire::AwaitFile& file) {
    if (files[file.path].starts_with(file.prefix)) return data(id, files[file.path]);
    awaiting_.emplace_back(id, file);
  }

  std::list<std::pair<std::uint32_t, wire::AwaitFile>> awaiting_;
};

class Host final : public GuestHost {
 public:
  using GuestHost::GuestHost;
  std::string procs;

  engine::task<> capture(const std::string&) override { co_return engine::ok; }
  engine::task<> watch(const std::string&) override { co_return engine::ok; }
  engine::task<wire::KernelOpReply> kernel_op(const wire::KernelOpRequest&) override { co_return wire::KernelOpReply{}; }
  engine::task<std::string> report_value(const std::string&, const std::string&) override { co_return std::string(); }
  engine::task<wire::TaskTarget> find_task(const std::string&) override { co_return wire::TaskTarget(); }

 protected:
  void procs_captured(const std::string& name, const std::string& cgroup, const std::vector<std::uint32_t>& pids) override {
    procs = name + " " + cgroup + " " + std::to_string(pids.size());
  }
};

struct Trial {
  engine::manual_clock clock;
  std::unique_ptr<engine::loop> loop = engine::testing::make_loop(&clock);
  MadeUpGuest guest;

  std::string run(const std::string& steps, bool run_has_scheduler = false) {
    auto scenario = parse_scenario("{\"steps\": [" + steps + "]}", "f");
    BOOST_REQUIRE_MESSAGE(scenario.has_value(), (scenario ? "" : scenario.error().message));
    const auto ended = loop->run(play(*scenario, run_has_scheduler));
    BOOST_REQUIRE(ended.has_value());
    return ended->reason.substr(std::min(ended->reason.size(), ended->reason.find("steps[")));
  }
  engine::task<ScenarioOutcome> play(const Scenario& scenario, bool run_has_scheduler) {
    Host host(guest.control, run_has_scheduler);
    auto outcome = co_await run_scenario(scenario, host);
    procs = host.procs;
    co_return std::move(outcome);
  }
  std::string procs;
};

const std::string kStart = R"({"do": "start-scheduler", "command": ["one"]})";
const std::string kReplace = R"({"do": "replace-scheduler", "command": ["two"]})";

}  // namespace

BOOST_AUTO_TEST_SUITE(guest_host)

BOOST_AUTO_TEST_CASE(a_scheduler_is_replaced_by_ending_it_first) {
  Trial trial;
  BOOST_TEST(trial.run(kStart + "," + kReplace + R"(, {"do": "stop-scheduler"})") == "");
  const std::vector<std::string> expected = {"start one", "signal 15", "start two", "signal 15"};
  BOOST_TEST(trial.guest.log == expected, boost::test_tools::per_element());
  BOOST_TEST(trial.guest.state() == "disabled\n");
}

BOOST_AUTO_TEST_CASE(the_scheduler_of_the_run_can_be_replaced) {
  Trial trial;
  trial.guest.set_state("enabled\n");
  BOOST_TEST(trial.run(R"({"do": "attach-scheduler", "ops": "fair"},)" + kReplace, true) == "");
  const std::vector<std::string> expected = {"signal 15", "start two"};
  BOOST_TEST(trial.guest.log == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_goes_wrong_with_a_scheduler_is_said) {
  const auto failing = [](const std::string& steps, auto change) {
    Trial trial;
    change(trial.guest);
    return trial.run(steps);
  };
  const auto as_it_is = [](MadeUpGuest&) {};
  BOOST_TEST(failing(R"({"do": "stop-scheduler"})", as_it_is) == "steps[0] stop-scheduler: no scheduler was started by this run");
  BOOST_TEST(failing(kStart + "," + kStart, as_it_is) == "steps[1] start-scheduler one: a scheduler runs already: replace or stop it");
  BOOST_TEST(failing(kStart, [](MadeUpGuest& guest) { guest.scheduler_fails = true; }) ==
             "steps[0] start-scheduler one: the scheduler exited with 1 before sched_ext was enabled");
  BOOST_TEST(failing(R"({"do": "start-scheduler", "command": ["missing"]})", as_it_is) ==
             "steps[0] start-scheduler missing: in the guest: cannot execute missing: No such file or directory");
  BOOST_TEST(failing(kStart + "," + kReplace, [](MadeUpGuest& guest) { guest.deaf_to_term = true; }) ==
             "steps[1] replace-scheduler two: the scheduler did not end after SIGTERM and had to be killed");
  BOOST_TEST(failing(R"({"do": "attach-scheduler", "deadline": "2s"})", as_it_is) == "steps[0] attach-scheduler: not done within 2s");
  BOOST_TEST(failing(kStart, [](MadeUpGuest& guest) { guest.takes_nothing = true; }) ==
             "steps[0] start-scheduler one: the guest takes no request at the moment");
  BOOST_TEST(failing(kStart, [](MadeUpGuest& guest) { guest.control.close("the guest went down"); }) ==
             "steps[0] start-scheduler one: the guest went down");
}

BOOST_AUTO_TEST_CASE(the_next_scheduler_waits_until_the_kernel_has_let_go_of_the_last) {
  Trial trial;
  trial.guest.stays_enabled = true;
  BOOST_TEST(trial.run(kStart + "," + kReplace) == "steps[1] replace-scheduler two: not done within 30s");
  const std::vector<std::string> expected = {"start one", "signal 15"};
  BOOST_TEST(trial.guest.log == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(workers_and_programs_are_placed_waited_for_and_stopped) {
  Trial trial;
  BOOST_TEST(trial.run(R"(
    {"do": "spawn", "workers": [{"name": "w0", "kind": "sleep-wake", "count": 3, "period": "2ms", "cpus": "0", "nice": -5, "cgroup": "a"}]},
    {"do": "run", "name": "p", "command": ["prog", "x"]}, {"do": "stop", "name": "w0"},
    {"do": "assert", "value": {"process": "w0"}, "is": "==", "to": "killed 15"},
    {"do": "wait-for", "name": "p", "deadline": "1s"})") == "steps[4] wait-for p: not done within 1s");
  const std::vector<std::string> expected = {"start /usr/bin/floe-guest worker w0 sleep-wake 3 2000", "start prog x", "signal 15"};
  BOOST_TEST(trial.guest.log == expected, boost::test_tools::per_element());
  BOOST_REQUIRE(trial.guest.running.size() == 1u);
  const wire::StartProcess& program = trial.guest.running.begin()->second;
  BOOST_TEST((program.role == wire::StartProcess::Role::kWorkload));
}

BOOST_AUTO_TEST_CASE(a_process_that_ignores_sigterm_is_killed) {
  Trial trial;
  trial.guest.deaf_to_term = true;
  BOOST_TEST(trial.run(R"({"do": "run", "name": "p", "command": ["x"]}, {"do": "stop", "name": "p"},
                          {"do": "assert", "value": {"process": "p"}, "is": "==", "to": "killed 9"})") == "");
}

BOOST_AUTO_TEST_CASE(a_cgroup_gets_its_controllers_from_all_above_it) {
  Trial trial;
  trial.guest.files["/sys/fs/cgroup/a/b/cgroup.procs"] = "12\n345\n";
  BOOST_TEST(trial.run(R"({"do": "make-cgroup", "path": "a/b", "weight": 200, "cpus": "0-1"},
                          {"do": "procs", "as": "q", "cgroup": "a/b"},
                          {"do": "assert", "value": {"procs": "q"}, "is": "==", "to": "12 345"},
                          {"do": "remove-cgroup", "path": "a/b"})") == "");
  const std::vector<std::string> expected = {"write /sys/fs/cgroup/cgroup.subtree_control +cpu +cpuset",
                                             "write /sys/fs/cgroup/a/cgroup.subtree_control +cpu +cpuset",
                                             "write /sys/fs/cgroup/a/b/cpu.weight 200", "write /sys/fs/cgroup/a/b/cpuset.cpus 0-1"};
  BOOST_TEST(trial.guest.log == expected, boost::test_tools::per_element());
  BOOST_TEST(trial.procs == "q a/b 2");
  BOOST_TEST(trial.guest.folders.empty());
  BOOST_TEST(trial.run(R"({"do": "procs", "as": "q", "cgroup": "none"})") ==
             "steps[0] procs q: in the guest: /sys/fs/cgroup/none/cgroup.procs: No such file or directory");
}

BOOST_AUTO_TEST_CASE(what_a_hostile_guest_adds_is_ignored_and_counted) {
  Trial trial;
  GuestControl& control = trial.guest.control;
  BOOST_TEST(control.take(wire::kControlReply, wire::encode(wire::ControlReply{7, 0, "", 0, {}})));
  BOOST_TEST(control.take(wire::kControlReply, {}));
  BOOST_TEST(control.take(wire::kProcessEnd, wire::encode(wire::ProcessEnd{99, {}})));
  BOOST_TEST(control.take(wire::kProcessEnd, wire::encode(wire::ProcessEnd{wire::kRunScheduler, {}})));
  BOOST_TEST(!control.take(wire::kHello, {}));
  BOOST_TEST(control.ignored() == 4u);
  BOOST_TEST(control.outcome(99) == nullptr);
  BOOST_TEST(control.outcome(wire::kRunScheduler) == nullptr);
}

BOOST_AUTO_TEST_SUITE_END()
