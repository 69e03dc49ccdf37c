#include "bpf/schedulers/embed.hpp"
#include "bpf/schedulers/maps_all.hpp"

FLOE_OBJECT(fill);

namespace floe::schedulers {

std::span<const char> fill_object() {
  return {floe_fill_object, floe_fill_object_end};
}

}  // namespace floe::schedulers
