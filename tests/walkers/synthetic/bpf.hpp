// BPF maps and programs in a guest made by a test: the kernel's structs with the members walkers ask for, in places of their own, and what
// links them into map_idr and prog_idr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/walkers/synthetic/kernel.hpp"
#include "walkers/bpf/maps.hpp"

namespace floe::walkers::synthetic {

// A kernel whose BTF has everything of BPF, with both IDRs, empty.
KernelSpec bpf_spec(KernelSpec spec = {});

struct MapSpec {
  bpf::MapType type = bpf::MapType::array;
  std::string name = "map";
  std::uint32_t key_size = 4;
  std::uint32_t value_size = 8;
  std::uint32_t max_entries = 1;
  std::uint32_t flags = 0;
  std::uint64_t bytes = 4096;  // of the map's own struct with what lies in it
};

class BpfGuest {
 public:
  explicit BpfGuest(KernelSpec spec = {}) : guest(bpf_spec(std::move(spec))) {}

  // A map under an id; returns its address.
  Kva add_map(std::uint32_t id, const MapSpec& spec);
  Kva add_program(std::uint32_t id, std::uint32_t type, const std::string& name, const std::vector<Kva>& used_maps = {});

  // Its instructions, less than a page of them, and of each function the first one and its BTF_KIND_FUNC.
  void set_code(Kva program, Kva btf, std::span<const std::uint64_t> code, std::span<const std::uint32_t> functions);

  // Puts a pointer into the IDR at that symbol, below 64^3.
  void insert(const std::string& idr, std::uint32_t id, std::uint64_t pointer);

  // The buckets of a hash or a local storage, all empty.
  Kva add_buckets(Kva map, std::uint32_t count);
  // An element at the head of the chain of the bucket that its hash selects.
  Kva add_element(Kva map, std::uint32_t hash, std::uint64_t key, std::uint64_t value);
  Kva add_storage(Kva map, std::uint32_t bucket, std::uint64_t owner, std::uint64_t value);

  std::uint32_t offset(const std::string& path) const { return guest.offset(path); }
  void put_pointer(Kva object, const std::string& member, Kva to) { guest.put(object + offset(member), to.value); }
  std::uint64_t word(Kva kva) const;

  // A pointer that on every CPU leads `place` bytes into its per-CPU area.
  std::uint64_t per_cpu_pointer(std::uint64_t place) const { return guest.symbol("runqueues").value + place; }
  Kva per_cpu(std::uint64_t pointer, std::uint32_t cpu) const;

  Kernel open() const;

  SyntheticKernel guest;
};

// What a walk saw, as numbers: the first 8 bytes of each key and value.
struct Seen {
  std::uint64_t key = 0;
  std::optional<std::uint64_t> value;
  std::vector<std::optional<std::uint64_t>> per_cpu;

  bool operator==(const Seen&) const = default;
};
struct SeenAll {
  std::vector<Seen> elements;
  bpf::Walked walked;
};
SeenAll walk(const Kernel& kernel, WalkBudget budget = WalkBudget(100'000));  // of the only map

}  // namespace floe::walkers::synthetic
