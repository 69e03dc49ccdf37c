// What the renderer has to be told of a guest to follow a pointer: where the BPF arena lies, which allocator an address belongs to, and
// the bytes there. The walkers of maps implement it; without it every pointer stays a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/address.hpp"

namespace floe::walkers::render {

class TypeTable;

// A type and the BTF its id is of.
struct TypeRef {
  std::shared_ptr<const TypeTable> types;
  std::uint32_t id = 0;
};

// A slot of an arena allocator that hands out elements of one size: a header, then the payload.
struct ArenaSlot {
  std::uint64_t offset = 0;  // of the address that was asked for, from the start of the slot
  std::uint32_t header_bytes = 0;
  TypeRef payload;  // id 0: not known
};

inline constexpr std::uint64_t kArenaWindow = std::uint64_t{1} << 32;  // bytes of user addresses an arena can have

class PointerSource {
 public:
  virtual ~PointerSource() = default;

  // bpf_arena.user_vm_start: arena pointers are in [start, start + kArenaWindow). 0: there is no arena.
  virtual std::uint64_t arena_start() const { return 0; }

  // Copies from an arena (user) address or a kernel address on into `out`, across pages; returns how many bytes were readable from the
  // start of it.
  virtual std::size_t read_arena(std::uint64_t /*user_address*/, std::span<std::byte> /*out*/) const { return 0; }
  virtual std::size_t read_kernel(Kva /*address*/, std::span<std::byte> /*out*/) const { return 0; }

  // Is the object at this address shown under the dump's sdt_allocations? It is not shown a second time where it is pointed to.
  virtual bool is_listed(std::uint64_t /*user_address*/) const { return false; }

  // The allocator slot an address lies in.
  virtual std::optional<ArenaSlot> slot(std::uint64_t /*user_address*/) const { return std::nullopt; }

  // What the only typed allocator hands out, if there is exactly one.
  virtual std::optional<TypeRef> sole_payload() const { return std::nullopt; }

  // Is it memory of an allocator that knows no types (scx_static)? Then nothing is guessed.
  virtual bool is_untyped(std::uint64_t /*user_address*/) const { return false; }

  // A complete struct or union by name, from the other BTFs of the scheduler.
  virtual std::optional<TypeRef> complete_type(std::string_view /*name*/, bool /*is_union*/) const { return std::nullopt; }
};

}  // namespace floe::walkers::render
