// The half of a ScenarioHost that is the guest's: schedulers, workers, programs and cgroups, by requests to init. Whoever has the other
// half, the freeze coordinator's, derives from this.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/clock.hpp"
#include "freeze/scenario/guest_control.hpp"
#include "freeze/scenario/host.hpp"

namespace floe::freeze::scenario {

class GuestHost : public ScenarioHost {
 public:
  // `control` outlives this. `run_has_scheduler`: the run was given one, which can be stopped and replaced too.
  GuestHost(GuestControl& control, bool run_has_scheduler);

  // An override calls this one too: it knows the deadline from here.
  void step_begins(std::size_t index, const Step& step) override;

  engine::task<> start_scheduler(const Program& program) override;
  engine::task<> attach_scheduler(const std::string& ops) override;
  engine::task<> stop_scheduler() override;
  engine::task<> replace_scheduler(const Program& program) override;
  engine::task<> spawn(const Workers& workers) override;
  engine::task<> run_program(const std::string& name, const Program& program) override;
  engine::task<> stop_process(const std::string& name) override;
  engine::task<vmm::wire::Outcome> wait_process(const std::string& name) override;
  engine::task<> make_cgroup(const MakeCgroup& cgroup) override;
  engine::task<> remove_cgroup(const std::string& path) override;
  engine::task<std::vector<std::uint32_t>> capture_procs(const std::string& name, const std::string& cgroup) override;

 protected:
  // What capture_procs() found, for the record.
  virtual void procs_captured(const std::string& name, const std::string& cgroup, const std::vector<std::uint32_t>& pids) = 0;

 private:
  engine::task<> await_state(const char* state);
  engine::task<> end(std::uint32_t process, std::chrono::nanoseconds grace);
  engine::task<> enable_controllers(const std::string& path, const std::string& controllers);
  engine::task<> write(std::string path, std::string text);
  engine::task<std::uint32_t> start(const Program& program, vmm::wire::StartProcess::Role role);
  std::uint32_t milliseconds_left() const;
  Result<std::uint32_t> find(const std::string& name) const;

  GuestControl& control_;
  std::optional<std::uint32_t> scheduler_;
  std::map<std::string, std::uint32_t, std::less<>> names_;
  engine::time_point until_;  // of this step
};

}  // namespace floe::freeze::scenario
