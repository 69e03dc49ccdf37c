#include "freeze/core_export.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstring>
#include <memory>

#include "freeze/snapshot_memory.hpp"
#include "tests/folder.hpp"
#include "tests/tiny/guest.hpp"
#include "walkers/core/core_file.hpp"

using namespace floe;
using namespace floe::freeze;

namespace {

// As Snapshotter keeps it.
VcpuState kept(const vmm::VcpuState& state) {
  const auto bytes = std::as_bytes(std::span(&state, 1));
  return {3, state.regs.rip, state.regs.rsp, state.sregs.cr3, {bytes.begin(), bytes.end()}};
}

std::unique_ptr<vmm::VcpuState> some_state() {
  auto state = std::make_unique<vmm::VcpuState>();
  state->regs.rip = 0xffffffff81000010;
  state->regs.rsp = 0xffffc90000001000;
  state->regs.rbp = 5;
  state->regs.r15 = 15;
  state->regs.rflags = 0x246;
  state->sregs.cr0 = 0x80050033;
  state->sregs.cr2 = 0x1234;
  state->sregs.cr3 = 0x2890000;
  state->sregs.cr4 = 0x7506f0;
  state->sregs.gs.base = 0xff113f5657cce5b0;
  state->sregs.idt = {.base = 0xfffffe0000000000, .limit = 0xfff, .padding = {}};
  kvm_segment& cs = state->sregs.cs;
  cs.selector = 0x10;
  cs.limit = 0xffffffff;
  cs.type = 11, cs.present = 1, cs.s = 1, cs.l = 1, cs.g = 1;
  state->msrs.count = 2;
  state->msrs.entries[0] = {.index = 0xc0000082, .reserved = 0, .data = 1};
  state->msrs.entries[1] = {.index = 0xc0000102, .reserved = 0, .data = 0x7fff0000};
  return state;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(core_export)

BOOST_AUTO_TEST_CASE(all_registers_of_a_captured_vcpu) {
  const auto state = some_state();
  const auto cpu = registers_of(kept(*state));
  BOOST_TEST(cpu.id == 3u);
  BOOST_TEST(cpu.rip == 0xffffffff81000010);
  BOOST_TEST(cpu.rbp == 5u);
  BOOST_TEST(cpu.r15 == 15u);
  BOOST_TEST(cpu.rflags == 0x246u);
  BOOST_TEST(cpu.gs.base == 0xff113f5657cce5b0);
  BOOST_TEST(cpu.idt.base == 0xfffffe0000000000);
  BOOST_TEST(cpu.cr3().value() == 0x2890000u);
  BOOST_TEST((*cpu.cr)[0] == 0x80050033u);
  BOOST_TEST((*cpu.cr)[4] == 0x7506f0u);
  BOOST_TEST(cpu.cs.selector == 0x10u);
  BOOST_TEST(cpu.cs.flags == 0x00a09b00u);
  BOOST_TEST(cpu.kernel_gs_base.value() == 0x7fff0000u);
}

BOOST_AUTO_TEST_CASE(a_state_of_somebody_elses_is_not_believed) {
  const auto state = some_state();
  for (const bool longer : {true, false}) {
    VcpuState vcpu = kept(*state);
    if (longer)
      vcpu.blob.push_back({});
    else
      std::fill(vcpu.blob.begin(), vcpu.blob.end(), std::byte{7});
    const auto cpu = registers_of(vcpu);
    BOOST_TEST(cpu.rip == state->regs.rip);
    BOOST_TEST(cpu.rsp == state->regs.rsp);
    BOOST_TEST(cpu.cr3().value() == state->sregs.cr3);
    BOOST_TEST(cpu.rbp == 0u);
    BOOST_TEST(!cpu.kernel_gs_base);
  }
}

BOOST_AUTO_TEST_CASE(a_core_knows_where_ram_is_and_numbers_its_cpus) {
  const auto state = some_state();
  MachineState machine;
  machine.vcpus = {kept(*state), kept(*state)};
  machine.vcpus[0].id = 1;
  machine.vcpus[1].id = 0;
  SnapshotMeta meta;
  meta.sequence = 12;
  meta.realtime_ns = 34;
  const auto layout = RamLayout::create({{Gpa(0), 2 * kPageBytes, 0}, {Gpa(1ULL << 32), kPageBytes, 2}}).value();
  const auto contents = core_contents(meta, machine, layout, std::nullopt);
  BOOST_REQUIRE(contents.ram.size() == 2u);
  BOOST_TEST(contents.ram[1].start.value == 1ULL << 32);
  BOOST_TEST(contents.ram[0].bytes == 2 * kPageBytes);
  BOOST_TEST(contents.notes.cpus[0].id == 0u);
  BOOST_TEST(contents.notes.cpus[1].id == 1u);
  BOOST_TEST(contents.notes.floe->sequence == 12u);
  BOOST_TEST(contents.notes.floe->realtime_ns == 34u);
  BOOST_TEST(!contents.notes.vmcoreinfo);
}

// Written while the vCPUs stand still, straight from RAM.
BOOST_AUTO_TEST_CASE(a_parked_guest_is_the_same_in_its_core) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return;
  }
  const auto guest = tiny::Guest::create({.cpus = 2}).value();
  guest->set_mode(TINY_COUNT);
  guest->start();
  BOOST_REQUIRE(guest->vm().freeze(vmm::Clock::now() + std::chrono::seconds(20)));
  const floe::test::Folder folder;
  const LiveMemory live(guest->vm().ram());
  walkers::core::CoreContents contents;
  const auto layout = RamLayout::of(guest->vm().ram()).value();
  for (const RamSlot& slot : layout.slots()) contents.ram.push_back({slot.start, slot.bytes});
  for (unsigned n = 0; n < 2; ++n) contents.notes.cpus.push_back(registers_of(n, guest->vm().vcpu(n).state()));
  contents.notes.floe.emplace();
  const auto written = walkers::core::write_core(folder.file("core"), live, contents);
  BOOST_REQUIRE_MESSAGE(written, written.error().message);

  const auto file = walkers::core::CoreFile::open(folder.file("core")).value();
  const walkers::core::CoreMemory core(file);
  std::uint64_t different = 0;
  std::array<std::byte, kPageBytes> expected, found;
  for (const RamSlot& slot : layout.slots())
    for (std::uint64_t at = 0; at < slot.bytes; at += kPageBytes)
      different += live.read(slot.start + at, expected) != core.read(slot.start + at, found) || expected != found;
  BOOST_TEST(different == 0u);
  for (unsigned n = 0; n < 2; ++n) {
    BOOST_TEST(file->headers().notes.cpus[n].rip == guest->vm().vcpu(n).state().regs.rip);
    BOOST_TEST(file->headers().notes.cpus[n].cr3().value() == guest->vm().vcpu(n).state().sregs.cr3);
  }
  guest->vm().thaw();
  guest->stop();
}

BOOST_AUTO_TEST_SUITE_END()
