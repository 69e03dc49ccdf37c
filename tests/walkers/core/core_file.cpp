#include "walkers/core/core_file.hpp"

#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <thread>

#include "tests/folder.hpp"
#include "tests/walkers/core/elf_file.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::core;
using floe::walkers::core::test::ElfFile;
using floe::walkers::core::test::text_at;

namespace {

struct Fixture {
  floe::test::Folder folder;
  std::string path = folder.file("core");

  std::shared_ptr<const CoreFile> open(const ElfFile& elf) const {
    elf.write(path);
    auto file = CoreFile::open(path);
    BOOST_REQUIRE_MESSAGE(file, file.error().message);
    return *file;
  }
  std::string failure(const ElfFile& elf) const {
    elf.write(path);
    const auto file = CoreFile::open(path);
    BOOST_REQUIRE(!file);
    BOOST_TEST(file.error().message.starts_with(path));
    return file.error().message;
  }
};

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

void append(std::vector<std::byte>& out, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(core_file, Fixture)

BOOST_AUTO_TEST_CASE(segments_are_read_across_their_borders_and_nothing_else) {
  ElfFile elf;
  elf.load('b', 8, 0x2008);
  elf.load('a', 8, 0x2000);
  elf.load('c', 0x10000, 0x8000);
  const CoreMemory memory(open(elf));
  BOOST_TEST(text_at(memory, 0x2000, 18) == "aaaaaaaabbbbbbbb..");
  BOOST_TEST(text_at(memory, 0x1fff, 3) == "...");
  BOOST_TEST(text_at(memory, 0x200c, 4) == "bbbb");
  BOOST_TEST(text_at(memory, 0x17ffe, 4) == "cc..");
  BOOST_TEST(text_at(memory, ~std::uint64_t{0}, 2) == "..");
  const auto ranges = memory.populated();
  BOOST_REQUIRE(ranges.size() == 2u);
  BOOST_TEST(ranges[0].start.value == 0x2000u);
  BOOST_TEST(ranges[0].bytes == 16u);
  BOOST_TEST(ranges[1].bytes == 0x10000u);
}

BOOST_AUTO_TEST_CASE(what_a_filtered_core_left_out_reads_as_zero_and_is_told) {
  ElfFile elf;
  elf.load('a', 4, 0x1000, 0, 8);
  elf.load('b', 0, 0x3000, 0, 4);
  const auto file = open(elf);
  const CoreMemory memory(file);
  BOOST_TEST(text_at(memory, 0x1000, 10) == "aaaa0000..");
  BOOST_TEST(text_at(memory, 0x3000, 5) == "0000.");
  BOOST_TEST(file->headers().left_out_bytes == 8u);
  BOOST_TEST(memory.populated().size() == 1u);
}

BOOST_AUTO_TEST_CASE(what_qemu_did_not_find_in_ram_is_absent) {
  Notes notes;
  notes.cpus.emplace_back().cr = {1, 2, 3, 4, 5};
  ElfFile elf;
  elf.add(PT_NOTE, write_notes(notes), 0);
  elf.load('a', 4, 0x1000, 0, 8);
  const auto file = open(elf);
  BOOST_TEST(text_at(CoreMemory(file), 0x1000, 6) == "aaaa..");
  BOOST_TEST(file->headers().left_out_bytes == 0u);
}

BOOST_AUTO_TEST_CASE(a_page_that_is_listed_twice_is_read_once) {
  ElfFile elf;
  elf.load('a', 8, 0x1000, 0xffff888000001000);
  elf.load('b', 4, 0x1004, 0xffffc90000000000);  // the tail of that again
  elf.load('c', 8, 0x1006, 0xffffc90000010000);  // and beyond it
  elf.load('z', 0, 0x1000, 0, 16);               // zeroes give way to bytes
  const CoreMemory memory(open(elf));
  BOOST_TEST(text_at(memory, 0x1000, 18) == "aaaaaaaacccccc00..");
}

BOOST_AUTO_TEST_CASE(a_core_without_physical_addresses_is_read_by_virtual_ones) {
  for (const std::uint64_t none : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    ElfFile elf;
    elf.load('a', 8, none, 0xffffffff81000000);
    elf.load('b', 8, none, 0xffff888000000000);
    elf.load('u', 8, none, 0x400000);
    const auto file = open(elf);
    BOOST_TEST(file->headers().physical.empty());
    const CoreKernelMemory memory(file);
    BOOST_TEST(memory.get_string(Kva(0xffffffff81000004), 4).value() == "aaaa");
    BOOST_TEST(!memory.get<std::uint8_t>(Kva(0x400000)));
    BOOST_TEST(!memory.get<std::uint64_t>(Kva(0xffff888000000004)));
    BOOST_TEST(mentions(memory.explain(Kva(0xffff888000000008)), "0xffff888000000008: not in the core"));
  }
}

BOOST_AUTO_TEST_CASE(one_segment_at_zero_is_physical_when_it_has_no_other_address) {
  ElfFile elf;
  elf.load('a', 8, 0);
  BOOST_TEST(text_at(CoreMemory(open(elf)), 0, 9) == "aaaaaaaa.");
}

BOOST_AUTO_TEST_CASE(more_headers_than_their_field_can_count) {
  ElfFile elf;
  constexpr std::size_t kMany = 70000;
  for (std::size_t n = 0; n < kMany; ++n) elf.load(static_cast<char>('a' + n % 26), 1, n * 0x1000 + 1);
  elf.header.e_phnum = PN_XNUM;
  BOOST_TEST(mentions(failure(elf), "a section header that is not there"));
  Elf64_Shdr section{};
  section.sh_info = kMany + 1;
  elf.add(PT_NULL, std::as_bytes(std::span(&section, 1)), 0);
  elf.header.e_shoff = elf.bytes().size() - sizeof section;
  const CoreMemory memory(open(elf));
  BOOST_TEST(memory.populated().size() == kMany);
  BOOST_TEST(text_at(memory, 69999 * 0x1000 + 1, 1) == std::string(1, 'a' + 69999 % 26));
}

BOOST_AUTO_TEST_CASE(a_file_that_was_cut_short_lacks_just_that) {
  ElfFile elf;
  elf.load('a', 0x2000, 0x1000);
  elf.load('b', 0x2000, 0x8000);
  elf.write(path);
  BOOST_REQUIRE(::truncate(path.c_str(), static_cast<off_t>(elf.bytes().size() - 0x1800)) == 0);
  const auto file = CoreFile::open(path).value();
  const CoreMemory memory(file);
  BOOST_TEST(text_at(memory, 0x2fff, 2) == "a.");
  BOOST_TEST(text_at(memory, 0x87ff, 2) == "b.");
  BOOST_REQUIRE(file->headers().notes.problems.size() == 1u);
  BOOST_TEST(mentions(file->headers().notes.problems[0], "cut short"));
  BOOST_TEST(file->problem().empty());
}

BOOST_AUTO_TEST_CASE(a_file_that_shrinks_while_it_is_read_is_told) {
  ElfFile elf;
  elf.load('a', 0x40000, 0x1000);
  const auto file = open(elf);
  const CoreMemory memory(file);
  BOOST_TEST(text_at(memory, 0x1000, 1) == "a");
  BOOST_REQUIRE(::truncate(path.c_str(), 0x8000) == 0);
  BOOST_TEST(text_at(memory, 0x20000, 1) == ".");
  BOOST_TEST(mentions(file->problem(), "cannot be read at"));
}

BOOST_AUTO_TEST_CASE(holes_of_the_file_are_not_populated) {
  ElfFile elf;
  elf.load('a', 0x1000, 0x10000);
  elf.segments[0].p_filesz = elf.segments[0].p_memsz = 0x100000;
  elf.write(path);
  BOOST_REQUIRE(::truncate(path.c_str(), 0x100000 + 0x1000) == 0);
  const CoreMemory memory(CoreFile::open(path).value());
  BOOST_TEST(text_at(memory, 0x10fff, 2) == "a0");
  std::uint64_t populated = 0;
  for (const auto& range : memory.populated()) populated += range.bytes;
  // Where the file system keeps no holes (it may), all of it is populated.
  BOOST_TEST((populated <= 0x3000u || populated == 0x100000u));
}

BOOST_AUTO_TEST_CASE(hostile_headers_cost_their_part_or_say_what_is_wrong) {
  BOOST_TEST(mentions(CoreFile::open(folder.file("none")).error().message, "No such file"));
  BOOST_TEST(mentions(CoreFile::open(folder.path().string()).error().message, "not a regular file"));
  const auto wrong = [this](auto change) {
    ElfFile elf;
    elf.load('a', 8, 0x1000);
    change(elf);
    return failure(elf);
  };
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_ident[0] = 'X'; }), "not an ELF file"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { std::memcpy(e.header.e_ident, "KDUMP   ", 8); }), "makedumpfile -E"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { std::memcpy(e.header.e_ident, "makedumpfile", 12); }), "makedumpfile -R"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_ident[EI_CLASS] = ELFCLASS32; }), "another machine"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_machine = EM_AARCH64; }), "another machine"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_type = ET_EXEC; }), "no core"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_phentsize = 1; }), "program headers of 1 bytes"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_phoff = ~0ULL - 7; }), "has room for 0"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.header.e_phnum = 60000; }), "has room for"));
  BOOST_TEST(mentions(wrong([](ElfFile& e) { e.segments[0].p_vaddr = 0x400000, e.segments[0].p_paddr = 0; }), "of a process"));

  ElfFile elf;
  elf.load('a', 8, 0x1000);
  elf.load('w', 8, ~0ULL - 3);
  elf.load('o', 8, 0x2000).p_offset = 1ULL << 63;
  elf.load('f', 8, 0x3000).p_filesz = ~0ULL;
  elf.load('m', 8, 0x4000, 0, 1ULL << 62);
  auto& note = elf.add(PT_NOTE, std::vector(8, std::byte{1}), 0);
  note.p_filesz = 1ULL << 40;
  const auto file = open(elf);
  const CoreMemory memory(file);
  BOOST_TEST(text_at(memory, 0x1000, 9) == "aaaaaaaa.");
  BOOST_TEST(text_at(memory, 0x2000, 1) == ".");
  BOOST_TEST(text_at(memory, 0x4000, 9) == "mmmmmmmm0");
  BOOST_TEST(text_at(memory, 1ULL << 61, 1) == "0");
  BOOST_TEST(file->headers().notes.problems.size() >= 3u);
}

BOOST_AUTO_TEST_CASE(notes_beyond_their_segment_end_the_list) {
  Notes notes;
  notes.cpus.resize(2);
  notes.cpus[1].rip = 7;
  auto bytes = write_notes(notes);
  const Elf64_Nhdr huge{5, 0xffffffff, NT_PRSTATUS};
  append(bytes, std::string_view(reinterpret_cast<const char*>(&huge), sizeof huge));
  append(bytes, "CORE");
  Notes read;
  read_notes(bytes, read);
  BOOST_TEST(read.cpus.size() == 2u);
  BOOST_TEST(read.cpus[1].rip == 7u);
  BOOST_REQUIRE(read.problems.size() == 1u);
  BOOST_TEST(mentions(read.problems[0], "beyond its segment"));

  Notes small;
  std::vector<std::byte> cut;
  const Elf64_Nhdr head{5, 8, NT_PRSTATUS};
  append(cut, std::string_view(reinterpret_cast<const char*>(&head), sizeof head));
  append(cut, std::string_view("CORE\0\0\0\0--------", 16));
  read_notes(cut, small);
  BOOST_TEST(small.cpus.empty());
  BOOST_TEST(small.problems.size() == 1u);
}

BOOST_AUTO_TEST_CASE(many_threads_read_one_file) {
  ElfFile elf;
  for (std::uint64_t n = 0; n < 64; ++n) elf.load(static_cast<char>('A' + n), 0x4000, n * 0x4000);
  const auto file = open(elf);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const CoreMemory memory(file);
      for (std::uint64_t n = 0; n < 4000; ++n) {
        const std::uint64_t at = (n * 7919 + t * 13) % (64 * 0x4000);
        wrong += text_at(memory, at, 1) != std::string(1, static_cast<char>('A' + at / 0x4000));
      }
    });
  for (auto& thread : threads) thread.join();
  BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_SUITE_END()
