// What `floe show` prints besides the task table when asked to: the kernel's log, and the kernel stacks of tasks.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <optional>

#include "cli/memory_source.hpp"
#include "walkers/kernel.hpp"
#include "walkers/tasks.hpp"

namespace floe::cli {

struct ShowOptions {
  bool log = false;
  bool stacks = false;
  std::optional<std::int32_t> task;  // only the stacks of this process, or of this thread
};

// What both need: the memory, the kernel and the tasks in it, and when to stop.
struct ShownKernel {
  const MemorySource& source;
  const walkers::Kernel& kernel;
  const walkers::TaskTable& tasks;
  std::chrono::steady_clock::time_point deadline;
};

// As dmesg prints it.
void print_log(const ShownKernel& shown);

// A paragraph for each task.
void print_stacks(const ShownKernel& shown, const ShowOptions& options);

// `kernel_log` and `stacks`, those that the options ask for; where one is not to be had it is null, and `..._unavailable` says why.
void add_kernel_sections(boost::json::object& document, const ShownKernel& shown, const ShowOptions& options);

}  // namespace floe::cli
