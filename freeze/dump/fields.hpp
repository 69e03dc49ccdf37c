// How a record is described once for the writer and the reader of its JSON: a list of its keys in order, each with the member and with
// what becomes of the key when there is nothing in it.
//
//   template <> struct Fields<SdtAllocator> {
//     static constexpr auto list = std::tuple(always("allocator_name", &SdtAllocator::allocator_name), filled("entries", ...), ...);
//   };
#pragma once

#include <tuple>

namespace floe::freeze::dump::schema {

// What stands in a file when the member is empty, zero, false or absent; and what it means when a file does not have the key.
enum class Rule {
  kAlways,    // written; without it a file is malformed
  kLenient,   // written; without it the member keeps its default
  kOmitted,   // left out; without it the member keeps its default
  kNullable,  // written as null; without it, absent
};

template <class Record, class T>
struct Field {
  const char* key;
  T Record::* member;
  Rule rule;
};

template <class Record, class T>
constexpr Field<Record, T> always(const char* key, T Record::* member) {
  return {key, member, Rule::kAlways};
}
template <class Record, class T>
constexpr Field<Record, T> lenient(const char* key, T Record::* member) {
  return {key, member, Rule::kLenient};
}
template <class Record, class T>
constexpr Field<Record, T> omitted(const char* key, T Record::* member) {
  return {key, member, Rule::kOmitted};
}
template <class Record, class T>
constexpr Field<Record, T> nullable(const char* key, T Record::* member) {
  return {key, member, Rule::kNullable};
}

template <class Record>
struct Fields;  // specialised in schema.hpp

template <class Record>
concept Described = requires { Fields<Record>::list; };

// Calls `each(field)` for the keys of a record, in order.
template <class Record, class Each>
constexpr void for_each_field(Each each) {
  std::apply([&](const auto&... field) { (each(field), ...); }, Fields<Record>::list);
}

}  // namespace floe::freeze::dump::schema
