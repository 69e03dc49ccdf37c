#include "walkers/printk.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/printk_ring.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::PrintkRing;
using synthetic::SyntheticKernel;

namespace {

struct Guest {
  SyntheticKernel kernel{PrintkRing::needs()};
  PrintkRing ring{kernel};

  Result<KernelLog> read(WalkBudget budget = WalkBudget(10'000)) const {
    const auto opened = Kernel::open(kernel.memory);
    BOOST_REQUIRE_MESSAGE(opened, opened.error().message);
    return kernel_log(*opened, budget);
  }
  KernelLog log(WalkBudget budget = WalkBudget(10'000)) const {
    auto log = read(budget);
    BOOST_REQUIRE_MESSAGE(log, log.error().message);
    return std::move(*log);
  }
};

std::vector<std::string> texts(const KernelLog& log) {
  std::vector<std::string> list;
  for (const auto& record : log.records) list.push_back(record.text);
  return list;
}

using Texts = std::vector<std::string>;

}  // namespace

BOOST_AUTO_TEST_SUITE(printk)

BOOST_AUTO_TEST_CASE(records_come_oldest_first_with_all_they_say) {
  Guest guest;
  guest.ring.add("Linux version 7.2");
  const auto id = guest.ring.add("pci 0000:00:01.0: enabled");
  const Kva info = guest.ring.info(id);
  guest.kernel.put_string(info + guest.kernel.offset("printk_info.comm"), "swapper/0");
  guest.kernel.put_string(info + guest.kernel.offset("printk_info.dev_info.subsystem"), "pci");
  guest.kernel.put_string(info + guest.kernel.offset("printk_info.dev_info.device"), "+pci:0000:00:01.0");
  guest.kernel.put(info + guest.kernel.offset("printk_info.facility"), std::uint8_t{3});
  guest.kernel.put(info + 19, static_cast<std::uint8_t>(4 << 5 | 8));
  guest.kernel.put(info + guest.kernel.offset("printk_info.caller_id"), 0x80000001u);
  guest.kernel.put(guest.ring.ring() + guest.kernel.offset("printk_ringbuffer.fail"), std::uint64_t{5});

  const auto log = guest.log();
  BOOST_TEST(log.complete);
  BOOST_REQUIRE(log.records.size() == 2u);
  BOOST_TEST(log.records[0].seq == 0u);
  BOOST_TEST(log.records[0].line() == "[    1.000000] Linux version 7.2");
  BOOST_TEST(log.records[0].level == 6);
  BOOST_TEST(log.records[0].flags == 2);
  BOOST_TEST(log.records[0].caller() == "T77");
  const LogRecord& second = log.records[1];
  BOOST_TEST(second.seq == 1u);
  BOOST_TEST(second.ts_nsec == 1'001'500'000u);
  BOOST_TEST(second.text == "pci 0000:00:01.0: enabled");
  BOOST_TEST(second.level == 4);
  BOOST_TEST(second.flags == 8);
  BOOST_TEST(second.facility == 3);
  BOOST_TEST(second.caller() == "C1");
  BOOST_TEST(second.comm == "swapper/0");
  BOOST_TEST(second.subsystem == "pci");
  BOOST_TEST(second.device == "+pci:0000:00:01.0");
  BOOST_TEST(log.reusable == 1u);  // the one every ring begins with
  BOOST_TEST(log.failed == 5u);
}

BOOST_AUTO_TEST_CASE(every_record_moves_the_head) {
  Guest guest;
  const auto head = [&] {
    const auto opened = Kernel::open(guest.kernel.memory);
    BOOST_REQUIRE(opened);
    const auto number = kernel_log_head(*opened);
    BOOST_REQUIRE_MESSAGE(number, number.error().message);
    return *number;
  };
  const auto id = guest.ring.add("one");
  BOOST_TEST(head() == id);
  guest.ring.add("two");
  BOOST_TEST(head() == guest.ring.newest());
  BOOST_TEST(head() != id);
}

BOOST_AUTO_TEST_CASE(ids_and_texts_wrap) {
  Guest guest;
  for (int n = 0; n < 30; ++n) guest.ring.add("record " + std::to_string(n) + std::string(static_cast<std::size_t>(n), '.'));
  const auto log = guest.log();
  BOOST_TEST(log.complete);
  BOOST_REQUIRE(log.records.size() == PrintkRing::kCountBits + 5u);  // 8
  for (std::size_t n = 0; n < 8; ++n) {
    BOOST_TEST(log.records[n].seq == 22 + n);
    BOOST_TEST(log.records[n].text == "record " + std::to_string(22 + n) + std::string(22 + n, '.'));
  }
}

BOOST_AUTO_TEST_CASE(a_text_that_ends_where_its_ring_ends_is_whole) {
  Guest guest;
  guest.ring.add(std::string(248, 'a'));  // 256 bytes with its id
  guest.ring.add(std::string(248, 'b'));  // up to the very end
  guest.ring.add("c");
  guest.kernel.put(guest.ring.desc(guest.ring.newest() - 2), std::uint64_t{PrintkRing::reusable} << 62 | (guest.ring.newest() - 2));
  BOOST_TEST(texts(guest.log()) == (Texts{std::string(248, 'b'), "c"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_has_no_text_is_told_from_an_empty_line) {
  Guest guest;
  guest.ring.add("");
  guest.ring.add(std::nullopt);
  guest.ring.add("being written", PrintkRing::reserved);
  guest.ring.add("may be continued", PrintkRing::committed);
  const auto log = guest.log();
  BOOST_TEST(texts(log) == (Texts{"", "may be continued"}), boost::test_tools::per_element());
  BOOST_TEST(!log.records[0].pending);
  BOOST_TEST(log.records[1].pending);
  BOOST_TEST(log.lost == 1u);
  BOOST_TEST(log.reserved == 1u);
  BOOST_TEST(log.damaged == 0u);
  BOOST_TEST(log.complete);
}

BOOST_AUTO_TEST_CASE(a_descriptor_that_is_just_being_taken_is_no_damage) {
  Guest guest;
  for (int n = 0; n < 12; ++n) guest.ring.add("old");
  const auto id = guest.ring.newest();
  guest.ring.set_state(id, PrintkRing::reusable);
  guest.kernel.put(guest.ring.desc(id), std::uint64_t{PrintkRing::reusable} << 62 | ((id - 8) & ~(std::uint64_t{3} << 62)));
  const auto log = guest.log();
  BOOST_TEST(log.complete);
  BOOST_TEST(log.reserved == 1u);
  BOOST_TEST(log.records.size() == 7u);
}

BOOST_AUTO_TEST_CASE(a_stamp_stands_before_every_line) {
  LogRecord record;
  record.ts_nsec = 12'345'678'999'000;
  record.text = "one\ntwo";
  BOOST_TEST(record.line() == "[12345.678999] one\n[12345.678999] two");
}

BOOST_AUTO_TEST_CASE(damage_costs_its_own_record) {
  Guest guest;
  guest.ring.add("first");
  const auto alien = guest.ring.add("of another descriptor");
  const auto wild = guest.ring.add("wild");
  const auto odd = guest.ring.add("odd");
  const auto stolen = guest.ring.add("stolen");
  guest.ring.add("last");
  const Kva begin = Kva(guest.kernel.offset("prb_desc.text_blk_lpos.begin"));
  const Kva next = Kva(guest.kernel.offset("prb_desc.text_blk_lpos.next"));
  guest.kernel.put(guest.ring.desc(alien) + begin.value, std::uint64_t{0} - 512);  // where "first" is
  guest.kernel.put(guest.ring.desc(wild) + next.value, std::uint64_t{0x123456789abcd0});
  guest.kernel.put(guest.ring.desc(odd) + begin.value, std::uint64_t{0x1234});
  guest.kernel.put(guest.ring.desc(stolen), std::uint64_t{PrintkRing::finalized} << 62 | 0x77);
  const auto log = guest.log();
  BOOST_TEST(texts(log) == (Texts{"first", "last"}), boost::test_tools::per_element());
  BOOST_TEST(log.damaged == 4u);
  BOOST_TEST(log.problems.size() == 4u);
  BOOST_TEST(!log.complete);
}

BOOST_AUTO_TEST_CASE(a_length_beyond_its_block_is_cut) {
  Guest guest;
  const auto id = guest.ring.add("12345678");
  guest.kernel.put(guest.ring.info(id) + guest.kernel.offset("printk_info.text_len"), std::uint16_t{0xffff});
  BOOST_TEST(texts(guest.log()) == (Texts{"12345678"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(impossible_rings_are_refused) {
  const auto refused = [](const char* member, std::uint64_t value) {
    Guest guest;
    guest.ring.add("x");
    guest.kernel.put(guest.ring.ring() + guest.kernel.offset(member), value);
    return guest.read();
  };
  BOOST_TEST(!refused("printk_ringbuffer.desc_ring.count_bits", 40));
  BOOST_TEST(!refused("printk_ringbuffer.desc_ring.count_bits", 0));
  BOOST_TEST(!refused("printk_ringbuffer.text_data_ring.size_bits", 63));
  const auto nowhere = refused("printk_ringbuffer.desc_ring.descs", 0xdead000000000000);
  BOOST_REQUIRE(nowhere);
  BOOST_TEST(nowhere->records.empty());
  BOOST_TEST(nowhere->damaged == 2u);
  SyntheticKernel without;
  const auto opened = Kernel::open(without.memory);
  BOOST_REQUIRE(opened);
  BOOST_TEST(kernel_log(*opened).error().message == "the kernel has no symbol prb");
}

BOOST_AUTO_TEST_CASE(ids_that_span_more_than_the_ring_give_the_newest) {
  Guest guest;
  for (int n = 0; n < 12; ++n) guest.ring.add(std::to_string(n));
  guest.kernel.put(guest.ring.ring() + guest.kernel.offset("printk_ringbuffer.desc_ring.tail_id"), std::uint64_t{12});
  const auto log = guest.log();
  BOOST_TEST(log.records.size() == 8u);
  BOOST_TEST(log.records.back().text == "11");
  BOOST_TEST(!log.complete);
}

BOOST_AUTO_TEST_CASE(a_spent_budget_is_told) {
  Guest guest;
  for (int n = 0; n < 6; ++n) guest.ring.add("x");
  const auto log = guest.log(WalkBudget(3));
  BOOST_TEST(log.records.size() == 2u);  // and the ring's first, reusable one
  BOOST_TEST(log.left_out == 4u);
  BOOST_TEST(!log.complete);
}

BOOST_AUTO_TEST_SUITE_END()
