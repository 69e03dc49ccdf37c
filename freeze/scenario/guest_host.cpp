#include "freeze/scenario/guest_host.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <set>
#include <utility>

#include "base/file.hpp"
#include "engine/engine.hpp"

namespace floe::freeze::scenario {
namespace {

namespace wire = vmm::wire;
using namespace std::chrono_literals;

constexpr const char* kState = "/sys/kernel/sched_ext/state";
constexpr const char* kOps = "/sys/kernel/sched_ext/root/ops";
constexpr const char* kCgroupRoot = "/sys/fs/cgroup";
constexpr const char* kWorkerProgram = "/usr/bin/floe-guest";
constexpr auto kGrace = 2s;  // between SIGTERM and SIGKILL

std::string folder_of(const std::string& cgroup) {
  return cgroup.empty() ? kCgroupRoot : fmt::format("{}/{}", kCgroupRoot, cgroup);
}

std::string describe(const wire::Outcome& outcome) {
  if (outcome.kind == wire::Outcome::Kind::kSignalled) return fmt::format("was killed by signal {}", outcome.code);
  return fmt::format("exited with {}", outcome.code);
}

// Of the files of a cgroup: "+cpu +cpuset".
std::string controllers_of(const MakeCgroup& cgroup) {
  std::set<std::string> names;
  for (const auto& [file, content] : cgroup.files) names.insert(file.substr(0, file.find('.')));
  names.erase("cgroup");  // cgroup.freeze and its like are there without
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "+" : " +") + name;
  return text;
}

Result<std::vector<std::uint32_t>> numbers_of(std::span<const std::byte> data) {
  std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  std::vector<std::uint32_t> numbers;
  while (!text.empty()) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end == text.data() + text.size() || *end != '\n')
      return fail("cgroup.procs holds something that is no list");
    numbers.push_back(number);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  }
  return numbers;
}

}  // namespace

GuestHost::GuestHost(GuestControl& control, bool run_has_scheduler) : control_(control), until_(engine::loop::current().now() + 30s) {
  if (run_has_scheduler) scheduler_ = wire::kRunScheduler;
}

void GuestHost::step_begins(std::size_t, const Step& step) {
  until_ = engine::loop::current().now() + step.deadline;
}

// A little less than the step has: init's word of what it saw last is better than silence at the deadline.
std::uint32_t GuestHost::milliseconds_left() const {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until_ - engine::loop::current().now()).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left * 9 / 10, 1, wire::ControlRequest::kMaxTimeoutMs));
}

Result<std::uint32_t> GuestHost::find(const std::string& name) const {
  const auto found = names_.find(name);
  if (found == names_.end()) return fail("nothing was started as \"" + name + "\"");
  return found->second;
}

engine::task<std::uint32_t> GuestHost::start(const Program& program, wire::StartProcess::Role role) {
  wire::StartProcess process;
  process.role = role;
  process.argv = program.command;
  process.environment = program.environment;
  process.cgroup = program.cgroup;
  process.cpus = program.cpus;
  process.nice = static_cast<std::int8_t>(program.nice);
  auto started = co_await control_.start(std::move(process));
  co_return std::move(started);
}

engine::task<> GuestHost::await_state(const char* state) {
  const wire::AwaitFile file{kState, state, milliseconds_left()};
  auto seen = co_await control_.ask(file);
  if (!seen) co_return std::move(seen).failure();
  co_return engine::ok;
}

engine::task<> GuestHost::start_scheduler(const Program& program) {
  if (scheduler_ && control_.outcome(*scheduler_) == nullptr) co_return fail("a scheduler runs already: replace or stop it");
  const auto started = co_await start(program, wire::StartProcess::Role::kScheduler);
  if (!started) co_return started.failure();
  scheduler_ = *started;
  auto race = engine::when_any(await_state("enabled"), control_.ended(*started));
  auto first = co_await std::move(race);
  if (!first) co_return std::move(first).failure();
  auto& [enabled, ended] = first->outcomes;
  if (enabled) co_return engine::ok;
  if (ended) co_return fail(fmt::format("the scheduler {} before sched_ext was enabled", describe(*ended)));
  co_return std::move(enabled).failure();
}

engine::task<> GuestHost::attach_scheduler(const std::string& ops) {
  const auto enabled = co_await await_state("enabled");
  if (!enabled) co_return enabled.failure();
  if (ops.empty()) co_return engine::ok;
  const wire::AwaitFile file{kOps, ops, milliseconds_left()};
  auto named = co_await control_.ask(file);
  if (!named) co_return std::move(named).failure();
  co_return engine::ok;
}

engine::task<> GuestHost::stop_scheduler() {
  if (!scheduler_) co_return fail("no scheduler was started by this run");
  if (control_.outcome(*scheduler_) == nullptr) {
    // Half of the time for its own end: a scheduler that has to be killed was not stopped cleanly.
    const auto ended = co_await end(*scheduler_, std::chrono::milliseconds(milliseconds_left() / 2));
    if (!ended) co_return ended.failure();
    const wire::Outcome* outcome = control_.outcome(*scheduler_);
    if (outcome != nullptr && outcome->kind == wire::Outcome::Kind::kSignalled && outcome->code == SIGKILL)
      co_return fail("the scheduler did not end after SIGTERM and had to be killed");
  }
  const auto disabled = co_await await_state("disabled");
  if (!disabled) co_return disabled.failure();
  scheduler_.reset();
  co_return engine::ok;
}

engine::task<> GuestHost::replace_scheduler(const Program& program) {
  const auto stopped = co_await stop_scheduler();
  if (!stopped) co_return stopped.failure();
  const auto started = co_await start_scheduler(program);
  if (!started) co_return started.failure();
  co_return engine::ok;
}

// SIGTERM, then SIGKILL; until it has ended.
engine::task<> GuestHost::end(std::uint32_t process, std::chrono::nanoseconds grace) {
  const auto told = co_await control_.signal(process, SIGTERM);
  if (!told && control_.outcome(process) == nullptr) co_return told.failure();
  auto limited = engine::with_timeout(control_.ended(process), grace);
  const auto ended = co_await std::move(limited);
  if (ended.has_value()) co_return engine::ok;
  if (ended.is_cancelled() || ended.error().code != ETIMEDOUT) co_return ended.failure();
  const auto killed = co_await control_.signal(process, SIGKILL);
  if (!killed && control_.outcome(process) == nullptr) co_return killed.failure();
  const auto dead = co_await control_.ended(process);
  if (!dead) co_return dead.failure();
  co_return engine::ok;
}

engine::task<> GuestHost::spawn(const Workers& workers) {
  Program program;
  program.command = {kWorkerProgram, "worker", workers.name, std::string(name_of(workers.kind)), std::to_string(workers.count)};
  if (workers.period.count() != 0)
    program.command.push_back(std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(workers.period).count()));
  program.cgroup = workers.cgroup;
  program.cpus = workers.cpus;
  program.nice = workers.nice;
  const auto started = co_await run_program(workers.name, program);
  if (!started) co_return started.failure();
  co_return engine::ok;
}

engine::task<> GuestHost::run_program(const std::string& name, const Program& program) {
  const auto started = co_await start(program, wire::StartProcess::Role::kWorkload);
  if (!started) co_return started.failure();
  names_[name] = *started;
  co_return engine::ok;
}

engine::task<> GuestHost::stop_process(const std::string& name) {
  const auto process = find(name);
  if (!process) co_return process.error();
  if (control_.outcome(*process) != nullptr) co_return engine::ok;
  const auto ended = co_await end(*process, kGrace);
  if (!ended) co_return ended.failure();
  co_return engine::ok;
}

engine::task<wire::Outcome> GuestHost::wait_process(const std::string& name) {
  const auto process = find(name);
  if (!process) co_return process.error();
  auto ended = co_await control_.ended(*process);
  co_return std::move(ended);
}

engine::task<> GuestHost::write(std::string path, std::string text) {
  wire::WriteFile file;
  file.path = std::move(path);
  const auto bytes = as_bytes(text);
  file.data.assign(bytes.begin(), bytes.end());
  auto written = co_await control_.ask(std::move(file));
  if (!written) co_return std::move(written).failure();
  co_return engine::ok;
}

// A group has a controller's files once every group above it, from the root on, passes the controller on.
engine::task<> GuestHost::enable_controllers(const std::string& path, const std::string& controllers) {
  std::size_t end = 0;
  do {
    const std::string above = path.substr(0, end);
    const auto enabled = co_await write(folder_of(above) + "/cgroup.subtree_control", controllers);
    if (!enabled) co_return enabled.failure();
    end = path.find('/', end == 0 ? 0 : end + 1);
  } while (end != path.npos);
  co_return engine::ok;
}

engine::task<> GuestHost::make_cgroup(const MakeCgroup& cgroup) {
  const wire::MakeFolder folder{folder_of(cgroup.path)};
  auto made = co_await control_.ask(folder);
  if (!made) co_return std::move(made).failure();
  const std::string controllers = controllers_of(cgroup);
  if (!controllers.empty()) {
    const auto enabled = co_await enable_controllers(cgroup.path, controllers);
    if (!enabled) co_return enabled.failure();
  }
  for (const auto& [file, content] : cgroup.files) {
    const auto written = co_await write(folder.path + "/" + file, content);
    if (!written) co_return written.failure();
  }
  co_return engine::ok;
}

engine::task<> GuestHost::remove_cgroup(const std::string& path) {
  const wire::RemoveFolder folder{folder_of(path)};
  auto removed = co_await control_.ask(folder);
  if (!removed) co_return std::move(removed).failure();
  co_return engine::ok;
}

engine::task<std::vector<std::uint32_t>> GuestHost::capture_procs(const std::string& name, const std::string& cgroup) {
  const wire::ReadFile file{folder_of(cgroup) + "/cgroup.procs", wire::ControlRequest::kMaxRead};
  auto content = co_await control_.ask(file);
  if (!content) co_return std::move(content).failure();
  if (content->data.size() >= wire::ControlRequest::kMaxRead) co_return fail(file.path + " is longer than 1 MiB");
  auto pids = numbers_of(content->data);
  if (!pids) co_return pids.error();
  procs_captured(name, cgroup, *pids);
  co_return std::move(*pids);
}

}  // namespace floe::freeze::scenario
