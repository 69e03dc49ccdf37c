// A guest with a small process list, of which the input overwrites any bytes: [page u8][offset u16][bytes u8][bytes...] each.
// The walk must end within its budget, list no task twice and account for what it left out.
#include <cstdlib>
#include <set>
#include <vector>

#include "fuzz/input.hpp"
#include "tests/walkers/synthetic/kernel.hpp"
#include "walkers/walkers.hpp"

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
    for (const auto& range : kernel.memory.populated())
      for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes) pages.push_back(range.start + at);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Guest guest;
  fuzz::Input input(data, size);
  Patched memory(guest.kernel.memory);
  for (int i = 0; i < 16 && !input.empty(); ++i) {
    const auto page = input.take<std::uint8_t>();
    const auto offset = input.take<std::uint16_t>() % kPageBytes;
    const auto bytes = input.take<std::uint8_t>() % 64u;
    memory.patch(guest.pages[page % guest.pages.size()] + offset, input.take_bytes(bytes));
  }

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
