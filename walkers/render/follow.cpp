// Following pointers: the half of the renderer that reads memory.
#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "walkers/render/cpu_mask.hpp"
#include "walkers/render/plan.hpp"
#include "walkers/render/renderer.hpp"

namespace floe::walkers::render {
namespace {

constexpr std::size_t kMaxChase = 4096;          // bytes of one object
constexpr std::uint64_t kMaxKernelStruct = 512;  // bytes: larger ones of the kernel are named, not shown
constexpr std::size_t kMaxMaskBytes = 1024;      // of a cpumask: NR_CPUS 8192
constexpr std::uint64_t kAllowancePerByte = 64;  // what an object that was reached adds to what may be written

// Can it be an address of the kernel's half on x86-64?
bool is_kernel_address(std::uint64_t value) {
  return value >= 0xff00'0000'0000'0000u;
}

// What stands behind a type's name when only its name is known here.
std::string incomplete(const TypeTable& types, std::uint32_t id) {
  const auto name = types.name_of(id);
  return name.empty() ? std::string("its type is not known") : fmt::format("struct {} is only declared", name);
}

// Is a pointer what stands at the start of such an object?
bool begins_with_pointer(const TypeTable& types, std::uint32_t id, int& types_left) {
  const auto peeled = types.peel(id);
  const btf_type* type = peeled ? types.type(*peeled) : nullptr;
  if (type == nullptr || types_left-- <= 0) return false;
  if (btf_is_ptr(type)) return true;
  if (btf_is_array(type)) return begins_with_pointer(types, btf_array(type)->type, types_left);
  if (!btf_is_composite(type)) return false;
  for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
    if (btf_member_bit_offset(type, i) != 0) {
      if (btf_is_struct(type)) break;  // members of a struct are in order
      continue;
    }
    if (begins_with_pointer(types, btf_members(type)[i].type, types_left)) return true;
  }
  return false;
}

bool begins_with_pointer(const TypeTable& types, std::uint32_t id) {
  int types_left = 256;  // structs may nest, and a hostile BTF's members may all stand at the start
  return begins_with_pointer(types, id, types_left);
}

// Of a struct's own members, not of those of anonymous structs in it.
std::optional<std::uint64_t> member_offset(const TypeTable& types, std::uint32_t id, std::string_view name) {
  const btf_type* type = types.type(id);
  if (type == nullptr || !btf_is_struct(type)) return std::nullopt;
  for (std::uint32_t i = 0; i < btf_vlen(type); ++i)
    if (types.name(btf_members(type)[i].name_off) == name) return btf_member_bit_offset(type, i) / 8;
  return std::nullopt;
}

bool read_whole(const PointerSource& source, std::uint64_t address, std::span<std::byte> into) {
  return source.read_kernel(Kva{address}, into) == into.size();
}

}  // namespace

// What a pointer leads to, and how it is shown.
struct Renderer::Target {
  std::shared_ptr<const TypeTable> types;
  std::uint32_t type_id = 0;     // 0: not known
  std::uint32_t size_match = 0;  // the type to fall back on
  std::uint64_t skip = 0;        // bytes before the object: an allocator's header
  bool in_kernel = false;
  bool bridged = false;  // an allocator's slot told the type
  bool is_cast = false;  // the pointer is an integer in BTF
  std::string why_not{};

  Sink::Text annotation() const {
    if (is_cast && in_kernel) return bridged ? "cast→kernel (sdt_alloc)" : "cast→kernel";
    if (is_cast) return bridged ? "cast→arena (sdt_alloc)" : "cast→arena";
    return bridged ? Sink::Text("sdt_alloc") : std::nullopt;
  }
};

bool Renderer::in_arena(std::uint64_t value) const {
  if (options_.pointers == nullptr) return false;
  const std::uint64_t start = options_.pointers->arena_start();
  return start != 0 && value - start < kArenaWindow;
}

void Renderer::pointer(const Node& node, std::uint64_t value, int depth) {
  if (value == 0 || options_.pointers == nullptr || depth + 1 >= kMaxDepth) return sink_->pointer(value);
  const auto& types = current_->types();
  const std::uint32_t pointee = types.peel(node.type_id).value_or(0);
  if (in_arena(value)) {
    Target target{.types = current_->shared_types(), .type_id = pointee};
    return follow(value, std::move(target), depth);
  }
  const CpuMaskShape* mask = cpu_mask_shape(types.name_of(pointee));
  if (mask != nullptr && mask->in_kernel) return cpu_mask_pointer(value, mask->first_byte);
  sink_->pointer(value);
}

void Renderer::cast_pointer(std::uint64_t value, const Cast& cast, int depth) {
  const bool arena = in_arena(value);
  if (depth + 1 >= kMaxDepth || !(arena || (options_.pointers != nullptr && is_kernel_address(value))))
    return sink_->unsigned_integer(64, value);
  Target target{
      .types = current_->shared_types(), .type_id = cast.target, .size_match = cast.size_match, .in_kernel = !arena, .is_cast = true};
  follow(value, std::move(target), depth);
}

void Renderer::cpu_mask_pointer(std::uint64_t value, std::uint64_t first_byte) {
  std::array<std::byte, kMaxMaskBytes> words;
  const std::size_t wanted = std::min<std::size_t>(kMaxMaskBytes, (std::size_t{options_.cpus} + 63) / 64 * 8);
  const std::size_t had = options_.pointers->read_kernel(Kva{value + first_byte}, std::span(words).first(wanted));
  if (had < 8) return sink_->pointer(value, fmt::format("CPU mask at {:#x} cannot be read", value));
  std::uint64_t first = 0;
  std::memcpy(&first, words.data(), sizeof first);
  if (looks_like_pointer(first)) return sink_->pointer(value, fmt::format("no CPU mask: its first word is {:#x}", first));
  format_cpus(std::span(words).first(had), options_.cpus, text_);
  sink_->begin_deref(value);
  sink_->cpu_list(text_);
  sink_->end_deref();
}

void Renderer::follow(std::uint64_t value, Target target, int depth) {
  const auto skip = [&](std::string_view reason) { sink_->pointer(value, reason, target.annotation()); };
  if (!target.in_kernel && options_.pointers->is_listed(value)) return skip("already rendered in sdt_allocations");
  if (std::find(path_.begin(), path_.end(), value) != path_.end()) return skip(fmt::format("cycle → {:#x}", value));
  if (derefs_ == options_.max_derefs) {
    ++limited_;
    return skip(fmt::format("{} pointers of this value were followed already", derefs_));
  }
  if (target.in_kernel) prefer_kernel_type(target);
  if (!resolve(value, target)) return skip(target.why_not);
  ++derefs_;

  auto& bytes = buffer(depth);
  const std::size_t had = read(value, target, bytes);
  if (had == 0) return skip(fmt::format("{} bytes at {:#x} cannot be read", bytes.size(), value));
  bytes.resize(had);
  std::uint64_t first = 0;
  std::memcpy(&first, bytes.data(), std::min<std::size_t>(8, had));
  if (target.in_kernel && looks_like_pointer(first) && !begins_with_pointer(*target.types, target.type_id))
    return skip(fmt::format("its first word, {:#x}, looks like a pointer and should be none: freed or used for something else", first));
  if (const auto why_not = too_large_here(value, target); !why_not.empty()) return skip(why_not);

  allowance_ += had * kAllowancePerByte;
  path_.push_back(value);
  Plans* const outer = current_;
  current_ = &plans_of(target.types);
  sink_->begin_deref(value);
  run(current_->node(target.type_id), bytes, depth + 1, nullptr);
  sink_->end_deref(target.annotation());
  current_ = outer;
  path_.pop_back();
}

void Renderer::prefer_kernel_type(Target& target) const {
  const btf_type* type = target.type_id == 0 ? nullptr : target.types->type(target.type_id);
  if (!options_.kernel_types || type == nullptr || !(btf_is_composite(type) || btf_is_fwd(type))) return;
  const bool is_union = btf_is_union(type) || (btf_is_fwd(type) && btf_kflag(type));
  if (const auto id = options_.kernel_types->find(target.types->name(type->name_off), is_union)) {
    target.types = options_.kernel_types;
    target.type_id = *id;
  }
}

// Empty for what is small enough. A task is told by the number and the name that it has where tasks are listed.
std::string Renderer::too_large_here(std::uint64_t value, const Target& target) const {
  const TypeTable& types = *target.types;
  const std::uint64_t bytes = types.size(target.type_id).value_or(0);
  if (!target.in_kernel || bytes <= kMaxKernelStruct) return {};
  const std::string_view name = types.name_of(target.type_id);
  if (name == "task_struct") {
    const auto pid_at = member_offset(types, target.type_id, "pid");
    const auto comm_at = member_offset(types, target.type_id, "comm");
    std::int32_t pid = 0;
    std::array<char, 16> comm{};
    if (pid_at && comm_at && read_whole(*options_.pointers, value + *pid_at, std::as_writable_bytes(std::span(&pid, 1))) &&
        read_whole(*options_.pointers, value + *comm_at, std::as_writable_bytes(std::span(comm))) && pid > 0)
      return fmt::format("task {} ({}): see task_enrichments", pid, std::string_view(comm.data(), ::strnlen(comm.data(), comm.size())));
  }
  return fmt::format("struct {} of {} bytes is not shown here", name, bytes);
}

// Reads what there is of the object, at most kMaxChase bytes. `into` gets the size that was wanted.
std::size_t Renderer::read(std::uint64_t value, const Target& target, std::vector<std::byte>& into) const {
  std::size_t wanted = std::min<std::uint64_t>(target.types->size(target.type_id).value_or(0), kMaxChase);
  const std::uint64_t at = value + target.skip;
  // A kernel object is judged by its first word, so that much is read of the smallest.
  if (target.in_kernel) wanted = std::min<std::uint64_t>(std::max<std::size_t>(wanted, 8), kPageBytes - at % kPageBytes);
  into.resize(wanted);
  return target.in_kernel ? options_.pointers->read_kernel(Kva{at}, into) : options_.pointers->read_arena(at, into);
}

// Finds a complete type for the target, or says why there is none. Order: the type itself, the same name in the same BTF, the slot of
// an allocator, the only allocator there is, the scheduler's other BTFs, the size of what is allocated.
bool Renderer::resolve(std::uint64_t value, Target& target) {
  const TypeTable& types = *target.types;
  const btf_type* type = target.type_id == 0 ? nullptr : types.type(target.type_id);
  if (type != nullptr && types.size(target.type_id).value_or(0) != 0) return true;
  const bool declared = type != nullptr && btf_is_fwd(type);
  const std::string_view name = declared ? types.name(type->name_off) : std::string_view{};
  target.why_not = incomplete(types, target.type_id);
  if (declared) {
    if (const auto complete = types.find(name, btf_kflag(type))) {
      target.type_id = *complete;
      return types.size(*complete).value_or(0) != 0;
    }
  }
  if (type != nullptr && !declared) return false;  // a function, or a struct without bytes
  if (!target.in_kernel) {
    if (options_.pointers->is_untyped(value)) {
      target.why_not = "memory of an allocator that knows no types";
      return false;
    }
    if (resolve_slot(value, target, declared)) return true;
  }
  if (declared) {
    if (const auto sibling = options_.pointers->complete_type(name, btf_kflag(type)); sibling && sibling->types) {
      target.types = sibling->types;
      target.type_id = sibling->id;
      return target.types->size(target.type_id).value_or(0) != 0;
    }
  }
  if (target.type_id == 0 && target.size_match != 0) {
    target.type_id = target.size_match;
    return types.size(target.type_id).value_or(0) != 0;
  }
  return false;
}

bool Renderer::resolve_slot(std::uint64_t value, Target& target, bool only_declared) {
  std::optional<TypeRef> payload;
  std::uint64_t skip = 0;
  if (const auto slot = options_.pointers->slot(value)) {
    if (slot->offset != 0 && slot->offset != slot->header_bytes) return false;  // into the middle of something
    payload = slot->payload;
    skip = slot->offset == 0 ? slot->header_bytes : 0;
  } else if (only_declared) {
    payload = options_.pointers->sole_payload();
  }
  if (!payload || !payload->types || payload->types->size(payload->id).value_or(0) == 0) return false;
  target.types = payload->types;
  target.type_id = payload->id;
  target.skip = skip;
  target.bridged = true;
  return true;
}

}  // namespace floe::walkers::render
