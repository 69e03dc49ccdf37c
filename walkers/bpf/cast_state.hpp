// What is known of a register or a stack slot at some instruction. Private to the cast analysis.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace floe::walkers::bpf {

struct Abstract {
  enum class Kind : std::uint8_t {
    none,  // not reached yet
    unknown,
    zero,      // a null pointer as well
    constant,  // `offset` is its value
    pointer,   // to the struct `id`, or into it
    loaded,    // from the u64 member `id`
    section,   // address in the data section `id`
    arena,     // from an arena allocator, of `id` bytes, 0: not known
    frame,     // address on the stack, from its end
    map,       // that with the index `id`
    elements,  // where those of such a map begin
    context,   // of a program whose parameters are those of the FUNC_PROTO `id`
  };
  Kind kind = Kind::none;
  std::uint32_t id = 0;
  std::int32_t offset = 0;

  friend bool operator==(const Abstract&, const Abstract&) = default;

  bool is(Kind wanted) const { return kind == wanted; }
  bool is_address() const { return kind >= Kind::pointer && kind < Kind::map; }

  static Abstract unknown() { return {Kind::unknown, 0, 0}; }
  static Abstract number(std::int64_t value) {
    if (value == 0) return {Kind::zero, 0, 0};
    if (value < std::numeric_limits<std::int32_t>::min() || value > std::numeric_limits<std::int32_t>::max()) return unknown();
    return {Kind::constant, 0, static_cast<std::int32_t>(value)};
  }

  // The same address, moved.
  Abstract moved(std::int64_t by) const {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(by, std::int64_t{offset}, &sum)) return unknown();
    if (is(Kind::zero) || is(Kind::constant)) return number(sum);
    if (!is_address() || sum < std::numeric_limits<std::int32_t>::min() || sum > std::numeric_limits<std::int32_t>::max()) return unknown();
    return {kind, id, static_cast<std::int32_t>(sum)};
  }
};

// Of two ways that meet: what both agree on. A null pointer agrees with any pointer.
inline Abstract joined(const Abstract& a, const Abstract& b) {
  using Kind = Abstract::Kind;
  if (a == b || b.is(Kind::none)) return a;
  if (a.is(Kind::none)) return b;
  if (a.is(Kind::zero) && b.is_address()) return b;
  if (b.is(Kind::zero) && a.is_address()) return a;
  return Abstract::unknown();
}

// All registers and the stack of one frame.
struct CastState {
  static constexpr int kStackBytes = 512;  // MAX_BPF_STACK

  std::array<Abstract, 11> reg{};
  std::array<Abstract, kStackBytes / 8> stack{};

  Abstract* slot(std::int64_t offset) {  // of 8 bytes, aligned
    if (offset < -kStackBytes || offset > -8 || offset % 8 != 0) return nullptr;
    return &stack[static_cast<std::size_t>((offset + kStackBytes) / 8)];
  }

  // After a write of other bytes.
  void forget(std::int64_t offset, std::int64_t bytes) {
    for (std::int64_t at = offset & ~std::int64_t{7}; at < offset + bytes; at += 8)
      if (Abstract* hit = slot(at)) *hit = Abstract::unknown();
  }

  // Takes another way in; true when that changed something.
  bool join(const CastState& other) {
    bool changed = false;
    const auto meet = [&changed](Abstract& own, const Abstract& their) {
      const Abstract both = joined(own, their);
      changed |= !(both == own);
      own = both;
    };
    for (std::size_t i = 0; i < reg.size(); ++i) meet(reg[i], other.reg[i]);
    for (std::size_t i = 0; i < stack.size(); ++i) meet(stack[i], other.stack[i]);
    return changed;
  }
};

}  // namespace floe::walkers::bpf
