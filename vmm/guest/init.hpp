// The guest's first program.
#pragma once

namespace floe::vmm::guest {

[[noreturn]] void run_init();

}  // namespace floe::vmm::guest
