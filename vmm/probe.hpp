// Whether this host's KVM really runs a guest: a dozen instructions of real-mode code that must arrive at a port.
//
// /dev/kvm existing says little: a container may have the node without the module, a software KVM may lack what Linux needs, a nested
// one may hang. Whether a *Linux* guest can run at full speed is decided by the CPU's flags besides (svm or vmx).
#pragma once

#include <chrono>

#include "base/result.hpp"

namespace floe::vmm {

// The time from creating the machine to the port write. Errors say what failed.
Result<std::chrono::microseconds> run_tiny_guest(std::chrono::milliseconds limit = std::chrono::milliseconds(2000));

// Whether this host's KVM makes a vCPU exit when it writes to a watched word (debug_registers.hpp): a tiny guest does. Errors say what
// failed.
Result<bool> write_watches_fire(std::chrono::milliseconds limit = std::chrono::milliseconds(2000));

}  // namespace floe::vmm
