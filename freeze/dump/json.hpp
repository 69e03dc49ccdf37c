// A dump as JSON, and back.
//
// Written in the order of schema.hpp, without spaces; text of the guest that is no UTF-8 gets U+FFFD. Reading: a 64-bit integer stays one,
// unknown keys are passed over, a missing key that is always written is an error that names the path to it. A file may come from
// anywhere: it is checked as any foreign bytes are, and nested no deeper than kMaxValueDepth.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "freeze/dump/model.hpp"

namespace floe::freeze::dump {

inline constexpr int kMaxValueDepth = 256;  // of values in values; the renderer stops at 32, and what it follows pointers to counts

std::string to_json(const Report& report);
std::string to_json(const DualReport& report);
std::string to_json(const DegradedReport& report);
std::string to_json(const AnyReport& report);
std::string to_json(const walkers::bpf::Map& map);
std::string to_json(const walkers::render::Value& value);

// By the key "schema": "single", "dual" or "degraded"; any other, or none, is an error.
Result<AnyReport> parse_report(std::string_view json);
Result<walkers::render::Value> parse_value(std::string_view json);

}  // namespace floe::freeze::dump
