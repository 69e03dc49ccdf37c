// The file systems that a workload and a scheduler's loader expect, on a guest that has nothing but its initramfs.
#pragma once

#include <string>
#include <vector>

namespace floe::vmm::guest {

// Mounts /proc, /sys, /dev, /tmp, /run and the kernel's own trees below /sys, and puts descriptors 0 to 2 on /dev/console.
// /tmp and /run stay as they are where the initramfs has files in them. What could not be mounted is told in the lines returned; none of it
// is fatal here.
std::vector<std::string> mount_all();

// Brings the loopback interface up. The line says why it could not; empty when it did.
std::string loopback_up();

}  // namespace floe::vmm::guest
