// What the instructions of a BPF object tell about its u64 members: an abstract interpretation that follows, through registers, the stack
// and calls, pointers to structs, values loaded from u64 members, and what arena allocators return. Private to the cast analysis
// (casts.hpp), which decides what follows from it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "walkers/bpf/bpf_object.hpp"
#include "walkers/bpf/cast_fields.hpp"
#include "walkers/budget.hpp"

namespace floe::walkers::bpf {

struct FieldEvidence {
  bool arena = false;                       // an arena allocator's value was stored there, or what it holds was cast to an arena pointer
  bool same_allocation = true;              // all of them were of one size
  std::uint32_t allocation = 0;             // that size; 0: not known
  std::set<std::uint32_t> pointer_targets;  // structs to which pointers were stored there; two say as much as more
  std::set<Access> accesses;                // through what was loaded from there
};

using Evidence = std::map<render::CastKey, FieldEvidence>;

// At most eight passes, of a bounded number of steps together. What the deadline does not leave time for is not in it.
Evidence collect_evidence(const BpfObject& object, const CastFields& fields, std::optional<WalkBudget::Clock::time_point> deadline);

}  // namespace floe::walkers::bpf
