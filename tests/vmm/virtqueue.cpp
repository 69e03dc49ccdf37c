#include "vmm/virtqueue.hpp"

#include <thread>

#include "tests/vmm/guest_driver.hpp"

namespace floe::vmm {
namespace {

using testing::kDescIndirect;
using testing::kDescNext;
using testing::kDescWrite;

constexpr std::uint64_t kRam = 4U << 20;
constexpr std::uint64_t kData = 0x20'0000;

struct Fixture {
  std::unique_ptr<GuestRam> ram = GuestRam::create(kRam).value();
  testing::GuestQueue driver{*ram, 0x1'0000, 8};
  Virtqueue queue{*ram, 64};
  Chain chain;

  Fixture() { BOOST_REQUIRE(queue.enable(driver.layout()) == QueueFault::kNone); }

  QueueFault offered(std::uint16_t head) {
    driver.offer(head);
    const auto result = queue.peek(chain);
    BOOST_TEST((result == Virtqueue::Peek::kFault) == (queue.fault() != QueueFault::kNone));
    return queue.fault();
  }
};

}  // namespace

std::ostream& operator<<(std::ostream& out, QueueFault fault) {
  return out << to_string(fault);
}

BOOST_FIXTURE_TEST_SUITE(virtqueue, Fixture)

BOOST_AUTO_TEST_CASE(a_chain_there_and_back) {
  BOOST_REQUIRE(ram->write(Gpa(kData), testing::bytes_of("question")));
  driver.put(3, kData, 4, kDescNext, 5);
  driver.put(5, kData + 4, 4, kDescNext, 1);
  driver.put(1, kData + 64, 16, kDescWrite);
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kEmpty));
  driver.offer(3);
  BOOST_REQUIRE((queue.peek(chain) == Virtqueue::Peek::kChain));
  BOOST_TEST(chain.head == 3);
  BOOST_TEST(chain.descriptors == 3U);
  BOOST_TEST(chain.readable_bytes == 8U);
  BOOST_TEST(chain.writable_bytes == 16U);
  BOOST_TEST(testing::text_of(chain.readable[1].host) == "tion");
  BOOST_REQUIRE((queue.peek(chain) == Virtqueue::Peek::kChain));  // still there: nothing was taken
  BOOST_TEST(driver.used_index() == 0);

  BOOST_TEST(queue.fill(chain, testing::bytes_of("answer")) == 6U);
  queue.finish(chain, 6);
  const auto used = driver.take_used();
  BOOST_REQUIRE(used.has_value());
  BOOST_TEST(used->head == 3U);
  BOOST_TEST(used->written == 6U);
  BOOST_TEST(testing::text_of(ram->slice(Gpa(kData + 64), 6)) == "answer");
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kEmpty));
}

BOOST_AUTO_TEST_CASE(every_write_to_guest_memory_is_recorded) {
  std::vector<std::uint64_t> pages((ram->pages() + 63) / 64);
  driver.put(0, kData + 4090, 16, kDescWrite);  // over two pages
  driver.offer(0);
  BOOST_REQUIRE((queue.peek(chain) == Virtqueue::Peek::kChain));
  ram->take_written(pages);
  std::fill(pages.begin(), pages.end(), 0);
  queue.fill(chain, testing::bytes_of("0123456789abcdef"));
  queue.finish(chain, 16);
  ram->take_written(pages);
  const auto marked = [&pages](std::uint64_t gpa) { return (pages[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1) == 1; };
  BOOST_TEST(marked(kData));
  BOOST_TEST(marked(kData + 4096));
  BOOST_TEST(marked(driver.layout().used.value));
  BOOST_TEST(!marked(driver.layout().available.value));
}

BOOST_AUTO_TEST_CASE(a_used_ring_over_two_pages_is_recorded_on_both) {
  Virtqueue::Layout layout = driver.layout();
  layout.used = Gpa(0x2'0ff8);  // flags and index end the page, the elements begin 4 bytes before the next
  BOOST_REQUIRE(queue.enable(layout) == QueueFault::kNone);
  driver.put(0, kData, 1);
  std::vector<std::uint64_t> pages((ram->pages() + 63) / 64);
  for (int i = 0; i < 2; ++i) {
    driver.offer(0);
    BOOST_REQUIRE((queue.peek(chain) == Virtqueue::Peek::kChain));
    ram->take_written(pages);
    std::fill(pages.begin(), pages.end(), 0);
    queue.finish(chain, 0);
  }
  ram->take_written(pages);
  BOOST_TEST((pages[0] >> 0x20 & 3) == 3U);  // the second element lies on the second page alone, the index on the first
}

BOOST_AUTO_TEST_CASE(indexes_wrap) {
  driver.put(2, kData, 1);
  for (int i = 0; i < 70'000; ++i) {
    driver.offer(2);
    BOOST_REQUIRE((queue.peek(chain) == Virtqueue::Peek::kChain));
    queue.finish(chain, 0);
    BOOST_REQUIRE(driver.take_used().has_value());
  }
  BOOST_TEST(queue.taken() == static_cast<std::uint16_t>(70'000));
}

BOOST_AUTO_TEST_CASE(a_full_ring_is_no_fault) {
  driver.put(0, kData, 1);
  for (int i = 0; i < 8; ++i) driver.offer(0);
  for (int i = 0; i < 8; ++i) {
    BOOST_REQUIRE((queue.peek(chain) == Virtqueue::Peek::kChain));
    queue.finish(chain, 0);
  }
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kEmpty));
}

BOOST_AUTO_TEST_CASE(interrupt_suppression) {
  BOOST_TEST(queue.interrupt_wanted());
  driver.suppress_interrupts(true);
  BOOST_TEST(!queue.interrupt_wanted());
  queue.disable();
  BOOST_TEST(!queue.interrupt_wanted());
}

BOOST_AUTO_TEST_CASE(rings_that_cannot_be) {
  const auto refused = [this](auto change) {
    Virtqueue::Layout layout = driver.layout();
    change(layout);
    const QueueFault fault = queue.enable(layout);
    BOOST_TEST(queue.enabled() == (fault == QueueFault::kNone));
    return fault;
  };
  using L = Virtqueue::Layout;
  BOOST_TEST(refused([](L& l) { l.size = 0; }) == QueueFault::kSize);
  BOOST_TEST(refused([](L& l) { l.size = 3; }) == QueueFault::kSize);
  BOOST_TEST(refused([](L& l) { l.size = 128; }) == QueueFault::kSize);
  BOOST_TEST(refused([](L& l) { l.size = 0x8000; }) == QueueFault::kSize);
  BOOST_TEST(refused([](L& l) { l.size = 64; }) == QueueFault::kNone);
  BOOST_TEST(refused([](L& l) { l.descriptors = Gpa(0x1'0008); }) == QueueFault::kAlignment);
  BOOST_TEST(refused([](L& l) { l.available = Gpa(0x1'4001); }) == QueueFault::kAlignment);
  BOOST_TEST(refused([](L& l) { l.used = Gpa(0x1'8002); }) == QueueFault::kAlignment);
  BOOST_TEST(refused([](L& l) { l.descriptors = Gpa(kRam - 16); }) == QueueFault::kRing);
  BOOST_TEST(refused([](L& l) { l.available = Gpa(kRam - 4); }) == QueueFault::kRing);
  BOOST_TEST(refused([](L& l) { l.used = Gpa(~std::uint64_t{3}); }) == QueueFault::kRing);
  BOOST_TEST(refused([](L& l) { l.used = Gpa(0xe000'0000); }) == QueueFault::kRing);
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kFault));
  BOOST_TEST(refused([](L&) {}) == QueueFault::kNone);
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kEmpty));
}

BOOST_AUTO_TEST_CASE(index_runs_ahead) {
  driver.set_available(9);
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kFault));
  BOOST_TEST(queue.fault() == QueueFault::kAvailIndex);
  driver.set_available(0);
  BOOST_TEST((queue.peek(chain) == Virtqueue::Peek::kFault));  // until it is disabled
}

BOOST_AUTO_TEST_CASE(head_outside) {
  BOOST_TEST(offered(8) == QueueFault::kHead);
}

BOOST_AUTO_TEST_CASE(next_outside) {
  driver.put(0, kData, 1, kDescNext, 8);
  BOOST_TEST(offered(0) == QueueFault::kNext);
}

BOOST_AUTO_TEST_CASE(loop_to_itself) {
  driver.put(0, kData, 1, kDescNext, 0);
  BOOST_TEST(offered(0) == QueueFault::kLoop);
}

BOOST_AUTO_TEST_CASE(loop_of_empty_buffers) {
  for (std::uint16_t i = 0; i < 8; ++i) driver.put(i, 0, 0, kDescNext, static_cast<std::uint16_t>((i + 1) % 8));
  BOOST_TEST(offered(0) == QueueFault::kLoop);
}

BOOST_AUTO_TEST_CASE(longest_chain_is_no_loop) {
  for (std::uint16_t i = 0; i < 8; ++i) driver.put(i, kData, 1, i < 7 ? kDescNext : 0, static_cast<std::uint16_t>(i + 1));
  BOOST_TEST(offered(0) == QueueFault::kNone);
  BOOST_TEST(chain.descriptors == 8U);
}

BOOST_AUTO_TEST_CASE(readable_behind_writable) {
  driver.put(0, kData, 0, kDescWrite | kDescNext, 1);
  driver.put(1, kData, 1);
  BOOST_TEST(offered(0) == QueueFault::kOrder);
}

BOOST_AUTO_TEST_CASE(indirect) {
  driver.put(0, kData, 16, kDescIndirect);
  BOOST_TEST(offered(0) == QueueFault::kIndirect);
}

BOOST_AUTO_TEST_CASE(buffers_outside_of_ram) {
  const std::uint64_t places[] = {kRam - 4, kRam, 0xe000'0000, 0xffff'ffff, 0x1'0000'0000, ~std::uint64_t{0}, ~std::uint64_t{6}};
  for (const std::uint64_t place : places) {
    queue.disable();
    driver = testing::GuestQueue(*ram, 0x1'0000, 8);
    BOOST_REQUIRE(queue.enable(driver.layout()) == QueueFault::kNone);
    driver.put(0, place, 8);
    BOOST_TEST(offered(0) == QueueFault::kBuffer);
  }
}

BOOST_AUTO_TEST_CASE(bytes_are_bounded) {
  driver.put(0, 0, 0xffff'ffff);
  BOOST_TEST(offered(0) == QueueFault::kLength);
  queue.disable();
  driver = testing::GuestQueue(*ram, 0x1'0000, 8);
  BOOST_REQUIRE(queue.enable(driver.layout()) == QueueFault::kNone);
  driver.put(0, kData, Virtqueue::kMaxChainBytes, kDescNext, 1);
  driver.put(1, kData, 1);
  driver.put(2, kData, Virtqueue::kMaxChainBytes);
  BOOST_TEST(offered(2) == QueueFault::kNone);
  queue.finish(chain, 0);
  BOOST_TEST(offered(0) == QueueFault::kLength);
}

BOOST_AUTO_TEST_CASE(empty_buffer_may_point_anywhere) {
  driver.put(0, ~std::uint64_t{0}, 0);
  BOOST_TEST(offered(0) == QueueFault::kNone);
  BOOST_TEST(chain.readable.empty());
}

BOOST_AUTO_TEST_CASE(rings_above_4_gib) {
  // A region straddled by nothing: a machine with high RAM would need gigabytes, so only the refusal is shown here.
  Virtqueue::Layout layout = driver.layout();
  layout.descriptors = Gpa(kHighRamStart);
  BOOST_TEST(queue.enable(layout) == QueueFault::kRing);
}

// The driver on another CPU, rewriting what is being read: whatever is seen is judged, and what is given out is in RAM.
BOOST_AUTO_TEST_CASE(every_number_arrives_from_another_thread) {
  constexpr std::uint32_t kCount = 20'000;
  std::thread guest([this] {
    for (std::uint32_t i = 0; i < kCount; ++i) {
      const auto slot = static_cast<std::uint16_t>(i % 8);
      while (static_cast<std::uint16_t>(i - driver.used_index()) >= 8) std::this_thread::yield();
      std::memcpy(ram->slice(Gpa(kData + 64U * slot), 4).data(), &i, 4);
      driver.put(slot, kData + 64U * slot, 4);
      driver.offer(slot);
    }
  });
  std::uint32_t wrong = 0;
  for (std::uint32_t expected = 0; expected < kCount;) {
    const auto result = queue.peek(chain);
    if (result == Virtqueue::Peek::kFault) break;
    if (result == Virtqueue::Peek::kEmpty) {
      std::this_thread::yield();
      continue;
    }
    std::uint32_t value = 0;
    std::memcpy(&value, chain.readable[0].host.data(), 4);
    wrong += value != expected++ ? 1 : 0;
    queue.finish(chain, 0);
  }
  guest.join();
  BOOST_TEST(wrong == 0U);
  BOOST_TEST(queue.fault() == QueueFault::kNone);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm
