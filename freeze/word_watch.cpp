#include "freeze/word_watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "walkers/bpf/maps.hpp"
#include "walkers/bpf/section.hpp"
#include "walkers/budget.hpp"
#include "walkers/render/program_types.hpp"
#include "walkers/scx/layout.hpp"

namespace floe::freeze {
namespace {

namespace bpf = walkers::bpf;

constexpr std::uint32_t kDone = 1;  // SCX_EXIT_DONE
constexpr std::uint64_t kMaxMapSteps = 100'000;
constexpr std::uint64_t kLowestKernelAddress = 0xffff'8000'0000'0000;

std::uint32_t load32(const std::byte* from) {
  return __atomic_load_n(reinterpret_cast<const std::uint32_t*>(from), __ATOMIC_ACQUIRE);
}
std::uint64_t load64(const std::byte* from) {
  return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from), __ATOMIC_ACQUIRE);
}

// The parts that are the same for as long as the kernel is.
void find_scheduler(const walkers::Kernel& kernel, WordPlaces& places) {
  const auto layout = walkers::scx::Layout::of(kernel);
  if (!layout.exists()) {
    places.scheduler_problem = "the kernel is built without sched_ext";
    return;
  }
  if (layout.exit_info) places.info_kind = layout.exit_info->kind;
  if (layout.scx_root && layout.sched) {
    places.scx_root = layout.scx_root;
    places.sched_exit_kind = layout.sched->exit_kind;
    places.sched_exit_info = layout.sched->exit_info;
  } else if (layout.global_exit_kind) {
    places.exit_kind = layout.global_exit_kind;
    places.exit_info = layout.global_exit_info;
  } else {
    places.scheduler_problem = "the kernel has neither scx_root with struct scx_sched nor scx_exit_kind";
  }
}

Result<WordPlaces::Latch> find_latch(const walkers::Kernel& kernel, const LatchName& name, const WordPlaces* last) {
  walkers::WalkBudget budget(kMaxMapSteps);
  const auto maps = bpf::find_maps(kernel, budget);
  if (!maps) return fail(maps.error());
  // While a program is replaced by itself there are two maps of that name: the younger one counts.
  const bpf::MapInfo* map = nullptr;
  for (const auto& one : maps->maps)
    if (one.name == name.map && one.type == bpf::MapType::array && (map == nullptr || one.id > map->id)) map = &one;
  if (map == nullptr) return fail(fmt::format("there is no map {}", name.map));
  if (last != nullptr && last->latch && last->latch->map == map->address && last->latch->id == map->id) return *last->latch;

  const auto values = kernel.types().offset("bpf_array.value");
  if (!values) return fail(values.error());
  if (!map->btf) return fail(fmt::format("the map {} has no BTF that could tell where {} is", name.map, name.variable));
  walkers::render::ProgramTypes programs(kernel);
  const auto types = programs.at(kernel.memory(), *map->btf);
  if (!types) return fail(types.error());
  const auto offset = bpf::variable_offset(**types, map->btf_value_type_id, name.variable);
  if (!offset) return fail(fmt::format("the map {} has no variable {}", name.map, name.variable));
  WordPlaces::Latch latch;
  latch.map = map->address;
  latch.id = map->id;
  if (const auto id = kernel.types().maybe_field("bpf_map.id"); id && id->bytes == sizeof(std::uint32_t)) latch.id_offset = id->offset;
  latch.offset = *offset;
  latch.word = map->address + *values + *offset;
  latch.out_of_bounds = *offset + sizeof(std::uint32_t) > map->value_size;
  return latch;
}

}  // namespace

std::string_view to_string(WatchMethod method) {
  return method == WatchMethod::hardware ? "hardware" : "polled";
}

std::string_view to_string(LatchState state) {
  switch (state) {
    case LatchState::not_resolved:
      return "not_resolved";
    case LatchState::out_of_bounds:
      return "out_of_bounds";
    case LatchState::not_triggered:
      return "not_triggered";
    case LatchState::triggered:
      return "triggered";
  }
  return "";
}

WordWatch::WordWatch(const vmm::GuestRam& ram, const LiveMemory& live, LatchName latch, vmm::DebugRegisters* hardware)
    : ram_(ram), live_(live), latch_name_(std::move(latch)), hardware_(hardware) {}

WordWatch::~WordWatch() {
  for (std::size_t slot = 0; slot < vmm::kDebugSlots; ++slot) watch_by_hardware(slot, Kva());
}

WatchMethod WordWatch::method() const {
  return hardware_ != nullptr && hardware_->refusals() == 0 ? WatchMethod::hardware : WatchMethod::polled;
}

void WordWatch::watch_by_hardware(std::size_t slot, Kva address) noexcept {
  if (hardware_ != nullptr) hardware_->request(slot, address);
}

WordPlaces WordWatch::find(const walkers::Kernel& tables, const LiveMemory& live, const LatchName& latch,
                           std::shared_ptr<const WordPlaces> last) {
  WordPlaces places;
  const auto kernel = tables.over(live);
  if (!kernel) {
    places.scheduler_problem = "the kernel's page tables are not known";
    return places;
  }
  places.types = kernel->shared_types();
  places.root = kernel->paged()->tables().root();
  places.five_levels = kernel->paged()->tables().five_levels();
  if (last && (last->types != places.types || last->root != places.root)) last.reset();
  if (last) {
    places.scx_root = last->scx_root;
    places.exit_kind = last->exit_kind;
    places.exit_info = last->exit_info;
    places.sched_exit_kind = last->sched_exit_kind;
    places.sched_exit_info = last->sched_exit_info;
    places.info_kind = last->info_kind;
    places.scheduler_problem = last->scheduler_problem;
  } else {
    find_scheduler(*kernel, places);
  }
  if (latch.map.empty()) return places;
  auto found = find_latch(*kernel, latch, last.get());
  if (found)
    places.latch = *found;
  else
    places.latch_problem = std::move(found.error().message);
  return places;
}

// An aligned word where it lies in the mapping, as the page tables have it now.
const std::byte* WordWatch::host_of(Kva address, std::uint64_t bytes) const noexcept {
  if (!places_ || address.value % bytes != 0) return nullptr;
  const auto found = walkers::PageTables(live_, places_->root, places_->five_levels).translate(address);
  if (!found) return nullptr;
  const auto host = ram_.slice(found->gpa, bytes);
  return host.empty() ? nullptr : host.data();
}

bool WordWatch::is_mapped(Kva address) const noexcept {
  return walkers::PageTables(live_, places_->root, places_->five_levels).translate(address).has_value();
}

std::optional<std::uint32_t> WordWatch::load_at(Kva address) const noexcept {
  const auto* host = host_of(address, sizeof(std::uint32_t));
  return host != nullptr ? std::optional(load32(host)) : std::nullopt;
}

std::optional<std::uint64_t> WordWatch::load_pointer(Kva address) const noexcept {
  const auto* host = host_of(address, sizeof(std::uint64_t));
  return host != nullptr ? std::optional(load64(host)) : std::nullopt;
}

void WordWatch::adopt(WordPlaces places) {
  const bool same_kernel = places_ && places_->types == places.types && places_->root == places.root;
  places_ = std::make_shared<const WordPlaces>(std::move(places));
  if (!same_kernel) {
    scheduler_ = 0;
    failure_.reset();
  }
  scx_root_ = places_->scx_root ? host_of(*places_->scx_root, sizeof(std::uint64_t)) : nullptr;
  if (places_->exit_kind)
    exit_kind_ = host_of(*places_->exit_kind, sizeof(std::uint32_t));
  else if (scheduler_ != 0)
    exit_kind_ = host_of(Kva(scheduler_) + places_->sched_exit_kind->offset, sizeof(std::uint32_t));
  if (exit_kind_ == nullptr) scheduler_ = 0;
  if (exit_kind_ == nullptr)
    watch_by_hardware(0, Kva());
  else if (places_->exit_kind)
    watch_by_hardware(0, *places_->exit_kind);
  latch_ = places_->latch && !places_->latch->out_of_bounds ? host_of(places_->latch->word, sizeof(std::uint32_t)) : nullptr;
  latch_state_ = read_latch();
  latch_was_out_of_bounds_ |= latch_state_ == LatchState::out_of_bounds;
  for (auto& slot : users_)
    if (slot.word) slot.host = host_of(slot.word->address, sizeof(std::uint32_t));
}

WordWatch::Hits WordWatch::poll() noexcept {
  // What was hit is seen by looking; what is hit from here on tells anew.
  if (hardware_ != nullptr) hardware_->take_hit(0);
  if (scx_root_ != nullptr)
    poll_scheduler();
  else if (places_ && places_->exit_kind && exit_kind_ != nullptr)
    poll_variable();
  if (latch_ != nullptr) poll_latch();
  Hits hits;
  hits.failure = failure_.has_value();
  hits.latch = latch_state_ == LatchState::triggered;
  for (unsigned slot = 0; slot < kMaxUserWatches; ++slot) {
    if (!users_[slot].word) continue;
    poll_user(slot);
    if (users_[slot].word->hit) hits.users = static_cast<std::uint8_t>(hits.users | 1u << slot);
  }
  return hits;
}

// While a scheduler is being disabled its exit_kind is "done" already, and what it was stands in the exit info. Between the two for an
// instant it stands nowhere: the next look sees it.
std::uint32_t WordWatch::kind_of(std::uint32_t exit_kind, std::optional<Kva> exit_info) const noexcept {
  if (exit_kind != kDone || !exit_info || !places_->info_kind || places_->info_kind->bytes != sizeof(std::uint32_t)) return exit_kind;
  const auto info = load_pointer(*exit_info);
  if (!info || *info == 0) return exit_kind;
  const auto kind = load_at(Kva(*info) + places_->info_kind->offset);
  return kind && *kind != 0 ? *kind : exit_kind;
}

void WordWatch::poll_scheduler() noexcept {
  const std::uint64_t root = load64(scx_root_);
  if (root != scheduler_) {
    const bool bound = std::exchange(scheduler_, 0) != 0;
    exit_kind_ = nullptr;
    watch_by_hardware(0, Kva());
    // Another one is bound by the next poll only: what was begun for the last one must not end with this one's word.
    if (bound || root == 0) return;
    const auto* host = host_of(Kva(root) + places_->sched_exit_kind->offset, sizeof(std::uint32_t));
    if (host == nullptr) return;
    if (failure_ && failure_->scheduler != root) failure_.reset();
    exit_kind_ = host;
    scheduler_ = root;
    watch_by_hardware(0, Kva(root) + places_->sched_exit_kind->offset);
  }
  if (scheduler_ == 0) return;
  const std::uint32_t word = load32(exit_kind_);
  if (word == 0) return;
  const auto& info = places_->sched_exit_info;
  const std::uint32_t kind = kind_of(word, info ? std::optional(Kva(root) + info->offset) : std::nullopt);
  if (kind < kErrorExitKind) return;
  // It counts when the scheduler was there all the while, and its memory is its own.
  if (host_of(Kva(root) + places_->sched_exit_kind->offset, sizeof(std::uint32_t)) != exit_kind_ || load64(scx_root_) != root) return;
  if (!failure_) failure_ = Failure{root, kind};
}

WordWatch::Scheduler WordWatch::scheduler() const noexcept {
  if (scx_root_ == nullptr) return places_ && places_->exit_kind && exit_kind_ != nullptr ? Scheduler::bound : Scheduler::none;
  const std::uint64_t root = load64(scx_root_);
  if (root != scheduler_) return Scheduler::changing;
  return root != 0 ? Scheduler::bound : Scheduler::none;
}

// The variable is the kernel's own and stays where it is; a scheduler that is enabled sets it to 0.
void WordWatch::poll_variable() noexcept {
  const std::uint32_t word = load32(exit_kind_);
  if (word == 0) return failure_.reset();
  const std::uint32_t kind = kind_of(word, places_->exit_info);
  if (kind >= kErrorExitKind && !failure_) failure_ = Failure{0, kind};
}

LatchState WordWatch::read_latch() const noexcept {
  if (!places_ || !places_->latch) return LatchState::not_resolved;
  const auto& latch = *places_->latch;
  if (latch.out_of_bounds) return LatchState::out_of_bounds;
  if (latch_ == nullptr) return is_mapped(latch.word) ? LatchState::out_of_bounds : LatchState::not_resolved;
  if (load32(latch_) < latch_name_.at_least) return LatchState::not_triggered;
  // The map may be gone, and its page somebody else's.
  if (host_of(latch.word, sizeof(std::uint32_t)) != latch_) return LatchState::not_resolved;
  if (latch.id_offset && load_at(latch.map + *latch.id_offset) != latch.id) return LatchState::not_resolved;
  return LatchState::triggered;
}

void WordWatch::poll_latch() noexcept {
  const std::uint32_t value = load32(latch_);
  latch_state_ = read_latch();
  if (latch_state_ == LatchState::triggered) latch_value_ = std::max(value, latch_name_.at_least);
  if (latch_state_ == LatchState::not_resolved) latch_ = nullptr;  // until it is found again
}

void WordWatch::poll_user(unsigned number) noexcept {
  auto& slot = users_[number];
  auto& word = *slot.word;
  if (word.hit || slot.host == nullptr) return;
  const bool written = hardware_ != nullptr && hardware_->take_hit(number + 1);
  const std::uint32_t value = load32(slot.host);
  if (!written && value == word.before) return;
  const auto* host = host_of(word.address, sizeof(std::uint32_t));
  if (host != slot.host) {
    slot.host = host;  // it has moved
    return;
  }
  word.after = value;
  word.method = written ? WatchMethod::hardware : method();
  word.hit = true;
}

std::optional<std::uint32_t> WordWatch::exit_kind() const noexcept {
  if (!places_) return std::nullopt;
  if (places_->exit_kind) {
    const auto word = load_at(*places_->exit_kind);
    return word ? std::optional(kind_of(*word, places_->exit_info)) : std::nullopt;
  }
  if (!places_->scx_root || !places_->sched_exit_kind) return std::nullopt;
  const auto root = load_pointer(*places_->scx_root);
  if (!root || *root == 0) return std::nullopt;
  const auto word = load_at(Kva(*root) + places_->sched_exit_kind->offset);
  if (!word) return std::nullopt;
  const auto& info = places_->sched_exit_info;
  return kind_of(*word, info ? std::optional(Kva(*root) + info->offset) : std::nullopt);
}

bool WordWatch::confirms_failure() noexcept {
  if (const auto kind = exit_kind(); kind && *kind >= kErrorExitKind) return true;
  if (latch_ != nullptr) poll_latch();
  return latch_state_ == LatchState::triggered && !latch_was_out_of_bounds_;
}

Result<unsigned> WordWatch::watch(std::string_view symbol, const walkers::Kernel& tables) {
  unsigned slot = 0;
  while (slot < kMaxUserWatches && users_[slot].word) ++slot;
  if (slot == kMaxUserWatches)
    return fail(fmt::format("cannot watch {}: all {} watches are taken until one fires", symbol, kMaxUserWatches));
  if (!places_) return fail(fmt::format("cannot watch {}: the guest's kernel is not known yet", symbol));
  const auto refuse = [&](std::string_view why) { return fail(fmt::format("cannot watch {}: {}", symbol, why)); };
  const auto address = tables.symbols().find(symbol);
  if (!address) return refuse("the kernel has no such symbol");
  const auto first = tables.symbols().find("__per_cpu_start");
  const auto end = tables.symbols().find("__per_cpu_end");
  const bool per_cpu = first && end && *first <= *address && *address < *end;
  if (address->value < kLowestKernelAddress || per_cpu)
    return refuse(fmt::format("{:#x} is a per-CPU variable's or no kernel address, nobody ever writes there", address->value));
  if (address->value % sizeof(std::uint32_t) != 0) return refuse(fmt::format("{:#x} is not a multiple of 4", address->value));
  const auto* host = host_of(*address, sizeof(std::uint32_t));
  if (host == nullptr) return refuse(fmt::format("{:#x} is not mapped to RAM", address->value));
  users_[slot].word = UserWord{std::string(symbol), *address, load32(host), 0, method(), false};
  users_[slot].host = host;
  watch_by_hardware(slot + 1, *address);
  return slot;
}

void WordWatch::release(unsigned slot) {
  users_[slot] = {};
  watch_by_hardware(slot + 1, Kva());
}

unsigned WordWatch::users() const {
  unsigned count = 0;
  for (const auto& slot : users_) count += slot.word ? 1 : 0;
  return count;
}

}  // namespace floe::freeze
