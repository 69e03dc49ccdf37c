#include "freeze/bridge/snapshot_bridge.hpp"

#include <fmt/format.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "freeze/bridge/bridge_state.hpp"

namespace floe::freeze {

// Breaks what the bridge promises itself.
struct BridgeTestAccess {
  static void forget_order(SnapshotBridge& bridge) { bridge.state_->order.clear(); }
  static void add_without_order(SnapshotBridge& bridge, const std::string& tag) {
    bridge.state_->reports[tag] = {std::make_shared<dump::Report>(), {}};
  }
};

}  // namespace floe::freeze

using namespace floe;
using namespace floe::freeze;

namespace {

SharedReport report(const std::string& schema = "single", bool placeholder = false) {
  auto made = std::make_shared<dump::Report>();
  made->schema = schema;
  made->is_placeholder = placeholder;
  return made;
}

BridgeCallbacks captures() {
  return {.capture = [](const std::string& name) -> std::optional<SharedReport> {
            if (name.starts_with("none")) return std::nullopt;
            return report();
          },
          .log = [](const std::string&) {}};
}

CaptureFacts all_facts() {
  return {.stats = SchedulerStats(R"({"x":1})"), .elapsed_ms = 5, .boundary_offset_ms = 7, .step_index = std::uint16_t{3}};
}

bool has_no_facts(const DrainedReport& entry) {
  return !entry.stats && entry.stats.error().why == MissingStats::Why::no_scheduler_binary && !entry.elapsed_ms &&
         !entry.boundary_offset_ms && !entry.step_index;
}

using Tags = std::vector<std::string>;

Tags tags(const std::vector<TaggedReport>& drained) {
  Tags result;
  for (const auto& one : drained) result.push_back(one.tag);
  return result;
}

KernelOpRequest operation(std::uint32_t id, const std::string& tag) {
  KernelOpRequest request;
  request.id = id;
  request.tag = tag;
  return request;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(snapshot_bridge)

BOOST_AUTO_TEST_CASE(captures_come_out_in_order) {
  SnapshotBridge bridge(captures());
  for (const char* tag : {"a", "b", "scx_root"}) BOOST_TEST(bridge.capture(tag));
  BOOST_TEST(bridge.len() == 3u);
  BOOST_TEST(bridge.has("b"));
  BOOST_TEST(tags(bridge.drain_ordered()) == Tags({"a", "b", "scx_root"}), boost::test_tools::per_element());
  BOOST_TEST(bridge.is_empty());
  BOOST_TEST(bridge.drain_ordered().empty());
  BOOST_TEST(bridge.event_count() == 0u);
}

BOOST_AUTO_TEST_CASE(one_that_yields_nothing_is_an_event) {
  SnapshotBridge bridge(captures());
  BOOST_TEST(!bridge.capture("none"));
  BOOST_TEST(bridge.is_empty());
  const auto events = bridge.drain_events();
  BOOST_REQUIRE(events.size() == 1u);
  BOOST_TEST((events[0] == BridgeEvent(CaptureUnavailable{"none"})));
  BOOST_TEST(!SnapshotBridge({.capture = {}, .log = [](const std::string&) {}}).capture("a"));
}

BOOST_AUTO_TEST_CASE(every_event_is_logged) {
  Tags lines;
  SnapshotBridge bridge({.capture = [](const std::string&) { return std::optional(SharedReport()); },
                         .log = [&](const std::string& line) { lines.push_back(line); }});
  BOOST_TEST(!bridge.capture("a"));  // a null report is none
  bridge.store("b", report());
  bridge.store("b", report());
  BOOST_TEST(lines == Tags({"snapshot a could not be captured", "snapshot b replaces a single report of that tag"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_overwrite_moves_to_the_end_and_takes_no_fact_over) {
  SnapshotBridge bridge(captures());
  bridge.store("a", report("degraded"), all_facts());
  bridge.store("b", report());
  bridge.store("a", report());
  const auto entries = bridge.drain_ordered_with_stats();
  BOOST_REQUIRE(entries.size() == 2u);
  BOOST_TEST(entries[0].tag == "b");
  BOOST_TEST(entries[1].tag == "a");
  BOOST_TEST(entries[1].report->schema == "single");
  BOOST_TEST(has_no_facts(entries[1]));
  const auto events = bridge.drain_events();
  BOOST_REQUIRE(events.size() == 1u);
  BOOST_TEST((events[0] == BridgeEvent(Overwrite{"a", "degraded"})));
}

BOOST_AUTO_TEST_CASE(facts_come_out_with_their_report) {
  SnapshotBridge bridge(captures());
  bridge.capture_with_step("step", 9);
  bridge.store("full", report(), all_facts());
  bridge.store("busy", report(), {.stats = tl::unexpected(MissingStats{.why = MissingStats::Why::during_freeze})});
  const auto entries = bridge.drain_ordered_with_stats();
  BOOST_REQUIRE(entries.size() == 3u);
  BOOST_TEST(entries[0].step_index.value() == 9u);
  BOOST_TEST(entries[1].stats.value() == R"({"x":1})");
  BOOST_TEST(entries[1].elapsed_ms.value() == 5u);
  BOOST_TEST(entries[1].boundary_offset_ms.value() == 7u);
  BOOST_TEST(entries[1].step_index.value() == 3u);
  BOOST_TEST(entries[2].stats.error().describe() == "the guest stood still");
}

BOOST_AUTO_TEST_CASE(the_65th_drops_the_oldest_with_all_it_had) {
  SnapshotBridge bridge(captures());
  bridge.store("t0", report(), all_facts());
  for (int i = 1; i < 64; ++i) bridge.store(fmt::format("t{}", i), report());
  BOOST_TEST(bridge.event_count() == 0u);
  bridge.store("t64", report());
  BOOST_TEST(bridge.len() == 64u);
  BOOST_TEST(!bridge.has("t0"));
  const auto events = bridge.drain_events();
  BOOST_REQUIRE(events.size() == 1u);
  BOOST_TEST((events[0] == BridgeEvent(Eviction{"t0", "t64", 64})));
  // Under its tag again nothing of the old one is left, and now t1 goes.
  bridge.store("t0", report());
  const auto entries = bridge.drain_ordered_with_stats();
  BOOST_REQUIRE(entries.size() == 64u);
  BOOST_TEST(entries.front().tag == "t2");
  BOOST_TEST(entries.back().tag == "t0");
  BOOST_TEST(has_no_facts(entries.back()));
}

BOOST_AUTO_TEST_CASE(every_drain_leaves_nothing_behind) {
  for (int variant = 0; variant < 3; ++variant) {
    SnapshotBridge bridge(captures());
    bridge.store("a", report(), all_facts());
    std::size_t drained = 0;
    if (variant == 0) drained = bridge.drain().size();
    if (variant == 1) drained = bridge.drain_ordered().size();
    if (variant == 2) drained = bridge.drain_ordered_with_stats().size();
    BOOST_TEST(drained == 1u);
    BOOST_TEST(bridge.is_empty());
    bridge.store("a", report());
    BOOST_TEST(bridge.event_count() == 0u);  // it replaces nothing
    const auto entries = bridge.drain_ordered_with_stats();
    BOOST_REQUIRE(entries.size() == 1u);
    BOOST_TEST(has_no_facts(entries[0]));
  }
}

BOOST_AUTO_TEST_CASE(the_event_log_drops_its_oldest_and_says_so_at_the_end) {
  SnapshotBridge bridge(captures());
  for (int i = 0; i < 1024; ++i) bridge.capture(fmt::format("none{}", i));
  BOOST_TEST(bridge.event_count() == 1024u);
  bridge.capture("none1024");
  bridge.capture("none1025");
  BOOST_TEST(bridge.event_count() == 1024u);
  const auto events = bridge.drain_events();
  BOOST_REQUIRE(events.size() == 1025u);
  BOOST_TEST((events.front() == BridgeEvent(CaptureUnavailable{"none2"})));
  BOOST_TEST((events[1023] == BridgeEvent(CaptureUnavailable{"none1025"})));
  BOOST_TEST((events.back() == BridgeEvent(EventLogTruncated{2})));
  BOOST_TEST(bridge.drain_events().empty());
}

BOOST_AUTO_TEST_CASE(only_real_periodic_captures_are_counted) {
  SnapshotBridge bridge(captures());
  for (const char* tag : {"periodic_000", "periodic_063", "periodic_kaslr", "periodic_1", "periodic_0000", "periodic_00x", "user"})
    bridge.store(tag, report());
  bridge.store("periodic_001", report("single", true));
  BOOST_TEST(bridge.periodic_real_count() == 2u);
}

BOOST_AUTO_TEST_CASE(the_fourth_watch_fails_until_one_has_fired) {
  Tags asked;
  auto callbacks = captures();
  callbacks.register_watch = [&](const std::string& symbol) -> Result<void> {
    asked.push_back(symbol);
    if (symbol == "bad") return fail("no such symbol");
    if (symbol == "worse") throw std::runtime_error("broken");
    return {};
  };
  SnapshotBridge bridge(callbacks);
  BOOST_TEST(bridge.register_watch("bad").error().message == "no such symbol");
  BOOST_TEST(bridge.watch_count() == 0u);
  BOOST_CHECK_THROW(static_cast<void>(bridge.register_watch("worse")), std::runtime_error);
  BOOST_TEST(bridge.watch_count() == 0u);
  for (const char* symbol : {"a", "b", "c"}) BOOST_TEST(bridge.register_watch(symbol).has_value());
  asked.clear();
  BOOST_TEST(!bridge.register_watch("d"));
  BOOST_TEST(asked.empty());
  BOOST_TEST(bridge.watch_count() == 3u);
  bridge.release_watch();
  BOOST_TEST(bridge.register_watch("d").has_value());
  for (int i = 0; i < 5; ++i) bridge.release_watch();
  BOOST_TEST(bridge.watch_count() == 0u);
  BOOST_TEST(SnapshotBridge(captures()).register_watch("a").error().message.find("registers no watches") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(never_more_than_three_watches_under_contention) {
  std::atomic<int> held{0}, most{0};
  std::atomic<unsigned> calls{0};
  auto callbacks = captures();
  callbacks.register_watch = [&](const std::string&) -> Result<void> {
    const int now = ++held;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::yield();
    --held;
    if (++calls % 2 == 0) throw std::runtime_error("every other time");
    return fail("never kept");
  };
  const SnapshotBridge bridge(callbacks);
  std::atomic<unsigned> most_counted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, own = bridge]() mutable {
      for (int i = 0; i < 500; ++i) {
        try {
          static_cast<void>(own.register_watch("s"));
        } catch (const std::runtime_error&) {
        }
        const unsigned now = own.watch_count();
        for (unsigned seen = most_counted; now > seen && !most_counted.compare_exchange_weak(seen, now);) {
        }
      }
    });
  for (auto& thread : threads) thread.join();
  BOOST_TEST(most.load() <= 3);
  BOOST_TEST(most_counted.load() <= 3u);
  BOOST_TEST(bridge.watch_count() == 0u);
}

BOOST_AUTO_TEST_CASE(kernel_operations_are_recorded) {
  auto callbacks = captures();
  callbacks.kernel_op = [](const KernelOpRequest& request) {
    KernelReply reply;
    reply.id = request.id;
    reply.success = request.id != 1;
    if (reply.success) reply.values = {std::uint64_t{request.id} * 10, std::uint32_t{7}};
    return reply;
  };
  SnapshotBridge bridge(callbacks);
  for (std::uint32_t id : {1u, 2u, 3u}) BOOST_TEST(bridge.kernel_op(operation(id, "t")).id == id);
  // The first that succeeded, and of it the first value.
  BOOST_TEST(std::get<std::uint64_t>(bridge.kernel_op_value("t").value()) == 20u);
  BOOST_TEST(!bridge.kernel_op_value("u"));
  const auto drained = bridge.drain_kernel_ops();
  BOOST_REQUIRE(drained.size() == 3u);
  BOOST_TEST(!drained[0].reply.success);
  BOOST_TEST(drained[2].tag == "t");
  BOOST_TEST(!bridge.kernel_op_value("t"));
}

BOOST_AUTO_TEST_CASE(without_the_callback_an_operation_is_refused_and_recorded) {
  SnapshotBridge bridge(captures());
  const auto reply = bridge.kernel_op(operation(4, "t"));
  BOOST_TEST(reply.id == 4u);
  BOOST_TEST(!reply.success);
  BOOST_TEST(!reply.reason.empty());
  BOOST_TEST(bridge.drain_kernel_ops().size() == 1u);
}

BOOST_AUTO_TEST_CASE(cgroups_append_and_the_first_is_found) {
  SnapshotBridge bridge(captures());
  bridge.record_cgroup_procs({"t", "/a", {1, 2}});
  bridge.record_cgroup_procs({"t", "/b", {}});
  BOOST_TEST((bridge.cgroup_procs_by_tag("t").value() == CgroupProcs{"t", "/a", {1, 2}}));
  BOOST_TEST(!bridge.cgroup_procs_by_tag("u"));
  BOOST_TEST(bridge.drain_cgroup_procs().size() == 2u);
  BOOST_TEST(bridge.drain_cgroup_procs().empty());
}

BOOST_AUTO_TEST_CASE(logs_of_a_guest_that_never_stops_asking_are_bounded) {
  SnapshotBridge bridge(captures());
  KernelReply large;
  large.values = {std::vector<std::byte>(std::size_t{1} << 20)};
  for (int i = 0; i < 40; ++i) bridge.record_kernel_op("t", large);
  BOOST_TEST(bridge.dropped_records() == 25u);  // 15 of a little over 1 MiB fit into 16 MiB
  BOOST_TEST(bridge.drain_kernel_ops().size() == 15u);
  for (int i = 0; i < 1100; ++i) bridge.record_cgroup_procs({"t", "/a", {}});
  BOOST_TEST(bridge.drain_cgroup_procs().size() == 1024u);
}

BOOST_AUTO_TEST_CASE(copies_share_what_is_stored) {
  const SnapshotBridge bridge(captures());
  SnapshotBridge copy = bridge;
  copy.store("a", report());
  BOOST_TEST(bridge.has("a"));
}

BOOST_AUTO_TEST_CASE(guards_nest) {
  BOOST_TEST(!SnapshotBridge::active());
  BOOST_TEST(!with_active_bridge([](SnapshotBridge&) { return 1; }));
  BOOST_TEST(!with_active_bridge([](SnapshotBridge&) {}));
  SnapshotBridge outer(captures()), inner(captures());
  {
    const auto guard = SnapshotBridge::set_thread_local(outer);
    BOOST_TEST(with_active_bridge([](SnapshotBridge& active) { return active.capture("o"); }).value());
    {
      const auto nested = SnapshotBridge::set_thread_local(inner);
      BOOST_TEST(with_active_bridge([](SnapshotBridge& active) { active.store("i", report()); }));
      bool other_has_one = true;
      std::thread([&] { other_has_one = SnapshotBridge::active().has_value(); }).join();
      BOOST_TEST(!other_has_one);
    }
    with_active_bridge([](SnapshotBridge& active) { active.store("o2", report()); });
  }
  BOOST_TEST(!SnapshotBridge::active());
  BOOST_TEST(tags(outer.drain_ordered()) == Tags({"o", "o2"}), boost::test_tools::per_element());
  BOOST_TEST(tags(inner.drain_ordered()) == Tags({"i"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_guard_is_undone_by_an_exception) {
  const SnapshotBridge bridge(captures());
  try {
    const auto guard = SnapshotBridge::set_thread_local(bridge);
    throw std::runtime_error("out");
  } catch (const std::runtime_error&) {
  }
  BOOST_TEST(!SnapshotBridge::active());
}

BOOST_AUTO_TEST_CASE(no_bridge_is_an_error_that_says_what_to_do) {
  const auto missing = require_active_bridge("capture a");
  BOOST_REQUIRE(!missing);
  BOOST_TEST(missing.error().message.starts_with("capture a: no snapshot bridge"));
  const SnapshotBridge bridge(captures());
  const auto guard = SnapshotBridge::set_thread_local(bridge);
  BOOST_TEST(require_active_bridge("capture a").has_value());
}

BOOST_AUTO_TEST_CASE(a_callback_may_use_the_bridge) {
  std::optional<SnapshotBridge> self;
  auto callbacks = captures();
  callbacks.capture = [&](const std::string& name) -> std::optional<SharedReport> {
    self->store(name + "-sibling", report());
    return report();
  };
  SnapshotBridge bridge(callbacks);
  self = bridge;
  BOOST_TEST(bridge.capture("a"));
  BOOST_TEST(tags(bridge.drain_ordered()) == Tags({"a-sibling", "a"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_report_without_order_comes_last_and_is_told) {
  for (const bool with_stats : {false, true}) {
    SnapshotBridge bridge(captures());
    bridge.store("lost", report());
    BridgeTestAccess::forget_order(bridge);
    bridge.store("a", report());
    Tags drained;
    if (with_stats)
      for (const auto& entry : bridge.drain_ordered_with_stats()) drained.push_back(entry.tag);
    else
      drained = tags(bridge.drain_ordered());
    BOOST_TEST(drained == Tags({"a", "lost"}), boost::test_tools::per_element());
    const auto events = bridge.drain_events();
    BOOST_REQUIRE(events.size() == 1u);
    const auto* variant = with_stats ? "drain_ordered_with_stats" : "drain_ordered";
    BOOST_TEST((events[0] == BridgeEvent(DrainOrderingInvariantViolation{"lost", variant})));
    BOOST_TEST(bridge.is_empty());
  }
}

BOOST_AUTO_TEST_CASE(too_many_without_order_are_dropped_and_told) {
  SnapshotBridge bridge(captures());
  for (int i = 0; i < 65; ++i) BridgeTestAccess::add_without_order(bridge, fmt::format("t{}", i));
  bridge.store("new", report());
  const auto events = bridge.drain_events();
  BOOST_REQUIRE(events.size() == 2u);
  BOOST_TEST((events[0] == BridgeEvent(Eviction{"new", "new", 64})));
  BOOST_TEST((events[1] == BridgeEvent(CapInvariantViolation{65, 64})));
  BOOST_TEST(bridge.is_empty());
}

// For TSan above all: every operation from several threads at once. No report comes out twice, none goes without a word.
BOOST_AUTO_TEST_CASE(all_of_it_from_many_threads) {
  auto callbacks = captures();
  callbacks.register_watch = [](const std::string&) -> Result<void> { return {}; };
  callbacks.kernel_op = [](const KernelOpRequest& request) {
    KernelReply reply;
    reply.id = request.id;
    reply.values = {std::uint32_t{1}};
    return reply;
  };
  SnapshotBridge bridge(callbacks);
  std::atomic<std::uint64_t> stored{0}, drained{0}, lost{0};
  const auto take_events = [&](SnapshotBridge& own) {
    for (const auto& event : own.drain_events()) {
      if (std::holds_alternative<Eviction>(event)) ++lost;
      if (std::holds_alternative<EventLogTruncated>(event)) std::abort();  // the count would not be known
    }
  };
  std::atomic<int> writing{4};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t, own = bridge]() mutable {
      const auto guard = SnapshotBridge::set_thread_local(own);
      for (int i = 0; i < 200; ++i) {
        const auto tag = fmt::format("t{}-{}", t, i);
        with_active_bridge([&](SnapshotBridge& active) { active.capture_with_step(tag, static_cast<std::uint16_t>(i)); });
        ++stored;
        own.record_cgroup_procs({tag, "/", {i}});
        own.kernel_op(operation(1, tag));
        static_cast<void>(own.kernel_op_value(tag));
        static_cast<void>(own.cgroup_procs_by_tag(tag));
        if (own.register_watch("s")) own.release_watch();
        static_cast<void>(own.periodic_real_count() + own.len() + own.event_count());
      }
      --writing;
    });
  }
  threads.emplace_back([&, own = bridge]() mutable {
    while (writing > 0) {
      drained += own.drain().size() + own.drain_ordered().size() + own.drain_ordered_with_stats().size();
      take_events(own);
      own.drain_cgroup_procs();
      own.drain_kernel_ops();
      std::this_thread::yield();
    }
  });
  for (auto& thread : threads) thread.join();
  drained += bridge.drain_ordered().size();
  take_events(bridge);
  BOOST_TEST(drained + lost == stored);
  BOOST_TEST(bridge.watch_count() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
