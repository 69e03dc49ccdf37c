// A value of the guest after its bytes were read through BTF: what a dump shows of a map's element, a section's variable or an
// allocator's slot.
//
// A Value owns everything in it, so it outlives the memory and the BTF it came from. The alternatives and their members are the
// kinds and keys of the dump's JSON ("kind": "int", "bits": ..., "value": ...).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace floe::walkers::render {

struct Value;
struct NamedValue;

struct Int {
  std::uint32_t bits = 0;  // width as declared; that of the bit-field for one
  std::int64_t value = 0;
};

struct Uint {
  std::uint32_t bits = 0;
  std::uint64_t value = 0;
};

struct Bool {
  bool value = false;
};

struct Char {
  std::uint8_t value = 0;
};

struct Float {
  std::uint32_t bits = 0;  // 32 or 64
  double value = 0;
};

struct Enum {
  std::uint32_t bits = 0;
  std::int64_t value = 0;              // of an unsigned enum the same 64 bits
  std::optional<std::string> variant;  // name of the enumerator, absent when none has this value
  bool is_signed = false;
};

// A struct, a union (every arm reads the same bytes) or a data section (a member per variable).
struct Struct {
  std::optional<std::string> type_name;  // absent for an anonymous type
  std::vector<NamedValue> members;       // those of anonymous members stand among them
};

struct Array {
  std::uint64_t len = 0;  // as declared; may exceed elements.size()
  std::vector<Value> elements;
};

struct CpuList {
  std::string cpus;  // the kernel's list form: "0-3,8"
};

// At most one of `deref` and `deref_skipped_reason`; neither for a pointer that is null or that nobody could follow.
struct Ptr {
  std::uint64_t value = 0;
  std::unique_ptr<Value> deref;
  std::optional<std::string> deref_skipped_reason;
  std::optional<std::string> cast_annotation;  // how an integer, or an untyped pointer, was found to point at this type
};

struct Bytes {
  std::vector<std::byte> bytes;
};

// Fewer bytes were there than the type needs.
struct Truncated {
  std::uint64_t needed = 0;
  std::uint64_t had = 0;
  std::unique_ptr<Value> partial;
};

struct Unsupported {
  std::string reason;
};

struct Value {
  using Variant = std::variant<Unsupported, Int, Uint, Bool, Char, Float, Enum, Struct, Array, CpuList, Ptr, Bytes, Truncated>;
  Variant v;
};

struct NamedValue {
  std::string name;
  Value value;
};

}  // namespace floe::walkers::render
