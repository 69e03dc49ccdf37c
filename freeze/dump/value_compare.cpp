// What the text needs to know of a value before it lays it out: whether it is zero, a scalar, equal to another.
#include <algorithm>

#include "freeze/dump/text_value.hpp"

namespace floe::freeze::dump {
namespace {

using namespace walkers::render;

constexpr int kZeroDepth = 16;  // beyond it a value counts as not zero

bool zero(const Value& value, int depth);

struct Zero {
  int depth;
  bool operator()(const Int& v) const { return v.value == 0; }
  bool operator()(const Uint& v) const { return v.value == 0; }
  bool operator()(const Bool& v) const { return !v.value; }
  bool operator()(const Char& v) const { return v.value == 0; }
  bool operator()(const Float& v) const { return v.value == 0; }
  bool operator()(const Enum& v) const { return v.value == 0; }
  bool operator()(const CpuList& v) const { return v.cpus.empty(); }
  bool operator()(const Ptr& v) const { return v.value == 0; }
  bool operator()(const Struct& v) const {
    return std::all_of(v.members.begin(), v.members.end(), [&](const NamedValue& m) { return zero(m.value, depth + 1); });
  }
  bool operator()(const Array& v) const {
    return std::all_of(v.elements.begin(), v.elements.end(), [&](const Value& e) { return zero(e, depth + 1); });
  }
  bool operator()(const auto&) const { return false; }  // unreadable, or not understood
};

bool zero(const Value& value, int depth) {
  return depth <= kZeroDepth && std::visit(Zero{depth}, value.v);
}

bool same(const std::unique_ptr<Value>& a, const std::unique_ptr<Value>& b) {
  return a && b ? dump::same(*a, *b) : !a && !b;
}

struct Same {
  bool operator()(const Int& a, const Int& b) const { return a.value == b.value && a.bits == b.bits; }
  bool operator()(const Uint& a, const Uint& b) const { return a.value == b.value && a.bits == b.bits; }
  bool operator()(const Bool& a, const Bool& b) const { return a.value == b.value; }
  bool operator()(const Char& a, const Char& b) const { return a.value == b.value; }
  bool operator()(const Float& a, const Float& b) const { return a.value == b.value && a.bits == b.bits; }
  bool operator()(const Enum& a, const Enum& b) const { return a.value == b.value && a.bits == b.bits && a.variant == b.variant; }
  bool operator()(const CpuList& a, const CpuList& b) const { return a.cpus == b.cpus; }
  bool operator()(const Bytes& a, const Bytes& b) const { return a.bytes == b.bytes; }
  bool operator()(const Unsupported& a, const Unsupported& b) const { return a.reason == b.reason; }
  bool operator()(const Truncated& a, const Truncated& b) const {
    return a.needed == b.needed && a.had == b.had && same(a.partial, b.partial);
  }
  bool operator()(const Ptr& a, const Ptr& b) const {
    return a.value == b.value && a.cast_annotation == b.cast_annotation && a.deref_skipped_reason == b.deref_skipped_reason &&
           same(a.deref, b.deref);
  }
  bool operator()(const Struct& a, const Struct& b) const {
    return a.type_name == b.type_name &&
           std::equal(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(),
                      [](const NamedValue& x, const NamedValue& y) { return x.name == y.name && dump::same(x.value, y.value); });
  }
  bool operator()(const Array& a, const Array& b) const {
    return a.len == b.len && std::equal(a.elements.begin(), a.elements.end(), b.elements.begin(), b.elements.end(),
                                        [](const Value& x, const Value& y) { return dump::same(x, y); });
  }
  bool operator()(const auto&, const auto&) const { return false; }
};

}  // namespace

bool is_zero(const Value& value) {
  return zero(value, 0);
}

bool is_scalar(const Value& value) {
  if (const auto* pointer = std::get_if<Ptr>(&value.v)) return !pointer->deref && !pointer->deref_skipped_reason;
  return !std::holds_alternative<Struct>(value.v) && !std::holds_alternative<Array>(value.v) && !std::holds_alternative<Bytes>(value.v) &&
         !std::holds_alternative<Truncated>(value.v) && !std::holds_alternative<Unsupported>(value.v);
}

bool same(const Value& a, const Value& b) {
  return std::visit(Same{}, a.v, b.v);
}

}  // namespace floe::freeze::dump
