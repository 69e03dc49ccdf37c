#include "freeze/event_timeline.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/scx.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::walkers;
using synthetic::ScxGuest;

namespace {

constexpr const char* kKeepLast = "SCX_EV_DISPATCH_KEEP_LAST";

struct Looks {
  explicit Looks(std::size_t most = 60) : timeline(most) {}
  EventTimeline timeline;
  std::optional<Kernel> kernel;
  SnapshotMeta meta;

  void look(const ScxGuest& guest, bool whole = true) {
    OpenOptions options;
    if (kernel) options.previous = &*kernel;
    auto opened = Kernel::open(guest.guest.memory, options);
    BOOST_REQUIRE_MESSAGE(opened, opened.error().message);
    kernel.emplace(std::move(*opened));
    ++meta.sequence;
    meta.guest_clock_ns += 1'000'500'000;
    meta.whole = whole;
    timeline.look(*kernel, meta, WalkBudget(10'000));
  }
  std::vector<std::int64_t> kept_last(std::uint64_t before = 1000) const {
    std::vector<std::int64_t> values;
    for (const auto& sample : timeline.before(before)) values.push_back(sample.dispatch_keep_last);
    return values;
  }
};

using Values = std::vector<std::int64_t>;

}  // namespace

BOOST_AUTO_TEST_SUITE(event_timeline)

BOOST_AUTO_TEST_CASE(a_sample_from_each_snapshot_with_its_time) {
  ScxGuest guest;
  Looks looks;
  looks.look(guest);
  BOOST_TEST(looks.kept_last().empty());
  guest.attach("mine");
  for (const int value : {3, 3, 7}) {
    guest.add_event(0, kKeepLast, value);
    looks.look(guest);
  }
  BOOST_TEST(looks.kept_last() == (Values{3, 3, 7}), boost::test_tools::per_element());
  // A dump of snapshot 3 has those of snapshot 2 before its own.
  BOOST_TEST(looks.kept_last(4) == (Values{3, 3}), boost::test_tools::per_element());
  BOOST_TEST(looks.kept_last(2).empty());
  BOOST_TEST(looks.timeline.before(1000)[2].elapsed_ms == 4002u);
}

BOOST_AUTO_TEST_CASE(the_oldest_leave) {
  ScxGuest guest;
  guest.attach("mine");
  Looks looks(2);
  for (const int value : {1, 2, 3, 4}) {
    guest.add_event(1, kKeepLast, value);
    looks.look(guest);
  }
  BOOST_TEST(looks.kept_last() == (Values{3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_next_scheduler_begins_again) {
  ScxGuest guest;
  guest.attach("mine");
  guest.add_event(0, kKeepLast, 9);
  Looks looks;
  looks.look(guest);
  guest.detach();
  looks.look(guest);
  BOOST_TEST(looks.kept_last() == (Values{9}), boost::test_tools::per_element());  // its end is still to be told
  guest.attach("yours");
  guest.add_event(0, kKeepLast, 2);
  looks.look(guest);
  BOOST_TEST(looks.kept_last() == (Values{2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_a_partial_snapshot_lacks_is_no_new_beginning) {
  ScxGuest guest;
  guest.attach("mine");
  guest.add_event(0, kKeepLast, 9);
  Looks looks;
  looks.look(guest);
  guest.add_event(0, kKeepLast, 1);
  looks.look(guest, false);
  BOOST_TEST(looks.kept_last() == (Values{9}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_kernel_without_sched_ext_has_no_samples) {
  ScxGuest guest;
  Looks looks;
  looks.look(guest);
  BOOST_TEST(looks.timeline.before(1000).empty());
}

BOOST_AUTO_TEST_SUITE_END()
