#include "vmm/queue_event.hpp"

#include <sched.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "vmm/kvm.hpp"

namespace floe::vmm {

Result<std::unique_ptr<QueueEvent>> QueueEvent::create(int vm_fd, VirtioPci& function, unsigned queue) {
  auto made = std::unique_ptr<QueueEvent>(new QueueEvent(vm_fd, function, queue));
  made->event_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!made->event_) return fail_errno(errno, "eventfd for a virtqueue's notifications");
  function.set_rebind_callback([raw = made.get()] { raw->rebind(); });
  made->rebind();
  return made;
}

QueueEvent::~QueueEvent() {
  function_.set_rebind_callback({});
  const std::lock_guard lock(mutex_);
  if (bound_) assign(*bound_, false);
}

bool QueueEvent::assign(std::uint64_t address, bool bind) const {
  kvm_ioeventfd binding{};
  binding.addr = address;
  binding.len = 2;  // what a driver's notification is; any other width is an exit
  binding.fd = event_.get();
  binding.flags = bind ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN;
  return ::ioctl(vm_fd_, KVM_IOEVENTFD, &binding) == 0;
}

// On a vCPU's thread; calls may overlap. Asking for the address under our lock makes the last call see the last state.
void QueueEvent::rebind() {
  const std::lock_guard lock(mutex_);
  const auto wanted = function_.notify_address(queue_);
  if (wanted == bound_) return;
  if (bound_) assign(*bound_, false);
  bound_.reset();
  if (!wanted) return;
  if (assign(*wanted, true))
    bound_ = wanted;
  else
    ++refused_;
}

std::optional<std::uint64_t> QueueEvent::bound_at() {
  const std::lock_guard lock(mutex_);
  return bound_;
}

std::uint64_t QueueEvent::refused() {
  const std::lock_guard lock(mutex_);
  return refused_;
}

unsigned usable_cpus() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

}  // namespace floe::vmm
