// A virtqueue's notifications as an eventfd (KVM_IOEVENTFD). The guest's store is counted inside the kernel and the vCPU goes on at once;
// whoever waits on the descriptor serves the queue on its own thread. Without it each notification is an exit to user space, and the
// vCPU's thread serves the queue while the guest stands still.
//
// Which is cheaper depends on the host, above all on whether the waiting thread has a CPU of its own: notify_by_event() decides.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/fd.hpp"
#include "base/may_block.hpp"
#include "base/result.hpp"
#include "vmm/virtio_pci.hpp"

namespace floe::vmm {

class QueueEvent {
 public:
  // Follows the queue from now on: bound while the driver can notify it, wherever its BAR is. Takes the function's rebind callback;
  // `vm_fd` and `function` outlive it, and no vCPU runs at its beginning or end.
  static Result<std::unique_ptr<QueueEvent>> create(int vm_fd, VirtioPci& function, unsigned queue);
  ~QueueEvent();
  QueueEvent(const QueueEvent&) = delete;
  QueueEvent& operator=(const QueueEvent&) = delete;

  // Readable when the guest notified. A blocking eventfd: its reader, one at a time, calls serve() after each read.
  int fd() const { return event_.get(); }
  void serve() { function_.handle_notify(queue_); }

  // Where the guest's stores are caught at the moment; nothing: they are exits. Any thread.
  std::optional<std::uint64_t> bound_at();
  std::uint64_t refused();  // times that KVM would not bind: those notifications are exits

 private:
  QueueEvent(int vm_fd, VirtioPci& function, unsigned queue) : vm_fd_(vm_fd), function_(function), queue_(queue) {}
  void rebind();
  bool assign(std::uint64_t address, bool bind) const;

  const int vm_fd_;
  VirtioPci& function_;
  const unsigned queue_;
  UniqueFd event_;
  Checked<std::mutex> mutex_;
  std::optional<std::uint64_t> bound_;
  std::uint64_t refused_ = 0;
};

// CPUs that this process may use.
unsigned usable_cpus();
// Measured with the tiny guest's frames (bench_freeze, rows tlv): with two CPUs an event is up to 8 times cheaper than an exit, and no
// dearer when vCPUs keep both busy; on one CPU each event is two context switches, and exits win by 6 to 17 %.
inline bool notify_by_event(unsigned cpus) {
  return cpus >= 2;
}

}  // namespace floe::vmm
