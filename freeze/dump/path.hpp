// One value of a dump by its dotted path: "scx_sched_state.exit_kind", "dsq_states.0.nr", "maps.floe_sta.bss.value.latch".
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace floe::freeze::dump {

struct Found {
  std::string json;  // as it stands in the document
  std::string text;  // a rendered value as text, a string without quotes; the JSON for anything else
};

// A part of the path is a key, an index, or what an element of a list is called by its "name", "allocator_name", "pid", "cpu" or "id";
// names may hold dots. In rendered values a member, through pointers. Errors say how far the path leads and what is there.
Result<Found> find(std::string_view json, std::string_view path);

}  // namespace floe::freeze::dump
