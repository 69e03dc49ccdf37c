#include "vmm/probe.hpp"

#include <array>
#include <condition_variable>
#include <mutex>

#include "vmm/registers.hpp"
#include "vmm/vm.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint16_t kPort = 0x80;
constexpr std::uint64_t kCodeAt = 0x1000;
// mov ax,40 ; add al,2 ; mov dx,0x80 ; out dx,al ; hlt ; jmp back to the hlt
constexpr std::array<unsigned char, 12> kCode = {0xb8, 0x28, 0x00, 0x04, 0x02, 0xba, 0x80, 0x00, 0xee, 0xf4, 0xeb, 0xfd};
constexpr std::uint64_t kAnswer = 42;
// mov ax,0x1234 ; mov [0x2000],ax ; mov dx,0x80 ; out dx,al ; hlt ; jmp back to the hlt
constexpr std::array<unsigned char, 13> kWrite = {0xb8, 0x34, 0x12, 0xa3, 0x00, 0x20, 0xba, 0x80, 0x00, 0xee, 0xf4, 0xeb, 0xfd};
constexpr Kva kWritten{0x2000}, kNotWritten{0x3000};

class AnswerPort final : public RegisterDevice {
 public:
  void read(std::uint64_t, std::span<std::byte> data) override { fill_ones(data); }
  void write(std::uint64_t, std::span<const std::byte> data) override { tell(load_le(data)); }
  void tell(std::uint64_t value) {
    const std::lock_guard lock(mutex_);
    value_ = value;
    told_ = true;
    changed_.notify_all();
  }
  bool wait(std::chrono::milliseconds limit, std::uint64_t& value) {
    std::unique_lock lock(mutex_);
    const bool told = changed_.wait_for(lock, limit, [this] { return told_; });
    value = value_;
    return told;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t value_ = 0;
  bool told_ = false;
};

Result<> start_in_real_mode(int vcpu_fd) {
  kvm_sregs sregs{};
  const auto got = kvm::call(vcpu_fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
  if (!got) return fail(got.error());
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  const auto set = kvm::call(vcpu_fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
  if (!set) return fail(set.error());
  kvm_regs regs{};
  regs.rip = kCodeAt;
  regs.rflags = 2;
  const auto ready = kvm::call(vcpu_fd, KVM_SET_REGS, &regs, "KVM_SET_REGS");
  if (!ready) return fail(ready.error());
  return {};
}

// Runs the code until it has written to the port; returns what it wrote.
Result<std::uint64_t> answer_of(Vm& vm, std::span<const unsigned char> code, std::chrono::milliseconds limit) {
  AnswerPort port;
  vm.ports().add(kPort, 1, port);
  vm.ram().write(Gpa(kCodeAt), std::as_bytes(code));
  const auto ready = start_in_real_mode(vm.vcpu(0).fd());
  if (!ready) return fail(ready.error());
  std::string died;
  vm.start([&](const VcpuEvent& event) {
    died = event.detail;
    port.tell(0);
  });
  std::uint64_t answer = 0;
  const bool told = port.wait(limit, answer);
  vm.stop();
  if (!died.empty()) return fail("a tiny guest dies on this KVM: " + died);
  if (!told) return fail("a tiny guest does not get anywhere on this KVM within " + std::to_string(limit.count()) + " ms");
  return answer;
}

constexpr VmOptions kTiny{.cpus = 1, .memory_bytes = 1 << 20};
constexpr const char* kComputesWrongly = "a tiny guest computes wrongly on this KVM";

}  // namespace

Result<std::chrono::microseconds> run_tiny_guest(std::chrono::milliseconds limit) {
  const auto began = Clock::now();
  auto vm = Vm::create(kTiny);
  if (!vm) return fail(std::move(vm.error()));
  const auto answer = answer_of(**vm, kCode, limit);
  if (!answer) return fail(answer.error());
  if (*answer != kAnswer) return fail(kComputesWrongly);
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began);
}

Result<bool> write_watches_fire(std::chrono::milliseconds limit) {
  auto vm = Vm::create(kTiny);
  if (!vm) return fail(std::move(vm.error()));
  auto& watches = (*vm)->debug_registers();
  watches.request(0, kWritten);
  watches.request(1, kNotWritten);
  const auto answer = answer_of(**vm, kWrite, limit);
  if (!answer) return fail(answer.error());
  if (*answer != kWrite[1]) return fail(kComputesWrongly);
  return watches.refusals() == 0 && watches.take_hit(0) && !watches.take_hit(1);
}

}  // namespace floe::vmm
