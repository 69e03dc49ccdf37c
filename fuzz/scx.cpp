// A guest with a scheduler, tasks on its queues and an exit under way, of which the input overwrites any bytes:
// [page u8][offset u16][bytes u8][bytes...] each. Every walk must end within its budget and list no task of one queue twice.
#include <cstdlib>
#include <set>
#include <vector>

#include "fuzz/input.hpp"
#include "tests/walkers/synthetic/scx.hpp"
#include "walkers/scx/state.hpp"
#include "walkers/task_details.hpp"
#include "walkers/tasks.hpp"

using namespace floe;
using namespace floe::walkers;

namespace {

// The guest's memory with the input laid over it.
class Patched : public Memory {
 public:
  explicit Patched(const Memory& base) : base_(base) {}
  void patch(Gpa gpa, std::span<const std::uint8_t> bytes) { patches_.push_back({gpa.value, bytes}); }

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override {
    const std::size_t got = base_.read(gpa, out);
    for (const auto& [start, bytes] : patches_)
      for (std::size_t i = 0; i < bytes.size(); ++i)
        if (start + i >= gpa.value && start + i - gpa.value < got) out[start + i - gpa.value] = std::byte{bytes[i]};
    return got;
  }
  std::vector<PhysRange> populated() const override { return base_.populated(); }

 private:
  struct Patch {
    std::uint64_t start;
    std::span<const std::uint8_t> bytes;
  };
  const Memory& base_;
  std::vector<Patch> patches_;
};

struct Guest {
  synthetic::ScxGuest scx{{.nodes = 2}};
  std::optional<Kernel> opened;
  scx::Layout layout;
  std::vector<Gpa> pages;

  Guest() {
    scx.attach("fuzzed");
    const Kva shared = scx.add_user_dsq(0x100, 0);
    const Kva stuck = scx.add_user_dsq(0x5157, 3);
    scx.put_in(scx.add_future_table(8), 5, scx.new_dsq(0x200));
    scx.add_cursor(shared);
    for (std::int32_t pid = 1; pid <= 6; ++pid) {
      const Kva task = scx.add_task(pid, "task");
      scx.make_runnable(task, static_cast<std::uint32_t>(pid) % 2, 10 * static_cast<std::uint64_t>(pid));
      scx.enqueue(task, pid < 5 ? shared : stuck);
    }
    scx.add_child(scx.add_child(scx.sched, 1, "child", "/c"), 2, "grandchild", "/c/d");
    scx.exit(1026, "runnable task stall", "task[6] failed to run", std::string(5000, 'x'));
    auto open = Kernel::open(scx.guest.memory);
    if (!open) std::abort();
    opened.emplace(std::move(*open));
    layout = scx::Layout::of(*opened);
    for (const auto& range : scx.guest.memory.populated())
      for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes) pages.push_back(range.start + at);
  }
};

template <class List>
void no_duplicates(const List& tasks) {
  std::set<std::uint64_t> seen;
  for (const std::uint64_t task : tasks)
    if (!seen.insert(task).second) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Guest guest;
  fuzz::Input input(data, size);
  Patched memory(guest.scx.guest.memory);
  for (int i = 0; i < 16 && !input.empty(); ++i) {
    const auto page = input.take<std::uint8_t>();
    const auto offset = input.take<std::uint16_t>() % kPageBytes;
    const auto bytes = input.take<std::uint8_t>() % 64u;
    memory.patch(guest.pages[page % guest.pages.size()] + offset, input.take_bytes(bytes));
  }

  const auto kernel = Kernel::open(memory, *guest.opened);
  if (!kernel) return 0;
  constexpr std::uint64_t kBudget = 2000;
  WalkBudget budget(kBudget);
  const auto state = scx::read_state(*kernel, guest.layout, budget);
  if (budget.taken() > kBudget || (state.problem_count == 0) != state.problems.empty()) std::abort();
  for (const auto& dsq : state.dsqs) no_duplicates(dsq.task_kvas);
  for (const auto& rq : state.rqs) no_duplicates(rq.runnable_task_kvas);

  const auto table = tasks(*kernel, WalkBudget(kBudget));
  if (!table) return 0;
  WalkBudget for_details(kBudget);
  const RunningAt running[] = {{0, guest.scx.guest.symbol("osq_lock").value - 1}, {7, 0}};
  const auto details = task_details(*kernel, *table, guest.layout, running, for_details);
  if (!details || for_details.taken() > kBudget) std::abort();
  std::vector<std::uint64_t> addresses;
  for (const auto& task : details->tasks) addresses.push_back(task.task_kva);
  no_duplicates(addresses);
  return 0;
}
