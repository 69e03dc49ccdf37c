// What the walk of every family of maps has at hand, and the walks themselves. Private to walkers/bpf.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "walkers/bpf/layout.hpp"
#include "walkers/bpf/maps.hpp"
#include "walkers/kernel_memory.hpp"

namespace floe::walkers::bpf {

inline constexpr std::size_t kMaxNotes = 16;

inline std::uint64_t round_up_8(std::uint64_t bytes) {
  return (bytes + 7) & ~std::uint64_t{7};
}

// The bytes of a number, as a key or a value.
template <class T>
std::span<const std::byte> bytes_of(const T& number) {
  return std::as_bytes(std::span(&number, 1));
}

class Walk {
 public:
  Walk(const KernelMemory& from, const Layout& offsets, std::span<const std::optional<std::uint64_t>> cpus, WalkBudget& steps,
       const ElementVisit& visit)
      : memory(from), layout(offsets), per_cpu(cpus), budget(steps), visit_(visit) {}

  const KernelMemory& memory;
  const Layout& layout;
  const std::span<const std::optional<std::uint64_t>> per_cpu;
  WalkBudget& budget;
  Walked result;

  // False: the walk is over, and says why.
  bool step() {
    if (budget.step()) return true;
    miss(fmt::format("{} after {} elements", budget.reason(), result.elements));
    return false;
  }

  bool give(const Element& element) {
    ++result.elements;
    if (visit_(element)) return true;
    result.complete = false;
    return false;
  }

  // Something of the map was not seen.
  void miss(std::string why) {
    result.complete = false;
    note(std::move(why));
  }
  void note(std::string text) {
    if (result.notes.size() < kMaxNotes) result.notes.push_back(std::move(text));
  }

 private:
  const ElementVisit& visit_;
};

// Counts what went wrong of one kind, to be told in one sentence with the first of them as example.
class Losses {
 public:
  template <class Explain>
  void add(Explain explain) {
    if (count_++ == 0) first_ = explain();
  }
  std::uint64_t count() const { return count_; }
  // "N <what>, the first: ..."
  void tell(Walk& walk, std::string_view what) const {
    if (count_ > 0) walk.miss(fmt::format("{} {}, the first: {}", count_, what, first_));
  }

 private:
  std::uint64_t count_ = 0;
  std::string first_;
};

// The values behind a per-CPU pointer, one after the other in a buffer of its own.
class PerCpuValues {
 public:
  // Error: more bytes than a walk may hold.
  static Result<PerCpuValues> make(const Walk& walk, std::uint32_t value_size);

  // Empty for a null pointer.
  std::span<const std::optional<std::span<const std::byte>>> read(const Walk& walk, std::uint64_t pointer);

 private:
  std::size_t value_size_ = 0;
  std::vector<std::byte> bytes_;
  std::vector<std::optional<std::span<const std::byte>>> values_;
};

// Errors of sizes no such map can have: the key or value is absurdly large, or has no bytes where it must.
Result<void> check_sizes(const MapInfo& map, bool keyed);

using Family = Result<void> (*)(Walk& walk, const MapInfo& map);

Result<void> walk_array(Walk& walk, const MapInfo& map);
Result<void> walk_percpu_array(Walk& walk, const MapInfo& map);
Result<void> walk_insn_array(Walk& walk, const MapInfo& map);
Result<void> walk_hash(Walk& walk, const MapInfo& map);
Result<void> walk_rhash(Walk& walk, const MapInfo& map);
Result<void> walk_local_storage(Walk& walk, const MapInfo& map);
Result<void> walk_lpm_trie(Walk& walk, const MapInfo& map);
Result<void> walk_queue(Walk& walk, const MapInfo& map);
Result<void> walk_struct_ops(Walk& walk, const MapInfo& map);
Result<void> walk_sockhash(Walk& walk, const MapInfo& map);
Result<void> walk_devmap_hash(Walk& walk, const MapInfo& map);
Result<void> walk_cgroup_storage(Walk& walk, const MapInfo& map);

Result<std::string> describe_bloom(const KernelMemory& memory, const Result<BloomFields>& fields, const MapInfo& map, WalkBudget& budget);

}  // namespace floe::walkers::bpf
