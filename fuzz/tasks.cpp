// A guest with a small process list, of which the input overwrites any bytes: [page u8][offset u16][bytes u8][bytes...] each.
// The walk must end within its budget, list no task twice and account for what it left out.
#include <cstdlib>
#include <set>

#include "fuzz/input.hpp"
#include "fuzz/patched.hpp"
#include "tests/walkers/synthetic/kernel.hpp"
#include "walkers/walkers.hpp"

using namespace floe;
using namespace floe::walkers;

namespace {

struct Guest {
  synthetic::SyntheticKernel kernel;
  std::optional<Kernel> opened;
  std::vector<Gpa> pages;

  Guest() {
    const Kva init = kernel.add_process(1, "init");
    kernel.add_thread(init, 2, "init-thread");
    kernel.make_kernel_thread(kernel.add_process(3, "kthreadd"), "kthreadd");
    kernel.make_worker(kernel.add_process(4, "kworker/0:0"), {.description = "events"});
    kernel.make_worker(kernel.add_process(5, "kworker/R-wq"), {.rescues = "wq"});
    kernel.add_process(6, "last");
    auto open = Kernel::open(kernel.memory);
    if (!open) std::abort();
    opened.emplace(std::move(*open));
    pages = fuzz::pages_of(kernel.memory);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Guest guest;
  fuzz::Input input(data, size);
  fuzz::Patched memory(guest.kernel.memory);
  memory.patch_by(input, guest.pages);

  const auto kernel = Kernel::open(memory, *guest.opened);
  if (!kernel) return 0;
  (void)uts(*kernel);
  constexpr std::uint64_t kBudget = 1000;
  const auto table = tasks(*kernel, WalkBudget(kBudget));
  if (!table) return 0;
  std::set<std::uint64_t> seen;
  for (const auto& task : table->tasks)
    if (!seen.insert(task.address.value).second || task.state == '\0' || task.comm.size() > 64) std::abort();
  if (table->steps > kBudget || table->complete != (table->problem_count == 0)) std::abort();
  return 0;
}
