// The copies of one value on all CPUs as text: what they share once, what differs in a table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "walkers/render/value.hpp"

namespace floe::freeze::dump {

// `label`: "key 3". The lines stand at that depth and below it, each ended by a newline.
std::string percpu_text(const std::string& label, const std::vector<std::optional<walkers::render::Value>>& per_cpu, int depth);

// "cpu N: value" for each, at `depth`.
std::string percpu_lines(const std::vector<std::optional<walkers::render::Value>>& per_cpu, int depth);

}  // namespace floe::freeze::dump
