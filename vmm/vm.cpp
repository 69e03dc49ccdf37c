#include "vmm/vm.hpp"

#include "vmm/cpuid.hpp"
#include "vmm/layout.hpp"

namespace floe::vmm {

Result<std::unique_ptr<Vm>> Vm::create(const VmOptions& options) {
  if (options.cpus == 0) return fail("a machine needs at least one vCPU");
  auto vm = std::unique_ptr<Vm>(new Vm);
  auto device = kvm::open_device();
  if (!device) return fail(std::move(device.error()));
  vm->kvm_ = std::move(*device);
  const int most = ::ioctl(vm->kvm_.get(), KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
  if (most > 0 && options.cpus > static_cast<unsigned>(most))
    return fail("this host's KVM runs at most " + std::to_string(most) + " vCPUs in a machine, " + std::to_string(options.cpus) +
                " were asked for");
  const auto fd = kvm::call(vm->kvm_.get(), KVM_CREATE_VM, 0ul, "KVM_CREATE_VM");
  if (!fd) return fail(fd.error());
  vm->vm_.reset(*fd);
  auto ram = GuestRam::create(options.memory_bytes);
  if (!ram) return fail(std::move(ram.error()));
  vm->ram_ = std::move(*ram);
  for (auto step : {vm->create_chips(), vm->map_memory(), vm->create_vcpus(options.cpus)})
    if (!step) return fail(std::move(step.error()));
  return vm;
}

Vm::~Vm() {
  stop();
}

// All of this comes before the first vCPU: a vCPU created earlier would have no in-kernel APIC.
Result<> Vm::create_chips() {
  const int fd = vm_.get();
  std::uint64_t identity_map = layout::kIdentityMap;
  ::ioctl(fd, KVM_SET_TSS_ADDR, layout::kTss);  // both matter to VMX without unrestricted guest only
  ::ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
  const auto chips = kvm::call(fd, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
  if (!chips) return fail(chips.error());
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;  // the kernel answers port 0x61 as well
  const auto timer = kvm::call(fd, KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2");
  if (!timer) return fail(timer.error());
  irqs_ = std::make_unique<IrqRouting>(fd);
  return {};
}

Result<> Vm::map_memory() {
  for (std::size_t i = 0; i < ram_->regions().size(); ++i) {
    const RamRegion& region = ram_->regions()[i];
    kvm_userspace_memory_region slot{};
    slot.slot = memory_slot(i);
    slot.guest_phys_addr = region.start.value;
    slot.memory_size = region.bytes;
    slot.userspace_addr = reinterpret_cast<std::uint64_t>(region.host);
    const auto mapped = kvm::call(vm_.get(), KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
    if (!mapped) return fail(mapped.error());
  }
  return {};
}

Result<> Vm::create_vcpus(unsigned cpus) {
  const auto run_bytes = kvm::call(kvm_.get(), KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
  if (!run_bytes) return fail(run_bytes.error());
  const auto supported = supported_cpuid(kvm_.get());
  if (!supported) return fail(supported.error());
  for (unsigned index = 0; index < cpus; ++index) {
    auto vcpu = Vcpu::create(vm_.get(), static_cast<std::size_t>(*run_bytes), index, gate_, {&ports_, &mmio_}, debug_registers_);
    if (!vcpu) return fail(std::move(vcpu.error()));
    kvm::CpuidTable cpuid = cpuid_for(*supported, index, cpus);
    const auto told = kvm::call((*vcpu)->fd(), kvm::kSetCpuid2, &cpuid, "KVM_SET_CPUID2");
    if (!told) return fail(told.error());
    // Nested SVM under QEMU does not exit on XSETBV, so KVM there would go on believing in XCR0 = 1 and the guest's FPU set-up
    // would fail its own check. Preset to what the guest will write anyway, both agree; elsewhere it changes nothing.
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = allowed_xcr0(cpuid);
    if (xcrs.xcrs[0].value) ::ioctl((*vcpu)->fd(), KVM_SET_XCRS, &xcrs);
    kvm::MsrTable msrs;
    msrs.count = 1;
    msrs.entries[0] = {0x2ff, 0, 0x806};  // MTRRdefType: enabled, write-back, as firmware leaves it
    ::ioctl((*vcpu)->fd(), kvm::kSetMsrs, &msrs);
    vcpus_.push_back(std::move(*vcpu));
  }
  return {};
}

void Vm::start(std::function<void(const VcpuEvent&)> on_event) {
  running_ = true;
  for (auto& vcpu : vcpus_) vcpu->start(on_event);
  debug_registers_.set_kick([this] { kick_all(); });
}

void Vm::stop() {
  if (!running_) return;
  running_ = false;
  gate_.stop();
  kick_all();
  for (auto& vcpu : vcpus_) vcpu->join();
}

// Two passes: every run page first, then every signal, so that the vCPUs come in parallel.
void Vm::kick(std::uint32_t epoch) {
  for (auto& vcpu : vcpus_)
    if (vcpu->stopped_epoch() != epoch) vcpu->request_exit();
  for (auto& vcpu : vcpus_)
    if (vcpu->stopped_epoch() != epoch) vcpu->signal();
}

void Vm::kick_all() {
  for (auto& vcpu : vcpus_) vcpu->request_turn();
  for (auto& vcpu : vcpus_) vcpu->signal();
}

bool Vm::stop_vcpus(Clock::time_point deadline) {
  gave_up_ = false;
  stands_since_.reset();
  const std::uint32_t epoch = gate_.close(cpus());
  for (auto now = Clock::now();; ++rekicks_) {
    kick(epoch);
    const bool stopped = gate_.stopped().wait(epoch, std::min(deadline, now + rekick_after_));
    now = Clock::now();
    if (stopped) {
      stands_since_ = now;
      return true;
    }
    gave_up_ = give_up_ && give_up_();
    if (gave_up_ || now >= deadline) return false;
  }
}

bool Vm::await_states(Clock::time_point deadline) {
  return gate_.parked().wait(gate_.epoch(), deadline);
}

// A vCPU that still ran (stands_since_ is empty) has seen the time pass: nothing is turned back then.
//
// By KVM_CLOCK_REALTIME KVM itself makes up for what passes between the two ioctls. It comes with a clock that guests read without a
// check against their last reading; without it they check (pvclock_clocksource_read, last_value).
void Vm::turn_back_clocks() {
  const auto stood = Clock::now() - *stands_since_;
  kvm_clock_data clock{};
  if (::ioctl(fd(), KVM_GET_CLOCK, &clock) != 0) return;
  for (auto& vcpu : vcpus_) vcpu->turn_back_tsc(stood);
  clock.clock -= std::min(clock.clock, static_cast<__u64>(stood.count()));
  clock.flags &= KVM_CLOCK_REALTIME;
  ::ioctl(fd(), KVM_SET_CLOCK, &clock);
}

Clock::time_point Vm::thaw() {
  const auto began = Clock::now();
  if (stands_since_ && began - *stands_since_ >= kLongPause) turn_back_clocks();
  gate_.open();
  auto last = began;
  for (const auto& vcpu : vcpus_) {
    const auto resumed = vcpu->resumed_at();
    if (resumed < began) return Clock::now();
    last = std::max(last, resumed);
  }
  return last;
}

}  // namespace floe::vmm
