#include "tests/tiny/guest.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <thread>

#include "tests/tiny/image.hpp"
#include "vmm/probe.hpp"
#include "vmm/registers.hpp"

namespace floe::tiny {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kPresent = 1, kWrite = 2, kUser = 4, kLarge = 0x80, kUncached = 0x18;  // page table bits

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment s{};
  s.selector = selector;
  s.limit = 0xffffffff;
  s.type = type;
  s.present = 1;
  s.dpl = selector & 3;
  s.s = 1;
  s.l = code;
  s.db = !code;
  s.g = 1;
  return s;
}

// The same in a descriptor table.
constexpr std::uint64_t kCode0Descriptor = 0x00af9b000000ffff, kData0Descriptor = 0x00cf93000000ffff;
constexpr std::uint64_t kCode3Descriptor = 0x00affb000000ffff, kData3Descriptor = 0x00cff3000000ffff;

struct Gate {
  std::uint16_t offset_low, selector;
  std::uint8_t stack, type;
  std::uint16_t offset_middle;
  std::uint32_t offset_high, reserved;
};
static_assert(sizeof(Gate) == 16);

Gate gate(std::uint64_t handler) {
  constexpr std::uint8_t kInterruptGate = 0x8e;
  return {static_cast<std::uint16_t>(handler),       TINY_CODE0, 0, kInterruptGate, static_cast<std::uint16_t>(handler >> 16),
          static_cast<std::uint32_t>(handler >> 32), 0};
}

constexpr std::uint16_t task_selector(unsigned cpu) {
  return static_cast<std::uint16_t>(TINY_FIRST_TSS + 16 * cpu);
}
// A task state segment, then its I/O bitmap for all of the tiny guest's ports and a byte of ones. Hardware would look at IOPL 3 alone; the
// software KVM forgets IOPL and asks the bitmap.
constexpr std::uint32_t kTaskBytes = 0x68, kTaskLimit = kTaskBytes + (TINY_PORT_EXIT + TINY_PORTS) / 8;

template <class T>
std::uint64_t offset_of(std::uint64_t T::* field) {
  static const T origin{};
  const auto at = [](const void* member) { return static_cast<const std::byte*>(member); };
  return static_cast<std::uint64_t>(at(&(origin.*field)) - at(&origin));
}

}  // namespace

const std::optional<std::string>& unavailable() {
  static const std::optional<std::string> reason = []() -> std::optional<std::string> {
    const auto ran = vmm::run_tiny_guest();
    if (ran) return std::nullopt;
    return "no usable KVM: " + ran.error().message;
  }();
  return reason;
}

void Guest::Ports::read(std::uint64_t offset, std::span<std::byte> data) {
  if (offset == TINY_PORT_SEQUENCE - TINY_PORT_EXIT)
    vmm::store_le(data, sequence.fetch_add(1) + 1);
  else
    vmm::fill_ones(data);
}

void Guest::Ports::write(std::uint64_t offset, std::span<const std::byte>) {
  if (offset == 0) exits.fetch_add(1);
  if (offset == TINY_PORT_FAULT - TINY_PORT_EXIT) faults.fetch_add(1);
  if (offset != TINY_PORT_LATCH - TINY_PORT_EXIT) return;
  std::unique_lock lock(mutex);
  latched = true;
  opened.wait(lock, [this] { return !closed; });
  latched = false;
}

void Guest::close_latch() {
  const std::lock_guard lock(ports_.mutex);
  ports_.closed = true;
}

void Guest::open_latch() {
  const std::lock_guard lock(ports_.mutex);
  ports_.closed = false;
  ports_.opened.notify_all();
}

Result<std::unique_ptr<Guest>> Guest::create(const GuestOptions& options) {
  if (options.cpus > TINY_MAX_CPUS) return fail("the tiny guest has room for " + std::to_string(TINY_MAX_CPUS) + " vCPUs");
  if (options.memory_bytes < TINY_FREE) return fail("the tiny guest needs 16 MiB at least");
  auto guest = std::unique_ptr<Guest>(new Guest);
  auto vm = vmm::Vm::create({.cpus = options.cpus, .memory_bytes = options.memory_bytes});
  if (!vm) return fail(std::move(vm.error()));
  guest->vm_ = std::move(*vm);
  guest->vm_->ports().add(TINY_PORT_EXIT, TINY_PORTS, guest->ports_);
  if (options.pc) {
    vmm::Pc::Callbacks callbacks;
    callbacks.serial_output = [](std::span<const std::byte>) {};
    callbacks.console_wake = [raw = guest.get(), wake = options.console_wake] {
      raw->console_wakes_.fetch_add(1);
      if (wake) wake();
    };
    callbacks.power = [](vmm::PowerEvent) {};
    auto pc = vmm::Pc::create(*guest->vm_, std::move(callbacks), options.tlv_by_event);
    if (!pc) return fail(std::move(pc.error()));
    guest->pc_ = std::move(*pc);
  }
  const auto loaded = guest->load();
  if (!loaded) return fail(loaded.error());
  return guest;
}

Guest::~Guest() {
  open_latch();
  if (vm_) vm_->stop();
}

template <class T>
void Guest::put(std::uint64_t gpa, const T& value) {
  vm_->ram().write(Gpa(gpa), std::as_bytes(std::span(&value, 1)));
}

Result<> Guest::load() {
  const auto payload = image();
  if (payload.size() < sizeof header_) return fail("the tiny guest's image is too short");
  std::memcpy(&header_, payload.data(), sizeof header_);
  if (header_.magic != TINY_MAGIC || header_.end > TINY_QUEUES)
    return fail("the tiny guest's image is not what this harness was built for");
  vm_->ram().write(Gpa(TINY_PAYLOAD), payload);
  write_page_tables();
  write_descriptors();
  for (unsigned cpu = 0; cpu < vm_->cpus(); ++cpu) {
    tiny_parameters parameters{};
    parameters.mode = TINY_SPIN;
    parameters.frame_payload = 32;
    parameters.frame_batch = 1;
    put(area(cpu, TINY_PARAMETERS).value, parameters);
    const auto ready = set_registers(cpu);
    if (!ready) return ready;
  }
  return {};
}

void Guest::write_page_tables() {
  constexpr std::uint64_t kTable = kPresent | kWrite | kUser;
  std::vector<std::uint64_t> tables(6 * 512);
  tables[0] = (TINY_PAGE_TABLES + 0x1000) | kTable;
  for (std::uint64_t gib = 0; gib < 4; ++gib) {
    tables[512 + gib] = (TINY_PAGE_TABLES + 0x2000 + gib * 0x1000) | kTable;
    const std::uint64_t how = kTable | kLarge | (gib == 3 ? kUncached : 0);  // devices
    for (std::uint64_t i = 0; i < 512; ++i) tables[1024 + gib * 512 + i] = (gib << 30) | (i << 21) | how;
  }
  vm_->ram().write(Gpa(TINY_PAGE_TABLES), std::as_bytes(std::span(tables)));
}

void Guest::write_descriptors() {
  std::array<std::uint64_t, TINY_FIRST_TSS / 8 + 2 * TINY_MAX_CPUS> gdt{0, kCode0Descriptor, kData0Descriptor, kData3Descriptor,
                                                                        kCode3Descriptor};
  for (unsigned cpu = 0; cpu < vm_->cpus(); ++cpu) {
    const std::uint64_t tss = area(cpu, TINY_TSS).value;
    gdt[task_selector(cpu) / 8] = kTaskLimit | (tss & 0xffffff) << 16 | 0x8bULL << 40 | (tss >> 24 & 0xff) << 56;  // busy
    gdt[task_selector(cpu) / 8 + 1] = tss >> 32;
    put(tss + 4, area(cpu, TINY_RING0_STACK).value);  // RSP0
    put(tss + 0x66, std::uint16_t{kTaskBytes});       // where the bitmap begins: zeros, all allowed
    put(tss + kTaskLimit, std::uint8_t{0xff});
  }
  put(TINY_GDT, gdt);
  std::array<Gate, 256> idt{};
  for (unsigned vector = 0; vector < 32; ++vector) idt[vector] = gate(header_.fault_stubs + std::uint64_t{16} * vector);
  idt[6] = gate(header_.call_gate);
  idt[TINY_WAKE_VECTOR] = gate(header_.wake_gate);
  put(TINY_IDT, idt);
}

Result<> Guest::set_registers(unsigned cpu) {
  const int fd = vm_->vcpu(cpu).fd();
  kvm_sregs sregs{};
  const auto got = vmm::kvm::call(fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
  if (!got) return fail(got.error());
  sregs.cr0 = 0x80010033;  // PG, WP, NE, ET, MP, PE
  sregs.cr3 = TINY_PAGE_TABLES;
  sregs.cr4 = 0x620;   // PAE, OSFXSR, OSXMMEXCPT
  sregs.efer = 0x500;  // LME, LMA
  sregs.cs = segment(TINY_CODE3, 11, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(TINY_DATA3, 3, false);
  sregs.gdt.base = TINY_GDT;
  sregs.gdt.limit = static_cast<std::uint16_t>(task_selector(TINY_MAX_CPUS) - 1);
  sregs.idt.base = TINY_IDT;
  sregs.idt.limit = 256 * sizeof(Gate) - 1;
  sregs.tr = {};
  sregs.tr.base = area(cpu, TINY_TSS).value;
  sregs.tr.limit = kTaskLimit;
  sregs.tr.selector = task_selector(cpu);
  sregs.tr.type = 11;
  sregs.tr.present = 1;
  const auto set_sregs = vmm::kvm::call(fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
  if (!set_sregs) return fail(set_sregs.error());
  kvm_regs regs{};
  regs.rip = header_.entry;
  regs.rsp = area(cpu, TINY_RING3_STACK).value - 8;  // as behind a call
  regs.rdi = area(cpu).value;
  regs.rflags = 0x3202;  // IOPL 3, IF
  const auto set_regs = vmm::kvm::call(fd, KVM_SET_REGS, &regs, "KVM_SET_REGS");
  if (!set_regs) return fail(set_regs.error());
  kvm_lapic_state lapic{};
  const auto got_lapic = vmm::kvm::call(fd, KVM_GET_LAPIC, &lapic, "KVM_GET_LAPIC");
  if (!got_lapic) return fail(got_lapic.error());
  const auto set_register = [&lapic](std::size_t at, std::uint32_t value) { std::memcpy(lapic.regs + at, &value, sizeof value); };
  set_register(0xf0, 0x1ff);     // spurious vector, enabled
  set_register(0x350, 0x10000);  // LINT0 masked: nothing comes from the PIC
  const auto set_lapic = vmm::kvm::call(fd, KVM_SET_LAPIC, &lapic, "KVM_SET_LAPIC");
  if (!set_lapic) return fail(set_lapic.error());
  kvm_mp_state state{KVM_MP_STATE_RUNNABLE};  // no start-up interrupt is needed
  const auto runnable = vmm::kvm::call(fd, KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");
  if (!runnable) return fail(runnable.error());
  return {};
}

void Guest::start() {
  vm_->start([this](const vmm::VcpuEvent& event) {
    const std::lock_guard lock(events_mutex_);
    events_.push_back(event);
  });
}

std::vector<vmm::VcpuEvent> Guest::events() const {
  const std::lock_guard lock(events_mutex_);
  return events_;
}

void Guest::set_mode(unsigned cpu, tiny_mode mode) {
  const Gpa at = area(cpu, TINY_PARAMETERS + offsetof(tiny_parameters, mode));
  __atomic_store_n(static_cast<std::uint32_t*>(static_cast<void*>(vm_->ram().slice(at, 4).data())), mode, __ATOMIC_RELEASE);
  vm_->ram().mark_written(at, 4);
  if (vm_->running()) wake(cpu);
}

void Guest::set_mode(tiny_mode mode) {
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) set_mode(cpu, mode);
}

void Guest::set_parameter(unsigned cpu, std::uint64_t tiny_parameters::* field, std::uint64_t value) {
  const Gpa at = area(cpu, TINY_PARAMETERS + offset_of(field));
  __atomic_store_n(static_cast<std::uint64_t*>(static_cast<void*>(vm_->ram().slice(at, 8).data())), value, __ATOMIC_RELEASE);
  vm_->ram().mark_written(at, 8);
}

void Guest::set_dirtying(unsigned cpu, Gpa first, std::uint64_t pages, std::uint64_t pace) {
  set_parameter(cpu, &tiny_parameters::pace, 0);
  set_parameter(cpu, &tiny_parameters::dirty_start, first.value);
  set_parameter(cpu, &tiny_parameters::dirty_pages, pages);
  set_parameter(cpu, &tiny_parameters::pace, pace);
}

void Guest::wake(unsigned cpu) {
  kvm_msi message{};
  message.address_lo = 0xfee00000 | cpu << 12;  // APIC id == index
  message.data = TINY_WAKE_VECTOR;
  ::ioctl(vm_->fd(), KVM_SIGNAL_MSI, &message);
}

std::uint64_t Guest::load(unsigned cpu, std::uint64_t at) const {
  return __atomic_load_n(static_cast<const std::uint64_t*>(static_cast<const void*>(vm_->ram().slice(area(cpu, at), 8).data())),
                         __ATOMIC_ACQUIRE);
}

std::uint64_t Guest::status(unsigned cpu, std::uint64_t tiny_status::* field) const {
  return load(cpu, TINY_STATUS + offset_of(field));
}

std::uint64_t Guest::progress(unsigned cpu, tiny_mode mode) const {
  switch (mode) {
    case TINY_COUNT:
      return counter(cpu);
    case TINY_HALT:
      return status(cpu, &tiny_status::wakes);
    case TINY_IN:
      return status(cpu, &tiny_status::last_in);
    case TINY_FRAMES:
    case TINY_GARBAGE:
      return status(cpu, &tiny_status::sent);
    default:
      return status(cpu, &tiny_status::progress);
  }
}

bool Guest::wait(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  const auto until = vmm::Clock::now() + limit;
  while (!done()) {
    if (vmm::Clock::now() >= until) return false;
    std::this_thread::sleep_for(50us);
  }
  return true;
}

bool Guest::wait_for_progress(tiny_mode mode, std::chrono::milliseconds limit) {
  std::vector<std::uint64_t> before;
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) before.push_back(progress(cpu, mode));
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
    if (mode == TINY_HALT) wake(cpu);
    if (!wait([&] { return progress(cpu, mode) != before[cpu]; }, limit)) return false;
  }
  return true;
}

// set_mode() wakes each vCPU: only once it has taken that interrupt will it write nothing more.
bool Guest::halt(std::chrono::milliseconds limit) {
  std::vector<std::uint64_t> before;
  for (unsigned cpu = 0; cpu < cpus(); ++cpu) before.push_back(status(cpu, &tiny_status::wakes));
  set_mode(TINY_HALT);
  const auto halted = [&] {
    for (unsigned cpu = 0; cpu < cpus(); ++cpu)
      if (status(cpu, &tiny_status::halted) != 1 || (vm_->running() && status(cpu, &tiny_status::wakes) == before[cpu])) return false;
    return true;
  };
  return wait(halted, limit);
}

}  // namespace floe::tiny
