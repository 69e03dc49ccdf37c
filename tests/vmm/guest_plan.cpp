#include "vmm/guest_plan.hpp"

#include <boost/test/unit_test.hpp>
#include <random>

namespace checks {
namespace {

using floe::vmm::decode_guest_plan;
using floe::vmm::encode;
using floe::vmm::GuestPlan;

GuestPlan sample() {
  GuestPlan plan;
  plan.scheduler = {"/usr/bin/scx_simple", "-v", ""};
  plan.command = {"/bin/sh", "-c", "echo \"a b\"\n"};
  plan.environment = {"A=", "B=x=y"};
  plan.hostname = "floe";
  return plan;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(guest_plan)

BOOST_AUTO_TEST_CASE(stop_is_a_tag_of_its_own) {
  BOOST_TEST(floe::vmm::wire::tag_name(floe::vmm::wire::kStop) == "STOP");
}

BOOST_AUTO_TEST_CASE(comes_back_as_it_was) {
  for (const auto& plan : {sample(), GuestPlan{}}) {
    const auto bytes = encode(plan);
    BOOST_REQUIRE(bytes.has_value());
    const auto back = decode_guest_plan(*bytes);
    BOOST_REQUIRE(back.has_value());
    BOOST_TEST((*back == plan));
  }
}

BOOST_AUTO_TEST_CASE(longest_word_passes_and_a_longer_one_is_named) {
  GuestPlan plan;
  plan.command = {"x", std::string(GuestPlan::kMaxString, 'y')};
  const auto bytes = encode(plan);
  BOOST_REQUIRE(bytes.has_value());
  BOOST_TEST((decode_guest_plan(*bytes).value() == plan));
  plan.command.back() += 'z';
  const auto refused = encode(plan);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(refused.error().message.find("command") != std::string::npos);
  BOOST_TEST(refused.error().message.find("65536") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(refuses_what_execve_could_not_take) {
  const auto refused = [](auto change) {
    GuestPlan plan = sample();
    change(plan);
    return !encode(plan).has_value();
  };
  BOOST_TEST(refused([](GuestPlan& p) { p.command[1] = std::string("a\0b", 3); }));
  BOOST_TEST(refused([](GuestPlan& p) { p.scheduler[0].clear(); }));
  BOOST_TEST(refused([](GuestPlan& p) { p.environment.push_back("no assignment"); }));
  BOOST_TEST(refused([](GuestPlan& p) { p.environment.push_back("=value"); }));
  BOOST_TEST(refused([](GuestPlan& p) { p.hostname = ""; }));
  BOOST_TEST(refused([](GuestPlan& p) { p.hostname = std::string(65, 'h'); }));
  BOOST_TEST(refused([](GuestPlan& p) { p.command.resize(GuestPlan::kMaxStrings + 1); }));
  BOOST_TEST(refused([](GuestPlan& p) { p.command.assign(100, std::string(GuestPlan::kMaxString, 'x')); }));
}

BOOST_AUTO_TEST_CASE(every_cut_and_every_tail_is_refused) {
  auto bytes = encode(sample()).value();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    BOOST_TEST(!decode_guest_plan(std::span(bytes).first(length)).has_value(), "cut to " << length);
  }
  bytes.push_back(std::byte{0});
  BOOST_TEST(!decode_guest_plan(bytes).has_value());
}

BOOST_AUTO_TEST_CASE(another_version_is_named) {
  auto bytes = encode(sample()).value();
  bytes[0] = std::byte{9};
  const auto refused = decode_guest_plan(bytes);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(refused.error().message.find("version 9") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(hostile_bytes_give_a_plan_that_encodes_or_an_error) {
  const auto sound = encode(sample()).value();
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = sound;
    for (int flips = 0; flips < 3; ++flips) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (const auto plan = decode_guest_plan(bytes)) BOOST_TEST((encode(*plan).value() == bytes));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace checks
