#include "freeze/task_named.hpp"

#include <fmt/format.h>

#include "walkers/tasks.hpp"

namespace floe::freeze {

Result<vmm::wire::TaskTarget> task_named(std::string_view name, const walkers::Kernel& tables, const LiveMemory& live) {
  const auto kernel = tables.over(live);
  if (!kernel) return fail("the kernel's page tables are not known");
  const auto start_time = kernel->types().field("task_struct.start_time");
  if (!start_time) return fail(start_time.error());
  const auto table = walkers::tasks(*kernel);
  if (!table) return fail(table.error());
  const walkers::Task* found = nullptr;
  for (const auto& task : table->tasks)
    if (task.comm == name && (found == nullptr || task.pid < found->pid)) found = &task;
  if (found == nullptr) return fail(fmt::format("there is no task named {}", name));
  const auto started = kernel->memory().get_number(found->address, *start_time);
  if (!started) return fail(fmt::format("the start time of {} cannot be read", name));
  vmm::wire::TaskTarget target;
  target.pid = found->pid;
  target.start_time_ns = *started;
  return target;
}

}  // namespace floe::freeze
