// Short ways to write values down in tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "walkers/render/value.hpp"

namespace floe::freeze::dump::test {

namespace render = walkers::render;
using render::Value;

template <class T>
Value value_of(T alternative) {
  Value value;
  value.v = std::move(alternative);
  return value;
}
inline Value i32(std::int64_t v) {
  return value_of(render::Int{32, v});
}
inline Value u8(std::uint64_t v) {
  return value_of(render::Uint{8, v});
}
inline Value u16(std::uint64_t v) {
  return value_of(render::Uint{16, v});
}
inline Value u64(std::uint64_t v) {
  return value_of(render::Uint{64, v});
}
inline Value boolean(bool v) {
  return value_of(render::Bool{v});
}

// Values cannot be copied, so lists of them are made of arguments.
template <class... Values>
Value array(Values... values) {
  render::Array array;
  (array.elements.push_back(std::move(values)), ...);
  array.len = array.elements.size();
  return value_of(std::move(array));
}
inline Value text(const std::string& characters, std::size_t size) {
  render::Array array;
  for (std::size_t i = 0; i < size; ++i)
    array.elements.push_back(value_of(render::Char{i < characters.size() ? static_cast<std::uint8_t>(characters[i]) : std::uint8_t{0}}));
  array.len = size;
  return value_of(std::move(array));
}

inline void add_members(render::Struct&) {}
template <class... Rest>
void add_members(render::Struct& into, std::string name, Value value, Rest... rest) {
  into.members.push_back({std::move(name), std::move(value)});
  add_members(into, std::move(rest)...);
}
template <class... NamesAndValues>
Value record(const std::string& type, NamesAndValues... rest) {
  render::Struct made;
  if (!type.empty()) made.type_name = type;
  add_members(made, std::move(rest)...);
  return value_of(std::move(made));
}
inline Value pointer(std::uint64_t to) {
  return value_of(render::Ptr{to, nullptr, {}, {}});
}

}  // namespace floe::freeze::dump::test
