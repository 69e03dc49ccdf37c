#include "walkers/render/tree.hpp"

#include <cassert>
#include <utility>

namespace floe::walkers::render {
namespace {

std::optional<std::string> owned(Sink::Text text) {
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

Sink::Text view(const std::optional<std::string>& text) {
  return text ? Sink::Text(*text) : std::nullopt;
}

// One overload per kind of value.
struct Replay {
  Sink& sink;

  void operator()(const Int& v) const { sink.integer(v.bits, v.value); }
  void operator()(const Uint& v) const { sink.unsigned_integer(v.bits, v.value); }
  void operator()(const Bool& v) const { sink.boolean(v.value); }
  void operator()(const Char& v) const { sink.character(v.value); }
  void operator()(const Float& v) const { sink.floating(v.bits, v.value); }
  void operator()(const Enum& v) const { sink.enumerator(v.bits, v.value, view(v.variant), v.is_signed); }
  void operator()(const CpuList& v) const { sink.cpu_list(v.cpus); }
  void operator()(const Bytes& v) const { sink.bytes(v.bytes); }
  void operator()(const Unsupported& v) const { sink.unsupported(v.reason); }
  void operator()(const Struct& v) const {
    sink.begin_struct(view(v.type_name));
    for (const auto& [name, value] : v.members) {
      sink.member(name);
      replay(value, sink);
    }
    sink.end_struct();
  }
  void operator()(const Array& v) const {
    sink.begin_array(v.len);
    for (const auto& element : v.elements) replay(element, sink);
    sink.end_array();
  }
  void operator()(const Ptr& v) const {
    if (!v.deref) return sink.pointer(v.value, view(v.deref_skipped_reason), view(v.cast_annotation));
    sink.begin_deref(v.value);
    replay(*v.deref, sink);
    sink.end_deref(view(v.cast_annotation));
  }
  void operator()(const Truncated& v) const {
    sink.begin_truncated(v.needed, v.had);
    if (v.partial) {
      replay(*v.partial, sink);
    } else {
      sink.bytes({});
    }
    sink.end_truncated();
  }
};

}  // namespace

Value TreeSink::take() {
  assert(open_.empty());
  return std::exchange(done_, {});
}

void TreeSink::put(Value::Variant value) {
  if (open_.empty()) {
    done_.v = std::move(value);
    return;
  }
  auto& into = open_.back().v;
  if (auto* a_struct = std::get_if<Struct>(&into)) {
    assert(!a_struct->members.empty());
    a_struct->members.back().value.v = std::move(value);
  } else if (auto* array = std::get_if<Array>(&into)) {
    array->elements.push_back(Value{std::move(value)});
  } else if (auto* pointer = std::get_if<Ptr>(&into)) {
    pointer->deref = std::make_unique<Value>(Value{std::move(value)});
  } else if (auto* truncated = std::get_if<Truncated>(&into)) {
    truncated->partial = std::make_unique<Value>(Value{std::move(value)});
  }
}

void TreeSink::begin(Value::Variant value) {
  open_.push_back(Value{std::move(value)});
}

void TreeSink::end() {
  assert(!open_.empty());
  Value whole = std::move(open_.back());
  open_.pop_back();
  put(std::move(whole.v));
}

void TreeSink::integer(std::uint32_t bits, std::int64_t value) {
  put(Int{bits, value});
}

void TreeSink::unsigned_integer(std::uint32_t bits, std::uint64_t value) {
  put(Uint{bits, value});
}

void TreeSink::boolean(bool value) {
  put(Bool{value});
}

void TreeSink::character(std::uint8_t value) {
  put(Char{value});
}

void TreeSink::floating(std::uint32_t bits, double value) {
  put(Float{bits, value});
}

void TreeSink::enumerator(std::uint32_t bits, std::int64_t value, Text variant, bool is_signed) {
  put(Enum{bits, value, owned(variant), is_signed});
}

void TreeSink::begin_struct(Text type_name) {
  begin(Struct{owned(type_name), {}});
}

void TreeSink::member(std::string_view name) {
  std::get<Struct>(open_.back().v).members.push_back({std::string(name), {}});
}

void TreeSink::end_struct() {
  end();
}

void TreeSink::begin_array(std::uint64_t len) {
  begin(Array{len, {}});
}

void TreeSink::end_array() {
  end();
}

void TreeSink::cpu_list(std::string_view cpus) {
  put(CpuList{std::string(cpus)});
}

void TreeSink::bytes(std::span<const std::byte> bytes) {
  put(Bytes{{bytes.begin(), bytes.end()}});
}

void TreeSink::unsupported(std::string_view reason) {
  put(Unsupported{std::string(reason)});
}

void TreeSink::pointer(std::uint64_t value, Text skipped_reason, Text cast_annotation) {
  put(Ptr{value, nullptr, owned(skipped_reason), owned(cast_annotation)});
}

void TreeSink::begin_deref(std::uint64_t value) {
  begin(Ptr{value, nullptr, {}, {}});
}

void TreeSink::end_deref(Text cast_annotation) {
  std::get<Ptr>(open_.back().v).cast_annotation = owned(cast_annotation);
  end();
}

void TreeSink::begin_truncated(std::uint64_t needed, std::uint64_t had) {
  begin(Truncated{needed, had, nullptr});
}

void TreeSink::end_truncated() {
  end();
}

void replay(const Value& value, Sink& sink) {
  std::visit(Replay{sink}, value.v);
}

Value copy(const Value& value) {
  TreeSink sink;
  replay(value, sink);
  return sink.take();
}

}  // namespace floe::walkers::render
