#include "walkers/bpf/arena.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "walkers/bpf/layout.hpp"

namespace floe::walkers::bpf {
namespace {

constexpr std::uint64_t kWindow = std::uint64_t{1} << 32;
constexpr std::uint64_t kGuard = 1 << 16;  // GUARD_SZ with 4 KiB pages: what a signed 16-bit offset reaches

// Where the page is that a kernel with bpf_arena.scratch_page maps in place of one that was never allocated.
std::optional<Gpa> scratch_page(const Kernel& kernel, const ArenaFields& fields, Kva map) {
  const auto page_struct = kernel.types().size("page");
  const auto symbol = kernel.symbols().find("vmemmap_base");
  if (!fields.scratch_page || !page_struct || *page_struct == 0 || !symbol) return std::nullopt;
  const auto page = kernel.memory().get<std::uint64_t>(map + *fields.scratch_page);
  const auto first = kernel.memory().get<std::uint64_t>(*symbol);
  if (!page || !first || *page < *first) return std::nullopt;
  return Gpa((*page - *first) / *page_struct * kPageBytes);
}

}  // namespace

Result<Arena> Arena::open(const MapReader& reader, const MapInfo& map) {
  if (map.type != MapType::arena) return fail(fmt::format("map {} is no arena", map.name));
  if (!reader.layout().arena) return fail(reader.layout().arena.error());
  const ArenaFields& fields = *reader.layout().arena;
  const auto& memory = reader.kernel().memory();
  Arena arena;
  const auto user = memory.load<std::uint64_t>(map.address + fields.user_vm_start, "bpf_arena.user_vm_start");
  if (!user) return fail(user.error());
  arena.user_vm_start_ = *user;
  arena.declared_pages_ = map.max_entries;
  arena.bytes_ = std::min(arena.declared_pages_ * kPageBytes, kWindow);
  arena.scratch_ = scratch_page(reader.kernel(), fields, map.address);
  const auto area = memory.get<std::uint64_t>(map.address + fields.kern_vm);
  const auto start = area && *area != 0 ? memory.get<std::uint64_t>(Kva(*area) + fields.addr) : std::nullopt;
  if (start && *start != 0) arena.kern_vm_start_ = *start + kGuard / 2;
  return arena;
}

std::size_t Arena::read(const KernelMemory& memory, std::uint64_t user_address, std::span<std::byte> out) const {
  if (kern_vm_start_ == 0) return 0;
  // At the end of the low 32 bits the kernel's addresses start over.
  const std::uint64_t before_wrap = kWindow - static_cast<std::uint32_t>(user_address);
  const auto first = out.first(std::min<std::uint64_t>(out.size(), before_wrap));
  const std::size_t got = memory.read(kernel_address(user_address), first);
  if (got < first.size() || first.size() == out.size()) return got;
  return got + memory.read(Kva(kern_vm_start_), out.subspan(got, std::min<std::uint64_t>(out.size() - got, kWindow)));
}

ArenaSnapshot Arena::snapshot(const Kernel& kernel, const MapLimits& limits, WalkBudget& budget) const {
  ArenaSnapshot result;
  result.declared_pages = declared_pages_;
  result.span_capped = declared_pages_ * kPageBytes > kWindow;
  result.kern_vm_start = kern_vm_start_;
  result.user_vm_start = user_vm_start_;
  if (kern_vm_start_ == 0) return result;

  const auto most = [](std::uint64_t limit) { return limit == 0 ? ~std::uint64_t{0} : limit; };
  const std::uint64_t most_pages = std::min(most(limits.arena_pages), most(limits.bytes / kPageBytes));
  const PagedMemory* paged = kernel.paged();
  for (std::uint64_t done = 0; done < bytes_;) {
    const std::uint64_t user = user_vm_start_ + done;
    const Kva at = kernel_address(user);
    // Up to the end of the arena, or to where the low 32 bits start over.
    const std::uint64_t rest = std::min(bytes_ - done, kWindow - static_cast<std::uint32_t>(user));
    const Kva found = paged != nullptr ? paged->tables().next_mapped(at, at + rest) : at;
    if (found != at) {
      done += found - at;
      continue;
    }
    if (!budget.step()) {
      result.truncated = true;
      break;
    }
    done += kPageBytes;
    ArenaPage page{user, std::vector<std::byte>(kPageBytes)};
    if (paged != nullptr && scratch_ && paged->translate(at) == *scratch_) continue;
    if (!kernel.memory().read_all(at, page.bytes)) continue;
    if (result.pages.size() == most_pages) {
      result.truncated = true;
      break;
    }
    result.pages.push_back(std::move(page));
  }
  return result;
}

}  // namespace floe::walkers::bpf
