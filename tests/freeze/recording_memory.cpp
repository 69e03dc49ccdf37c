#include "freeze/recording_memory.hpp"

#include <array>
#include <boost/test/unit_test.hpp>

using namespace floe;
using namespace floe::freeze;

namespace {

// RAM of eight pages, of which page 5 is unreadable.
class Ram final : public walkers::Memory {
 public:
  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    const std::uint64_t end = gpa.value < 5 * kPageBytes ? 5 * kPageBytes : gpa.value < 6 * kPageBytes ? 0 : 8 * kPageBytes;
    return gpa.value >= end ? 0 : std::min<std::uint64_t>(out.size(), end - gpa.value);
  }
  std::vector<walkers::PhysRange> populated() const override { return {{Gpa(0), 8 * kPageBytes}}; }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(recording_memory)

BOOST_AUTO_TEST_CASE(the_pages_of_each_read_are_noted_and_what_was_not_there) {
  const Ram ram;
  const auto layout = RamLayout::create({{Gpa(0), 8 * kPageBytes, 0}}).value();
  const RecordingMemory memory(ram, layout);
  BOOST_TEST(memory.pages() == std::vector<std::uint64_t>{0}, boost::test_tools::per_element());
  std::array<std::byte, 16> some;
  BOOST_TEST(memory.read(Gpa(kPageBytes + 8), some) == 16u);
  BOOST_TEST(memory.read(Gpa(3 * kPageBytes - 8), some) == 16u);
  BOOST_TEST(memory.missed() == 0u);
  BOOST_TEST(memory.pages() == std::vector<std::uint64_t>{0b1110}, boost::test_tools::per_element());
  BOOST_TEST(memory.read(Gpa(5 * kPageBytes), some) == 0u);
  BOOST_TEST(memory.missed() == 1u);
  // What is no RAM was never missing.
  BOOST_TEST(memory.read(Gpa(8 * kPageBytes - 8), some) == 8u);
  BOOST_TEST(memory.read(Gpa(~std::uint64_t{0} - 3), some) == 0u);
  BOOST_TEST(memory.missed() == 1u);
  BOOST_TEST(memory.pages() == std::vector<std::uint64_t>{0b10101110}, boost::test_tools::per_element());
  BOOST_TEST(memory.populated().size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
