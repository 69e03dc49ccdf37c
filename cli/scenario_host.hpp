// A scenario's hands on a real run: its guest by requests to init (GuestHost), its captures, watches and kernel operations by the run's
// own.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli/live_watch.hpp"
#include "cli/on_demand.hpp"
#include "freeze/scenario/guest_host.hpp"

namespace floe::cli {

class RunScenarioHost final : public freeze::scenario::GuestHost {
 public:
  struct Run {
    OnDemand& captures;
    LiveWatch& live;
    std::function<void(const std::string& line)> tell;  // of each step, as it begins
  };
  RunScenarioHost(freeze::scenario::GuestControl& control, bool run_has_scheduler, Run run)
      : GuestHost(control, run_has_scheduler), run_(std::move(run)) {}

  void step_begins(std::size_t index, const freeze::scenario::Step& step) override;
  engine::task<> capture(const std::string& name) override;
  engine::task<> watch(const std::string& symbol) override;
  engine::task<vmm::wire::KernelOpReply> kernel_op(const vmm::wire::KernelOpRequest& request) override;
  engine::task<vmm::wire::TaskTarget> find_task(const std::string& name) override;
  engine::task<std::string> report_value(const std::string& capture, const std::string& path) override;

 protected:
  void procs_captured(const std::string& name, const std::string& cgroup, const std::vector<std::uint32_t>& pids) override;

 private:
  Run run_;
};

}  // namespace floe::cli
