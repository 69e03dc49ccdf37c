#include "vmm/guest/own_class.hpp"

#include <sched.h>

#include <cerrno>

#include "vmm/guest/console.hpp"

namespace floe::vmm::guest {
namespace {

constexpr int kOfInit = 2;
constexpr int kOfChild = 1;

// It may have been refused, and tests are no init.
bool outside() {
  return (::sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_FIFO;
}

}  // namespace

Result<> leave_the_scheduler_under_test() {
  const sched_param priority{.sched_priority = kOfInit};
  if (::sched_setscheduler(0, SCHED_FIFO, &priority) == 0) return {};
  return fail(with_errno("init stays under the scheduler under test", errno));
}

void stand_below_init() {
  const sched_param priority{.sched_priority = kOfChild};
  if (outside()) ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
}

void put_under_the_scheduler_under_test(pid_t child) {
  const sched_param none{.sched_priority = 0};
  if (outside()) ::sched_setscheduler(child, SCHED_OTHER, &none);
}

}  // namespace floe::vmm::guest
