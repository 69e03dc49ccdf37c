// What /proc/PID/comm says, which is not always task_struct.comm (fs/proc/array.c:proc_task_name). Private to walkers.
//
// A kernel thread has its unshortened name in struct kthread; a workqueue worker is named after its pool or workqueue and what
// it works on or worked on last (kernel/workqueue.c:wq_worker_comm). Whatever of that is not there or not readable, the name
// falls back to comm, as the kernel's own does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "walkers/kernel.hpp"

namespace floe::walkers {

class TaskNames {
 public:
  explicit TaskNames(const Kernel& kernel);

  // `flags` is task_struct.flags, `comm` its comm.
  std::string name(Kva task, std::uint32_t flags, std::string comm) const;

 private:
  std::string worker_name(Kva kthread, std::string comm) const;
  std::string worker_id(Kva worker, Kva pool, const std::string& comm) const;
  std::optional<Kva> pointer(Kva object, const std::optional<Field>& field) const;

  const KernelMemory& memory_;
  bool formats_ids_ = false;  // the kernel has format_worker_id()
  std::optional<Field> worker_private_, full_name_, data_;
  std::optional<Field> current_work_, desc_, pool_, rescue_wq_, worker_id_;
  std::optional<Field> wq_name_, pool_cpu_, pool_id_, pool_attrs_, attrs_nice_;
};

}  // namespace floe::walkers
