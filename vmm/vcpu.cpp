#include "vmm/vcpu.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <mutex>

namespace floe::vmm {
namespace {

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

constexpr std::uint64_t kSynced = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
constexpr unsigned kMostRefusals = 3;

}  // namespace

void install_kick_signal() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(kick_signal(), &action, nullptr);
  });
}

Result<std::unique_ptr<Vcpu>> Vcpu::create(int vm_fd, std::size_t run_bytes, unsigned index, Gate& gate, Buses buses,
                                           DebugRegisters& watches) {
  auto vcpu = std::unique_ptr<Vcpu>(new Vcpu(gate, buses, watches, index));
  const auto fd = kvm::call(vm_fd, KVM_CREATE_VCPU, static_cast<unsigned long>(index), "KVM_CREATE_VCPU");
  if (!fd) return fail(fd.error());
  vcpu->fd_.reset(*fd);
  void* page = ::mmap(nullptr, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  if (page == MAP_FAILED) return fail_errno(errno, "mapping a vCPU's run page");
  vcpu->run_ = static_cast<kvm_run*>(page);
  vcpu->run_bytes_ = run_bytes;
  vcpu->state_ = std::make_unique<VcpuState>();
  vcpu->msrs_.assign(std::begin(kMsrs), std::end(kMsrs));
  const int synced = ::ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
  vcpu->syncs_registers_ = synced > 0 && (static_cast<std::uint64_t>(synced) & kSynced) == kSynced;
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

pid_t Vcpu::thread_id() const {
  thread_id_.wait(0);
  return thread_id_.load();
}

// Registers are synced only by the run that the kick ends: for each exit it would be too dear.
void Vcpu::request_exit() {
  if (syncs_registers_) __atomic_store_n(&run_->kvm_valid_regs, kSynced, __ATOMIC_RELAXED);
  request_turn();
}

void Vcpu::request_turn() {
  __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

// By the offset, not by the MSR: what is written there near the time of day KVM takes for an attempt to synchronize (kvm_synchronize_tsc).
void Vcpu::turn_back_tsc(std::chrono::nanoseconds stood) {
  std::uint64_t offset = 0;
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uint64_t>(&offset);
  const int khz = ::ioctl(fd(), KVM_GET_TSC_KHZ, 0);
  if (khz <= 0 || ::ioctl(fd(), KVM_GET_DEVICE_ATTR, &attribute) != 0) return;
  offset -= static_cast<std::uint64_t>(stood.count()) * static_cast<unsigned>(khz) / 1'000'000;
  ::ioctl(fd(), KVM_SET_DEVICE_ATTR, &attribute);
}

void Vcpu::signal() {
  if (thread_.joinable()) ::pthread_kill(thread_.native_handle(), kick_signal());
}

std::chrono::nanoseconds Vcpu::cpu_time() {
  clockid_t clock{};
  timespec spent{};
  if (::pthread_getcpuclockid(thread_.native_handle(), &clock) != 0 || ::clock_gettime(clock, &spent) != 0) return {};
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

void Vcpu::run() {
  thread_id_.store(::gettid());
  thread_id_.notify_all();
  while (!gate_.stopping()) {
    const std::uint32_t epoch = gate_.epoch();
    if (Gate::frozen(epoch))
      park(epoch);
    else if (ended_.load(std::memory_order_relaxed))
      gate_.wait_while(epoch);
    else {
      if (!watches_.unused()) arm_watches();
      enter();
    }
  }
}

// What is watched now, when that has changed. Without any watch the guest has its debug registers back.
void Vcpu::arm_watches() {
  const DebugAddresses wanted = watches_.requested();
  if (wanted == armed_ || watches_refused_ >= kMostRefusals) return;
  kvm_guest_debug debug{};
  if (wanted != DebugAddresses{}) debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
  for (std::size_t slot = 0; slot < kDebugSlots; ++slot) debug.arch.debugreg[slot] = wanted[slot];
  debug.arch.debugreg[7] = debug_control(wanted);
  if (::ioctl(fd(), KVM_SET_GUEST_DEBUG, &debug) == 0) {
    armed_ = wanted;
    watches_refused_ = 0;
  } else if (errno != EINTR) {
    ++watches_refused_;
    watches_.note_refusal();
  }
}

void Vcpu::enter() {
  counters_.runs.fetch_add(1, std::memory_order_relaxed);
  const int r = ::ioctl(fd(), KVM_RUN, 0);
  access_pending_ = r == 0 && (run_->exit_reason == KVM_EXIT_IO || run_->exit_reason == KVM_EXIT_MMIO);
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
  stopped_at_ = Clock::now();
  if (!ended_.load(std::memory_order_relaxed)) finish_pending_access();
  const bool capture = gate_.capture();
  if (capture) capture_own();
  stopped_epoch_.store(epoch, std::memory_order_release);
  gate_.stopped().cross(epoch);
  gate_.stopped().wait(epoch, Clock::time_point::max());
  if (capture) capture_shared();
  parked_at_ = Clock::now();
  counters_.parks.fetch_add(1, std::memory_order_relaxed);
  parked_epoch_.store(epoch, std::memory_order_release);
  gate_.parked().cross(epoch);
  gate_.wait_while(epoch);
  leave();
}

void Vcpu::leave() {
  if (syncs_registers_) {
    run_->s.regs.sregs.cr0 = 0;
    __atomic_store_n(&run_->kvm_valid_regs, 0, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST);
  const auto now = Clock::now();
  // Just before it runs again: tells the guest's watchdogs that the time which passed was not its own. Not after each pause: a watchdog
  // that is told every second never barks. Fails harmlessly when the guest has no kvmclock (yet).
  if (now - stopped_at_ >= kLongPause) ::ioctl(fd(), KVM_KVMCLOCK_CTRL, 0);
  resumed_at_.store(now.time_since_epoch().count(), std::memory_order_release);
}

// An exit to user space for port I/O or MMIO is finished by the next KVM_RUN; until then RIP and RAX are those of before it.
// With immediate_exit set that run does only this much. A wide or string access may ask for more pieces first.
void Vcpu::finish_pending_access() {
  constexpr int kMostPieces = 4096;
  for (int piece = 0; access_pending_ && piece < kMostPieces; ++piece) {
    request_exit();
    access_pending_ = ::ioctl(fd(), KVM_RUN, 0) == 0;  // EINTR: nothing is pending any more
    if (access_pending_ && !handle_exit()) return;
  }
}

// One ioctl for a part of the state; what KVM refuses is a bit in `missing`.
void Vcpu::get(unsigned part, unsigned long request, void* into) {
  if (::ioctl(fd(), request, into) < 0) state_->missing |= 1u << part;
}

// What only this vCPU's own run changes.
void Vcpu::capture_own() {
  VcpuState& s = *state_;
  s.missing = 0;
  // cr0 of a CPU is never 0 (ET is wired to 1): leave() has put it there to tell whether a run has synced the registers since.
  if (syncs_registers_ && run_->s.regs.sregs.cr0 != 0) {
    s.regs = run_->s.regs.regs;
    s.sregs = run_->s.regs.sregs;
  } else {
    get(0, KVM_GET_REGS, &s.regs);
    get(1, KVM_GET_SREGS, &s.sregs);
  }
  get(4, KVM_GET_DEBUGREGS, &s.debugregs);
  get(5, KVM_GET_XCRS, &s.xcrs);
  get(7, kvm::kGetXsave, s.xsave.data());
  capture_msrs();
}

// What another vCPU's interrupt changes.
void Vcpu::capture_shared() {
  VcpuState& s = *state_;
  get(2, KVM_GET_VCPU_EVENTS, &s.events);
  get(3, KVM_GET_MP_STATE, &s.mp_state);
  get(6, KVM_GET_LAPIC, &s.lapic);
}

// KVM stops at the first MSR it does not know and returns how many it read: that one is not asked for again.
void Vcpu::capture_msrs() {
  struct {
    std::uint32_t count = 0, flags = 0;
    kvm_msr_entry entries[std::size(kMsrs)] = {};
  } request;
  kvm::MsrTable& table = state_->msrs;
  table.count = 0;
  for (std::size_t next = 0; next < msrs_.size();) {
    request.count = static_cast<std::uint32_t>(msrs_.size() - next);
    for (std::uint32_t i = 0; i < request.count; ++i) request.entries[i].index = msrs_[next + i];
    const int read = ::ioctl(fd(), kvm::kGetMsrs, &request);
    const std::uint32_t got = read > 0 ? static_cast<std::uint32_t>(read) : 0;
    for (std::uint32_t i = 0; i < got; ++i) table.entries[table.count++] = request.entries[i];
    next += got;
    if (got < request.count) msrs_.erase(msrs_.begin() + static_cast<std::ptrdiff_t>(next));
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
      return true;
    case KVM_EXIT_DEBUG:
      watches_.note(run_->debug.arch.dr6, armed_);
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
