// Looking into values: members by name, elements by index, numbers out of whatever kind holds one.
//
// What a pointer leads to, and what is there of a truncated value, is looked into without asking. A value that is not what was asked for
// gives nothing; a number that does not fit neither.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "walkers/render/value.hpp"

namespace floe::freeze::dump {

const walkers::render::Value* member(const walkers::render::Value& value, std::string_view name);
const walkers::render::Value* index(const walkers::render::Value& value, std::uint64_t at);

// Dotted names and indexes: "ctx.tasks.3.pid". "" is the value itself; an empty part leads nowhere.
const walkers::render::Value* get(const walkers::render::Value& value, std::string_view path);

std::optional<std::uint64_t> as_u64(const walkers::render::Value& value);  // also a pointer's address, an enum's value if not negative
std::optional<std::int64_t> as_i64(const walkers::render::Value& value);
std::optional<double> as_f64(const walkers::render::Value& value);
std::optional<bool> as_bool(const walkers::render::Value& value);  // of a number or pointer: not 0

// All elements or nothing.
std::optional<std::vector<std::uint64_t>> as_u64_array(const walkers::render::Value& value);
std::optional<std::vector<std::int64_t>> as_i64_array(const walkers::render::Value& value);
std::optional<std::vector<std::uint32_t>> as_u32_array(const walkers::render::Value& value);
std::optional<std::vector<std::int32_t>> as_i32_array(const walkers::render::Value& value);
std::optional<std::vector<double>> as_f64_array(const walkers::render::Value& value);

}  // namespace floe::freeze::dump
