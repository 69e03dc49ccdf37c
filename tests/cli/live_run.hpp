// A run without a Linux: the tiny guest's vCPUs run, and in its RAM lies a kernel made by the test, which says whatever the test writes
// into it. Everything else is the product's: series, coordinator, watches, captures, and the files they leave.
#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_captures.hpp"
#include "tests/folder.hpp"
#include "tests/tiny/guest.hpp"
#include "tests/walkers/synthetic/scx.hpp"
#include "walkers/vmcoreinfo.hpp"

namespace floe::cli {

struct LiveRun {
  struct Frame {
    std::uint32_t type = 0;
    std::vector<std::byte> payload;
  };

  // Skips the test where there is no KVM: then there is no guest. `booted`: its kernel is there from the start.
  explicit LiveRun(bool booted = true) {
    if (tiny::unavailable()) {
      BOOST_TEST_MESSAGE("skipped: " << *tiny::unavailable());
      return;
    }
    auto made = tiny::Guest::create({.cpus = 2, .memory_bytes = options.memory_bytes(), .pc = true});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    guest = std::move(*made);
    guest->set_mode(TINY_HALT);
    if (booted) sync();
  }
  explicit operator bool() const { return guest != nullptr; }

  // The guest has done what the test has written into its kernel.
  void sync() {
    const auto& memory = kernel().memory;
    for (const auto& range : memory.populated()) {
      std::vector<std::byte> bytes(range.bytes);
      memory.read(range.start, bytes);
      BOOST_REQUIRE(guest->vm().ram().write(range.start, bytes));
    }
    // The vCPUs' page tables map that kernel, too.
    std::vector<std::byte> upper_half(kPageBytes / 2);
    const Gpa root = walkers::VmCoreInfo::parse(kernel().vmcoreinfo_text).value().page_table_root();
    memory.read(root + kPageBytes / 2, upper_half);
    BOOST_REQUIRE(guest->vm().ram().write(Gpa(TINY_PAGE_TABLES + kPageBytes / 2), upper_half));
  }
  walkers::synthetic::SyntheticKernel& kernel() { return scx.guest; }

  // Runs `story` as a run does from the guest's hello to its end.
  using Story = engine::task<> (*)(LiveRun&, RunCaptures&);
  void run(RunCaptures::Setting setting, Story story) {
    auto made = engine::loop::create();
    BOOST_REQUIRE(made.has_value());
    loop = std::move(*made);
    const auto ended = loop->run(tell(*this, std::move(setting), story), "test");
    BOOST_REQUIRE_MESSAGE(ended.has_value(), (ended.is_error() ? ended.error().message : "cancelled"));
  }

  // Until it is so, which a test waits for.
  static engine::task<> until(std::function<bool()> done) {
    for (int i = 0; i < 20'000 && !done(); ++i) {
      const auto slept = co_await engine::sleep_for(std::chrono::milliseconds(1));
      if (!slept) co_return slept.failure();
    }
    BOOST_REQUIRE(done());
    co_return engine::ok;
  }

  // What the guest was sent, of one kind.
  std::vector<vmm::wire::SnapshotReply> replies() const {
    std::vector<vmm::wire::SnapshotReply> all;
    for (const auto& frame : sent)
      if (frame.type == vmm::wire::kSnapshotReply) all.push_back(vmm::wire::decode_snapshot_reply(frame.payload).value());
    return all;
  }
  // A program in the guest asks.
  static bool ask(RunCaptures& captures, const vmm::wire::SnapshotRequest& request) {
    const auto payload = encode(request).value();
    vmm::wire::Frame frame;
    frame.type = vmm::wire::kSnapshotRequest;
    frame.payload = payload;
    return captures.take(frame);
  }

  RunOptions options;
  walkers::synthetic::ScxGuest scx{{.more = {.five_levels = false, .raw_copy = false}}};
  test::Folder files;
  std::unique_ptr<tiny::Guest> guest;
  std::unique_ptr<engine::loop> loop;
  std::unique_ptr<LocalFolder> folder;
  std::unique_ptr<SnapshotSeries> series;
  std::vector<Frame> sent;
  std::vector<std::string> notes, latched;
  unsigned late_taken = 0, words_read = 0;
  RunReport report;

 private:
  static engine::task<> tell(LiveRun& run, RunCaptures::Setting setting, Story story) {
    static const freeze::scenario::Scenario nothing;
    if (setting.scenario == nullptr) setting.scenario = &nothing;
    auto opened = LocalFolder::create(run.files.file("run"));
    if (!opened) co_return Error(opened.error());
    run.folder = std::move(*opened);
    auto made = SnapshotSeries::create(run.guest->vm(), run.guest->pc(), run.options, false, {}, *run.folder);
    if (!made) co_return Error(made.error());
    run.series = std::move(*made);
    SnapshotSeries& series = *run.series;
    RunCaptures::Owner owner;
    owner.send = [&run](std::uint32_t type, std::span<const std::byte> payload) {
      run.sent.push_back({type, {payload.begin(), payload.end()}});
      return true;
    };
    owner.note = [&run](std::string text) { run.notes.push_back(std::move(text)); };
    owner.tell = [](const std::string&) {};
    owner.late_taken = [&run] { ++run.late_taken; };
    owner.latched = [&run](const std::string& text) { run.latched.push_back(text); };
    owner.words_read = [&run] { ++run.words_read; };
    owner.scenario_ended = [] {};
    RunCaptures captures(run.guest->vm(), series, std::move(setting), std::move(owner));
    series.on_failure([&captures] { captures.last_words(); });
    run.guest->start();
    engine::scope freezes("freezes"), reading("reading snapshots"), watching("snapshots");
    engine::scope orders("orders", engine::errors::collect);
    freezes.spawn(series.coordinate(), "coordinator");
    reading.spawn(series.read(), "reader");
    captures.begin(watching, orders);
    const auto told = co_await story(run, captures);
    captures.end();
    watching.request_stop();
    const auto watched = co_await watching.join();
    const auto answered = co_await orders.join();
    series.close();
    const auto coordinated = co_await freezes.join();
    series.close_reading();
    const auto read = co_await reading.join();
    const auto dumped = co_await series.dump_failure();
    (void)watched;
    (void)answered;
    (void)dumped;
    series.report(run.report);
    captures.report(run.report);
    if (!coordinated) co_return coordinated.failure();
    if (!read) co_return read.failure();
    if (!told) co_return told.failure();
    co_return engine::ok;
  }
};

}  // namespace floe::cli
