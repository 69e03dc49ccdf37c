#include "walkers/tasks.hpp"

#include <fmt/format.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/synthetic/kernel.hpp"

using namespace floe;
using namespace floe::walkers;
using synthetic::KernelSpec;
using synthetic::SyntheticKernel;

namespace {

TaskTable table_of(const SyntheticKernel& guest, WalkBudget budget = WalkBudget(10'000)) {
  const auto kernel = Kernel::open(guest.memory);
  BOOST_REQUIRE_MESSAGE(kernel, kernel.error().message);
  auto table = tasks(*kernel, budget);
  BOOST_REQUIRE_MESSAGE(table, table.error().message);
  return std::move(*table);
}

std::vector<std::int32_t> pids(const TaskTable& table) {
  std::vector<std::int32_t> list;
  for (const auto& task : table.tasks) list.push_back(task.pid);
  return list;
}

using Pids = std::vector<std::int32_t>;

bool any_mentions(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return line.find(part) != line.npos; });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tasks)

BOOST_AUTO_TEST_CASE(lists_processes_threads_and_idle_tasks) {
  SyntheticKernel guest;
  const Kva init = guest.add_process(1, "init");
  guest.add_thread(init, 7, "init-helper");
  const Kva shell = guest.add_process(20, "sh", 0);
  guest.put(shell + guest.offset("task_struct.real_parent"), init.value);
  guest.put(shell + guest.offset("task_struct.thread_info.cpu"), std::uint32_t{1});
  guest.put(shell + guest.offset("task_struct.on_cpu"), std::uint8_t{1});
  guest.put(init + guest.offset("task_struct.on_cpu") + 1, std::uint8_t{1});  // the neighbouring member

  const auto table = table_of(guest);
  BOOST_TEST(table.complete);
  BOOST_TEST(table.problem_count == 0u);
  BOOST_TEST(table.torn_links == 0u);
  BOOST_TEST(pids(table) == (Pids{1, 7, 20}), boost::test_tools::per_element());
  BOOST_TEST(table.tasks[1].tgid == 1);
  BOOST_TEST(!table.tasks[1].leads());
  BOOST_TEST(table.tasks[1].comm == "init-helper");
  BOOST_TEST(table.tasks[2].ppid.value() == 1);
  BOOST_TEST(table.tasks[0].ppid.value() == 0);
  BOOST_TEST(table.tasks[2].state == 'R');
  BOOST_TEST(table.tasks[2].cpu.value() == 1u);
  BOOST_TEST(table.tasks[2].on_cpu.value());
  BOOST_TEST(!table.tasks[0].on_cpu.value());
  BOOST_REQUIRE(table.idle.size() == 2u);
  BOOST_TEST(table.idle[0].comm == "swapper/0");
  BOOST_TEST(table.idle[1].comm == "swapper/1");
}

BOOST_AUTO_TEST_CASE(older_layouts_are_read_as_btf_has_them) {
  SyntheticKernel guest({.thread_head = false, .cpu_in_thread_info = false, .on_cpu_bytes = 4});
  const Kva init = guest.add_process(1, "init");
  guest.add_thread(init, 2, "second");
  guest.add_thread(init, 3, "third");
  guest.put(init + guest.offset("task_struct.cpu"), std::uint32_t{5});
  const auto table = table_of(guest);
  BOOST_TEST(table.complete);
  BOOST_TEST(pids(table) == (Pids{1, 2, 3}), boost::test_tools::per_element());
  BOOST_TEST(table.tasks[0].cpu.value() == 5u);
}

BOOST_AUTO_TEST_CASE(state_letters_are_those_of_proc) {
  BOOST_TEST(task_state_letter(0x0, 0) == 'R');
  BOOST_TEST(task_state_letter(0x1, 0) == 'S');
  BOOST_TEST(task_state_letter(0x2, 0) == 'D');
  BOOST_TEST(task_state_letter(0x102, 0) == 'D');  // killable
  BOOST_TEST(task_state_letter(0x104, 0) == 'T');  // stopped, wakes on a fatal signal
  BOOST_TEST(task_state_letter(0x8, 0) == 't');
  BOOST_TEST(task_state_letter(0x80, 0x10) == 'X');
  BOOST_TEST(task_state_letter(0x80, 0x20) == 'Z');
  BOOST_TEST(task_state_letter(0x40, 0) == 'P');
  BOOST_TEST(task_state_letter(0x402, 0) == 'I');
  BOOST_TEST(task_state_letter(0x2402, 0) == 'I');  // idle and freezable
  BOOST_TEST(task_state_letter(0x1000, 0) == 'D');  // waits for an rt-mutex
  BOOST_TEST(task_state_letter(0x8000, 0) == 'D');  // frozen
  BOOST_TEST(task_state_letter(0x200, 0) == 'R');   // being woken
  for (const std::uint32_t state : {0xffffffffu, 0x7fu, 0x80000000u}) BOOST_TEST(task_state_letter(state, state) != '\0');
}

BOOST_AUTO_TEST_CASE(kernel_threads_have_their_full_names) {
  SyntheticKernel guest;
  guest.make_kernel_thread(guest.add_process(2, "rcu_exp_par_gp_"), "rcu_exp_par_gp_kthread_worker/0");
  guest.make_worker(guest.add_process(3, "kworker/0:1H"), {.pool_cpu = 0, .id = 1, .nice = -20, .description = "kblockd", .busy = true});
  guest.make_worker(guest.add_process(4, "kworker/u8:3"), {.pool_cpu = -1, .pool_id = 8, .id = 3, .description = "events_unbound"});
  guest.make_worker(guest.add_process(5, "kworker/R-acpi_"), {.rescues = "acpi_thermal_pm"});
  const auto table = table_of(guest);
  BOOST_REQUIRE(table.tasks.size() == 4u);
  BOOST_TEST(table.tasks[0].comm == "rcu_exp_par_gp_kthread_worker/0");
  BOOST_TEST(table.tasks[0].kernel_thread);
  BOOST_TEST(table.tasks[1].comm == "kworker/0:1H+kblockd");
  BOOST_TEST(table.tasks[2].comm == "kworker/u8:3-events_unbound");
  BOOST_TEST(table.tasks[3].comm == "kworker/R-acpi_thermal_pm");
}

BOOST_AUTO_TEST_CASE(a_kernel_thread_with_wild_pointers_keeps_its_comm) {
  SyntheticKernel guest;
  const Kva thread = guest.add_process(2, "kthreadd");
  guest.make_kernel_thread(thread, "x");
  guest.put(thread + guest.offset("task_struct.worker_private"), std::uint64_t{0xdead000000000122});
  BOOST_TEST(table_of(guest).tasks[0].comm == "kthreadd");
}

BOOST_AUTO_TEST_CASE(a_wild_link_costs_what_it_hides_and_the_rest_comes_from_the_other_end) {
  SyntheticKernel guest;
  std::vector<Kva> list;
  for (int pid = 1; pid <= 6; ++pid) list.push_back(guest.add_process(pid, fmt::format("p{}", pid)));
  const auto tasks_offset = guest.offset("task_struct.tasks");
  guest.put(list[2] + tasks_offset, std::uint64_t{0xdead000000000100});  // LIST_POISON1
  const auto table = table_of(guest);
  BOOST_TEST(!table.complete);
  BOOST_TEST(pids(table) == (Pids{1, 2, 3, 6, 5, 4}), boost::test_tools::per_element());
  BOOST_TEST(any_mentions(table.problems, "links to 0xdead000000000100"));
}

BOOST_AUTO_TEST_CASE(a_loop_that_misses_the_head_ends) {
  SyntheticKernel guest;
  std::vector<Kva> list;
  for (int pid = 1; pid <= 5; ++pid) list.push_back(guest.add_process(pid, "loop"));
  const auto tasks_offset = guest.offset("task_struct.tasks");
  guest.put(list[3] + tasks_offset, (list[1] + tasks_offset).value);
  const auto table = table_of(guest);
  BOOST_TEST(!table.complete);
  BOOST_TEST(pids(table) == (Pids{1, 2, 3, 4, 5}), boost::test_tools::per_element());
  BOOST_TEST(any_mentions(table.problems, "instead of its head"));
  BOOST_TEST(table.torn_links > 0u);
  BOOST_TEST(table.steps < 20u);
}

BOOST_AUTO_TEST_CASE(a_task_that_links_to_itself_ends) {
  SyntheticKernel guest;
  const Kva first = guest.add_process(1, "self");
  const Kva node = first + guest.offset("task_struct.tasks");
  guest.put(node, node.value);
  guest.put(node + 8, node.value);
  const auto table = table_of(guest);
  BOOST_TEST(!table.complete);
  BOOST_TEST(pids(table) == (Pids{1}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(threads_of_one_process_in_the_list_of_another_are_listed_once) {
  SyntheticKernel guest;
  const Kva first = guest.add_process(1, "first");
  const Kva stray = guest.add_thread(first, 2, "stray");
  const Kva second = guest.add_process(3, "second");
  guest.put(second + guest.offset("task_struct.thread_node"), (stray + guest.offset("task_struct.thread_node")).value);
  const auto table = table_of(guest);
  BOOST_TEST(!table.complete);
  BOOST_TEST(pids(table) == (Pids{1, 2, 3}), boost::test_tools::per_element());
  BOOST_TEST(any_mentions(table.problems, "seen before"));
}

BOOST_AUTO_TEST_CASE(a_thread_list_that_turns_round_at_its_leader_does_not_eat_the_budget) {
  SyntheticKernel guest;
  const Kva first = guest.add_process(1, "first");
  const Kva node = first + guest.offset("task_struct.thread_node");
  guest.put(node, node.value);
  guest.add_process(2, "second");
  const auto table = table_of(guest, WalkBudget(20));
  BOOST_TEST(!table.complete);
  BOOST_TEST(pids(table) == (Pids{1, 2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_process_without_signal_struct_is_listed_with_a_reason) {
  SyntheticKernel guest;
  const Kva first = guest.add_process(1, "first");
  guest.put(first + guest.offset("task_struct.signal"), std::uint64_t{0});
  guest.add_process(2, "second");
  const auto table = table_of(guest);
  BOOST_TEST(!table.complete);
  BOOST_TEST(pids(table) == (Pids{1, 2}), boost::test_tools::per_element());
  BOOST_TEST(any_mentions(table.problems, "no signal_struct"));
}

BOOST_AUTO_TEST_CASE(an_unreadable_head_is_a_reason_not_a_failure) {
  SyntheticKernel guest;
  guest.put(guest.init_task + guest.offset("task_struct.tasks"), std::uint64_t{0});
  guest.put(guest.init_task + guest.offset("task_struct.tasks") + 8, std::uint64_t{1});
  const auto table = table_of(guest);
  BOOST_TEST(!table.complete);
  BOOST_TEST(table.tasks.empty());
  BOOST_TEST(table.problem_count == 2u);
  BOOST_TEST(table.idle.size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_walk_keeps_to_its_budget) {
  SyntheticKernel guest;
  for (int pid = 1; pid <= 40; ++pid) guest.add_process(pid, "many");
  const auto table = table_of(guest, WalkBudget(10));
  BOOST_TEST(!table.complete);
  BOOST_TEST(table.steps == 10u);
  BOOST_TEST(table.tasks.size() == 5u);  // a process is one node of the process list and one of its own thread list
  BOOST_TEST(any_mentions(table.problems, "step limit reached"));
  const auto late = table_of(guest, WalkBudget(1000, WalkBudget::Clock::now()));
  BOOST_TEST(late.tasks.empty());
  BOOST_TEST(any_mentions(late.problems, "deadline reached"));
}

BOOST_AUTO_TEST_CASE(problems_are_counted_beyond_those_kept) {
  SyntheticKernel guest;
  for (int pid = 1; pid <= 100; ++pid) guest.put(guest.add_process(pid, "broken") + guest.offset("task_struct.signal"), std::uint64_t{0});
  const auto table = table_of(guest);
  BOOST_TEST(table.tasks.size() == 100u);
  BOOST_TEST(table.problems.size() == TaskTable::kMaxProblems);
  BOOST_TEST(table.problem_count == 100u);
}

BOOST_AUTO_TEST_SUITE_END()
