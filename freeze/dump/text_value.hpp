// A value of the guest as text: one line where it fits, what is zero left out.
//
//   cpu_ctx{util=512, flags=FLAG_BUSY (2)}
//   task_ctx:
//     pid=7   slice=20000000   vtime=41
//     name "worker"
//     samples [3]=0x1f  [5..6]={0x2, 0x4}
//
// Strings of the guest are cleaned: nothing in them reaches a terminal as a control character.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "walkers/render/value.hpp"

namespace floe::freeze::dump {

inline constexpr std::size_t kLineWidth = 120;

// `depth`: of the line on which the text begins, two spaces each; further lines stand deeper.
std::string to_text(const walkers::render::Value& value, int depth = 0);

// --- for those who lay out many values ---

std::string indent(int depth);
std::string clean(std::string_view guest_text);    // one line
std::size_t display_width(std::string_view text);  // in columns, one for a code point

// Zero all the way down. What is unreadable is never zero.
bool is_zero(const walkers::render::Value& value);

// A number, an enum, a flag, a bare pointer: what stands in a table's cell.
bool is_scalar(const walkers::render::Value& value);

bool same(const walkers::render::Value& a, const walkers::render::Value& b);

// The members of a struct that are shown, those of nameless members among them. Nothing for what is no struct.
std::vector<const walkers::render::NamedValue*> shown_members(const walkers::render::Struct& value);

// The members as they stand, nameless ones replaced by theirs, zeros too.
std::vector<const walkers::render::NamedValue*> all_members(const walkers::render::Struct& value);

// "Type{a=1, b=2}" or the form over several lines, of these members alone.
std::string struct_text(const walkers::render::Struct& value, const std::vector<const walkers::render::NamedValue*>& members, int depth);

}  // namespace floe::freeze::dump
