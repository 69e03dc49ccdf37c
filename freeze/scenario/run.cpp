#include "freeze/scenario/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/duration.hpp"
#include "engine/engine.hpp"

namespace floe::freeze::scenario {
namespace {

namespace wire = vmm::wire;

std::string text_of(const wire::KernelValue& value) {
  if (const auto* word = std::get_if<std::uint32_t>(&value)) return std::to_string(*word);
  if (const auto* word = std::get_if<std::uint64_t>(&value)) return std::to_string(*word);
  if (const auto* word = std::get_if<wire::OrU32>(&value)) return std::to_string(word->mask);
  std::string text;
  for (const std::byte byte : std::get<std::vector<std::byte>>(value))
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", std::to_integer<unsigned>(byte));
  return text;
}

std::string text_of(const wire::Outcome& outcome) {
  switch (outcome.kind) {
    case wire::Outcome::Kind::kExited:
      return fmt::format("exited {}", outcome.code);
    case wire::Outcome::Kind::kSignalled:
      return fmt::format("killed {}", outcome.code);
    case wire::Outcome::Kind::kNotStarted:
      return fmt::format("not started {}", outcome.code);
  }
  return {};
}

class Runner {
 public:
  Runner(const Scenario& scenario, ScenarioHost& host) : scenario_(scenario), host_(host) {}

  engine::task<ScenarioOutcome> run() {
    ScenarioOutcome outcome;
    const auto began = engine::loop::current().now();
    for (std::size_t i = 0; i < scenario_.steps.size();) {
      const std::size_t first = i;
      const auto deadline = scenario_.steps[first].deadline;
      const auto step_began = engine::loop::current().now();
      for (const std::size_t end = first + together(first); i < end; ++i) {
        outcome.steps.push_back({describe(scenario_.steps[i].action), step_began - began, {}});
        host_.step_begins(i, scenario_.steps[i]);
      }
      auto limited = engine::with_timeout(start(first, i), deadline);
      const auto ended = co_await std::move(limited);
      const auto took = engine::loop::current().now() - step_began;
      for (std::size_t done = first; done < i; ++done) outcome.steps[done].took = took;
      if (ended.is_cancelled()) co_return engine::cancelled;
      if (ended.has_value()) continue;
      const bool late = ended.error().code == ETIMEDOUT && took >= deadline;
      const std::size_t failed = late ? first : std::min(first + failed_entry_, i - 1);
      outcome.steps.resize(failed + 1);
      const Place& place = scenario_.steps[failed].place;
      outcome.reason =
          fmt::format("{}:{}:{}: steps[{}] {}: {}", scenario_.file, place.line, place.column, failed, outcome.steps.back().what,
                      late ? "not done within " + format_duration(deadline) : ended.error().message);
      std::replace(outcome.reason.begin(), outcome.reason.end(), '\n', ' ');
      break;
    }
    co_return std::move(outcome);
  }

 private:
  static bool is_cold_write(const Step& step) {
    const auto* op = std::get_if<KernelOp>(&step.action);
    return op != nullptr && op->task.empty() && op->request.mode == wire::KernelOpRequest::Mode::kCold &&
           op->request.direction == wire::KernelOpRequest::Direction::kWrite;
  }

  // How many steps from this one on are one: cold writes that follow each other are made in one freeze, so that no CPU sees some of them.
  std::size_t together(std::size_t first) const {
    std::size_t end = first;
    while (end < scenario_.steps.size() && end - first < wire::KernelOpRequest::kMaxEntries && is_cold_write(scenario_.steps[end])) ++end;
    return std::max<std::size_t>(end - first, 1);
  }

  engine::task<> start(std::size_t first, std::size_t end) {
    failed_entry_ = 0;
    return end - first == 1 ? start(scenario_.steps[first].action) : write_together(first, end);
  }

  // The task of one step. The action lives in the scenario.
  engine::task<> start(const Action& action) {
    if (const auto* step = std::get_if<StartScheduler>(&action)) return host_.start_scheduler(step->program);
    if (const auto* step = std::get_if<AttachScheduler>(&action)) return host_.attach_scheduler(step->ops);
    if (const auto* step = std::get_if<ReplaceScheduler>(&action)) return host_.replace_scheduler(step->program);
    if (std::holds_alternative<StopScheduler>(action)) return host_.stop_scheduler();
    if (const auto* step = std::get_if<Spawn>(&action)) return spawn(*step);
    if (const auto* step = std::get_if<RunProgram>(&action)) return host_.run_program(step->name, step->program);
    if (const auto* step = std::get_if<StopProcess>(&action)) return stop(step->name);
    if (const auto* step = std::get_if<MakeCgroup>(&action)) return host_.make_cgroup(*step);
    if (const auto* step = std::get_if<RemoveCgroup>(&action)) return host_.remove_cgroup(step->path);
    if (const auto* step = std::get_if<WaitTime>(&action)) return wait(step->time);
    if (const auto* step = std::get_if<WaitProcess>(&action)) return wait_for(step->name);
    if (const auto* step = std::get_if<Capture>(&action)) return host_.capture(step->name);
    if (const auto* step = std::get_if<Watch>(&action)) return host_.watch(step->symbol);
    if (const auto* step = std::get_if<KernelOp>(&action)) return kernel_op(*step);
    if (const auto* step = std::get_if<CaptureProcs>(&action)) return capture_procs(*step);
    return check(std::get<Assert>(action));
  }

  engine::task<> spawn(const Spawn& step) {
    for (const Workers& workers : step.workers) {
      auto spawned = co_await host_.spawn(workers);
      if (!spawned) co_return std::move(spawned).within(workers.name).failure();
    }
    co_return engine::ok;
  }

  engine::task<> stop(const std::string& name) {
    const auto stopped = co_await host_.stop_process(name);
    if (!stopped) co_return stopped.failure();
    const auto waited = co_await wait_for(name);
    if (!waited) co_return waited.failure();
    co_return engine::ok;
  }

  engine::task<> wait(std::chrono::nanoseconds time) {
    const auto slept = co_await engine::sleep_for(time);
    if (!slept) co_return slept.failure();
    co_return engine::ok;
  }

  engine::task<> wait_for(const std::string& name) {
    const auto ended = co_await host_.wait_process(name);
    if (!ended) co_return ended.failure();
    outcomes_[name] = text_of(*ended);
    co_return engine::ok;
  }

  engine::task<> kernel_op(const KernelOp& step) {
    wire::KernelOpRequest request = step.request;
    if (!step.task.empty()) {
      auto found = co_await host_.find_task(step.task);
      if (!found) co_return found.failure();
      auto& target = std::get<wire::TaskTarget>(request.entries.front().target);
      target.pid = found->pid;
      target.start_time_ns = found->start_time_ns;
    }
    const auto reply = co_await host_.kernel_op(request);
    if (!reply) co_return reply.failure();
    if (!reply->success) co_return fail(reply->reason.empty() ? "the operation failed without a reason" : reply->reason);
    if (step.request.direction != wire::KernelOpRequest::Direction::kRead) co_return engine::ok;
    if (reply->values.size() != step.request.entries.size()) co_return fail("the answer holds no value");
    reads_[step.name] = text_of(reply->values.front());
    co_return engine::ok;
  }

  // The first that cannot be written ends it; what was written before it stays.
  engine::task<> write_together(std::size_t first, std::size_t end) {
    wire::KernelOpRequest request = std::get<KernelOp>(scenario_.steps[first].action).request;
    for (std::size_t i = first + 1; i < end; ++i)
      request.entries.push_back(std::get<KernelOp>(scenario_.steps[i].action).request.entries.front());
    const auto reply = co_await host_.kernel_op(request);
    if (!reply) co_return reply.failure();
    if (reply->success) co_return engine::ok;
    failed_entry_ = entry_of(reply->reason);
    co_return fail(reply->reason.empty() ? "the operation failed without a reason" : reply->reason);
  }

  // "entry 3: there is no symbol x"
  static std::size_t entry_of(std::string_view reason) {
    constexpr std::string_view kBegins = "entry ";
    std::size_t number = 0;
    if (reason.starts_with(kBegins)) std::from_chars(reason.data() + kBegins.size(), reason.data() + reason.size(), number);
    return number;
  }

  engine::task<> capture_procs(const CaptureProcs& step) {
    auto procs = co_await host_.capture_procs(step.name, step.cgroup);
    if (!procs) co_return procs.failure();
    procs_[step.name] = std::move(*procs);
    co_return engine::ok;
  }

  engine::task<> check(const Assert& step) {
    const auto left = co_await value_of(step.left);
    if (!left) co_return left.failure();
    const auto right = co_await value_of(step.right);
    if (!right) co_return right.failure();
    const auto compared = compare(*left, step.relation, *right);
    if (!compared) co_return compared.error();
    co_return engine::ok;
  }

  engine::task<std::string> value_of(const Operand& operand) {
    if (const auto* report = std::get_if<OfReport>(&operand)) {
      auto value = co_await host_.report_value(report->capture, report->path);
      co_return std::move(value);
    }
    if (const auto* read = std::get_if<OfRead>(&operand)) co_return known(reads_, read->name);
    if (const auto* process = std::get_if<OfProcess>(&operand)) co_return known(outcomes_, process->name);
    if (const auto* constant = std::get_if<Constant>(&operand)) co_return constant->text;
    const auto& wanted = std::get<OfProcs>(operand);
    const auto found = procs_.find(wanted.name);
    if (found == procs_.end()) co_return fail("no cgroup.procs were captured as \"" + wanted.name + "\"");
    if (wanted.count) co_return std::to_string(found->second.size());
    co_return fmt::format("{}", fmt::join(found->second, " "));
  }

  static Result<std::string> known(const std::map<std::string, std::string>& values, const std::string& name) {
    const auto found = values.find(name);
    if (found == values.end()) return fail("there is no value of \"" + name + "\"");
    return found->second;
  }

  const Scenario& scenario_;
  ScenarioHost& host_;
  std::map<std::string, std::string> reads_, outcomes_;
  std::map<std::string, std::vector<std::uint32_t>> procs_;
  std::size_t failed_entry_ = 0;  // of steps that were made as one
};

}  // namespace

engine::task<ScenarioOutcome> run_scenario(const Scenario& scenario, ScenarioHost& host) {
  Runner runner(scenario, host);
  auto outcome = co_await runner.run();
  co_return std::move(outcome);
}

}  // namespace floe::freeze::scenario
