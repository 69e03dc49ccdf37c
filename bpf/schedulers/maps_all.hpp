// The object of floe_maps_all (fill.bpf.c), as data.
#pragma once

#include <span>

namespace floe::schedulers {

std::span<const char> fill_object();

}  // namespace floe::schedulers
