#include "walkers/vmcoreinfo.hpp"

#include <fmt/format.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::bytes_of;
using synthetic::SparseMemory;
using synthetic::SyntheticKernel;

namespace {

const std::string kText =
    "OSRELEASE=7.2.13+deb14-cloud-amd64\nBUILD-ID=00ff12\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffffb9c12000\n"
    "SYMBOL(_stext)=ffffffffb7a00000\nNUMBER(phys_base)=-725614592\nNUMBER(pgtable_l5_enabled)=1\nKERNELOFFSET=36a00000\n"
    "OFFSET(list_head.next)=0\nSIZE(page)=64\nNUMBER(KERNEL_IMAGE_SIZE)=0x40000000\nCRASHTIME=1\n";

std::string without(const std::string& key) {
  std::string text = kText;
  const auto at = text.find(key);
  return text.erase(at, text.find('\n', at) + 1 - at);
}

std::string with(const std::string& key, const std::string& value) {
  return without(key) + key + "=" + value + "\n";
}

std::string refusal(const std::string& text) {
  const auto info = VmCoreInfo::parse(text);
  BOOST_REQUIRE(!info);
  return info.error().message;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(vmcoreinfo)

BOOST_AUTO_TEST_CASE(parses_the_fields) {
  const auto info = VmCoreInfo::parse(kText);
  BOOST_REQUIRE_MESSAGE(info, info.error().message);
  BOOST_TEST(info->release() == "7.2.13+deb14-cloud-amd64");
  BOOST_TEST(info->build_id() == "00ff12");
  BOOST_TEST(info->kernel_offset() == 0x36a00000u);
  BOOST_TEST(info->phys_base() == -0x2b400000);
  BOOST_TEST(info->five_levels());
  BOOST_TEST(info->page_table_root().value == 0x39c12000u - 0x2b400000u);
  BOOST_TEST(info->symbol("_stext")->value == 0xffffffffb7a00000u);
  BOOST_TEST(!info->symbol("_etext"));
  BOOST_TEST(info->number("KERNEL_IMAGE_SIZE").value() == 0x40000000);
  BOOST_TEST(info->size("page").value() == 64u);
  BOOST_TEST(info->offset("list_head.next").value() == 0u);
  BOOST_TEST(info->field("CRASHTIME").value() == "1");
  BOOST_TEST(!info->field("CRASHTIM"));
}

BOOST_AUTO_TEST_CASE(names_the_field_that_is_missing_or_malformed) {
  for (const std::string key :
       {"OSRELEASE", "BUILD-ID", "SYMBOL(swapper_pg_dir)", "NUMBER(phys_base)", "NUMBER(pgtable_l5_enabled)", "KERNELOFFSET"}) {
    BOOST_TEST(refusal(without(key)) == "VMCOREINFO has no " + key);
    if (key == "OSRELEASE") continue;  // free text
    for (const std::string value : {"", "%s", "zz", "0x", "- 1"})
      BOOST_TEST(refusal(with(key, value)).find("malformed " + key) != std::string::npos);
  }
  for (const std::string key : {"SYMBOL(swapper_pg_dir)", "NUMBER(phys_base)", "KERNELOFFSET"})
    BOOST_TEST(refusal(with(key, "99999999999999999999999999999")).find(key) != std::string::npos);
  // The format string in rodata begins like the real thing.
  BOOST_TEST(refusal(with("OSRELEASE", "%s")).find("malformed OSRELEASE") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(text_ends_at_the_first_nul_and_the_first_of_a_key_wins) {
  std::string text = kText + "SIZE(page)=1\n";
  BOOST_TEST(VmCoreInfo::parse(text).value().size("page").value() == 64u);
  text = kText;
  text.push_back('\0');
  text += "SIZE(list_head)=16\n";
  BOOST_TEST(!VmCoreInfo::parse(text).value().size("list_head"));
  text = kText + std::string(VmCoreInfo::kMaxText, '\n') + "SIZE(list_head)=16\n";
  BOOST_TEST(!VmCoreInfo::parse(text).value().size("list_head"));
}

BOOST_AUTO_TEST_CASE(a_text_of_nothing_but_lines_keeps_a_bounded_number_of_them) {
  std::string text = kText;
  for (std::size_t i = 0; i < VmCoreInfo::kMaxFields; ++i) text += fmt::format("k{}=\n", i);
  const auto info = VmCoreInfo::parse(text).value();
  BOOST_TEST(info.field("k1").has_value());
  BOOST_TEST(!info.field(fmt::format("k{}", VmCoreInfo::kMaxFields - 1)));
}

BOOST_AUTO_TEST_CASE(finds_the_bare_text_and_the_note_and_drops_the_second_copy) {
  for (const auto& [raw, note] : {std::pair{true, false}, {false, true}, {true, true}}) {
    const SyntheticKernel guest({.raw_copy = raw, .note_copy = note});
    const auto scan = scan_vmcoreinfo(guest.memory);
    BOOST_REQUIRE(scan.candidates.size() == 1u);
    BOOST_TEST((scan.candidates[0].found_at() == (raw ? SyntheticKernel::kRawPage : SyntheticKernel::kNotePage)));
    BOOST_TEST(scan.candidates[0].text() == guest.vmcoreinfo_text);
    BOOST_TEST(scan.rejected.empty());
    BOOST_TEST(read_vmcoreinfo(guest.memory, scan.candidates[0].found_at()).value().text() == guest.vmcoreinfo_text);
  }
}

BOOST_AUTO_TEST_CASE(looks_at_starts_of_populated_pages_only) {
  SparseMemory memory;
  memory.write(Gpa(0x10010), bytes_of(kText));
  const auto scan = scan_vmcoreinfo(memory);
  BOOST_TEST(scan.candidates.empty());
  BOOST_TEST(scan.pages == 1u);
  BOOST_TEST(memory.reads == 1u);
  BOOST_TEST(!read_vmcoreinfo(memory, Gpa(0x10000)));
  BOOST_TEST(!read_vmcoreinfo(memory, Gpa(0x20000)));
}

BOOST_AUTO_TEST_CASE(several_texts_are_all_candidates_in_address_order) {
  SparseMemory memory;
  memory.write(Gpa(0x30000), bytes_of(with("KERNELOFFSET", "1000000")));
  memory.write(Gpa(0x10000), bytes_of(kText));
  memory.write(Gpa(0x20000), bytes_of("OSRELEASE=%s\nBUILD-ID=%s\n"));
  const auto scan = scan_vmcoreinfo(memory);
  BOOST_REQUIRE(scan.candidates.size() == 2u);
  BOOST_TEST(scan.candidates[0].kernel_offset() == 0x36a00000u);
  BOOST_TEST(scan.candidates[1].kernel_offset() == 0x1000000u);
  BOOST_REQUIRE(scan.rejected.size() == 1u);
  BOOST_TEST(scan.rejected[0].find("page 0x20000") == 0u);
}

BOOST_AUTO_TEST_CASE(a_note_with_an_absurd_size_is_refused) {
  for (const std::uint32_t size : {0u, 0xffffffffu, static_cast<std::uint32_t>(VmCoreInfo::kMaxText) + 1}) {
    SyntheticKernel guest({.raw_copy = false});
    guest.memory.put(SyntheticKernel::kNotePage + 4, size);
    const auto scan = scan_vmcoreinfo(guest.memory);
    BOOST_TEST(scan.candidates.empty());
    BOOST_TEST(scan.rejected.size() == 1u);
  }
}

BOOST_AUTO_TEST_CASE(look_alikes_without_end_end_the_scan) {
  SparseMemory memory;
  for (std::uint64_t page = 0; page < kMaxTexts + 10; ++page) memory.write(Gpa(page * kPageBytes), bytes_of("OSRELEASE=fake\n"));
  const auto scan = scan_vmcoreinfo(memory);
  BOOST_TEST(scan.truncated);
  BOOST_TEST(scan.rejected.size() == kMaxTexts);
  BOOST_TEST(scan.pages == kMaxTexts + 1);
}

BOOST_AUTO_TEST_SUITE_END()
