// KVM's dirty log with manual protection (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, Linux 5.0; Documentation/virt/kvm/api.rst 4.8, 4.117, 7.18):
// GET reads the bitmap and leaves pages writable, CLEAR write-protects those that were read, in chunks, so that no call holds the MMU lock
// for long.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>

#include "base/fd.hpp"
#include "freeze/dirty_source.hpp"
#include "vmm/kvm.hpp"

namespace floe::freeze {
namespace {

using vmm::kvm::call;

constexpr std::uint64_t kChunkWords = 256;  // 16384 pages, 64 MiB of RAM, in one CLEAR
constexpr unsigned kWordPages = 64;

// The log of one VM: what its memslots are and how they are asked.
class Log {
 public:
  Log(vmm::GuestRam& ram, int vm_fd) : ram_(ram), vm_fd_(vm_fd), bitmap_((ram.pages() + 63) / 64) {}

  // Manual protection when the kernel offers it; without it GET clears as it reads, with the MMU locked for all of it.
  Result<> open(int kvm_fd) {
    for (const vmm::RamRegion& region : ram_.regions())
      if (region.offset / kPageBytes % kWordPages != 0) return fail("a RAM region does not start at a multiple of 64 pages");
    const int offered = ::ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    if (offered <= 0) return {};
    kvm_enable_cap enable{};
    enable.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
    enable.args[0] = static_cast<std::uint64_t>(offered) & (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    const auto enabled = call(vm_fd_, KVM_ENABLE_CAP, &enable, "KVM_ENABLE_CAP(MANUAL_DIRTY_LOG_PROTECT2)");
    if (!enabled) return fail(enabled.error());
    manual_ = true;
    return {};
  }

  Result<> start() {
    for (std::size_t slot = 0; slot < ram_.regions().size(); ++slot) {
      const vmm::RamRegion& region = ram_.regions()[slot];
      kvm_userspace_memory_region memory{};
      memory.slot = static_cast<std::uint32_t>(slot);
      memory.flags = KVM_MEM_LOG_DIRTY_PAGES;
      memory.guest_phys_addr = region.start.value;
      memory.memory_size = region.bytes;
      memory.userspace_addr = reinterpret_cast<std::uintptr_t>(region.host);
      const auto set = call(vm_fd_, KVM_SET_USER_MEMORY_REGION, &memory, "switching the dirty log of a memslot on");
      if (!set) return fail(set.error());
    }
    return discard();
  }

  // Reads and re-arms; `into` may be empty.
  Result<> take(std::span<std::uint64_t> into) {
    for (std::size_t slot = 0; slot < ram_.regions().size(); ++slot) {
      const auto words = words_of(slot);
      kvm_dirty_log get{};
      get.slot = static_cast<std::uint32_t>(slot);
      get.dirty_bitmap = words.data();
      const auto got = call(vm_fd_, KVM_GET_DIRTY_LOG, &get, "KVM_GET_DIRTY_LOG");
      if (!got) return fail(got.error());
      if (auto cleared = clear(slot, words); !cleared) return cleared;
      if (into.empty()) continue;
      const auto target = into.subspan(ram_.regions()[slot].offset / kPageBytes / kWordPages, words.size());
      for (std::size_t n = 0; n < words.size(); ++n) target[n] |= words[n];
    }
    return {};
  }

 private:
  // With INITIALLY_SET everything starts out dirty and unprotected: nothing was tracked yet, so that is not news.
  Result<> discard() { return take({}); }

  std::span<std::uint64_t> words_of(std::size_t slot) {
    const vmm::RamRegion& region = ram_.regions()[slot];
    const std::uint64_t pages = region.bytes / kPageBytes;
    return std::span(bitmap_).subspan(region.offset / kPageBytes / kWordPages, (pages + kWordPages - 1) / kWordPages);
  }

  Result<> clear(std::size_t slot, std::span<std::uint64_t> words) {
    if (!manual_) return {};
    const std::uint64_t pages = ram_.regions()[slot].bytes / kPageBytes;
    const auto any = [](std::uint64_t word) { return word != 0; };
    for (std::size_t first = 0; first < words.size(); first += kChunkWords) {
      const auto chunk = words.subspan(first, std::min<std::size_t>(kChunkWords, words.size() - first));
      const auto begin = std::find_if(chunk.begin(), chunk.end(), any);
      if (begin == chunk.end()) continue;
      const auto end = std::find_if(chunk.rbegin(), chunk.rend(), any).base();
      kvm_clear_dirty_log request{};
      request.slot = static_cast<std::uint32_t>(slot);
      request.first_page = (first + static_cast<std::size_t>(begin - chunk.begin())) * kWordPages;
      request.num_pages = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(static_cast<std::uint64_t>(end - begin) * kWordPages, pages - request.first_page));
      request.dirty_bitmap = &*begin;
      const auto cleared = call(vm_fd_, KVM_CLEAR_DIRTY_LOG, &request, "KVM_CLEAR_DIRTY_LOG");
      if (!cleared) return fail(cleared.error());
    }
    return {};
  }

  vmm::GuestRam& ram_;
  int vm_fd_;
  bool manual_ = false;
  std::vector<std::uint64_t> bitmap_;
};

// A machine of 128 pages whose only vCPU writes pages 5 and 9 and then does a port write, again and again, in real mode.
class Trial {
 public:
  static constexpr std::uint64_t kWritten = std::uint64_t{1} << 5 | std::uint64_t{1} << 9;

  ~Trial() {
    if (run_) ::munmap(run_, run_bytes_);
  }

  Result<> build(int kvm_fd) {
    auto ram = vmm::GuestRam::create(128 * kPageBytes);
    if (!ram) return fail(std::move(ram).error());
    ram_ = std::move(*ram);
    //                  mov [0x5000], al   mov [0x9000], al   out 0x80, al  jmp to the start
    const std::array<std::uint8_t, 10> code{0xa2, 0x00, 0x50, 0xa2, 0x00, 0x90, 0xe6, 0x80, 0xeb, 0xf6};
    std::memcpy(ram_->page(1), code.data(), code.size());

    const auto vm = call(kvm_fd, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
    if (!vm) return fail(vm.error());
    vm_.reset(*vm);
    ::ioctl(vm_.get(), KVM_SET_TSS_ADDR, 0xfffb'd000);  // Intel without unrestricted guest needs it, others ignore it
    kvm_userspace_memory_region memory{};
    memory.memory_size = ram_->bytes();
    memory.userspace_addr = reinterpret_cast<std::uintptr_t>(ram_->page(0));
    if (const auto set = call(vm_.get(), KVM_SET_USER_MEMORY_REGION, &memory, "KVM_SET_USER_MEMORY_REGION"); !set) return fail(set.error());
    return build_vcpu(kvm_fd);
  }

  Result<> run() {
    const auto ran = call(vcpu_.get(), KVM_RUN, 0, "KVM_RUN");
    if (!ran) return fail(ran.error());
    if (run_->exit_reason != KVM_EXIT_IO)
      return fail("a vCPU that writes two pages stopped with exit " + std::to_string(run_->exit_reason));
    return {};
  }

  vmm::GuestRam& ram() { return *ram_; }
  int fd() const { return vm_.get(); }

 private:
  Result<> build_vcpu(int kvm_fd) {
    const auto vcpu = call(vm_.get(), KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
    if (!vcpu) return fail(vcpu.error());
    vcpu_.reset(*vcpu);
    const auto bytes = call(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
    if (!bytes) return fail(bytes.error());
    void* run = ::mmap(nullptr, static_cast<std::size_t>(*bytes), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_.get(), 0);
    if (run == MAP_FAILED) return fail_errno(errno, "mapping a vCPU's run area");
    run_ = static_cast<kvm_run*>(run);
    run_bytes_ = static_cast<std::size_t>(*bytes);
    kvm_sregs sregs{};
    if (const auto got = call(vcpu_.get(), KVM_GET_SREGS, &sregs, "KVM_GET_SREGS"); !got) return fail(got.error());
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (const auto set = call(vcpu_.get(), KVM_SET_SREGS, &sregs, "KVM_SET_SREGS"); !set) return fail(set.error());
    kvm_regs regs{};
    regs.rip = kPageBytes;
    regs.rflags = 2;
    if (const auto set = call(vcpu_.get(), KVM_SET_REGS, &regs, "KVM_SET_REGS"); !set) return fail(set.error());
    return {};
  }

  std::unique_ptr<vmm::GuestRam> ram_;
  UniqueFd vm_;
  UniqueFd vcpu_;
  kvm_run* run_ = nullptr;
  std::size_t run_bytes_ = 0;
};

// Everything in `written` is in the log, and little else: a page that a vCPU only reads (here its code) may be reported once, because KVM
// maps it writable while it is at it and counts that as a write.
Result<> expect(Log& log, std::uint64_t written, const char* when) {
  std::array<std::uint64_t, 2> seen{};
  if (auto taken = log.take(seen); !taken) return taken;
  const int more = std::popcount(seen[0] & ~written) + std::popcount(seen[1]);
  if ((seen[0] & written) == written && more <= (written == 0 ? 0 : 2)) return {};
  return fail(std::string("self-test: ") + when + " the log has bits " + std::to_string(seen[1]) + ":" + std::to_string(seen[0]));
}

Result<> self_test(int kvm_fd) {
  Trial trial;
  if (auto built = trial.build(kvm_fd); !built) return built;
  Log log(trial.ram(), trial.fd());
  if (auto opened = log.open(kvm_fd); !opened) return opened;
  if (auto started = log.start(); !started) return started;
  for (int round = 0; round < 2; ++round) {
    if (auto ran = trial.run(); !ran) return ran;
    if (auto seen = expect(log, Trial::kWritten, "after a vCPU wrote pages 5 and 9"); !seen) return seen;
    if (auto quiet = expect(log, 0, "while no vCPU ran"); !quiet) return quiet;
  }
  return {};
}

class KvmDirtyLog final : public DirtySource {
 public:
  KvmDirtyLog(vmm::GuestRam& ram, int vm_fd) : ram_(ram), log_(ram, vm_fd) {}

  Result<> open(int kvm_fd) { return log_.open(kvm_fd); }
  const char* name() const override { return "kvm-dirty-log"; }

  Result<> arm() override {
    auto started = log_.start();
    if (started) forget_written();
    return started;
  }

  Result<> collect(std::span<std::uint64_t> into) override {
    ram_.take_written(into);
    return log_.take(into);
  }

 private:
  void forget_written() {
    std::vector<std::uint64_t> forgotten((ram_.pages() + 63) / 64);
    ram_.take_written(forgotten);
  }

  vmm::GuestRam& ram_;
  Log log_;
};

}  // namespace

Result<std::unique_ptr<DirtySource>> create_kvm_dirty_log(vmm::GuestRam& ram, int kvm_fd, int vm_fd) {
  if (kvm_fd < 0 || vm_fd < 0) return fail("there is no KVM virtual machine");
  if (auto passed = self_test(kvm_fd); !passed) return fail(std::move(passed).error());
  auto source = std::make_unique<KvmDirtyLog>(ram, vm_fd);
  if (auto opened = source->open(kvm_fd); !opened) return fail(std::move(opened).error());
  return source;
}

}  // namespace floe::freeze
