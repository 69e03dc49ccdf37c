#include "vmm/vcpu.hpp"

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <mutex>

namespace floe::vmm {
namespace {

long futex(const std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) {
  return ::syscall(SYS_futex, reinterpret_cast<const std::uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

int kick_signal() {
  return SIGRTMIN;
}

// The architectural MSRs a kernel sets; with the ones KVM keeps for its paravirtual clock they let a guest be resumed.
constexpr std::uint32_t kMsrs[] = {
    0x10,                                                        // TSC
    0x174,      0x175,      0x176,                               // SYSENTER_CS/ESP/EIP
    0x1a0,                                                       // MISC_ENABLE
    0x277,                                                       // PAT
    0x2ff,                                                       // MTRRdefType
    0x3b,                                                        // TSC_ADJUST
    0x6e0,                                                       // TSC_DEADLINE
    0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,  // EFER, STAR, LSTAR, CSTAR, FMASK
    0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103,              // FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX
    0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04,  // KVM: wall clock, system time, async PF, steal time, PV EOI
};

}  // namespace

void install_kick_signal() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(kick_signal(), &action, nullptr);
  });
}

std::uint32_t Gate::advance() {
  const std::uint32_t now = epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
  futex(epoch_, FUTEX_WAKE, INT_MAX, nullptr);
  return now;
}

void Gate::stop() {
  stopping_.store(true, std::memory_order_release);
  epoch_.fetch_add(2, std::memory_order_seq_cst);  // keeps its parity, but no longer equals what anybody waits on
  futex(epoch_, FUTEX_WAKE, INT_MAX, nullptr);
}

void Gate::wait_while(std::uint32_t seen) const {
  while (epoch() == seen && !stopping()) futex(epoch_, FUTEX_WAIT, seen, nullptr);
}

void Gate::acknowledge() {
  acks_.fetch_add(1, std::memory_order_release);
  futex(acks_, FUTEX_WAKE, 1, nullptr);
}

void Gate::wait_acknowledgement(std::uint32_t seen, std::chrono::nanoseconds at_most) const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at_most);
  const timespec timeout{seconds.count(), (at_most - seconds).count()};
  if (acknowledgements() == seen && at_most.count() > 0) futex(acks_, FUTEX_WAIT, seen, &timeout);
}

Result<std::unique_ptr<Vcpu>> Vcpu::create(int vm_fd, std::size_t run_bytes, unsigned index, Gate& gate, Buses buses) {
  auto vcpu = std::unique_ptr<Vcpu>(new Vcpu(gate, buses, index));
  const auto fd = kvm::call(vm_fd, KVM_CREATE_VCPU, static_cast<unsigned long>(index), "KVM_CREATE_VCPU");
  if (!fd) return fail(fd.error());
  vcpu->fd_.reset(*fd);
  void* page = ::mmap(nullptr, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  if (page == MAP_FAILED) return fail_errno(errno, "mapping a vCPU's run page");
  vcpu->run_ = static_cast<kvm_run*>(page);
  vcpu->run_bytes_ = run_bytes;
  vcpu->state_ = std::make_unique<VcpuState>();
  return vcpu;
}

Vcpu::~Vcpu() {
  join();
  if (run_) ::munmap(run_, run_bytes_);
}

void Vcpu::start(std::function<void(const VcpuEvent&)> on_event) {
  on_event_ = std::move(on_event);
  install_kick_signal();
  // The thread takes no signal but the kick: SIGINT and its kind belong to the main thread.
  sigset_t all, old;
  ::sigfillset(&all);
  ::sigdelset(&all, kick_signal());
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ::pthread_setname_np(thread_.native_handle(), ("vcpu" + std::to_string(index_)).c_str());
}

void Vcpu::join() {
  if (thread_.joinable()) thread_.join();
}

void Vcpu::request_exit() {
  __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

void Vcpu::signal() {
  if (thread_.joinable()) ::pthread_kill(thread_.native_handle(), kick_signal());
}

void Vcpu::run() {
  while (!gate_.stopping()) {
    const std::uint32_t epoch = gate_.epoch();
    if (Gate::frozen(epoch))
      park(epoch);
    else if (ended_.load(std::memory_order_relaxed))
      gate_.wait_while(epoch);
    else
      enter();
  }
}

void Vcpu::enter() {
  counters_.runs.fetch_add(1, std::memory_order_relaxed);
  const int r = ::ioctl(fd(), KVM_RUN, 0);
  if (r == 0) {
    handle_exit();
    return;
  }
  if (errno == EINTR || errno == EAGAIN) {
    // Cleared here and nowhere else: a kick that came before this point is seen at the gate on the next turn of the loop.
    __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST);
    counters_.kicks.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  end(VcpuEvent::Kind::kFatal, "KVM_RUN failed: " + std::string(std::strerror(errno)));
}

void Vcpu::park(std::uint32_t epoch) {
  if (!ended_.load(std::memory_order_relaxed)) finish_pending_access();
  capture();
  parked_at_ = Clock::now();
  counters_.parks.fetch_add(1, std::memory_order_relaxed);
  parked_epoch_.store(epoch, std::memory_order_release);
  gate_.acknowledge();
  gate_.wait_while(epoch);
  __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST);
  // Just before it runs again: tells the guest's watchdogs that the time which passed was not its own. Fails harmlessly when the
  // guest has no kvmclock (yet).
  ::ioctl(fd(), KVM_KVMCLOCK_CTRL, 0);
}

// An exit to user space for port I/O or MMIO is finished by the next KVM_RUN; until then RIP and RAX are those of before it.
// With immediate_exit set that run does only this much. A wide or string access may ask for more pieces first.
void Vcpu::finish_pending_access() {
  constexpr int kMostPieces = 4096;
  for (int piece = 0; piece < kMostPieces; ++piece) {
    request_exit();
    if (::ioctl(fd(), KVM_RUN, 0) != 0) return;  // EINTR: nothing is pending any more
    if (!handle_exit()) return;
  }
}

void Vcpu::capture() {
  VcpuState& s = *state_;
  s.missing = 0;
  unsigned part = 0;
  const auto get = [&](unsigned long request, void* into) {
    if (::ioctl(fd(), request, into) < 0) s.missing |= 1u << part;
    ++part;
  };
  get(KVM_GET_REGS, &s.regs);
  get(KVM_GET_SREGS, &s.sregs);
  get(KVM_GET_VCPU_EVENTS, &s.events);
  get(KVM_GET_MP_STATE, &s.mp_state);
  get(KVM_GET_DEBUGREGS, &s.debugregs);
  get(KVM_GET_XCRS, &s.xcrs);
  get(KVM_GET_LAPIC, &s.lapic);
  get(kvm::kGetXsave, s.xsave.data());
  capture_msrs();
}

// KVM stops at the first MSR it does not know and returns how many it read: step over that one and go on.
void Vcpu::capture_msrs() {
  struct {
    std::uint32_t count = 0, flags = 0;
    kvm_msr_entry entries[std::size(kMsrs)] = {};
  } request;
  kvm::MsrTable& table = state_->msrs;
  table.count = 0;
  for (std::uint32_t next = 0; next < std::size(kMsrs);) {
    request.count = static_cast<std::uint32_t>(std::size(kMsrs)) - next;
    for (std::uint32_t i = 0; i < request.count; ++i) request.entries[i].index = kMsrs[next + i];
    const int read = ::ioctl(fd(), kvm::kGetMsrs, &request);
    const std::uint32_t got = read > 0 ? static_cast<std::uint32_t>(read) : 0;
    for (std::uint32_t i = 0; i < got; ++i) table.entries[table.count++] = request.entries[i];
    next += got + 1;
  }
}

// False when the vCPU cannot go on.
bool Vcpu::handle_exit() {
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      handle_port_io();
      return true;
    case KVM_EXIT_MMIO:
      handle_mmio();
      return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_HLT:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_DEBUG:
      return true;
    case KVM_EXIT_SHUTDOWN:
      end(VcpuEvent::Kind::kTripleFault, "triple fault");
      return false;
    case KVM_EXIT_INTERNAL_ERROR:
      end(VcpuEvent::Kind::kFatal, "KVM internal error, suberror " + std::to_string(run_->internal.suberror));
      return false;
    case KVM_EXIT_FAIL_ENTRY:
      end(VcpuEvent::Kind::kFatal,
          "the CPU refused to enter the guest, reason " + std::to_string(run_->fail_entry.hardware_entry_failure_reason));
      return false;
    default:
      end(VcpuEvent::Kind::kFatal, "unexpected KVM exit reason " + std::to_string(run_->exit_reason));
      return false;
  }
}

void Vcpu::handle_port_io() {
  counters_.port_io.fetch_add(1, std::memory_order_relaxed);
  const auto& io = run_->io;
  auto* data = reinterpret_cast<std::byte*>(run_) + io.data_offset;
  for (std::uint32_t i = 0; i < io.count; ++i, data += io.size) {
    const bool claimed =
        io.direction == KVM_EXIT_IO_OUT ? buses_.ports->write(io.port, {data, io.size}) : buses_.ports->read(io.port, {data, io.size});
    if (!claimed) counters_.unclaimed.fetch_add(1, std::memory_order_relaxed);
  }
}

void Vcpu::handle_mmio() {
  counters_.mmio.fetch_add(1, std::memory_order_relaxed);
  auto& mmio = run_->mmio;
  auto* data = reinterpret_cast<std::byte*>(mmio.data);
  const std::size_t size = std::min<std::size_t>(mmio.len, sizeof mmio.data);
  const bool claimed = mmio.is_write ? buses_.mmio->write(mmio.phys_addr, {data, size}) : buses_.mmio->read(mmio.phys_addr, {data, size});
  if (!claimed) counters_.unclaimed.fetch_add(1, std::memory_order_relaxed);
}

void Vcpu::end(VcpuEvent::Kind kind, std::string detail) {
  ended_.store(true, std::memory_order_relaxed);
  kvm_regs regs{};
  if (::ioctl(fd(), KVM_GET_REGS, &regs) == 0) {
    char at[40];
    std::snprintf(at, sizeof at, " at rip 0x%llx", static_cast<unsigned long long>(regs.rip));
    detail += at;
  }
  if (on_event_) on_event_({kind, index_, std::move(detail)});
}

}  // namespace floe::vmm
