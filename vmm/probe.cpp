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

}  // namespace

Result<std::chrono::microseconds> run_tiny_guest(std::chrono::milliseconds limit) {
  const auto began = Clock::now();
  auto vm = Vm::create({.cpus = 1, .memory_bytes = 1 << 20});
  if (!vm) return fail(std::move(vm.error()));
  AnswerPort port;
  (*vm)->ports().add(kPort, 1, port);
  (*vm)->ram().write(Gpa(kCodeAt), std::as_bytes(std::span(kCode)));
  const auto ready = start_in_real_mode((*vm)->vcpu(0).fd());
  if (!ready) return fail(ready.error());
  std::string died;
  (*vm)->start([&](const VcpuEvent& event) {
    died = event.detail;
    port.tell(0);
  });
  std::uint64_t answer = 0;
  const bool told = port.wait(limit, answer);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began);
  (*vm)->stop();
  if (!died.empty()) return fail("a tiny guest dies on this KVM: " + died);
  if (!told) return fail("a tiny guest does not get anywhere on this KVM within " + std::to_string(limit.count()) + " ms");
  if (answer != kAnswer) return fail("a tiny guest computes wrongly on this KVM");
  return took;
}

}  // namespace floe::vmm
