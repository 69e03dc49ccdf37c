// The guest's init, built by vmm/guest/ and carried inside this library: floe is one file.
#pragma once

#include <cstddef>
#include <span>

namespace floe::vmm {

// A static ELF program, to be /init of an initramfs. Valid for the life of the process.
std::span<const std::byte> guest_init_binary();

}  // namespace floe::vmm
