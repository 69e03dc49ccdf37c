#include "walkers/core/writer.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "tests/folder.hpp"
#include "tests/walkers/core/elf_file.hpp"
#include "tests/walkers/synthetic/kernel.hpp"
#include "walkers/tasks.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::core;
using floe::walkers::core::test::text_at;
using synthetic::SparseMemory;

namespace {

struct Fixture {
  floe::test::Folder folder;
  std::string path = folder.file("core");

  std::shared_ptr<const CoreFile> round_trip(const Memory& memory, const CoreContents& contents) {
    const auto written = write_core(path, memory, contents);
    BOOST_REQUIRE_MESSAGE(written, written.error().message);
    BOOST_TEST(written->file_bytes == std::filesystem::file_size(path));
    summary = *written;
    return CoreFile::open(path).value();
  }
  CoreSummary summary;
};

void fill(SparseMemory& memory, std::uint64_t page, char with) {
  memory.write(Gpa(page * kPageBytes), std::vector(kPageBytes, std::byte(with)));
}

Registers some_registers(std::uint32_t id) {
  Registers cpu;
  cpu.id = id;
  std::uint64_t value = 0x1000 * (id + 1);
  for (auto* field : {&cpu.rax, &cpu.rbx, &cpu.rcx, &cpu.rdx, &cpu.rsi, &cpu.rdi, &cpu.rsp, &cpu.rbp, &cpu.r8, &cpu.r9, &cpu.r10, &cpu.r11,
                      &cpu.r12, &cpu.r13, &cpu.r14, &cpu.r15, &cpu.rip, &cpu.rflags})
    *field = value++;
  for (auto* segment : {&cpu.cs, &cpu.ds, &cpu.es, &cpu.fs, &cpu.gs, &cpu.ss, &cpu.ldt, &cpu.tr, &cpu.gdt, &cpu.idt}) {
    *segment = {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value + 1), static_cast<std::uint32_t>(value + 2), value + 3};
    value += 4;
  }
  cpu.cr = {1, 2, 3, 4 + id, 5};
  cpu.kernel_gs_base = 77;
  return cpu;
}

// A page of it may be unreadable although it is populated.
class Damaged final : public Memory {
 public:
  Damaged(const Memory& base, std::uint64_t page) : base_(base), page_(page) {}
  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    const std::uint64_t bad = page_ * kPageBytes;
    if (gpa.value >= bad && gpa.value < bad + kPageBytes) return 0;
    return base_.read(gpa, gpa.value < bad ? out.first(std::min<std::uint64_t>(out.size(), bad - gpa.value)) : out);
  }
  std::vector<PhysRange> populated() const override { return base_.populated(); }

 private:
  const Memory& base_;
  std::uint64_t page_;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(writer, Fixture)

BOOST_AUTO_TEST_CASE(memory_comes_back_with_its_holes) {
  SparseMemory memory;
  for (const std::uint64_t page : {2, 3, 7}) fill(memory, page, static_cast<char>('a' + page));
  fill(memory, 0x100000, 'z');
  CoreContents contents;
  contents.ram = {{Gpa(0), 9 * kPageBytes}, {Gpa(0x100000ULL * kPageBytes), 2 * kPageBytes}};
  const auto file = round_trip(memory, contents);
  // Zeroes up to page 2, pages 2 to 6 and 7 to 8, and what is above 4 GiB.
  BOOST_TEST(summary.segments == 4u);
  BOOST_TEST(summary.absent_bytes == 0u);
  BOOST_TEST(summary.file_bytes == 5 * kPageBytes);
  const CoreMemory read(file);
  BOOST_TEST(text_at(read, 0, 2) == "00");
  BOOST_TEST(text_at(read, 2 * kPageBytes - 1, 2) == "0c");
  BOOST_TEST(text_at(read, 4 * kPageBytes - 1, 2) == "d0");
  BOOST_TEST(text_at(read, 7 * kPageBytes - 1, 2) == "0h");
  BOOST_TEST(text_at(read, 9 * kPageBytes - 1, 2) == "0.");
  BOOST_TEST(text_at(read, 0x100001ULL * kPageBytes - 1, 2) == "z0");
  BOOST_TEST(text_at(read, 0x100002ULL * kPageBytes, 1) == ".");
  BOOST_TEST(read.populated().size() == 3u);
}

BOOST_AUTO_TEST_CASE(without_a_layout_only_what_is_populated_is_ram) {
  SparseMemory memory;
  fill(memory, 2, 'a');
  const auto file = round_trip(memory, {});
  BOOST_TEST(text_at(CoreMemory(file), 3 * kPageBytes - 1, 2) == "a.");
}

BOOST_AUTO_TEST_CASE(registers_come_back_each_of_them) {
  SparseMemory memory;
  fill(memory, 1, 'a');
  CoreContents contents;
  contents.notes.cpus = {some_registers(0), some_registers(1)};
  contents.notes.floe = Origin{12, 34};
  const auto notes = round_trip(memory, contents)->headers().notes;
  BOOST_TEST(notes.problems.empty());
  BOOST_TEST(notes.qemu);
  BOOST_REQUIRE(notes.floe.has_value());
  BOOST_TEST(notes.floe->sequence == 12u);
  BOOST_TEST(notes.floe->realtime_ns == 34u);
  BOOST_REQUIRE(notes.cpus.size() == 2u);
  for (std::uint32_t id = 0; id < 2; ++id) {
    const Registers& cpu = notes.cpus[id];
    const Registers expected = some_registers(id);
    BOOST_TEST(cpu.id == id);
    BOOST_TEST(cpu.rax == expected.rax);
    BOOST_TEST(cpu.r15 == expected.r15);
    BOOST_TEST(cpu.rip == expected.rip);
    BOOST_TEST(cpu.rflags == expected.rflags);
    BOOST_TEST(cpu.gs.base == expected.gs.base);
    BOOST_TEST(cpu.idt.limit == expected.idt.limit);
    BOOST_TEST(cpu.tr.flags == expected.tr.flags);
    BOOST_TEST(cpu.cr3().value() == 4 + id);
    BOOST_TEST(cpu.kernel_gs_base.value() == 77u);
  }
}

BOOST_AUTO_TEST_CASE(without_qemus_note_the_general_registers_remain) {
  SparseMemory memory;
  fill(memory, 1, 'a');
  CoreContents contents;
  contents.notes.cpus = {some_registers(0)};
  contents.notes.cpus[0].cr.reset();
  const auto notes = round_trip(memory, contents)->headers().notes;
  BOOST_TEST(!notes.qemu);
  BOOST_REQUIRE(notes.cpus.size() == 1u);
  const Registers expected = some_registers(0);
  BOOST_TEST(!notes.cpus[0].cr3());
  BOOST_TEST(notes.cpus[0].rbp == expected.rbp);
  BOOST_TEST(notes.cpus[0].rflags == expected.rflags);
  BOOST_TEST(notes.cpus[0].gs.base == expected.gs.base);
  BOOST_TEST(notes.cpus[0].cs.selector == expected.cs.selector);
}

BOOST_AUTO_TEST_CASE(a_page_that_cannot_be_read_is_absent_and_counted) {
  SparseMemory memory;
  for (const std::uint64_t page : {1, 2, 3}) fill(memory, page, static_cast<char>('a' + page));
  CoreContents contents;
  contents.ram = {{Gpa(0), 5 * kPageBytes}};
  const auto file = round_trip(Damaged(memory, 2), contents);
  BOOST_TEST(summary.absent_bytes == kPageBytes);
  const CoreMemory read(file);
  BOOST_TEST(text_at(read, 2 * kPageBytes - 1, 2) == "b.");
  BOOST_TEST(text_at(read, 3 * kPageBytes - 1, 1) == ".");
  BOOST_TEST(text_at(read, 4 * kPageBytes - 1, 2) == "d0");
}

BOOST_AUTO_TEST_CASE(more_segments_than_their_field_can_count) {
  SparseMemory memory;
  constexpr std::uint64_t kMany = 66000;
  for (std::uint64_t n = 0; n < kMany; ++n) memory.put(Gpa(2 * n * kPageBytes), n + 1);
  CoreContents contents;
  contents.notes.floe = Origin{1, 2};
  const auto file = round_trip(memory, contents);
  BOOST_TEST(summary.segments == kMany);
  BOOST_TEST(file->headers().notes.floe.has_value());
  const CoreMemory read(file);
  std::uint64_t last = 0;
  read.read(Gpa(2 * (kMany - 1) * kPageBytes), std::as_writable_bytes(std::span(&last, 1)));
  BOOST_TEST(last == kMany);
}

BOOST_AUTO_TEST_CASE(a_kernel_is_the_same_in_its_core) {
  synthetic::SyntheticKernel guest;
  const Kva init = guest.add_process(1, "init");
  guest.add_thread(init, 2, "init-thread");
  const auto before = Kernel::open(guest.memory).value();
  CoreContents contents;
  contents.notes.vmcoreinfo = before.info();
  const auto file = round_trip(guest.memory, contents);
  const CoreMemory memory(file);
  BOOST_REQUIRE(file->headers().notes.vmcoreinfo.has_value());
  OpenOptions options;
  options.vmcoreinfo = &*file->headers().notes.vmcoreinfo;
  const auto after = Kernel::open(memory, options);
  BOOST_REQUIRE_MESSAGE(after, after.error().message);
  BOOST_TEST(after->times().scan.count() == 0);
  const auto expected = tasks(before).value().tasks, found = tasks(*after).value().tasks;
  BOOST_REQUIRE(found.size() == expected.size());
  for (std::size_t n = 0; n < found.size(); ++n) {
    BOOST_TEST(found[n].pid == expected[n].pid);
    BOOST_TEST(found[n].comm == expected[n].comm);
    BOOST_TEST((found[n].address == expected[n].address));
  }
}

BOOST_AUTO_TEST_CASE(a_folder_that_is_not_there_leaves_nothing) {
  SparseMemory memory;
  fill(memory, 1, 'a');
  const auto written = write_core(folder.file("none/core"), memory, {});
  BOOST_REQUIRE(!written);
  BOOST_TEST(written.error().message.find("none/core") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
