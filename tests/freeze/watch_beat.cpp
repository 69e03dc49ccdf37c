#include "freeze/watch_beat.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>

#include "tests/engine/fixture.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace std::chrono_literals;
using vmm::DebugRegisters;

namespace {

constexpr Kva kWord{0xffff'8880'0000'1000};

engine::task<> look_three_times(DebugRegisters* hardware) {
  WatchBeat beat(2ms, hardware);
  for (int i = 0; i < 3; ++i) {
    const auto due = co_await beat.next();
    if (!due) co_return due.failure();
  }
  co_return engine::ok;
}

// As a vCPU's thread does, while the look is waited for.
engine::task<> be_told(DebugRegisters& registers) {
  WatchBeat beat(1h, &registers);
  for (int i = 0; i < 3; ++i) {
    std::thread vcpu([&registers] { registers.note(1, registers.requested()); });
    const auto due = co_await beat.next();
    vcpu.join();
    BOOST_TEST(due.has_value());
    BOOST_TEST(registers.take_hit(0));
  }
  co_return engine::ok;
}

engine::task<> be_told_before(DebugRegisters& registers) {
  WatchBeat beat(1h, &registers);
  registers.note(1, registers.requested());
  const auto due = co_await beat.next();
  BOOST_TEST(due.has_value());
  co_return engine::ok;
}

engine::task<> go(DebugRegisters& registers) {
  const WatchBeat beat(1h, &registers);
  co_return engine::ok;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(watch_beat)

BOOST_AUTO_TEST_CASE(without_debug_registers_or_with_silent_ones_it_is_a_beat) {
  DebugRegisters registers;
  for (DebugRegisters* hardware : {static_cast<DebugRegisters*>(nullptr), &registers}) {
    engine::manual_clock clock;
    const auto loop = engine::testing::make_loop(&clock);
    const auto began = loop->now();
    BOOST_TEST(loop->run(look_three_times(hardware)).has_value());
    BOOST_TEST((loop->now() - began == 6ms));
  }
}

BOOST_AUTO_TEST_CASE(a_write_ends_the_wait) {
  DebugRegisters registers;
  registers.request(0, kWord);
  BOOST_TEST(engine::testing::make_loop()->run(be_told(registers)).has_value());
}

BOOST_AUTO_TEST_CASE(a_write_between_two_looks_is_not_lost) {
  DebugRegisters registers;
  registers.request(0, kWord);
  BOOST_TEST(engine::testing::make_loop()->run(be_told_before(registers)).has_value());
}

BOOST_AUTO_TEST_CASE(nobody_is_told_when_it_has_gone) {
  DebugRegisters registers;
  registers.request(0, kWord);
  BOOST_TEST(engine::testing::make_loop()->run(go(registers)).has_value());
  registers.note(1, registers.requested());
  BOOST_TEST(registers.take_hit(0));
}

BOOST_AUTO_TEST_SUITE_END()
