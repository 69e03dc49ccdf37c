#include "walkers/xarray.hpp"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <span>
#include <utility>

#include "walkers/address_set.hpp"

namespace floe::walkers {
namespace {

constexpr unsigned kChunkShift = 6;  // XA_CHUNK_SHIFT; 4 in kernels with BASE_SMALL, whose nodes then have 16 slots
constexpr unsigned kMaxShift = 60;
constexpr std::uint64_t kInternal = 2;  // of the low two bits
constexpr std::uint64_t kLastMark = 4096;

bool is_internal(std::uint64_t entry) {
  return (entry & 3) == kInternal;
}
bool is_node(std::uint64_t entry) {
  return is_internal(entry) && entry > kLastMark;
}

struct Fields {
  Field head, shift, slots;

  static Result<Fields> resolve(const Types& types) {
    Fields fields{};
    const auto filled = types.fill({{"xarray.xa_head", &fields.head}, {"xa_node.shift", &fields.shift}, {"xa_node.slots", &fields.slots}});
    if (!filled) return fail(filled.error());
    if (fields.slots.bytes != 8u << kChunkShift)
      return fail(fmt::format("xa_node.slots has {} bytes, not the {} of 64 slots", fields.slots.bytes, 8 << kChunkShift));
    return fields;
  }
};

class Walk {
 public:
  Walk(const KernelMemory& memory, const Fields& fields, WalkBudget& budget, const XarrayVisit& visit, std::uint64_t base)
      : memory_(memory), fields_(fields), budget_(budget), visit_(visit), base_(base) {}

  XarrayWalk run(Kva array) {
    const auto head = memory_.get<std::uint64_t>(array + fields_.head.offset);
    if (!head)
      problem(fmt::format("xa_head is unreadable: {}", memory_.explain(array + fields_.head.offset)));
    else if (is_node(*head))
      node(Kva(*head & ~std::uint64_t{3}), std::nullopt, 0);
    else
      entry(0, *head);  // an array of one, or none
    return std::move(result_);
  }

 private:
  // A node below one of `parent_shift`; false when the walk is over.
  bool node(Kva address, std::optional<unsigned> parent_shift, std::uint64_t first) {
    if (!step()) return false;
    if (!seen_.insert(address)) return problem(fmt::format("the node {:#x} is in the tree twice", address.value));
    const auto shift = memory_.get<std::uint8_t>(address + fields_.shift.offset);
    std::array<std::uint64_t, 1 << kChunkShift> slots;
    const Kva at = address + fields_.slots.offset;
    if (!shift || !memory_.read_all(at, std::as_writable_bytes(std::span(slots))))
      return problem(fmt::format("a node is unreadable: {}", memory_.explain(address)));
    if (parent_shift ? *shift + kChunkShift != *parent_shift : *shift > kMaxShift || *shift % kChunkShift != 0)
      return problem(parent_shift ? fmt::format("the node {:#x} has shift {} below {}", address.value, *shift, *parent_shift)
                                  : fmt::format("the top node {:#x} has shift {}", address.value, *shift));

    for (std::uint64_t i = 0; i < slots.size(); ++i) {
      const std::uint64_t index = first + (i << *shift);
      if (is_node(slots[i]) && *shift == 0) {
        problem(fmt::format("the node {:#x} has another below it at shift 0", address.value));
      } else if (is_node(slots[i])) {
        if (!node(Kva(slots[i] & ~std::uint64_t{3}), *shift, index)) return false;
      } else if (!entry(index, slots[i])) {
        return false;
      }
    }
    return true;
  }

  bool entry(std::uint64_t index, std::uint64_t value) {
    if (value == 0 || is_internal(value) || (value & 1) != 0) return true;
    if (!step()) return false;
    ++result_.entries;
    if (visit_(base_ + index, Kva(value))) return true;
    result_.complete = false;
    return false;
  }

  bool step() {
    if (budget_.step()) return true;
    problem(std::string(budget_.reason()));
    return false;
  }

  bool problem(std::string text) {
    result_.complete = false;
    ++result_.problem_count;
    if (result_.problems.size() < XarrayWalk::kMaxProblems) result_.problems.push_back(std::move(text));
    return true;
  }

  const KernelMemory& memory_;
  const Fields& fields_;
  WalkBudget& budget_;
  const XarrayVisit& visit_;
  std::uint64_t base_;
  XarrayWalk result_;
  AddressSet seen_;
};

Result<XarrayWalk> walk(const Kernel& kernel, Kva array, std::uint64_t base, WalkBudget& budget, const XarrayVisit& visit) {
  const auto fields = Fields::resolve(kernel.types());
  if (!fields) return fail(fields.error());
  return Walk(kernel.memory(), *fields, budget, visit, base).run(array);
}

}  // namespace

Result<XarrayWalk> walk_xarray(const Kernel& kernel, Kva array, WalkBudget& budget, const XarrayVisit& visit) {
  return walk(kernel, array, 0, budget, visit);
}

Result<XarrayWalk> walk_idr(const Kernel& kernel, Kva idr, WalkBudget& budget, const XarrayVisit& visit) {
  const auto root = kernel.types().field("idr.idr_rt");
  if (!root) return fail(root.error());
  // idr_base came with 6ce711f27500 (4.16); ids of an IDR without one begin at 0.
  std::uint64_t base = 0;
  if (const auto field = kernel.types().field("idr.idr_base")) {
    const auto value = kernel.memory().get_number(idr, *field);
    if (!value) return kernel.memory().unreadable(idr + field->offset, field->bytes, "idr_base");
    base = *value;
  }
  return walk(kernel, idr + root->offset, base, budget, visit);
}

}  // namespace floe::walkers
