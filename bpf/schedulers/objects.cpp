// The schedulers' compiled BPF objects.
#include "bpf/schedulers/embed.hpp"
#include "bpf/schedulers/loader.hpp"

FLOE_OBJECT(fair);
FLOE_OBJECT(maps);
FLOE_OBJECT(stall);
FLOE_OBJECT(error);

namespace floe::schedulers {

std::span<const char> object_named(const std::string& name) {
  if (name == "fair") return {floe_fair_object, floe_fair_object_end};
  if (name == "maps") return {floe_maps_object, floe_maps_object_end};
  if (name == "stall") return {floe_stall_object, floe_stall_object_end};
  if (name == "error") return {floe_error_object, floe_error_object_end};
  return {};
}

}  // namespace floe::schedulers
