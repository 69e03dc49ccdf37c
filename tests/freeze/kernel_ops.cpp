#include "freeze/kernel_ops.hpp"

#include <bpf/btf.h>

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "base/no_alloc.hpp"
#include "tests/freeze/live_guest.hpp"
#include "tests/walkers/synthetic/scx.hpp"

using namespace floe;
using namespace floe::freeze;
using namespace floe::vmm::wire;
using floe::walkers::synthetic::KernelSpec;
using floe::walkers::synthetic::ScxGuest;
using floe::walkers::synthetic::TypeWriter;
using Mode = KernelOpRequest::Mode;
using Direction = KernelOpRequest::Direction;

namespace {

constexpr std::uint64_t kBoottime = 12'345'678'901;
constexpr std::uint64_t kStart = 12'345'000'000;

// What the made-up kernel has beside sched_ext: the members of a task that operations ask for, and a per-CPU variable with a type.
KernelSpec needs() {
  KernelSpec spec;
  spec.add_types = [](TypeWriter& w) {
    int task = 0;
    for (std::uint32_t id = 1; id < btf__type_cnt(w.raw()); ++id) {
      const auto* type = btf__type_by_id(w.raw(), id);
      if (btf_is_struct(type) && btf__name_by_offset(w.raw(), type->name_off) == std::string_view("task_struct"))
        task = static_cast<int>(id);
    }
    w.add_struct("task_struct", 600,
                 {{nullptr, task, 0},
                  {"start_time", w.u64, 8 * 512},
                  {"start_boottime", w.u64, 8 * 520},
                  {"on_rq", w.s32, 8 * 528},
                  {"policy", w.u32, 8 * 532},
                  {"few", w.u32, 8 * 536, 3}});
    const int counters = w.add_struct("counters", 16, {{"first", w.u32, 0}, {"second", w.u64, 64}});
    btf__add_var(w.raw(), "my_counters", BTF_VAR_GLOBAL_ALLOCATED, counters);
    btf__add_var(w.raw(), "my_number", BTF_VAR_GLOBAL_ALLOCATED, w.u64);
  };
  spec.symbols = {{"word", 0x4000, 'D'},
                  {"my_counters", 0x4100, 'D'},
                  {"my_number", 0x4120, 'D'},
                  {"page_offset_base", 0x4200, 'D'},
                  {"edge", 0x5ffe, 'D'}};
  return spec;
}

struct Guest {
  Guest() : scx({.more = needs()}), live(scx.guest), kernel(live.open()) {}

  KernelOp resolve(Direction direction, std::vector<KernelOpEntry> entries, Mode mode = Mode::kHot) {
    live.sync();
    KernelOpRequest request;
    request.id = 7;
    request.mode = mode;
    request.direction = direction;
    request.tag = "t";
    request.entries = std::move(entries);
    return KernelOp::resolve(std::move(request), kernel, live.live, *live.ram);
  }
  static KernelReply finish(KernelOp& op) {
    {
      const NoAllocScope no_alloc;
      op.apply();
    }
    auto reply = op.reply();
    BOOST_TEST(reply.id == 7u);
    return reply;
  }
  KernelReply run(Direction direction, std::vector<KernelOpEntry> entries) {
    auto op = resolve(direction, std::move(entries));
    return finish(op);
  }
  // The number that is read, or why not.
  std::variant<std::uint64_t, std::string> read(KernelTarget target) {
    auto reply = run(Direction::kRead, {{std::move(target), std::uint64_t{0}}});
    if (!reply.success) return reply.reason;
    BOOST_REQUIRE(reply.values.size() == 1u);
    return std::get<std::uint64_t>(reply.values[0]);
  }
  std::string refused(Direction direction, KernelTarget target, KernelValue value = std::uint32_t{1}) {
    const auto reply = run(direction, {{std::move(target), std::move(value)}});
    BOOST_TEST(reply.success == reply.reason.empty());
    return reply.reason;
  }

  template <class T>
  void put(Kva kva, T value) {
    scx.guest.put(kva, value);
  }
  Kva symbol(const char* name) const { return scx.guest.symbol(name); }

  // A task that may be written to: asleep, of the ext class by its own policy.
  Kva add_task(std::int32_t pid) {
    const Kva task = scx.add_task(pid, "one");
    set(task, "start_time", kStart);
    set(task, "start_boottime", kBoottime);
    set(task, "policy", std::uint32_t{7});
    set(task, "sched_class", symbol("ext_sched_class").value);
    const Kva node = task + offset("scx.runnable_node");
    put(node, node.value);
    put(node + 8, node.value);
    return task;
  }
  std::uint32_t offset(const std::string& member) const { return scx.guest.offset("task_struct." + member); }
  template <class T>
  void set(Kva task, const std::string& member, T value) {
    put(task + offset(member), value);
  }

  ScxGuest scx;
  LiveGuest live;
  walkers::Kernel kernel;
};

std::vector<std::byte> raw(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

using Value = std::variant<std::uint64_t, std::string>;

}  // namespace

BOOST_AUTO_TEST_SUITE(kernel_ops)

BOOST_AUTO_TEST_CASE(a_symbol_is_written_and_read) {
  Guest guest;
  guest.put(guest.symbol("word"), std::uint64_t{0x1111'1111'1111'1111});
  BOOST_TEST(guest.run(Direction::kWrite, {{SymbolTarget{"word"}, std::uint32_t{5}}}).success);
  BOOST_TEST(guest.live.get<std::uint64_t>(guest.symbol("word")) == 0x1111'1111'0000'0005u);
  guest.put(guest.symbol("word"), std::uint64_t{6});
  const auto reply = guest.run(Direction::kRead, {{SymbolTarget{"word"}, std::uint32_t{0}},
                                                  {SymbolTarget{"word"}, std::uint64_t{0}},
                                                  {SymbolTarget{"word"}, std::vector<std::byte>(2)}});
  BOOST_TEST(reply.success);
  BOOST_REQUIRE(reply.values.size() == 3u);
  BOOST_TEST(std::get<std::uint32_t>(reply.values[0]) == 6u);
  BOOST_TEST(std::get<std::uint64_t>(reply.values[1]) == 6u);
  BOOST_TEST((std::get<std::vector<std::byte>>(reply.values[2]) == std::vector{std::byte{6}, std::byte{0}}));
}

BOOST_AUTO_TEST_CASE(writes_return_no_values_and_are_told_to_the_dirty_tracking) {
  Guest guest;
  guest.live.sync();
  std::vector<std::uint64_t> written((guest.live.ram->pages() + 63) / 64);
  guest.live.ram->take_written(written);
  auto op = guest.resolve(Direction::kWrite, {{SymbolTarget{"word"}, std::uint64_t{5}}});
  std::fill(written.begin(), written.end(), 0);
  guest.live.ram->take_written(written);
  std::fill(written.begin(), written.end(), 0);
  const auto reply = Guest::finish(op);
  BOOST_TEST(reply.values.empty());
  guest.live.ram->take_written(written);
  std::uint64_t page = 0;
  BOOST_REQUIRE(guest.live.ram->page_index(guest.scx.guest.physical(guest.symbol("word")), page));
  for (std::uint64_t n = 0; n < guest.live.ram->pages(); ++n) {
    const bool told = (written[n / 64] >> (n % 64) & 1) != 0;
    if (told != (n == page)) BOOST_ERROR("page " << n);
  }
}

BOOST_AUTO_TEST_CASE(bits_are_set_and_cannot_be_read_that_way) {
  Guest guest;
  guest.put(guest.symbol("word"), std::uint32_t{0x0f});
  BOOST_TEST(guest.run(Direction::kWrite, {{SymbolTarget{"word"}, OrU32{0xf1}}}).success);
  BOOST_TEST(guest.live.get<std::uint32_t>(guest.symbol("word")) == 0xffu);
  BOOST_TEST(guest.refused(Direction::kRead, SymbolTarget{"word"}, OrU32{1}) == "entry 0: setting bits is no way to read");
}

BOOST_AUTO_TEST_CASE(a_value_may_cross_pages_that_are_no_neighbours) {
  Guest guest;
  const Kva pages = guest.scx.guest.allocate(2 * kPageBytes);
  const Kva at = pages + (kPageBytes - 3);
  BOOST_TEST(guest.run(Direction::kWrite, {{KvaTarget{at.value}, raw("across")}}).success);
  const auto reply = guest.run(Direction::kRead, {{KvaTarget{at.value}, std::vector<std::byte>(6)}});
  // The test's own copy knows nothing of the write; what was synced over it is zeroes.
  BOOST_TEST(reply.success);
  guest.scx.guest.write(at, raw("ACROSS"));
  const auto again =
      guest.run(Direction::kRead, {{KvaTarget{at.value}, std::vector<std::byte>(6)}, {KvaTarget{at.value}, std::uint32_t{0}}});
  BOOST_TEST((std::get<std::vector<std::byte>>(again.values.at(0)) == raw("ACROSS")));
  BOOST_TEST(std::get<std::uint32_t>(again.values.at(1)) == 0x4f524341u);
  BOOST_TEST(guest.run(Direction::kWrite, {{KvaTarget{(at + 1).value}, OrU32{0x20202020}}}).success);
  BOOST_TEST(guest.live.get<std::uint16_t>(at + 1) == 0x7263u);              // "cr"
  BOOST_TEST(guest.live.get<std::uint16_t>(pages + kPageBytes) == 0x736fu);  // "os"
}

BOOST_AUTO_TEST_CASE(a_write_that_runs_off_its_page_writes_nothing) {
  Guest guest;
  const Kva page = guest.scx.guest.allocate(kPageBytes);
  const Kva at = page + (kPageBytes - 2);
  const auto why = guest.refused(Direction::kWrite, KvaTarget{at.value}, std::uint32_t{0x01010101});
  BOOST_TEST(why.starts_with("entry 0: 0x"), why);
  BOOST_TEST(why.find("not present") != std::string::npos, why);
  BOOST_TEST(guest.live.get<std::uint16_t>(at) == 0u);
}

BOOST_AUTO_TEST_CASE(kernel_addresses_only) {
  Guest guest;
  const auto refused = [&](std::uint64_t address) { return guest.refused(Direction::kRead, KvaTarget{address}, std::uint64_t{0}); };
  BOOST_TEST(refused(0x1000).find("below the kernel's addresses") != std::string::npos);
  BOOST_TEST(refused(0xfeff'ffff'ffff'fff8).find("below the kernel's addresses") != std::string::npos);
  BOOST_TEST(refused(0xffff'ffff'ffff'fffc).find("wrap around") != std::string::npos);
  BOOST_TEST(refused(0xff00'0000'0000'0000).find("not present") != std::string::npos);
  BOOST_TEST(guest.refused(Direction::kRead, KvaTarget{guest.symbol("word").value}, std::vector<std::byte>()) ==
             "entry 0: the value has no bytes");
}

BOOST_AUTO_TEST_CASE(the_direct_map_is_ram_and_asks_no_page_tables) {
  Guest guest;
  constexpr std::uint64_t kBase = 0xff20'0000'0000'0000;  // nothing of it is mapped
  guest.put(guest.symbol("page_offset_base"), kBase);
  guest.put(guest.symbol("word"), std::uint64_t{77});
  const std::uint64_t gpa = guest.scx.guest.physical(guest.symbol("word")).value;
  BOOST_TEST((guest.read(DirectTarget{kBase + gpa}) == Value(std::uint64_t{77})));
  const std::uint64_t end = kBase + guest.live.ram->bytes();
  BOOST_TEST((guest.read(DirectTarget{end - 8}) == Value(std::uint64_t{0})));
  for (const std::uint64_t outside : {end - 7, end, kBase - 1, kBase - 8, std::uint64_t{0}, ~std::uint64_t{0}})
    BOOST_TEST(guest.refused(Direction::kWrite, DirectTarget{outside}, std::uint64_t{1}).find("not in the direct map") !=
               std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_field_of_a_cpus_variable) {
  Guest guest;
  guest.put(guest.scx.rq(1) + guest.scx.guest.offset("rq.scx.nr_running"), std::uint32_t{3});
  const auto rq = guest.run(Direction::kRead, {{PerCpuTarget{"runqueues", "scx.nr_running", 1}, std::uint32_t{0}}});
  BOOST_REQUIRE(rq.success);
  BOOST_TEST(std::get<std::uint32_t>(rq.values[0]) == 3u);
  // A type that BTF knows of the variable.
  const Kva first = guest.kernel.per_cpu("my_counters", 0).value();
  const Kva second = guest.kernel.per_cpu("my_counters", 1).value();
  guest.scx.guest.map(first);
  guest.scx.guest.map(second);
  guest.scx.guest.put(second + 8, std::uint64_t{44});
  BOOST_TEST((guest.read(PerCpuTarget{"my_counters", "second", 1}) == Value(std::uint64_t{44})));
  BOOST_TEST((guest.read(PerCpuTarget{"my_counters", "second", 0}) == Value(std::uint64_t{0})));
}

BOOST_AUTO_TEST_CASE(what_is_no_field_of_a_cpus_variable) {
  Guest guest;
  const auto why = [&](std::string symbol, std::string field, std::uint32_t cpu = 0, KernelValue value = std::uint32_t{0}) {
    return guest.refused(Direction::kRead, PerCpuTarget{std::move(symbol), std::move(field), cpu}, std::move(value));
  };
  BOOST_TEST(why("my_counters", "first", 2) == "entry 0: CPU 2 of 2 has no my_counters");
  BOOST_TEST(why("my_counters", "third").find("no member third") != std::string::npos);
  BOOST_TEST(why("my_number", "x") == "entry 0: my_number is no struct with a name");
  BOOST_TEST(why("scx_tasks", "x") == "entry 0: the kernel's BTF has no per-CPU variable scx_tasks");
  BOOST_TEST(why("my_counters", "first", 0, std::uint64_t{0}) == "entry 0: first has 4 bytes, not 8");
}

BOOST_AUTO_TEST_CASE(a_cpu_that_never_came_to_be_is_not_the_first_one) {
  Guest guest;
  guest.put(guest.symbol("__per_cpu_offset") + 8, std::uint64_t{0});
  BOOST_TEST(guest.refused(Direction::kWrite, PerCpuTarget{"my_counters", "first", 1}) == "entry 0: CPU 1 does not exist");
}

BOOST_AUTO_TEST_CASE(a_field_of_a_task) {
  Guest guest;
  const Kva task = guest.add_task(41);
  guest.set(task, "scx.slice", std::uint64_t{20});
  for (const std::uint64_t start : {kStart, kBoottime, std::uint64_t{12'340'000'000}})
    BOOST_TEST((guest.read(TaskTarget{41, start, "scx.slice"}) == Value(std::uint64_t{20})));
  BOOST_TEST(guest.run(Direction::kWrite, {{TaskTarget{41, kStart, "scx.slice"}, std::uint64_t{30}}}).success);
  BOOST_TEST(guest.live.get<std::uint64_t>(task + guest.offset("scx.slice")) == 30u);
}

BOOST_AUTO_TEST_CASE(a_thread_is_found_too) {
  Guest guest;
  const Kva leader = guest.add_task(41);
  const Kva thread = guest.scx.guest.add_thread(leader, 42, "two");
  guest.set(thread, "start_time", kStart + 1);
  guest.set(thread, "start_boottime", kBoottime);
  guest.set(thread, "scx.weight", std::uint32_t{5});
  const auto reply = guest.run(Direction::kRead, {{TaskTarget{42, kStart + 1, "scx.weight"}, std::uint32_t{0}}});
  BOOST_REQUIRE_MESSAGE(reply.success, reply.reason);
  BOOST_TEST(std::get<std::uint32_t>(reply.values[0]) == 5u);
}

BOOST_AUTO_TEST_CASE(another_task_with_that_number_is_not_meant) {
  Guest guest;
  guest.add_task(41);
  for (const std::uint64_t start : {std::uint64_t{0}, kStart - 1, kBoottime + 1, std::uint64_t{12'350'000'000}})
    BOOST_TEST(guest.refused(Direction::kRead, TaskTarget{41, start, "scx.slice"}).find("another had that number") != std::string::npos);
  BOOST_TEST(guest.refused(Direction::kRead, TaskTarget{40, kStart, "scx.slice"}) == "entry 0: there is no task 40");
  BOOST_TEST(guest.refused(Direction::kRead, TaskTarget{41, kStart, "nothing"}).find("no member nothing") != std::string::npos);
  BOOST_TEST(guest.refused(Direction::kRead, TaskTarget{41, kStart, "few"}).find("bit-field") != std::string::npos);
  BOOST_TEST(guest.refused(Direction::kWrite, TaskTarget{41, kStart, "prio"}, std::uint64_t{1}) == "entry 0: prio has 4 bytes, not 8");
}

BOOST_AUTO_TEST_CASE(a_dead_task_is_neither_read_nor_written) {
  Guest guest;
  const Kva task = guest.add_task(41);
  guest.set(task, "__state", std::uint32_t{0x80});
  for (const auto direction : {Direction::kRead, Direction::kWrite})
    BOOST_TEST(guest.refused(direction, TaskTarget{41, kStart, "prio"}) == "entry 0: task 41: the task is dead");
  guest.set(task, "__state", std::uint32_t{1});
  guest.set(task, "start_boottime", std::uint64_t{0});
  BOOST_TEST(guest.refused(Direction::kRead, TaskTarget{41, kStart, "prio"}) == "entry 0: task 41: the task has no start time");
}

BOOST_AUTO_TEST_CASE(a_task_that_sched_ext_is_busy_with_is_read_but_not_written) {
  const auto check = [](const auto& change, const std::string& why) {
    Guest guest;
    const Kva task = guest.add_task(41);
    change(guest, task);
    BOOST_TEST(guest.refused(Direction::kRead, TaskTarget{41, kStart, "prio"}).empty());
    BOOST_TEST(guest.refused(Direction::kWrite, TaskTarget{41, kStart, "prio"}) == "entry 0: task 41: " + why);
  };
  check([](Guest& guest, Kva task) { guest.set(task, "on_rq", 1); }, "the task is on a run queue");
  check([](Guest& guest, Kva task) { guest.set(task, "scx.dsq", std::uint64_t{1}); }, "the task is on a DSQ");
  check([](Guest& guest, Kva task) { guest.set(task, "scx.runnable_node.next", std::uint64_t{1}); }, "the task is on a runnable list");
  check([](Guest& guest, Kva task) { guest.set(task, "sched_class", std::uint64_t{1}); }, "the task is not of the ext class");
  check([](Guest& guest, Kva task) { guest.set(task, "policy", std::uint32_t{0}); }, "the task's policy is not SCHED_EXT");
}

BOOST_AUTO_TEST_CASE(the_reset_on_fork_bit_is_no_part_of_the_policy) {
  Guest guest;
  guest.set(guest.add_task(41), "policy", std::uint32_t{0x40000007});
  BOOST_TEST(guest.refused(Direction::kWrite, TaskTarget{41, kStart, "prio"}).empty());
}

// Between the resolution and the freeze the guest went on.
BOOST_AUTO_TEST_CASE(what_was_true_is_checked_again) {
  Guest guest;
  const Kva task = guest.add_task(41);
  auto op = guest.resolve(Direction::kWrite, {{SymbolTarget{"word"}, std::uint32_t{1}}, {TaskTarget{41, kStart, "prio"}, std::uint32_t{9}}},
                          Mode::kCold);
  BOOST_TEST(op.cold());
  guest.set(task, "on_rq", 1);
  guest.live.sync();
  const auto reply = Guest::finish(op);
  BOOST_TEST(!reply.success);
  BOOST_TEST(reply.reason == "entry 1: the task is on a run queue");
  BOOST_TEST(guest.live.get<std::uint32_t>(task + guest.offset("prio")) == 0u);
  BOOST_TEST(guest.live.get<std::uint32_t>(guest.symbol("word")) == 1u);  // what came before stays

  auto other = guest.resolve(Direction::kRead, {{TaskTarget{41, kBoottime, "prio"}, std::uint32_t{0}}});
  guest.set(task, "start_boottime", kBoottime + 5);
  guest.live.sync();
  BOOST_TEST(Guest::finish(other).reason == "entry 0: the task has started at another time");
}

BOOST_AUTO_TEST_CASE(the_first_entry_that_fails_ends_the_batch) {
  Guest guest;
  const Kva word = guest.symbol("word");
  const auto reply = guest.run(Direction::kWrite, {{SymbolTarget{"word"}, std::uint32_t{1}},
                                                   {SymbolTarget{"nothing"}, std::uint32_t{1}},
                                                   {KvaTarget{word.value + 8}, std::uint32_t{1}}});
  BOOST_TEST(!reply.success);
  BOOST_TEST(reply.reason.starts_with("entry 1: "), reply.reason);
  BOOST_TEST(reply.values.empty());
  BOOST_TEST(guest.live.get<std::uint32_t>(word) == 1u);
  BOOST_TEST(guest.live.get<std::uint32_t>(word + 8) == 0u);
}

BOOST_AUTO_TEST_CASE(no_more_is_read_than_a_reply_holds) {
  Guest guest;
  const std::uint64_t address = 0xffff'8880'0000'0000;
  guest.put(guest.symbol("page_offset_base"), address);
  std::vector<KernelOpEntry> entries(17, {DirectTarget{address}, std::vector<std::byte>(KernelOpRequest::kMaxValue)});
  const auto reply = guest.run(Direction::kRead, entries);
  BOOST_TEST(!reply.success);
  BOOST_TEST(reply.reason.starts_with("entry 15: more than"), reply.reason);
  entries.resize(15);
  BOOST_TEST(guest.run(Direction::kRead, entries).values.size() == 15u);
}

BOOST_AUTO_TEST_CASE(an_empty_batch_succeeds) {
  Guest guest;
  BOOST_TEST(guest.run(Direction::kWrite, {}).success);
}

BOOST_AUTO_TEST_CASE(what_was_not_applied_was_not_done) {
  Guest guest;
  const auto op = guest.resolve(Direction::kWrite, {{SymbolTarget{"word"}, std::uint32_t{1}}});
  BOOST_TEST(op.reply().reason == "it was not carried out");
}

BOOST_AUTO_TEST_CASE(reasons_are_cut_to_what_a_reply_holds) {
  Guest guest;
  const auto why = guest.refused(Direction::kRead, SymbolTarget{std::string(500, 'x')});
  BOOST_TEST(why.size() <= KernelReply::kMaxReason);
  KernelOpRequest request;
  request.id = 3;
  const auto reply = refuse(request, "busy: another capture is under way");
  BOOST_TEST(reply.id == 3u);
  BOOST_TEST(!reply.success);
  BOOST_TEST(reply.reason == "busy: another capture is under way");
}

BOOST_AUTO_TEST_CASE(a_list_of_processes_that_loops_ends) {
  Guest guest;
  const Kva task = guest.add_task(41);
  guest.add_task(42);
  const Kva node = task + guest.offset("tasks");
  guest.put(node, node.value);
  const auto why = guest.refused(Direction::kRead, TaskTarget{99, kStart, "prio"});
  BOOST_TEST(why == "entry 0: the list of processes cannot be followed to task 99");
}

BOOST_AUTO_TEST_SUITE_END()
