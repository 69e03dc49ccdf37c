#include "vmm/vcpu_perf.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "base/no_alloc.hpp"
#include "tests/tiny/guest.hpp"

using namespace floe;
using namespace floe::vmm;

namespace {

// What every kernel counts by itself, hardware or not.
constexpr std::array<PerfEvent, 4> kSoftware = {{
    {"minor faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MIN},
    {"page faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS},
    {"task clock", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK},
    {"context switches", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES},
}};

constexpr std::size_t kPages = 64;

// A thread that touches new pages when it is told to, and otherwise sleeps.
class Toucher {
 public:
  Toucher() : thread_([this] { run(); }) { id_.wait(0); }
  ~Toucher() {
    tell(kOver);
    thread_.join();
  }
  pid_t id() const { return id_.load(); }
  void touch() {
    tell(kTouch);
    turn_.wait(kTouch);
  }

 private:
  enum Turn { kIdle, kTouch, kOver };
  void tell(Turn turn) {
    turn_.store(turn);
    turn_.notify_all();
  }
  void run() {
    id_.store(::gettid());
    id_.notify_all();
    while (turn_.wait(kIdle), turn_.load() == kTouch) {
      const std::size_t bytes = kPages * 4096;
      void* const area = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      ::madvise(area, bytes, MADV_NOHUGEPAGE);
      for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(area)[at] = 1;
      ::munmap(area, bytes);
      tell(kIdle);
    }
  }

  std::atomic<Turn> turn_{kIdle};
  std::atomic<pid_t> id_{0};
  std::thread thread_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(vcpu_perf)

BOOST_AUTO_TEST_CASE(a_group_counts_what_its_thread_does_and_nothing_else) {
  Toucher thread, other;
  const auto perf = ThreadPerf::open(thread.id(), kSoftware);
  BOOST_REQUIRE_MESSAGE(perf.has_value(), (perf ? "" : perf.error().message));
  const auto before = perf->read();
  BOOST_REQUIRE(before.has_value());
  thread.touch();
  for (int i = 0; i < 10; ++i) other.touch();
  std::optional<PerfCounts> after;
  {
    const NoAllocScope frozen;
    after = perf->read();
  }
  BOOST_REQUIRE(after.has_value());
  const auto faults = after->counts[0] - before->counts[0];
  BOOST_TEST(faults >= kPages);
  BOOST_TEST(faults < kPages * 8);  // TSan touches pages of its own for each; the other thread's were ten times as many
  BOOST_TEST(after->counts[1] - before->counts[1] >= faults);
  BOOST_TEST(after->counts[2] > before->counts[2]);
  BOOST_TEST(after->time_enabled_ns > before->time_enabled_ns);
  BOOST_TEST(after->time_running_ns == after->time_enabled_ns);  // such counters are never short
  // All of one moment: a sleeping thread's stand still.
  const auto again = perf->read();
  BOOST_REQUIRE(again.has_value());
  BOOST_TEST(again->counts[0] == after->counts[0]);
}

BOOST_AUTO_TEST_CASE(what_the_host_does_not_count_is_named) {
  Toucher thread;
  auto events = kSoftware;
  events[2] = {"unicorns", PERF_TYPE_SOFTWARE, 4711};
  const auto perf = ThreadPerf::open(thread.id(), events);
  BOOST_REQUIRE(!perf.has_value());
  BOOST_TEST(perf.error().message.starts_with("this host does not count unicorns"));
}

BOOST_AUTO_TEST_CASE(counters_of_vcpus_or_why_there_are_none) {
  if (tiny::unavailable()) {
    BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
    return;
  }
  VcpuPerf perf;
  BOOST_TEST(perf.why() == "not counted");
  const auto guest = tiny::Guest::create({.cpus = 2});
  BOOST_REQUIRE(guest.has_value());
  (*guest)->set_mode(TINY_COUNT);
  (*guest)->start();
  BOOST_TEST((*guest)->vm().vcpu(0).thread_id() != (*guest)->vm().vcpu(1).thread_id());
  perf.open((*guest)->vm());
  BOOST_TEST_MESSAGE("counters here: " << (perf.why().empty() ? "yes" : perf.why()));
  if (!perf.why().empty()) {
    BOOST_TEST(perf.why().starts_with("this host does not count "));
    BOOST_TEST(perf.vcpus() == 0u);
    return;
  }
  BOOST_REQUIRE(perf.vcpus() == 2u);
  BOOST_REQUIRE((*guest)->wait_for_progress(TINY_COUNT));
  BOOST_REQUIRE((*guest)->vm().freeze(Clock::now() + std::chrono::seconds(20)));
  for (std::size_t vcpu = 0; vcpu < 2; ++vcpu) {
    const auto counts = perf.read(vcpu);
    BOOST_REQUIRE(counts.has_value());
    BOOST_TEST(counts->counts[1] > 0u);
    BOOST_TEST(perf.read(vcpu)->counts == counts->counts);  // parked: its guest does nothing
  }
  (*guest)->vm().thaw();
}

BOOST_AUTO_TEST_SUITE_END()
