// What init says of its guest first.
#pragma once

#include "vmm/wire.hpp"

namespace floe::vmm::guest {

wire::Hello hello();

}  // namespace floe::vmm::guest
