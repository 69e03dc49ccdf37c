// Init stands outside of the scheduler under test: one that starves tasks must not starve who answers the host. Every real-time task runs
// before those of sched_ext. What init starts is of the ordinary class again, but not before it is its program: until then it is a copy of
// init, for which init waits.
#pragma once

#include <sys/types.h>

#include "base/result.hpp"

namespace floe::vmm::guest {

// Init, once.
Result<> leave_the_scheduler_under_test();

// In a child of init, between fork() and exec(): below init, which so gets to put_under_the_scheduler_under_test() whatever the program
// does; what the program starts until then is of the ordinary class. One system call or two.
void stand_below_init();

// Init, of a child that has become its program. Its nice value stays.
void put_under_the_scheduler_under_test(pid_t child);

}  // namespace floe::vmm::guest
