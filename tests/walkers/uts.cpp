#include "walkers/uts.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::SyntheticKernel;

BOOST_AUTO_TEST_SUITE(uts)

BOOST_AUTO_TEST_CASE(reads_all_fields) {
  const SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory).value();
  const auto names = walkers::uts(kernel);
  BOOST_REQUIRE_MESSAGE(names, names.error().message);
  BOOST_TEST(names->sysname == "Linux");
  BOOST_TEST(names->nodename == "synthetic");
  BOOST_TEST(names->release == "7.2.13-synthetic");
  BOOST_TEST(names->version == "#1 SMP");
  BOOST_TEST(names->machine == "x86_64");
}

BOOST_AUTO_TEST_CASE(a_field_without_an_end_has_the_length_btf_gives_it) {
  SyntheticKernel guest;
  guest.write(guest.symbol("init_uts_ns") + guest.offset("uts_namespace.name.version"), synthetic::bytes_of(std::string(65 * 2, 'x')));
  BOOST_TEST(walkers::uts(Kernel::open(guest.memory).value()).value().version == std::string(65, 'x'));
}

BOOST_AUTO_TEST_CASE(an_unreadable_field_is_named) {
  SyntheticKernel guest;
  const auto kernel = Kernel::open(guest.memory).value();
  guest.memory.erase_page(guest.physical(guest.symbol("init_uts_ns")));
  BOOST_TEST(walkers::uts(kernel).error().message.find("cannot read uts_namespace.name.sysname") == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
