#include "cli/scenario_host.hpp"

#include <fmt/format.h>

#include "freeze/dump/json.hpp"
#include "freeze/dump/path.hpp"
#include "freeze/scenario/run.hpp"

namespace floe::cli {

void RunScenarioHost::step_begins(std::size_t index, const freeze::scenario::Step& step) {
  GuestHost::step_begins(index, step);
  run_.captures.set_step(static_cast<std::uint16_t>(index));
  run_.tell(fmt::format("step {}: {}", index, freeze::scenario::describe(step.action)));
}

engine::task<> RunScenarioHost::capture(const std::string& name) {
  auto made = co_await run_.captures.capture(freeze::Cause::kScenario, name);
  if (!made) co_return made.failure();
  if (!made->ok) co_return Error(made->reason);
  co_return engine::ok;
}

engine::task<> RunScenarioHost::watch(const std::string& symbol) {
  auto watched = co_await run_.live.watch(symbol);
  co_return std::move(watched);
}

engine::task<vmm::wire::KernelOpReply> RunScenarioHost::kernel_op(const vmm::wire::KernelOpRequest& request) {
  auto done = co_await run_.live.kernel_op(request);
  if (done) run_.captures.bridge().record_kernel_op(request.tag, *done);
  co_return std::move(done);
}

engine::task<vmm::wire::TaskTarget> RunScenarioHost::find_task(const std::string& name) {
  auto found = co_await run_.live.find_task(name);
  co_return std::move(found);
}

engine::task<std::string> RunScenarioHost::report_value(const std::string& capture, const std::string& path) {
  const auto report = run_.captures.bridge().find(capture);
  if (!report) co_return Error("no capture named " + capture);
  const auto found = freeze::dump::find(freeze::dump::to_json(*report), path);
  if (!found) co_return Error(found.error().message);
  co_return std::string(found->text);
}

void RunScenarioHost::procs_captured(const std::string& name, const std::string& cgroup, const std::vector<std::uint32_t>& pids) {
  freeze::CgroupProcs procs{name, cgroup, {pids.begin(), pids.end()}};
  run_.captures.bridge().record_cgroup_procs(std::move(procs));
}

}  // namespace floe::cli
