#include "walkers/bpf/cast_flow.hpp"

#include <bpf/btf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "walkers/bpf/cast_state.hpp"

namespace floe::walkers::bpf {
namespace {

using Kind = Abstract::Kind;

constexpr int kMaxPasses = 8;
constexpr std::uint64_t kMaxSteps = 16'000'000;  // of all passes together
constexpr std::size_t kMaxLeaders = 1 << 15;     // states that are kept for one function
constexpr std::size_t kMaxAccesses = 64;         // of one field

// Newer than the headers that floe is built with.
constexpr std::uint8_t kMemSx = 0x80;          // BPF_MEMSX: a load that extends the sign
constexpr std::uint8_t kArenaAccess = 0xa0;    // BPF_PROBE_MEM32: what the verifier makes of an access through an arena pointer
constexpr std::uint8_t kArenaAtomic = 0xe0;    // BPF_PROBE_ATOMIC: likewise
constexpr std::uint8_t kNoSpeculation = 0xc0;  // BPF_NOSPEC: no store
constexpr std::int32_t kLoadAcquire = 0x100;   // BPF_LOAD_ACQ
constexpr std::int32_t kStoreRelease = 0x110;  // BPF_STORE_REL
constexpr std::int32_t kCompareExchange = 0xf1;
constexpr std::int32_t kCgrpStorageGet = 210;  // BPF_FUNC_cgrp_storage_get

std::uint32_t width_of(std::uint8_t code) {
  switch (BPF_SIZE(code)) {
    case BPF_B:
      return 1;
    case BPF_H:
      return 2;
    case BPF_W:
      return 4;
    default:
      return 8;
  }
}

bool is_wide(const Instruction& instruction) {
  return instruction.code == (BPF_LD | BPF_IMM | BPF_DW);
}

// Helpers that return the address of a map's value (enum bpf_func_id).
bool returns_map_value(std::int32_t helper) {
  switch (helper) {
    case BPF_FUNC_map_lookup_elem:
    case BPF_FUNC_map_lookup_percpu_elem:
    case BPF_FUNC_task_storage_get:
    case BPF_FUNC_sk_storage_get:
    case BPF_FUNC_inode_storage_get:
    case kCgrpStorageGet:
      return true;
    default:
      return false;
  }
}

bool allocates_arena(std::string_view name) {
  return name == "scx_alloc_internal" || name == "scx_static_alloc_internal";
}

class CastFlow {
 public:
  CastFlow(const BpfObject& object, const CastFields& fields, std::optional<WalkBudget::Clock::time_point> deadline)
      : object_(object), fields_(fields), deadline_(deadline) {
    arguments_.resize(object.functions.size());
    returns_.resize(object.functions.size());
    find_leaders();
  }

  Evidence run() {
    for (int pass = 0; pass < kMaxPasses; ++pass) {
      changed_ = false;
      for (std::size_t i = 0; i < object_.functions.size(); ++i) analyse(i);
      if (!changed_) break;
    }
    return std::move(evidence_);
  }

 private:
  // Where control may come from elsewhere than the instruction before.
  void find_leaders() {
    leader_.resize(object_.code.size() + 1);
    for (std::size_t i = 0; i < object_.code.size(); i += is_wide(object_.code[i]) ? 2 : 1)
      if (const auto target = jump_target(i)) leader_[*target] = true;
    for (const Function& function : object_.functions)
      if (function.start < leader_.size()) leader_[function.start] = true;
  }

  std::optional<std::size_t> jump_target(std::size_t at) const {
    const Instruction& one = object_.code[at];
    const unsigned kind = BPF_CLASS(one.code);
    if ((kind != BPF_JMP && kind != BPF_JMP32) || BPF_OP(one.code) == BPF_CALL || BPF_OP(one.code) == BPF_EXIT) return std::nullopt;
    const bool far = kind == BPF_JMP32 && BPF_OP(one.code) == BPF_JA;
    const std::int64_t target = static_cast<std::int64_t>(at) + 1 + (far ? std::int64_t{one.imm} : std::int64_t{one.off});
    if (target < 0 || target >= static_cast<std::int64_t>(object_.code.size())) return std::nullopt;
    return static_cast<std::size_t>(target);
  }

  // First until nothing changes, then once more with what is then known, noting evidence.
  void analyse(std::size_t index) {
    function_ = &object_.functions[index];
    if (function_->start >= function_->end || function_->end > object_.code.size()) return;
    function_index_ = index;
    states_.clear();
    work_.clear();
    noting_ = false;
    reach(function_->start, entry_state());
    while (!work_.empty() && steps_ > 0) {
      const std::size_t at = work_.back();
      work_.pop_back();
      walk(at);
    }
    if (steps_ == 0) return;  // an unfinished analysis proves nothing
    noting_ = true;
    std::vector<std::size_t> reached;
    for (const auto& [at, state] : states_) reached.push_back(at);
    std::sort(reached.begin(), reached.end());
    for (const std::size_t at : reached) walk(at);
  }

  CastState entry_state() {
    CastState state;
    state.reg.fill(Abstract::unknown());
    state.reg[BPF_REG_10] = {Kind::frame, 0, 0};
    for (unsigned i = 0; i < 5; ++i) {
      Abstract& argument = state.reg[BPF_REG_1 + i];
      if (const auto declared = parameter(function_->prototype, i)) {
        argument = *declared;
      } else if (!arguments_[function_index_][i].is(Kind::none)) {
        argument = arguments_[function_index_][i];
      }
    }
    if (function_->context != 0) state.reg[BPF_REG_1] = {Kind::context, function_->context, 0};
    return state;
  }

  // A parameter that is a pointer to a struct.
  std::optional<Abstract> parameter(std::uint32_t prototype, std::uint64_t index) const {
    const btf_type* type = object_.types->type(prototype);
    if (prototype == 0 || type == nullptr || !btf_is_func_proto(type) || index >= btf_vlen(type)) return std::nullopt;
    const auto target = fields_.pointee_struct(btf_params(type)[index].type);
    return target ? std::optional(Abstract{Kind::pointer, *target, 0}) : std::nullopt;
  }

  void reach(std::size_t at, const CastState& state) {
    if (noting_ || at < function_->start || at >= function_->end) return;
    const auto [entry, is_new] = states_.try_emplace(at, state);
    if (is_new ? states_.size() <= kMaxLeaders : entry->second.join(state)) work_.push_back(at);
  }

  // Reading the clock costs as much as a hundred steps.
  bool step_left() {
    if (steps_ > 0 && deadline_ && steps_ % 1024 == 0 && WalkBudget::Clock::now() >= *deadline_) steps_ = 0;
    return steps_ > 0 && steps_-- > 0;
  }

  // From a leader to the next.
  void walk(std::size_t at) {
    state_ = states_.at(at);
    while (step_left()) {
      const Instruction& one = object_.code[at];
      const std::size_t next = at + (is_wide(one) ? 2 : 1);
      const unsigned kind = BPF_CLASS(one.code);
      if (kind == BPF_JMP || kind == BPF_JMP32) {
        if (BPF_OP(one.code) == BPF_EXIT) return note_return();
        if (BPF_OP(one.code) == BPF_CALL) {
          call(at, one);
        } else {
          if (const auto target = jump_target(at)) jump(*target, one);
          if (BPF_OP(one.code) == BPF_JA) return;
        }
      } else {
        step(at, one);
      }
      if (next >= function_->end) return;
      if (leader_[next]) return reach(next, state_);
      at = next;
    }
  }

  // An element that a lookup did not find is no address that could be moved to its value (htab_map_gen_lookup()).
  void jump(std::size_t target, const Instruction& one) {
    const bool if_null = one.code == (BPF_JMP | BPF_JEQ | BPF_K) && one.imm == 0;
    if (!if_null || !reg(one.dst()).is(Kind::pointer) || reg(one.dst()).offset >= 0) return reach(target, state_);
    CastState there = state_;
    there.reg[one.dst()] = Abstract::number(0);
    reach(target, there);
  }

  void step(std::size_t at, const Instruction& one) {
    switch (BPF_CLASS(one.code)) {
      case BPF_LD:
        if (is_wide(one)) return load_immediate(at, one);
        return set(BPF_REG_0, Abstract::unknown());  // the packet loads of old
      case BPF_LDX:
        note_arena_access(one, reg(one.src()));
        return load(one, reg(one.src()), one.dst(), BPF_MODE(one.code) == kMemSx);
      case BPF_ST: {
        if (BPF_MODE(one.code) == kNoSpeculation) return;
        const Abstract value = width_of(one.code) == 8 ? Abstract::number(one.imm) : Abstract::unknown();
        note_arena_access(one, reg(one.dst()));
        return store(reg(one.dst()), one.off, width_of(one.code), value);
      }
      case BPF_STX:
        note_arena_access(one, reg(one.dst()));
        if (BPF_MODE(one.code) == BPF_ATOMIC || BPF_MODE(one.code) == kArenaAtomic) return atomic(one);
        return store(reg(one.dst()), one.off, width_of(one.code), reg(one.src()));
      case BPF_ALU64:
        return arithmetic(one);
      default:
        if (object_.kernel && one.code == (BPF_ALU | BPF_MOV | BPF_X) && one.off == 0) return narrow_move(one);
        return set(one.dst(), one.code == (BPF_ALU | BPF_MOV | BPF_K) && one.imm >= 0 ? Abstract::number(one.imm) : Abstract::unknown());
    }
  }

  void set(unsigned to, const Abstract& value) {
    if (to < BPF_REG_10) state_.reg[to] = value;
  }
  // The verifier has a register more, for itself.
  Abstract reg(unsigned number) const { return number < state_.reg.size() ? state_.reg[number] : Abstract::unknown(); }

  void load_immediate(std::size_t at, const Instruction& one) {
    const auto known = object_.references.find(static_cast<std::uint32_t>(at));
    if (known == object_.references.end()) {
      const std::uint32_t high = at + 1 < object_.code.size() ? static_cast<std::uint32_t>(object_.code[at + 1].imm) : 0;
      return set(one.dst(), Abstract::number(static_cast<std::int64_t>(std::uint64_t{high} << 32 | static_cast<std::uint32_t>(one.imm))));
    }
    const Reference& reference = known->second;
    if (reference.kind == Reference::Kind::map && reference.index < object_.maps.size())
      return set(one.dst(), {Kind::map, reference.index, 0});
    if (reference.kind != Reference::Kind::data) return set(one.dst(), Abstract::unknown());
    set(one.dst(), Abstract{Kind::section, reference.index, 0}.moved(reference.offset));
  }

  // What 8 bytes behind an address are declared as.
  std::optional<Leaf> leaf_at(const Abstract& base, std::int64_t offset) const {
    const std::int64_t place = std::int64_t{base.offset} + offset;
    if (place < 0) return std::nullopt;
    if (base.is(Kind::pointer)) return fields_.leaf(base.id, static_cast<std::uint64_t>(place));
    if (!base.is(Kind::section)) return std::nullopt;
    const ObjectVariable* variable = object_.variable_at(base.id, place);
    if (variable == nullptr) return std::nullopt;
    return fields_.variable_leaf(variable->type_id, static_cast<std::uint64_t>(place) - variable->offset);
  }

  // The address was loaded as a number, and is one of the arena.
  void note_arena_access(const Instruction& one, const Abstract& base) {
    const auto mode = BPF_MODE(one.code);
    if (object_.kernel && (mode == kArenaAccess || mode == kArenaAtomic) && base.is(Kind::loaded)) note_arena(keys_[base.id], 0);
  }

  // What the verifier makes of a cast to an arena pointer: the upper half is cleared, the kernel's own base is added at each access.
  void narrow_move(const Instruction& one) {
    const Abstract value = reg(one.src());
    const bool kept =
        (value.is(Kind::loaded) && value.offset == 0) || value.is(Kind::arena) || value.is(Kind::pointer) || value.is(Kind::zero);
    set(one.dst(), kept ? value : Abstract::unknown());
  }

  void note_access(const Abstract& base, std::int64_t offset, std::uint32_t width) {
    const std::int64_t place = std::int64_t{base.offset} + offset;
    if (!noting_ || !base.is(Kind::loaded) || place < 0) return;
    auto& accesses = evidence_[keys_[base.id]].accesses;
    if (accesses.size() < kMaxAccesses) accesses.emplace(static_cast<std::uint32_t>(place), width);
  }

  void load(const Instruction& one, const Abstract base, unsigned dst, bool extends_sign) {
    const std::uint32_t width = width_of(one.code);
    note_access(base, one.off, width);
    if (width != 8 || extends_sign) return set(dst, Abstract::unknown());
    if (base.is(Kind::frame)) {
      const Abstract* slot = state_.slot(std::int64_t{base.offset} + one.off);
      return set(dst, slot == nullptr || slot->is(Kind::none) ? Abstract::unknown() : *slot);
    }
    if (base.is(Kind::context)) {
      const std::int64_t place = std::int64_t{base.offset} + one.off;
      const auto declared = place >= 0 && place % 8 == 0 ? parameter(base.id, static_cast<std::uint64_t>(place) / 8) : std::nullopt;
      return set(dst, declared.value_or(Abstract::unknown()));
    }
    const auto leaf = leaf_at(base, one.off);
    if (!leaf) return set(dst, Abstract::unknown());
    if (leaf->is_pointer) return set(dst, leaf->pointee == 0 ? Abstract::unknown() : Abstract{Kind::pointer, leaf->pointee, 0});
    set(dst, {Kind::loaded, key_index(leaf->key), 0});
  }

  std::uint32_t key_index(render::CastKey key) {
    const auto [entry, is_new] = key_indices_.try_emplace(key, static_cast<std::uint32_t>(keys_.size()));
    if (is_new) keys_.push_back(key);
    return entry->second;
  }

  void store(const Abstract base, std::int64_t offset, std::uint32_t width, const Abstract value) {
    note_access(base, offset, width);
    if (base.is(Kind::frame)) {
      const std::int64_t place = std::int64_t{base.offset} + offset;
      Abstract* slot = width == 8 ? state_.slot(place) : nullptr;
      if (slot == nullptr) return state_.forget(place, width);
      *slot = value;
    } else if (width == 8) {
      if (const auto leaf = leaf_at(base, offset); leaf && !leaf->is_pointer) note_stored(leaf->key, value);
    }
  }

  void note_stored(render::CastKey key, const Abstract& value) {
    if (!noting_) return;
    if (value.is(Kind::pointer)) {
      if (value.offset != 0 || value.id == key.parent) return;  // into the middle; or its own kind, as a list's link
      auto& targets = evidence_[key].pointer_targets;
      if (targets.size() < 2 && targets.insert(value.id).second) changed_ = true;
    } else if (value.is(Kind::arena)) {
      note_arena(key, value.offset == 0 ? value.id : 0);
    } else if (value.is(Kind::loaded) && holds_arena(keys_[value.id]) && keys_[value.id] != key) {
      note_arena(key, 0);
    }
  }

  bool holds_arena(render::CastKey key) const {
    const auto known = evidence_.find(key);
    return known != evidence_.end() && known->second.arena;
  }

  void note_arena(render::CastKey key, std::uint32_t bytes) {
    if (!noting_) return;
    FieldEvidence& field = evidence_[key];
    if (!field.arena) changed_ = true;
    field.arena = true;
    if (bytes == 0) return;
    if (field.allocation != 0 && field.allocation != bytes) field.same_allocation = false;
    field.allocation = bytes;
  }

  void arithmetic(const Instruction& one) {
    const bool from_register = BPF_SRC(one.code) == BPF_X;
    const Abstract own = reg(one.dst());
    const Abstract other = from_register ? reg(one.src()) : Abstract::number(one.imm);
    switch (BPF_OP(one.code)) {
      case BPF_MOV:
        if (from_register && one.off == 1) return cast_address_space(one, other);
        return set(one.dst(), one.off == 0 ? other : Abstract::unknown());  // else it extends the sign
      case BPF_ADD:
        if (own.is(Kind::constant) || own.is(Kind::zero)) {
          if (other.is_address()) return set(one.dst(), other.moved(own.offset));
        }
        if (own.is(Kind::map)) return set(one.dst(), elements_of(own, other));
        if (other.is(Kind::elements)) return set(one.dst(), value_of(other, 0));
        if (other.is(Kind::constant) || other.is(Kind::zero)) return set(one.dst(), own.moved(other.offset));
        return set(one.dst(), Abstract::unknown());
      case BPF_SUB:
        if (other.is(Kind::constant)) return set(one.dst(), own.moved(-std::int64_t{other.offset}));
        return set(one.dst(), Abstract::unknown());
      default:
        return set(one.dst(), Abstract::unknown());
    }
  }

  // An array's lookup as the verifier writes it out (array_map_gen_lookup()): the map and the place of its elements, and that plus an
  // index.
  Abstract elements_of(const Abstract& map, const Abstract& by) const {
    const std::int32_t place = object_.maps[map.id].in_map;
    return place != 0 && by.is(Kind::constant) && by.offset == place ? Abstract{Kind::elements, map.id, 0} : Abstract::unknown();
  }

  // The address so many bytes before a value of the map.
  Abstract value_of(const Abstract& map, std::int32_t before) const {
    const std::uint32_t value = object_.maps[map.id].value;
    return value != 0 ? Abstract{Kind::pointer, value, -before} : Abstract::unknown();
  }

  // addr_space_cast (kernel: BPF_ADDR_SPACE_CAST): `imm` 1 makes an arena pointer usable, so what was loaded is one.
  void cast_address_space(const Instruction& one, const Abstract& value) {
    if (one.imm == 1 && value.is(Kind::loaded) && value.offset == 0) note_arena(keys_[value.id], 0);
    set(one.dst(), value);
  }

  void atomic(const Instruction& one) {
    const Abstract base = reg(one.dst());
    const std::uint32_t width = width_of(one.code);
    if (one.imm == kLoadAcquire) {
      note_access(reg(one.src()), one.off, width);
      return set(one.dst(), Abstract::unknown());
    }
    if (one.imm == kStoreRelease) return store(base, one.off, width, reg(one.src()));
    note_access(base, one.off, width);
    if (base.is(Kind::frame)) state_.forget(std::int64_t{base.offset} + one.off, width);
    if (one.imm == kCompareExchange) {
      set(BPF_REG_0, Abstract::unknown());
    } else if ((one.imm & BPF_FETCH) != 0) {
      set(one.src(), Abstract::unknown());
    }
  }

  void call(std::size_t at, const Instruction& one) {
    const auto known = object_.references.find(static_cast<std::uint32_t>(at));
    const Reference* reference = known == object_.references.end() ? nullptr : &known->second;
    Abstract result = Abstract::unknown();
    if (reference != nullptr && reference->kind == Reference::Kind::kfunc) {
      result = reference->name == "bpf_arena_alloc_pages" ? Abstract{Kind::arena, 0, 0} : returned(reference->index);
    } else if (const Function* callee = local_callee(at, one, reference)) {
      result = call_local(*callee);
    } else if (reference != nullptr && reference->kind == Reference::Kind::helper) {
      result = call_helper(static_cast<std::int32_t>(reference->index), reference->offset != 0);
    } else if (one.src() == 0 && !object_.kernel) {
      result = call_helper(one.imm, false);
    }
    for (unsigned clobbered = BPF_REG_1; clobbered <= BPF_REG_5; ++clobbered) set(clobbered, Abstract::unknown());
    set(BPF_REG_0, result);
  }

  Abstract returned(std::uint32_t prototype) const {
    const btf_type* type = object_.types->type(prototype);
    if (prototype == 0 || type == nullptr || !btf_is_func_proto(type)) return Abstract::unknown();
    const auto target = fields_.pointee_struct(type->type);
    return target ? Abstract{Kind::pointer, *target, 0} : Abstract::unknown();
  }

  const Function* local_callee(std::size_t at, const Instruction& one, const Reference* reference) const {
    if (reference != nullptr) return reference->kind == Reference::Kind::function ? &object_.functions[reference->index] : nullptr;
    if (one.src() != BPF_PSEUDO_CALL || object_.kernel) return nullptr;  // there `imm` is a number in the verifier's list
    const std::int64_t target = static_cast<std::int64_t>(at) + 1 + one.imm;
    return target < 0 || target > 0xffffffff ? nullptr : object_.function_at(static_cast<std::uint32_t>(target));
  }

  Abstract call_local(const Function& callee) {
    const auto index = static_cast<std::size_t>(&callee - object_.functions.data());
    if (noting_) {
      for (unsigned i = 0; i < 5; ++i) {
        const Abstract& given = state_.reg[BPF_REG_1 + i];
        take(arguments_[index][i], given.is(Kind::frame) ? Abstract::unknown() : given);  // its frame is another
      }
    }
    if (allocates_arena(callee.name)) return {Kind::arena, constant_size(), 0};
    const Abstract declared = returned(callee.prototype);
    if (declared.is(Kind::pointer)) return declared;
    return returns_[index].is(Kind::none) ? Abstract::unknown() : returns_[index];
  }

  // Of an allocation: the first argument that is a number, for some allocators take what they allocate from first.
  std::uint32_t constant_size() const {
    for (unsigned reg = BPF_REG_1; reg <= BPF_REG_2; ++reg)
      if (state_.reg[reg].is(Kind::constant) && state_.reg[reg].offset > 0) return static_cast<std::uint32_t>(state_.reg[reg].offset);
    return 0;
  }

  void take(Abstract& into, const Abstract& value) {
    const Abstract both = joined(into, value);
    if (both == into) return;
    into = both;
    changed_ = true;
  }

  void note_return() {
    if (noting_) take(returns_[function_index_], state_.reg[BPF_REG_0].is(Kind::frame) ? Abstract::unknown() : state_.reg[BPF_REG_0]);
  }

  Abstract call_helper(std::int32_t helper, bool gives_element) {
    const Abstract& map = state_.reg[BPF_REG_1];
    const MapUse use = map.is(Kind::map) ? object_.maps[map.id] : MapUse{};
    if (helper == BPF_FUNC_get_current_task_btf) {
      const auto task = object_.types->find("task_struct");
      return task ? Abstract{Kind::pointer, *task, 0} : Abstract::unknown();
    }
    if (helper == BPF_FUNC_map_update_elem && use.value != 0) note_update(use.value, state_.reg[BPF_REG_3]);
    if (use.value == 0 || !returns_map_value(helper) || (gives_element && use.in_element == 0)) return Abstract::unknown();
    return value_of(map, gives_element ? use.in_element : 0);
  }

  // A value that was put together on the stack becomes the map's.
  void note_update(std::uint32_t value, const Abstract& from) {
    if (!from.is(Kind::frame)) return;
    const std::uint64_t bytes = object_.types->size(value).value_or(0);
    for (std::uint64_t at = 0; at + 8 <= bytes; at += 8) {
      const Abstract* slot = state_.slot(std::int64_t{from.offset} + static_cast<std::int64_t>(at));
      if (slot == nullptr) break;
      if (const auto leaf = fields_.leaf(value, at); leaf && !leaf->is_pointer) note_stored(leaf->key, *slot);
    }
  }

  const BpfObject& object_;
  const CastFields& fields_;
  std::optional<WalkBudget::Clock::time_point> deadline_;
  std::vector<bool> leader_;

  // Carried from pass to pass, by function.
  std::vector<std::array<Abstract, 5>> arguments_;
  std::vector<Abstract> returns_;
  Evidence evidence_;
  std::vector<render::CastKey> keys_;  // of Kind::loaded
  std::map<render::CastKey, std::uint32_t> key_indices_;
  bool changed_ = false;
  std::uint64_t steps_ = kMaxSteps;

  // Of the function that is looked at.
  const Function* function_ = nullptr;
  std::size_t function_index_ = 0;
  std::unordered_map<std::size_t, CastState> states_;  // at leaders
  std::vector<std::size_t> work_;
  CastState state_;
  bool noting_ = false;
};

}  // namespace

Evidence collect_evidence(const BpfObject& object, const CastFields& fields, std::optional<WalkBudget::Clock::time_point> deadline) {
  return CastFlow(object, fields, deadline).run();
}

}  // namespace floe::walkers::bpf
