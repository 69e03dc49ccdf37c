// The user's side of floe_maps: what it fills, and what it can say about the task storage, which no bpftool shows.
#pragma once

#include "bpf/schedulers/loader.hpp"

namespace floe::schedulers {

void prepare_maps(Scheduler& scheduler, std::uint64_t seed);  // before load(): .rodata
void fill_maps(Scheduler& scheduler, std::uint64_t seed);     // after load()

// Numbered reports of the task storage, one line each:
//
//   TASKS n {"tasks":[{"pid":1,"tgid":1,"value_hex":"..."},...]}
//
// value_hex is struct task_entry as a lookup by the thread's pidfd gives it. While the program makes report n and until the next it calls
// itself maps-n, so a snapshot shows between which reports it was taken.
class TaskReports {
 public:
  explicit TaskReports(Scheduler& scheduler) : scheduler_(scheduler) {}
  void print();

 private:
  Scheduler& scheduler_;
  int number_ = 0;
};

}  // namespace floe::schedulers
