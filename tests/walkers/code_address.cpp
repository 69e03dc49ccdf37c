#include "walkers/code_address.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/code.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::Code;
using synthetic::CodeSpec;
using synthetic::SyntheticKernel;

namespace {

struct Guest {
  Kernel open() const {
    auto opened = Kernel::open(kernel.memory);
    BOOST_REQUIRE_MESSAGE(opened, opened.error().message);
    return std::move(*opened);
  }

  SyntheticKernel kernel{Code::needs({.functions = {{"schedule", 0x100}, {"alias_of_schedule", 0x100}, {"do_exit", 0x180}}})};
  Code code{kernel, {}};
};

bool mentions(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return line.find(part) != line.npos; });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(code_address)

BOOST_AUTO_TEST_CASE(kernel_functions_have_offset_and_size) {
  Guest guest;
  const Kernel kernel = guest.open();
  const CodeAddresses code(kernel);
  BOOST_TEST(code.text(guest.code.at(0x100)) == "schedule+0x0/0x80");
  BOOST_TEST(code.text(guest.code.at(0x17f)) == "schedule+0x7f/0x80");
  const auto found = code.find(guest.code.at(0x184));
  BOOST_REQUIRE(found);
  BOOST_TEST((*found == CodeLocation{"do_exit", 4, 0x8000 - 0x180, ""}));
  BOOST_TEST(code.problems().empty());
}

BOOST_AUTO_TEST_CASE(a_return_address_belongs_to_the_call_before_it) {
  Guest guest;
  const Kernel kernel = guest.open();
  const CodeAddresses code(kernel);
  // A call that never returns ends its function.
  BOOST_TEST(code.find_return(guest.code.at(0x180))->text() == "schedule+0x80/0x80");
  BOOST_TEST(code.find_return(guest.code.at(0x181))->text() == "do_exit+0x1/0x7e80");
}

BOOST_AUTO_TEST_CASE(what_is_no_code_is_told) {
  Guest guest;
  const Kernel kernel = guest.open();
  const CodeAddresses code(kernel);
  BOOST_TEST(code.find(Kva(0x401000)).error().message == "0x401000 is an address of user space");
  BOOST_TEST(code.text(Kva(0xffffffffc0001234)) == "0xffffffffc0001234");
  BOOST_TEST(code.find(Kva(0xffffffffc0001234)).error().message ==
             "0xffffffffc0001234 is in no function of the kernel, of a module or of BPF");
  BOOST_TEST(!code.find(Kva(~std::uint64_t{0})));
}

BOOST_AUTO_TEST_CASE(module_functions_come_from_its_own_symbols) {
  for (const bool mem_array : {true, false}) {
    const CodeSpec spec{.mem_array = mem_array};
    SyntheticKernel kernel(Code::needs(spec));
    Code code(kernel, spec);
    code.add_module("other", {{"init_module", 0}});
    const Kva text = code.add_module("nf_tables", {{"nft_do_chain", 0x40}, {"nft_first", 0x40}, {"nft_last", 0x200}});
    const auto opened = Kernel::open(kernel.memory);
    BOOST_REQUIRE(opened);
    const CodeAddresses addresses(*opened);
    BOOST_TEST(addresses.modules() == 2u);
    BOOST_TEST(addresses.text(text + 0x52) == "nft_do_chain+0x12/0x1c0 [nf_tables]");
    BOOST_TEST(addresses.text(text + 0x200) == "nft_last+0x0/0xe00 [nf_tables]");  // up to the end of its text
    BOOST_TEST(addresses.find(text + 0x10).error().message.find("module nf_tables, which has no symbol") != std::string::npos);
    BOOST_TEST(!addresses.find(text + kPageBytes));
  }
}

BOOST_AUTO_TEST_CASE(bpf_programs_are_told_by_the_list_of_their_symbols) {
  Guest guest;
  guest.code.add_bpf("bpf_prog_6deef7357e7b4530_dispatch", Kva(0xffffffffc0100000), 0x90);
  guest.code.add_bpf("bpf_trampoline_77", Kva(0xffffffffc0000000), 0x1000);
  guest.code.add_bpf("backwards", Kva(0xffffffffc0200000), std::uint64_t{0} - 16);
  guest.code.add_bpf("in_user_space", Kva(0x1000), 0x1000);
  const Kernel kernel = guest.open();
  const CodeAddresses code(kernel);
  BOOST_TEST(code.bpf_symbols() == 2u);
  BOOST_TEST(code.text(Kva(0xffffffffc010003c)) == "bpf_prog_6deef7357e7b4530_dispatch+0x3c/0x90 [bpf]");
  BOOST_TEST(code.text(Kva(0xffffffffc0000fff)) == "bpf_trampoline_77+0xfff/0x1000 [bpf]");
  BOOST_TEST(code.in_bpf(Kva(0xffffffffc010008f)));
  BOOST_TEST(!code.in_bpf(Kva(0xffffffffc0100090)));
  BOOST_TEST(!code.find(Kva(0x1800)));
}

BOOST_AUTO_TEST_CASE(a_torn_list_gives_what_was_found_before) {
  Guest guest;
  const Kva last = guest.code.add_bpf("bpf_prog_1_last", Kva(0xffffffffc0300000), 0x100);
  const Kva middle = guest.code.add_bpf("bpf_prog_2_middle", Kva(0xffffffffc0200000), 0x100);
  guest.code.add_bpf("bpf_prog_3_first", Kva(0xffffffffc0100000), 0x100);
  {
    guest.kernel.put(middle, std::uint64_t{0xdead000000000100});  // LIST_POISON1
    const Kernel kernel = guest.open();
    const CodeAddresses code(kernel);
    BOOST_TEST(code.bpf_symbols() == 2u);
    BOOST_TEST(mentions(code.problems(), "links to 0xdead000000000100"));
  }
  {
    guest.kernel.put(middle, last.value);
    guest.kernel.put(last, middle.value);  // a loop that misses the head
    const Kernel kernel = guest.open();
    const CodeAddresses code(kernel);
    BOOST_TEST(mentions(code.problems(), "comes back to a node"));
    BOOST_TEST(code.bpf_symbols() < 10u);
    BOOST_TEST(code.find(Kva(0xffffffffc0300001)).has_value());
  }
  {
    const Kernel kernel = guest.open();
    const CodeAddresses code(kernel, WalkBudget(2));
    BOOST_TEST(code.bpf_symbols() == 2u);
    BOOST_TEST(mentions(code.problems(), "step limit"));
  }
}

BOOST_AUTO_TEST_CASE(a_module_with_wild_symbols_has_none) {
  Guest guest;
  const Kva text = guest.code.add_module("wild", {{"function", 0}});
  const Kva module = text + kPageBytes;
  guest.kernel.put(module + 256, std::uint64_t{0xdead000000000000});
  guest.kernel.put(module + 256 + 8, std::uint32_t{0xffffffff});
  const Kernel kernel = guest.open();
  const CodeAddresses code(kernel);
  BOOST_TEST(code.find(text).error().message.find("has no symbol") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
