#include "freeze/word_watch.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "base/no_alloc.hpp"
#include "tests/freeze/live_guest.hpp"
#include "tests/walkers/synthetic/bpf_scheduler.hpp"
#include "tests/walkers/synthetic/scx.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::walkers;
using synthetic::ScxGuest;
using synthetic::ScxSpec;
using Generation = ScxSpec::Generation;

namespace {

synthetic::KernelSpec with_words();

// A guest with sched_ext, watched.
struct Watched {
  explicit Watched(Generation generation = Generation::tree)
      : scx({.generation = generation, .more = with_words()}), live(scx.guest), kernel(live.open()), watch(*live.ram, live.live) {
    watch.adopt(WordWatch::find(kernel, live.live, {}));
  }

  WordWatch::Hits poll() {
    live.sync();
    const NoAllocScope no_alloc;
    return watch.poll();
  }

  ScxGuest scx;
  LiveGuest live;
  Kernel kernel;
  WordWatch watch;
};

// A guest with a scheduler's .bss map; the words of the variable scx_area are the latch.
struct Latched {
  explicit Latched(LatchName name = {.map = "my_sched.bss", .variable = "scx_area"})
      : live(scheduler.guest.guest), kernel(live.open()), watch(*live.ram, live.live, std::move(name)) {
    scheduler.variable(synthetic::Scheduler::Program::kArea, 0);
    find();
  }

  void find() {
    live.sync();
    watch.adopt(WordWatch::find(kernel, live.live, watch.latch_name(), watch.places()));
  }
  bool poll() {
    live.sync();
    const NoAllocScope no_alloc;
    return watch.poll().latch;
  }
  Kva word() const { return scheduler.bss + scheduler.guest.offset("bpf_array.value") + synthetic::Scheduler::Program::kArea; }

  synthetic::Scheduler scheduler;
  LiveGuest live;
  Kernel kernel;
  WordWatch watch;
};

constexpr Generation kGenerations[] = {Generation::variables, Generation::sched, Generation::tree};

synthetic::KernelSpec with_words() {
  synthetic::KernelSpec spec;
  for (int n = 0; n < 4; ++n) spec.symbols.push_back({"word" + std::to_string(n), 0x4000u + 8 * static_cast<unsigned>(n), 'D'});
  spec.symbols.push_back({"byte", 0x4031, 'D'});
  return spec;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(word_watch)

BOOST_AUTO_TEST_CASE(a_scheduler_that_is_well_is_no_hit) {
  for (const auto generation : kGenerations) {
    Watched guest(generation);
    BOOST_TEST(!guest.poll().any());
    guest.scx.attach("mine");
    for (int i = 0; i < 3; ++i) BOOST_TEST(!guest.poll().any());
    BOOST_TEST(guest.watch.exit_kind().value() == 0u);
    BOOST_TEST(!guest.watch.confirms_failure());
  }
}

BOOST_AUTO_TEST_CASE(the_error_class_is_a_hit_and_stays_until_it_is_cleared) {
  for (const auto generation : kGenerations) {
    Watched guest(generation);
    guest.scx.attach("mine");
    guest.poll();
    guest.scx.exit_kind(1026);
    BOOST_TEST(guest.poll().failure);
    BOOST_TEST(guest.poll().failure);
    BOOST_TEST(guest.watch.failure_kind().value() == 1026u);
    BOOST_TEST(guest.watch.exit_kind().value() == 1026u);
    BOOST_TEST(guest.watch.confirms_failure());
    guest.scx.exit_kind(0);
    guest.live.sync();
    guest.watch.clear_failure();
    BOOST_TEST(!guest.poll().failure);
  }
}

// The rule in a real kernel: exit_kind is an error for an instant, then "done".
BOOST_AUTO_TEST_CASE(an_error_that_is_done_already_is_seen_in_the_exit_info) {
  for (const auto generation : kGenerations) {
    Watched guest(generation);
    guest.scx.attach("mine");
    guest.poll();
    guest.scx.exit(1025, "scx_bpf_error", "", "");
    BOOST_TEST(guest.poll().failure);
    BOOST_TEST(guest.watch.failure_kind().value() == 1025u);
    BOOST_TEST(guest.watch.confirms_failure());
  }
}

BOOST_AUTO_TEST_CASE(the_instant_between_done_and_the_exit_info_is_waited_out) {
  for (const auto generation : kGenerations) {
    Watched guest(generation);
    guest.scx.attach("mine");
    guest.poll();
    guest.scx.exit(0, "", "", "");
    BOOST_TEST(!guest.poll().failure);
    guest.scx.exit(1024, "runtime error", "", "");
    BOOST_TEST(guest.poll().failure);
  }
}

BOOST_AUTO_TEST_CASE(an_orderly_end_is_no_hit) {
  for (const auto generation : kGenerations) {
    for (const std::uint32_t kind : {64u, 65u, 66u, 1023u}) {
      Watched guest(generation);
      guest.scx.attach("mine");
      guest.poll();
      guest.scx.exit_kind(kind);
      BOOST_TEST(!guest.poll().failure);
      guest.scx.exit(kind, "unregistered from user space", "", "");
      BOOST_TEST(!guest.poll().failure);
      BOOST_TEST(guest.watch.exit_kind().value() == kind);
      BOOST_TEST(!guest.watch.confirms_failure());
      guest.scx.detach();
      BOOST_TEST(!guest.poll().failure);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_failure_between_two_polls_of_a_new_scheduler_is_found) {
  Watched guest;
  guest.scx.attach("mine");
  guest.scx.exit(1026, "runnable task stall", "", "");
  BOOST_TEST(guest.poll().failure);  // bound and seen at once: nothing was bound before
}

BOOST_AUTO_TEST_CASE(a_replaced_scheduler_is_bound_by_the_second_poll_and_its_word_is_the_one_that_counts) {
  for (const auto generation : {Generation::sched, Generation::tree}) {
    Watched guest(generation);
    guest.scx.attach("first");
    guest.poll();
    const Kva first = guest.scx.sched;
    guest.scx.attach("second");
    // What the first one's word says is not the second one's end.
    guest.scx.guest.put(first + guest.scx.guest.offset("scx_sched.exit_kind"), std::uint32_t{1026});
    BOOST_TEST(!guest.poll().failure);
    BOOST_TEST(!guest.poll().failure);
    BOOST_TEST(!guest.poll().failure);
    guest.scx.exit_kind(1025);
    BOOST_TEST(guest.poll().failure);
    BOOST_TEST(guest.watch.failure_kind().value() == 1025u);
  }
}

// Whoever captures in turn waits while nobody knows whose end is watched.
BOOST_AUTO_TEST_CASE(whose_end_is_watched_is_told) {
  using Scheduler = WordWatch::Scheduler;
  for (const auto generation : {Generation::sched, Generation::tree}) {
    Watched guest(generation);
    const auto poll_and_tell = [&] {
      guest.poll();
      return guest.watch.scheduler();
    };
    BOOST_TEST((poll_and_tell() == Scheduler::none));
    guest.scx.attach("one");
    guest.live.sync();
    BOOST_TEST((guest.watch.scheduler() == Scheduler::changing));
    BOOST_TEST((poll_and_tell() == Scheduler::bound));
    guest.scx.attach("two");
    guest.live.sync();
    BOOST_TEST((guest.watch.scheduler() == Scheduler::changing));
    BOOST_TEST((poll_and_tell() == Scheduler::changing));  // the first is let go of
    BOOST_TEST((poll_and_tell() == Scheduler::bound));
    guest.scx.detach();
    BOOST_TEST((poll_and_tell() == Scheduler::none));
  }
}

BOOST_AUTO_TEST_CASE(the_second_ones_end_is_not_taken_for_the_firsts) {
  Watched guest;
  guest.scx.attach("first");
  guest.poll();
  guest.scx.attach("second");
  guest.scx.exit_kind(1026);
  BOOST_TEST(!guest.poll().failure);  // lets go of the first
  BOOST_TEST(guest.poll().failure);   // the second's own
}

BOOST_AUTO_TEST_CASE(what_was_seen_of_one_outlives_it_but_not_its_successor) {
  Watched guest;
  guest.scx.attach("first");
  guest.poll();
  guest.scx.exit(1026, "runnable task stall", "", "");
  BOOST_TEST(guest.poll().failure);
  guest.scx.detach();
  BOOST_TEST(guest.poll().failure);  // who was busy for longer than the kernel keeps it can still ask
  BOOST_TEST(!guest.watch.exit_kind());
  BOOST_TEST(!guest.watch.confirms_failure());
  guest.scx.attach("second");
  BOOST_TEST(!guest.poll().failure);
}

BOOST_AUTO_TEST_CASE(in_kernels_without_scx_root_a_new_scheduler_clears_what_was_seen) {
  Watched guest(Generation::variables);
  guest.scx.attach("first");
  guest.scx.exit(1026, "runnable task stall", "", "");
  BOOST_TEST(guest.poll().failure);
  guest.scx.exit_kind(0);
  BOOST_TEST(!guest.poll().failure);
}

BOOST_AUTO_TEST_CASE(a_scx_root_that_leads_nowhere_is_no_scheduler) {
  Watched guest;
  for (const std::uint64_t wild : {0x1234ull, 0xffffffffffffffffull, 0xff11000000000000ull, 0xff11700000000001ull}) {
    guest.scx.guest.put(guest.scx.guest.symbol("scx_root"), wild);
    BOOST_TEST(!guest.poll().any());
    BOOST_TEST(!guest.watch.exit_kind());
    BOOST_TEST(!guest.watch.confirms_failure());
  }
}

BOOST_AUTO_TEST_CASE(finding_again_changes_nothing_while_nothing_changed) {
  Watched guest;
  guest.scx.attach("mine");
  guest.poll();
  guest.scx.exit_kind(1026);
  guest.poll();
  guest.watch.adopt(WordWatch::find(guest.kernel, guest.live.live, {}, guest.watch.places()));
  BOOST_TEST(guest.watch.failure_kind().value() == 1026u);
  BOOST_TEST(guest.poll().failure);
}

BOOST_AUTO_TEST_CASE(a_kernel_without_sched_ext_says_so) {
  synthetic::SyntheticKernel plain;
  LiveGuest live(plain);
  WordWatch watch(*live.ram, live.live);
  BOOST_TEST(!watch.poll().any());  // nothing was found so far
  const auto kernel = live.open();
  watch.adopt(WordWatch::find(kernel, live.live, {}));
  BOOST_TEST(!watch.poll().any());
  BOOST_TEST(watch.places()->scheduler_problem.value() == "the kernel is built without sched_ext");
  watch.adopt(WordWatch::find(kernel, live.live, {}, watch.places()));
  BOOST_TEST(watch.places()->scheduler_problem.value() == "the kernel is built without sched_ext");
  BOOST_TEST((watch.latch() == LatchState::not_resolved));
  BOOST_TEST(!watch.confirms_failure());
}

BOOST_AUTO_TEST_CASE(a_latch_is_found_by_map_and_variable) {
  Latched guest;
  BOOST_TEST((guest.watch.latch() == LatchState::not_triggered));
  BOOST_TEST(!guest.poll());
  guest.scheduler.variable(synthetic::Scheduler::Program::kArea, 1);
  BOOST_TEST(guest.poll());
  BOOST_TEST((guest.watch.latch() == LatchState::triggered));
  BOOST_TEST(guest.watch.confirms_failure());
}

BOOST_AUTO_TEST_CASE(a_latch_may_ask_for_more_than_one) {
  Latched guest({.map = "my_sched.bss", .variable = "scx_area", .at_least = 1024});
  guest.scheduler.variable(synthetic::Scheduler::Program::kArea, 64);
  BOOST_TEST(!guest.poll());
  guest.scheduler.variable(synthetic::Scheduler::Program::kArea, 1025);
  BOOST_TEST(guest.poll());
}

BOOST_AUTO_TEST_CASE(a_latch_that_is_not_there_is_not_resolved) {
  for (const LatchName& name :
       {LatchName{"probe_bp.bss", "scx_area"}, LatchName{"my_sched.bss", "other"}, LatchName{"my_sched", "scx_area"}}) {
    Latched guest(name);
    BOOST_TEST((guest.watch.latch() == LatchState::not_resolved));
    BOOST_TEST(!guest.poll());
    BOOST_TEST(guest.watch.places()->latch_problem.has_value());
  }
}

BOOST_AUTO_TEST_CASE(a_variable_beyond_its_map_is_out_of_bounds_and_confirms_nothing_ever_again) {
  Latched guest;
  guest.scheduler.variable(synthetic::Scheduler::Program::kArea, 1);
  guest.scheduler.guest.guest.put(guest.scheduler.bss + guest.scheduler.guest.offset("bpf_map.value_size"), std::uint32_t{66});
  guest.live.sync();
  guest.watch.adopt(WordWatch::find(guest.kernel, guest.live.live, guest.watch.latch_name()));
  BOOST_TEST((guest.watch.latch() == LatchState::out_of_bounds));
  BOOST_TEST(!guest.poll());
  guest.scheduler.guest.guest.put(guest.scheduler.bss + guest.scheduler.guest.offset("bpf_map.value_size"), std::uint32_t{128});
  guest.live.sync();
  guest.watch.adopt(WordWatch::find(guest.kernel, guest.live.live, guest.watch.latch_name()));
  BOOST_TEST(guest.poll());
  BOOST_TEST(guest.watch.latch_was_out_of_bounds());
  BOOST_TEST(!guest.watch.confirms_failure());
}

BOOST_AUTO_TEST_CASE(the_page_of_a_map_that_is_gone_is_not_believed) {
  Latched guest;
  // The map was freed, and another is where it was.
  guest.scheduler.guest.guest.put(guest.scheduler.bss + guest.scheduler.guest.offset("bpf_map.id"), std::uint32_t{99});
  guest.scheduler.variable(synthetic::Scheduler::Program::kArea, 1);
  BOOST_TEST(!guest.poll());
  BOOST_TEST((guest.watch.latch() == LatchState::not_resolved));
  BOOST_TEST(!guest.poll());
}

BOOST_AUTO_TEST_CASE(a_map_that_has_moved_to_another_page_is_looked_for_anew) {
  Latched guest;
  auto& kernel = guest.scheduler.guest.guest;
  const Gpa old = kernel.physical(guest.word());
  kernel.map(guest.scheduler.bss);
  kernel.put(guest.scheduler.bss + guest.scheduler.guest.offset("bpf_map.id"), std::uint32_t{2});
  kernel.memory.put(old, std::uint32_t{1});  // somebody else's page now
  BOOST_TEST(!guest.poll());
  BOOST_TEST((guest.watch.latch() == LatchState::not_resolved));
}

BOOST_AUTO_TEST_CASE(a_page_that_is_mapped_no_more_is_not_believed) {
  Latched guest;
  const auto tables = guest.kernel.paged()->tables();
  const Gpa data = tables.translate(guest.word())->gpa;
  // Clears the one present entry that leads to it.
  for (const auto& range : guest.scheduler.guest.guest.memory.populated())
    for (std::uint64_t at = 0; at + 8 <= range.bytes; at += 8) {
      std::uint64_t entry = 0;
      guest.scheduler.guest.guest.memory.read(range.start + at, std::as_writable_bytes(std::span(&entry, 1)));
      if ((entry & 1) != 0 && (entry & 0x000ffffffffff000) == page_floor(data.value))
        guest.scheduler.guest.guest.memory.put(range.start + at, std::uint64_t{0});
    }
  BOOST_REQUIRE(!tables.translate(guest.word()));
  guest.scheduler.guest.guest.memory.put(data, std::uint32_t{1});  // somebody else's page now
  BOOST_TEST(!guest.poll());
  BOOST_TEST((guest.watch.latch() == LatchState::not_resolved));
  guest.find();
  BOOST_TEST(!guest.poll());
}

BOOST_AUTO_TEST_CASE(of_two_maps_of_the_name_the_younger_is_the_latch) {
  Latched guest;
  auto& scheduler = guest.scheduler;
  const Kva younger = scheduler.guest.add_map(7, {.name = "my_sched.bss", .value_size = synthetic::Scheduler::Program::kBssBytes});
  scheduler.set_btf(younger, 0, scheduler.program.bss);
  scheduler.variable(synthetic::Scheduler::Program::kArea, 1);  // the older one's
  guest.find();
  BOOST_TEST(!guest.poll());
  scheduler.guest.guest.put(younger + scheduler.guest.offset("bpf_array.value") + synthetic::Scheduler::Program::kArea, std::uint32_t{1});
  BOOST_TEST(guest.poll());
}

BOOST_AUTO_TEST_CASE(a_changed_word_is_a_hit_once) {
  Watched guest;
  guest.scx.guest.put(guest.scx.guest.symbol("word1"), std::uint32_t{5});
  guest.live.sync();
  const auto slot = guest.watch.watch("word1", guest.kernel);
  BOOST_REQUIRE_MESSAGE(slot, slot.error().message);
  BOOST_TEST(guest.poll().users == 0u);
  guest.scx.guest.put(guest.scx.guest.symbol("word1") + 4, std::uint32_t{9});  // its neighbour
  BOOST_TEST(guest.poll().users == 0u);
  guest.scx.guest.put(guest.scx.guest.symbol("word1"), std::uint32_t{6});
  BOOST_TEST(guest.poll().users == 1u << *slot);
  guest.scx.guest.put(guest.scx.guest.symbol("word1"), std::uint32_t{7});
  BOOST_TEST(guest.poll().users == 1u << *slot);  // still the same hit
  const auto& word = *guest.watch.user(*slot);
  BOOST_TEST(word.symbol == "word1");
  BOOST_TEST(word.before == 5u);
  BOOST_TEST(word.after == 6u);
  guest.watch.release(*slot);
  guest.scx.guest.put(guest.scx.guest.symbol("word1"), std::uint32_t{8});
  BOOST_TEST(!guest.poll().any());
}

BOOST_AUTO_TEST_CASE(the_fourth_watch_fails_until_one_is_released) {
  Watched guest;
  for (const char* symbol : {"word0", "word1", "word2"}) BOOST_TEST(guest.watch.watch(symbol, guest.kernel).has_value());
  const auto fourth = guest.watch.watch("word3", guest.kernel);
  BOOST_REQUIRE(!fourth);
  BOOST_TEST(fourth.error().message == "cannot watch word3: all 3 watches are taken until one fires");
  BOOST_TEST(guest.watch.users() == 3u);
  guest.scx.guest.put(guest.scx.guest.symbol("word0"), 1);
  guest.scx.guest.put(guest.scx.guest.symbol("word2"), 1);
  BOOST_TEST(guest.poll().users == 5u);
  guest.watch.release(2);
  BOOST_TEST(guest.watch.watch("word3", guest.kernel).value() == 2u);
  BOOST_TEST(guest.poll().users == 1u);  // the other hit is not lost
}

BOOST_AUTO_TEST_CASE(one_symbol_may_be_watched_twice) {
  Watched guest;
  BOOST_TEST(guest.watch.watch("word0", guest.kernel).value() == 0u);
  BOOST_TEST(guest.watch.watch("word0", guest.kernel).value() == 1u);
  guest.scx.guest.put(guest.scx.guest.symbol("word0"), 1);
  BOOST_TEST(guest.poll().users == 3u);
}

BOOST_AUTO_TEST_CASE(what_can_never_fire_is_refused) {
  Watched guest;
  const auto why = [&](const char* symbol) {
    const auto slot = guest.watch.watch(symbol, guest.kernel);
    return slot ? std::string() : slot.error().message;
  };
  BOOST_TEST(why("nothing") == "cannot watch nothing: the kernel has no such symbol");
  BOOST_TEST(why("byte").find("is not a multiple of 4") != std::string::npos);
  BOOST_TEST(guest.watch.users() == 0u);
  WordWatch unfound(*guest.live.ram, guest.live.live);
  BOOST_TEST(unfound.watch("word0", guest.kernel).error().message == "cannot watch word0: the guest's kernel is not known yet");
}

BOOST_AUTO_TEST_CASE(a_per_cpu_symbol_that_is_an_offset_is_refused) {
  synthetic::SyntheticKernel guest({.layout = SymbolLayout::base_or_percpu});
  LiveGuest live(guest);
  WordWatch watch(*live.ram, live.live);
  const auto kernel = live.open();
  watch.adopt(WordWatch::find(kernel, live.live, {}));
  const auto slot = watch.watch("runqueues", kernel);
  BOOST_REQUIRE(!slot);
  BOOST_TEST(slot.error().message.find("no kernel address") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(debug_registers_follow_what_is_watched) {
  for (const auto generation : kGenerations) {
    Watched guest(generation);
    vmm::DebugRegisters registers;
    {
      WordWatch watch(*guest.live.ram, guest.live.live, {}, &registers);
      BOOST_TEST((watch.method() == WatchMethod::hardware));
      watch.adopt(WordWatch::find(guest.kernel, guest.live.live, {}));
      guest.scx.attach("mine");
      guest.live.sync();
      watch.poll();
      const bool variables = generation == Generation::variables;
      const Kva kind =
          variables ? guest.scx.guest.symbol("scx_exit_kind") : guest.scx.sched + guest.scx.guest.offset("scx_sched.exit_kind");
      BOOST_TEST(registers.requested()[0] == kind.value);
      const auto slot = watch.watch("word1", guest.kernel);
      BOOST_TEST(registers.requested()[*slot + 1] == guest.scx.guest.symbol("word1").value);
      watch.release(*slot);
      BOOST_TEST(registers.requested()[*slot + 1] == 0u);
      if (!variables) {
        guest.scx.detach();
        guest.live.sync();
        watch.poll();
        BOOST_TEST(registers.requested()[0] == 0u);
        guest.scx.attach("another");
        guest.live.sync();
        watch.poll();
        BOOST_TEST(registers.requested()[0] == (guest.scx.sched + guest.scx.guest.offset("scx_sched.exit_kind")).value);
      }
    }
    BOOST_TEST((registers.requested() == vmm::DebugAddresses{}));
  }
}

BOOST_AUTO_TEST_CASE(by_hardware_a_write_that_changes_nothing_is_a_hit) {
  Watched guest;
  vmm::DebugRegisters registers;
  WordWatch watch(*guest.live.ram, guest.live.live, {}, &registers);
  watch.adopt(WordWatch::find(guest.kernel, guest.live.live, {}));
  const auto slot = watch.watch("word1", guest.kernel);
  BOOST_TEST(watch.poll().users == 0u);
  registers.note(2, registers.requested());
  BOOST_TEST(watch.poll().users == 1u << *slot);
  BOOST_TEST(watch.user(*slot)->after == watch.user(*slot)->before);
  BOOST_TEST((watch.user(*slot)->method == WatchMethod::hardware));
  // What happens while it waits to be captured belongs to this hit.
  registers.note(2, registers.requested());
  watch.release(*slot);
  BOOST_TEST(watch.watch("word1", guest.kernel).value() == *slot);
  BOOST_TEST(watch.poll().users == 0u);
}

// A vCPU that cannot be given its debug registers would miss writes: all is seen by polling, and called so.
BOOST_AUTO_TEST_CASE(a_refused_debug_register_leaves_polling) {
  Watched guest;
  vmm::DebugRegisters registers;
  WordWatch watch(*guest.live.ram, guest.live.live, {}, &registers);
  watch.adopt(WordWatch::find(guest.kernel, guest.live.live, {}));
  const auto slot = watch.watch("word1", guest.kernel);
  BOOST_TEST((watch.user(*slot)->method == WatchMethod::hardware));
  registers.note_refusal();
  BOOST_TEST((watch.method() == WatchMethod::polled));
  guest.scx.guest.put(guest.scx.guest.symbol("word1"), std::uint32_t{77});
  guest.live.sync();
  BOOST_TEST(watch.poll().users == 1u << *slot);
  BOOST_TEST((watch.user(*slot)->method == WatchMethod::polled));
  BOOST_TEST(watch.user(*slot)->after == 77u);
}

// A guest that puts one scheduler in the place of another while it is watched, and in the word of each an error once it has been replaced.
BOOST_AUTO_TEST_CASE(a_guest_that_runs_is_never_misread) {
  Watched guest;
  std::vector<std::pair<std::uint64_t, std::uint32_t*>> schedulers;
  const auto host = [&](Kva kva) { return guest.live.ram->slice(guest.scx.guest.physical(kva), 4).data(); };
  for (int i = 0; i < 64; ++i) {
    guest.scx.attach("one");
    guest.live.sync();
    schedulers.emplace_back(guest.scx.sched.value,
                            reinterpret_cast<std::uint32_t*>(host(guest.scx.sched + guest.scx.guest.offset("scx_sched.exit_kind"))));
  }
  auto* root = reinterpret_cast<std::uint64_t*>(host(guest.scx.guest.symbol("scx_root")));
  std::atomic<std::uint64_t> polls{0};
  std::atomic<bool> done{false};
  std::thread runs([&] {
    std::uint32_t* last = nullptr;
    for (const auto& [scheduler, word] : schedulers) {
      // Now and then the watch gets to bind it, now and then not.
      for (const auto until = polls + scheduler / kPageBytes % 4; polls < until;) std::this_thread::yield();
      __atomic_store_n(root, scheduler, __ATOMIC_RELEASE);
      if (last != nullptr) __atomic_store_n(last, 1026, __ATOMIC_RELEASE);
      last = word;
    }
    done = true;
  });
  std::uint64_t hits = 0;
  for (; !done; ++polls) hits += guest.watch.poll().failure ? 1 : 0;
  runs.join();
  BOOST_TEST(hits == 0u);
  guest.watch.poll();
  guest.watch.poll();
  __atomic_store_n(schedulers.back().second, 1025, __ATOMIC_RELEASE);
  BOOST_TEST(guest.watch.poll().failure);
}

BOOST_AUTO_TEST_SUITE_END()
