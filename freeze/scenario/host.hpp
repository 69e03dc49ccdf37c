// What a scenario does to a guest, one call for each kind of step. The runner knows nothing else of the machine; cli/ has the real one, a
// test makes one up.
//
// A call ends when the step is done, or with an error that says why it could not be. It runs under the step's deadline: the engine stops it
// then, so it must leave things in order when it is cancelled. Arguments live until the call has ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/task.hpp"
#include "freeze/scenario/scenario.hpp"
#include "vmm/wire.hpp"

namespace floe::freeze::scenario {

class ScenarioHost {
 public:
  virtual ~ScenarioHost() = default;

  // Before each step.
  virtual void step_begins(std::size_t index, const Step& step) {
    (void)index;
    (void)step;
  }

  // --- the freeze coordinator's
  virtual engine::task<> capture(const std::string& name) = 0;
  virtual engine::task<> watch(const std::string& symbol) = 0;
  // A reply without success is no error here.
  virtual engine::task<vmm::wire::KernelOpReply> kernel_op(const vmm::wire::KernelOpRequest& request) = 0;
  // Of the task of that name with the lowest number: that, and its start time.
  virtual engine::task<vmm::wire::TaskTarget> find_task(const std::string& name) = 0;
  // A value of a report that was captured under this name, by a capture or a watch, as text.
  virtual engine::task<std::string> report_value(const std::string& capture, const std::string& path) = 0;
  // Of a cgroup below the guest's root; "" is the root. The numbers of the processes in it, kept under the name too.
  virtual engine::task<std::vector<std::uint32_t>> capture_procs(const std::string& name, const std::string& cgroup) = 0;

  // --- the guest's
  virtual engine::task<> start_scheduler(const Program& program) = 0;
  virtual engine::task<> attach_scheduler(const std::string& ops) = 0;
  virtual engine::task<> stop_scheduler() = 0;
  virtual engine::task<> replace_scheduler(const Program& program) = 0;
  virtual engine::task<> spawn(const Workers& workers) = 0;
  virtual engine::task<> run_program(const std::string& name, const Program& program) = 0;
  virtual engine::task<> stop_process(const std::string& name) = 0;
  virtual engine::task<vmm::wire::Outcome> wait_process(const std::string& name) = 0;
  virtual engine::task<> make_cgroup(const MakeCgroup& cgroup) = 0;
  virtual engine::task<> remove_cgroup(const std::string& path) = 0;
};

}  // namespace floe::freeze::scenario
