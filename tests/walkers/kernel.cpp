#include "walkers/kernel.hpp"

#include <fmt/format.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::KernelSpec;
using synthetic::SyntheticKernel;

namespace {

// The message of an open that has to fail.
std::string failure(const Memory& memory, const OpenOptions& options = {}) {
  const auto kernel = Kernel::open(memory, options);
  BOOST_REQUIRE(!kernel);
  return kernel.error().message;
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(kernel)

BOOST_AUTO_TEST_CASE(opens_every_symbol_layout_with_both_depths_of_page_tables) {
  for (const bool five_levels : {true, false})
    for (const auto layout :
         {SymbolLayout::absolute, SymbolLayout::base_or_percpu, SymbolLayout::base_relative, SymbolLayout::place_relative}) {
      BOOST_TEST_CONTEXT(to_string(layout) << ", five levels: " << five_levels) {
        const SyntheticKernel guest({.five_levels = five_levels, .layout = layout});
        const auto kernel = Kernel::open(guest.memory);
        BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
        BOOST_TEST((kernel->symbols().layout() == layout));
        BOOST_TEST((kernel->symbol("init_task").value() == guest.init_task));
        BOOST_TEST(kernel->info().release() == "7.2.13-synthetic");
      }
    }
}

BOOST_AUTO_TEST_CASE(per_cpu_addresses_are_template_plus_offset) {
  for (const auto layout : {SymbolLayout::base_or_percpu, SymbolLayout::place_relative}) {
    const SyntheticKernel guest({.layout = layout});
    const auto kernel = Kernel::open(guest.memory).value();
    BOOST_TEST(kernel.cpu_count().value() == 2u);
    const auto first = kernel.per_cpu("runqueues", 0).value();
    const auto second = kernel.per_cpu("runqueues", 1).value();
    BOOST_TEST((first != second));
    BOOST_TEST(kernel.memory().get<std::uint64_t>(first + guest.offset("rq.idle")).value() == guest.init_task.value);
    BOOST_TEST(mentions(kernel.per_cpu("runqueues", 2).error().message, "CPU 2 of 2"));
    BOOST_TEST(mentions(kernel.per_cpu("no_such", 0).error().message, "no_such"));
  }
}

BOOST_AUTO_TEST_CASE(cpus_the_kernel_numbers_but_does_not_have_are_left_out) {
  const SyntheticKernel guest({.cpus = 4, .possible_mask = 0b1101});
  const auto cpus = Kernel::open(guest.memory).value().possible_cpus();
  BOOST_REQUIRE_MESSAGE(cpus, cpus.error().message);
  BOOST_TEST(*cpus == (std::vector<std::uint32_t>{0, 2, 3}), boost::test_tools::per_element());
  const SyntheticKernel plain({.cpus = 3});
  BOOST_TEST(Kernel::open(plain.memory).value().possible_cpus().value().size() == 3u);
}

BOOST_AUTO_TEST_CASE(an_impossible_cpu_count_is_refused) {
  SyntheticKernel guest;
  guest.put(guest.symbol("nr_cpu_ids"), std::uint32_t{0xffffffff});
  const auto kernel = Kernel::open(guest.memory).value();
  BOOST_TEST(mentions(kernel.cpu_count().error().message, "4294967295"));
  BOOST_TEST(!kernel.per_cpu("runqueues", 0));
}

BOOST_AUTO_TEST_CASE(the_next_snapshot_of_a_boot_reuses_the_tables) {
  const SyntheticKernel guest;
  const auto first = Kernel::open(guest.memory).value();
  BOOST_TEST(!first.times().tables_reused);
  const auto second = Kernel::open(guest.memory, first).value();
  BOOST_TEST(second.times().tables_reused);
  BOOST_TEST(&second.symbols() == &first.symbols());
  BOOST_TEST(second.times().scan.count() <= first.times().total.count());
}

BOOST_AUTO_TEST_CASE(another_boot_is_not_taken_for_the_previous_one) {
  const SyntheticKernel before;
  const SyntheticKernel after({.kernel_offset = 0x12200000, .phys_base = 0});
  const auto first = Kernel::open(before.memory).value();
  const auto second = Kernel::open(after.memory, first).value();
  BOOST_TEST(!second.times().tables_reused);
  BOOST_TEST((second.symbol("init_task").value() == after.init_task));
  const SyntheticKernel upgrade({.build_id = "ffff"});
  BOOST_TEST(!Kernel::open(upgrade.memory, first).value().times().tables_reused);
}

BOOST_AUTO_TEST_CASE(a_stale_note_of_an_earlier_boot_is_passed_over) {
  SyntheticKernel guest({.raw_copy = false});
  // An earlier kernel, elsewhere, of which only the text survived; it lies in front of the real one.
  const SyntheticKernel earlier({.kernel_offset = 0x02000000, .release = "6.0-earlier"});
  guest.memory.write(Gpa(0x00100000), synthetic::bytes_of(earlier.vmcoreinfo_text));
  const auto kernel = Kernel::open(guest.memory);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  BOOST_TEST(kernel->info().release() == "7.2.13-synthetic");
  BOOST_REQUIRE(kernel->rejected().size() == 1u);
  BOOST_TEST(mentions(kernel->rejected()[0], "6.0-earlier at 0x100000"));
}

BOOST_AUTO_TEST_CASE(cr3_decides_between_two_whole_kernels) {
  SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory).value();
  const auto root = kernel.info().page_table_root().value;
  // The kernel's own root with PCID bits, and the user copy page-table isolation keeps one page above it.
  BOOST_TEST(Kernel::open(guest.memory, OpenOptions{nullptr, root | 0x801, {}}).has_value());
  BOOST_TEST(root % (2 * kPageBytes) == 0u);
  guest.memory.write(Gpa(root + kPageBytes), std::array<std::byte, kPageBytes>{});
  BOOST_TEST(Kernel::open(guest.memory, OpenOptions{nullptr, root + kPageBytes, {}}).has_value());
  guest.memory.write(Gpa(0x300000), std::array<std::byte, kPageBytes>{});
  BOOST_TEST(mentions(failure(guest.memory, OpenOptions{nullptr, 0x300000, {}}), "the page tables of the vCPU do not map _stext"));
}

BOOST_AUTO_TEST_CASE(a_note_that_is_given_needs_no_scan) {
  SyntheticKernel guest({.raw_copy = false, .note_copy = false});
  BOOST_TEST(mentions(failure(guest.memory), "no VMCOREINFO"));
  const auto note = VmCoreInfo::parse(guest.vmcoreinfo_text).value();
  OpenOptions options;
  options.vmcoreinfo = &note;
  const auto first = Kernel::open(guest.memory, options);
  BOOST_REQUIRE_MESSAGE(first, first.error().message);
  BOOST_TEST((first->symbol("init_task").value() == guest.init_task));
  options.previous = &*first;
  BOOST_TEST(Kernel::open(guest.memory, options).value().times().tables_reused);
}

BOOST_AUTO_TEST_CASE(a_note_that_does_not_hold_gives_way_to_the_scan) {
  const SyntheticKernel guest;
  const SyntheticKernel other({.kernel_offset = 0x02000000, .phys_base = 0});
  const auto note = VmCoreInfo::parse(other.vmcoreinfo_text).value();
  OpenOptions options;
  options.vmcoreinfo = &note;
  const auto kernel = Kernel::open(guest.memory, options);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  BOOST_TEST((kernel->symbol("init_task").value() == guest.init_task));
  BOOST_REQUIRE(kernel->rejected().size() == 1u);
  BOOST_TEST(mentions(kernel->rejected()[0], "the VMCOREINFO note: the kernel's page tables do not map _stext"));
}

BOOST_AUTO_TEST_CASE(bytes_by_virtual_address_need_no_page_tables) {
  SyntheticKernel guest({.raw_copy = false, .note_copy = false});
  const auto note = VmCoreInfo::parse(guest.vmcoreinfo_text).value();
  const PagedMemory by_address(guest.memory, PageTables(guest.memory, note.page_table_root(), note.five_levels()));
  const KernelMemory& bytes = by_address;
  const auto kernel = Kernel::open(bytes, note);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  BOOST_TEST(kernel->paged() == nullptr);
  const Kernel copy = *kernel;
  BOOST_TEST(&copy.memory() == &bytes);
  BOOST_TEST((copy.symbol("init_task").value() == guest.init_task));
  OpenOptions again;
  again.previous = &copy;
  BOOST_TEST(Kernel::open(bytes, note, again).value().times().tables_reused);

  guest.put_string(guest.init_task + guest.offset("task_struct.comm"), "systemd");
  const auto wrong = Kernel::open(bytes, note);
  BOOST_REQUIRE(!wrong);
  BOOST_TEST(mentions(wrong.error().message, "VMCOREINFO of 7.2.13-synthetic: validation: init_task.comm"));
}

BOOST_AUTO_TEST_CASE(a_copy_translates_by_itself) {
  const SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory).value();
  const Kernel copy = kernel;
  BOOST_REQUIRE(kernel.paged() != nullptr);
  BOOST_TEST(&kernel.memory() == kernel.paged());
  BOOST_TEST(&copy.memory() != &kernel.memory());
  BOOST_TEST(copy.memory().get_string(guest.init_task + guest.offset("task_struct.comm"), 16).value() == "swapper/0");
}

BOOST_AUTO_TEST_CASE(no_candidate_is_tried_after_the_deadline) {
  const SyntheticKernel guest;
  BOOST_TEST(mentions(failure(guest.memory, OpenOptions{nullptr, std::nullopt, WalkBudget::Clock::now()}), "not tried, deadline reached"));
}

BOOST_AUTO_TEST_CASE(candidates_that_fail_late_are_only_so_many) {
  SyntheticKernel guest;
  guest.put(guest.symbol("__start_BTF"), std::uint16_t{0});
  for (std::uint64_t i = 0; i < 20; ++i) {
    auto text = guest.vmcoreinfo_text + fmt::format("CRASHTIME={}\n", i);
    guest.memory.write(Gpa(0x500000 + i * kPageBytes), synthetic::bytes_of(text));
  }
  BOOST_TEST(mentions(failure(guest.memory), "and 13 more"));
  guest.memory.write(Gpa(0x600000), synthetic::bytes_of(guest.vmcoreinfo_text));
  BOOST_TEST(mentions(failure(guest.memory), "BTF magic is 0x0"));
}

BOOST_AUTO_TEST_CASE(errors_say_which_step_failed) {
  synthetic::SparseMemory empty;
  BOOST_TEST(mentions(failure(empty), "no VMCOREINFO"));
  {
    SyntheticKernel guest;
    guest.memory.erase_page(guest.physical(guest.symbol("__start_BTF")));
    BOOST_TEST(mentions(failure(guest.memory), "types: cannot read BTF"));
  }
  {
    SyntheticKernel guest;
    guest.put(guest.symbol("__start_BTF"), std::uint16_t{0x9feb});
    BOOST_TEST(mentions(failure(guest.memory), "BTF magic is 0x9feb"));
  }
  {
    SyntheticKernel guest;
    guest.put_string(guest.init_task + guest.offset("task_struct.comm"), "systemd");
    BOOST_TEST(mentions(failure(guest.memory), "init_task.comm is \"systemd\""));
  }
  {
    SyntheticKernel guest;
    guest.put_string(guest.symbol("init_uts_ns") + guest.offset("uts_namespace.name.release"), "6.6.6");
    BOOST_TEST(mentions(failure(guest.memory), "release \"6.6.6\""));
  }
  {
    SyntheticKernel guest;
    const auto kernel = Kernel::open(guest.memory).value();
    guest.memory.erase_page(kernel.info().page_table_root());
    BOOST_TEST(mentions(failure(guest.memory), "the kernel's page tables do not map _stext"));
  }
}

BOOST_AUTO_TEST_CASE(a_kernel_for_one_cpu_calls_its_idle_task_swapper) {
  SyntheticKernel guest;
  guest.put_string(guest.init_task + guest.offset("task_struct.comm"), "swapper");
  BOOST_TEST(Kernel::open(guest.memory).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
