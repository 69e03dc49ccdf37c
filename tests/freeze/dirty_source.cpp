#include "freeze/dirty_source.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "freeze/snapshot_memory.hpp"
#include "vmm/kvm.hpp"

using namespace floe;
using namespace floe::freeze;

namespace {

using Pages = std::set<std::uint64_t>;

Pages collect(DirtySource& source, const vmm::GuestRam& ram) {
  std::vector<std::uint64_t> bits((ram.pages() + 63) / 64);
  const auto collected = source.collect(bits);
  BOOST_REQUIRE_MESSAGE(collected.has_value(), (collected ? "" : collected.error().message));
  Pages pages;
  for (std::uint64_t page = 0; page < bits.size() * 64; ++page)
    if (bits[page / 64] >> (page % 64) & 1) pages.insert(page);
  return pages;
}

std::string text(const Pages& pages) {
  std::string text;
  for (const std::uint64_t page : pages) text += std::to_string(page) + " ";
  return text;
}

std::uint64_t resident_blocks(const vmm::GuestRam& ram) {
  struct stat st{};
  BOOST_REQUIRE(::fstat(ram.fd(), &st) == 0);
  return static_cast<std::uint64_t>(st.st_blocks);
}

std::unique_ptr<DirtySource> pagemap_scan_or_skip(vmm::GuestRam& ram) {
  auto source = create_pagemap_scan(ram);
  if (source) return std::move(*source);
  BOOST_TEST_MESSAGE("skipped: " << source.error().message);
  return nullptr;
}

// What both sources that look at the mapping must do, whoever writes.
void check_mapping_source(DirtySource& source, vmm::GuestRam& ram) {
  for (std::uint64_t page = 0; page < 8; ++page) ram.page(page)[1] = std::byte{1};
  BOOST_REQUIRE(source.arm());
  BOOST_TEST(text(collect(source, ram)) == "");

  ram.page(3)[4095] = std::byte{2};
  BOOST_TEST(text(collect(source, ram)) == "3 ");
  BOOST_TEST(text(collect(source, ram)) == "");
  ram.page(3)[4095] = std::byte{3};
  BOOST_REQUIRE(ram.write(Gpa(6 * kPageBytes - 2), std::array<std::byte, 4>{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}));
  BOOST_TEST(text(collect(source, ram)) == "3 5 6 ");

  // The kernel writes into the page on behalf of a system call.
  const UniqueFd zero(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
  BOOST_REQUIRE(::read(zero.get(), ram.page(2), 64) == 64);
  BOOST_TEST(text(collect(source, ram)) == "2 ");

  // A page that did not exist when the source was armed, far from all others and right beside one.
  const std::uint64_t far = ram.pages() - 3;
  ram.page(far)[0] = std::byte{1};
  ram.page(9)[0] = std::byte{1};
  BOOST_TEST(text(collect(source, ram)) == "9 " + std::to_string(far) + " ");
  const std::uint64_t before = resident_blocks(ram);
  BOOST_TEST(text(collect(source, ram)) == "");
  BOOST_TEST(resident_blocks(ram) == before);

  // Arming again forgets what was written before.
  ram.page(1)[0] = std::byte{7};
  BOOST_REQUIRE(source.arm());
  BOOST_TEST(text(collect(source, ram)) == "");
}

// A shadow that copies what the source reports always equals the RAM.
void check_shadow(DirtySource& source, vmm::GuestRam& ram) {
  const std::uint64_t seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed " << seed);
  std::mt19937_64 random(seed);
  BOOST_REQUIRE(source.arm());
  std::vector<std::byte> shadow(ram.page(0), ram.page(0) + ram.bytes());
  for (int round = 0; round < 50; ++round) {
    for (std::uint64_t n = random() % 300; n > 0; --n)
      ram.page(random() % ram.pages())[random() % kPageBytes] = static_cast<std::byte>(random());
    for (const std::uint64_t page : collect(source, ram)) std::memcpy(shadow.data() + page * kPageBytes, ram.page(page), kPageBytes);
    BOOST_REQUIRE(std::memcmp(shadow.data(), ram.page(0), shadow.size()) == 0);
  }
}

// The same while another thread goes on writing: once it has stopped, one more round makes the shadow exact.
template <class Write>
void check_live(DirtySource& source, vmm::GuestRam& ram, Write write) {
  BOOST_REQUIRE(source.arm());
  std::vector<std::byte> shadow(ram.bytes());
  const auto copy = [&](std::uint64_t page) { copy_volatile(std::span(shadow).subspan(page * kPageBytes, kPageBytes), ram.page(page)); };
  std::atomic<bool> stop = false, failed = false;
  std::atomic<std::uint64_t> writes = 0;
  std::thread writer([&] {
    while (!stop && !failed) {
      if (!write()) failed = true;
      ++writes;
    }
  });
  for (std::uint64_t page = 0; page < ram.pages(); ++page) copy(page);
  std::size_t reported = 0;
  for (int round = 0; !failed && (round < 200 || writes < 2000 || reported == 0); ++round)
    for (const std::uint64_t page : collect(source, ram)) {
      copy(page);
      ++reported;
    }
  stop = true;
  writer.join();
  BOOST_TEST(!failed);
  for (const std::uint64_t page : collect(source, ram)) copy(page);
  BOOST_TEST(std::memcmp(shadow.data(), ram.page(0), shadow.size()) == 0);
}

// A guest of `bytes` whose vCPU, in real mode, stores AL into the 16-bit addresses given, then does a port write, over and over.
struct Guest {
  UniqueFd kvm, vm, vcpu;
  std::unique_ptr<vmm::GuestRam> ram;
  kvm_run* run = nullptr;
  std::size_t run_bytes = 0;

  ~Guest() {
    if (run) ::munmap(run, run_bytes);
  }

  // False when this machine has no KVM.
  bool create(std::uint64_t bytes, const std::vector<std::uint16_t>& addresses) {
    auto device = vmm::kvm::open_device();
    if (!device) {
      BOOST_TEST_MESSAGE("skipped: " << device.error().message);
      return false;
    }
    kvm = std::move(*device);
    ram = vmm::GuestRam::create(bytes).value();
    std::vector<std::uint8_t> code;
    for (const std::uint16_t address : addresses)
      code.insert(code.end(), {0xa2, static_cast<std::uint8_t>(address), static_cast<std::uint8_t>(address >> 8)});
    code.insert(code.end(), {0xe6, 0x80, 0xeb, static_cast<std::uint8_t>(-static_cast<int>(code.size() + 4))});
    std::memcpy(ram->page(1), code.data(), code.size());

    vm.reset(vmm::kvm::call(kvm.get(), KVM_CREATE_VM, 0, "KVM_CREATE_VM").value());
    ::ioctl(vm.get(), KVM_SET_TSS_ADDR, 0xfffb'd000);
    std::uint32_t slot = 0;
    for (const vmm::RamRegion& region : ram->regions()) {
      kvm_userspace_memory_region memory{};
      memory.slot = slot++;
      memory.guest_phys_addr = region.start.value;
      memory.memory_size = region.bytes;
      memory.userspace_addr = reinterpret_cast<std::uintptr_t>(region.host);
      vmm::kvm::call(vm.get(), KVM_SET_USER_MEMORY_REGION, &memory, "KVM_SET_USER_MEMORY_REGION").value();
    }
    vcpu.reset(vmm::kvm::call(vm.get(), KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU").value());
    run_bytes = static_cast<std::size_t>(vmm::kvm::call(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0, "mmap size").value());
    run = static_cast<kvm_run*>(::mmap(nullptr, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0));
    BOOST_REQUIRE(run != MAP_FAILED);
    kvm_sregs sregs{};
    vmm::kvm::call(vcpu.get(), KVM_GET_SREGS, &sregs, "KVM_GET_SREGS").value();
    sregs.cs.base = sregs.cs.selector = 0;
    vmm::kvm::call(vcpu.get(), KVM_SET_SREGS, &sregs, "KVM_SET_SREGS").value();
    kvm_regs regs{};
    regs.rip = kPageBytes;
    regs.rflags = 2;
    vmm::kvm::call(vcpu.get(), KVM_SET_REGS, &regs, "KVM_SET_REGS").value();
    return true;
  }

  // Asserts nothing itself: it runs on threads of its own too, and Boost.Test is for one.
  bool try_step(std::uint8_t al) {
    kvm_regs regs{};
    if (::ioctl(vcpu.get(), KVM_GET_REGS, &regs) != 0) return false;
    regs.rax = al;
    return ::ioctl(vcpu.get(), KVM_SET_REGS, &regs) == 0 && ::ioctl(vcpu.get(), KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_IO;
  }
  void step(std::uint8_t al) { BOOST_REQUIRE(try_step(al)); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(dirty_source)

BOOST_AUTO_TEST_CASE(compare_sees_who_ever_writes) {
  const auto ram = vmm::GuestRam::create(16 << 20).value();
  const auto source = create_compare(*ram);
  BOOST_TEST(!source->live());
  check_mapping_source(*source, *ram);
}

BOOST_AUTO_TEST_CASE(compare_keeps_a_shadow_exact) {
  const auto ram = vmm::GuestRam::create(4 << 20).value();
  check_shadow(*create_compare(*ram), *ram);
}

BOOST_AUTO_TEST_CASE(compare_reports_a_page_that_became_a_hole) {
  const auto ram = vmm::GuestRam::create(1 << 20).value();
  const auto source = create_compare(*ram);
  ram->page(4)[0] = std::byte{1};
  BOOST_REQUIRE(source->arm());
  BOOST_REQUIRE(::fallocate(ram->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * kPageBytes, kPageBytes) == 0);
  BOOST_TEST(text(collect(*source, *ram)) == "4 ");
}

BOOST_AUTO_TEST_CASE(pagemap_scan_sees_who_ever_writes) {
  const auto ram = vmm::GuestRam::create(16 << 20).value();
  const auto source = pagemap_scan_or_skip(*ram);
  if (!source) return;
  BOOST_TEST(source->live());
  check_mapping_source(*source, *ram);
}

BOOST_AUTO_TEST_CASE(pagemap_scan_keeps_a_shadow_exact) {
  const auto ram = vmm::GuestRam::create(4 << 20).value();
  if (const auto source = pagemap_scan_or_skip(*ram)) check_shadow(*source, *ram);
}

BOOST_AUTO_TEST_CASE(pagemap_scan_keeps_up_with_a_running_writer) {
  const auto ram = vmm::GuestRam::create(4 << 20).value();
  const auto source = pagemap_scan_or_skip(*ram);
  if (!source) return;
  std::memset(ram->page(0), 1, ram->bytes());
  check_live(*source, *ram, [&ram, random = std::mt19937_64(1)]() mutable {
    auto* word = reinterpret_cast<std::uint64_t*>(ram->page(random() % 64)) + random() % 512;
    __atomic_store_n(word, random(), __ATOMIC_RELAXED);
    return true;
  });
}

BOOST_AUTO_TEST_CASE(pagemap_scan_reports_more_ranges_than_one_call_returns) {
  const auto ram = vmm::GuestRam::create(64 << 20).value();
  const auto source = pagemap_scan_or_skip(*ram);
  if (!source) return;
  BOOST_REQUIRE(source->arm());
  Pages odd;
  for (std::uint64_t page = 1; page < ram->pages(); page += 2) {
    ram->page(page)[0] = std::byte{1};
    odd.insert(page);
  }
  BOOST_TEST((collect(*source, *ram) == odd));
  BOOST_TEST(collect(*source, *ram).size() == 0u);
}

BOOST_AUTO_TEST_CASE(pagemap_scan_sees_a_vcpu_write) {
  Guest guest;
  if (!guest.create(1 << 20, {0x5000, 0x9000})) return;
  const auto source = pagemap_scan_or_skip(*guest.ram);
  if (!source) return;
  guest.step(1);
  BOOST_REQUIRE(source->arm());
  BOOST_TEST(text(collect(*source, *guest.ram)) == "");
  for (std::uint8_t round = 2; round < 6; ++round) {
    guest.step(round);
    const Pages seen = collect(*source, *guest.ram);
    BOOST_TEST((seen.contains(5) && seen.contains(9)), text(seen));
    BOOST_TEST(seen.size() <= 3u);  // reading its code may have mapped page 1 anew
  }
}

BOOST_AUTO_TEST_CASE(kvm_log_sees_vcpu_and_vmm_writes) {
  Guest guest;
  if (!guest.create(1 << 20, {0x5000, 0x9000, 0xffff})) return;
  auto made = create_kvm_dirty_log(*guest.ram, guest.kvm.get(), guest.vm.get());
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  DirtySource& source = **made;
  guest.step(1);
  BOOST_REQUIRE(guest.ram->write(Gpa(0x30000), std::array{std::byte{1}}));
  BOOST_REQUIRE(source.arm());
  BOOST_TEST(text(collect(source, *guest.ram)) == "");
  guest.step(1);
  collect(source, *guest.ram);  // a hardware KVM also reports the code page, the first time it is read
  BOOST_TEST(text(collect(source, *guest.ram)) == "");
  for (std::uint8_t round = 2; round < 6; ++round) {
    guest.step(round);
    BOOST_TEST((guest.ram->page(5)[0] == std::byte{round}));
    BOOST_TEST(text(collect(source, *guest.ram)) == "5 9 15 ");
    BOOST_TEST(text(collect(source, *guest.ram)) == "");
  }
  BOOST_REQUIRE(guest.ram->write(Gpa(0x20fff), std::array{std::byte{1}, std::byte{2}}));
  guest.step(9);
  BOOST_TEST(text(collect(source, *guest.ram)) == "5 9 15 32 33 ");
  BOOST_REQUIRE(source.arm());
  BOOST_TEST(text(collect(source, *guest.ram)) == "");
}

BOOST_AUTO_TEST_CASE(kvm_log_keeps_up_with_a_running_vcpu) {
  Guest guest;
  std::vector<std::uint16_t> addresses;
  for (unsigned page = 3; page < 16; ++page) addresses.push_back(static_cast<std::uint16_t>(page * kPageBytes + page));
  if (!guest.create(1 << 20, addresses)) return;
  auto made = create_kvm_dirty_log(*guest.ram, guest.kvm.get(), guest.vm.get());
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  check_live(**made, *guest.ram, [&guest, al = std::uint8_t{0}]() mutable { return guest.try_step(++al); });
}

BOOST_AUTO_TEST_CASE(kvm_log_covers_ram_above_the_hole) {
  Guest guest;
  if (!guest.create(vmm::kLowRamMax + (8 << 20) + kPageBytes, {0x5000})) return;
  auto made = create_kvm_dirty_log(*guest.ram, guest.kvm.get(), guest.vm.get());
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  BOOST_REQUIRE((*made)->arm());
  guest.step(1);
  collect(**made, *guest.ram);
  guest.step(2);
  const std::uint64_t last = guest.ram->pages() - 1;
  BOOST_REQUIRE(guest.ram->write(guest.ram->page_gpa(last), std::array{std::byte{1}}));
  BOOST_TEST(text(collect(**made, *guest.ram)) == "5 " + std::to_string(last) + " ");
}

BOOST_AUTO_TEST_CASE(the_first_that_works_is_chosen_and_the_others_say_why_not) {
  const auto ram = vmm::GuestRam::create(1 << 20).value();
  auto chosen = choose_dirty_source(*ram, {});
  BOOST_REQUIRE(chosen);
  BOOST_TEST(std::string(chosen->source->name()) != "kvm-dirty-log");
  BOOST_TEST(chosen->refused.at(0).find("kvm-dirty-log: ") == 0u);
  BOOST_REQUIRE(chosen->source->arm());
  ram->page(7)[7] = std::byte{7};
  BOOST_TEST(text(collect(*chosen->source, *ram)) == "7 ");

  const auto other = vmm::GuestRam::create(1 << 20).value();
  auto compare = choose_dirty_source(*other, {.only = "compare"});
  BOOST_REQUIRE(compare);
  BOOST_TEST(std::string(compare->source->name()) == "compare");
  const auto wrong = choose_dirty_source(*other, {.only = "soft-dirty"});
  BOOST_REQUIRE(!wrong);
  BOOST_TEST(wrong.error().message.find("soft-dirty") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(with_a_vm_the_kvm_log_is_chosen) {
  Guest guest;
  if (!guest.create(1 << 20, {0x5000})) return;
  auto chosen = choose_dirty_source(*guest.ram, {.kvm_fd = guest.kvm.get(), .vm_fd = guest.vm.get()});
  BOOST_REQUIRE(chosen);
  BOOST_TEST(std::string(chosen->source->name()) == "kvm-dirty-log");
}

BOOST_AUTO_TEST_SUITE_END()
