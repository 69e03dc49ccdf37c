// A guest with a small printk ring, of which the input overwrites any bytes (fuzz/patched.hpp). Reading it must end, and account for every
// descriptor between tail and head.
#include <cstdlib>

#include "fuzz/patched.hpp"
#include "tests/walkers/synthetic/printk_ring.hpp"
#include "walkers/printk.hpp"

using namespace floe;
using namespace floe::walkers;

namespace {

struct Guest {
  synthetic::SyntheticKernel kernel{synthetic::PrintkRing::needs()};
  synthetic::PrintkRing ring{kernel};
  std::optional<Kernel> opened;
  std::vector<Gpa> pages;

  Guest() {
    for (int n = 0; n < 9; ++n) ring.add("record " + std::to_string(n));
    ring.add("");
    ring.add(std::nullopt);
    ring.add("may be continued", synthetic::PrintkRing::committed);
    ring.add("being written", synthetic::PrintkRing::reserved);
    auto open = Kernel::open(kernel.memory);
    if (!open) std::abort();
    opened.emplace(std::move(*open));
    // The ring and its three parts, and then the page with the symbol that leads to them.
    for (const Kva part : {ring.ring(), ring.desc(0), ring.info(0), ring.data(), kernel.symbol("prb")})
      pages.push_back(Gpa(page_floor(kernel.physical(part).value)));
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
  constexpr std::uint64_t kBudget = 1000;
  const auto log = kernel_log(*kernel, WalkBudget(kBudget));
  if (!log) return 0;
  const std::uint64_t looked_at = log->records.size() + log->reserved + log->reusable + log->lost + log->damaged;
  if (looked_at == 0 || looked_at > kBudget || (log->complete && (log->damaged != 0 || log->left_out != 0))) std::abort();
  for (const auto& record : log->records)
    if (record.text.size() > 65535 || record.level > 7 || record.line().size() < record.text.size()) std::abort();
  return 0;
}
