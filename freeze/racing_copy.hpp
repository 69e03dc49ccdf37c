// Copies a page of guest RAM that the guest, or a device on a vCPU's thread, may be writing at this moment: the one race of the program
// that is meant. For a snapshot, what is torn was reported dirty again and is copied again, in the end while everybody stands still.
#pragma once

#include <cstddef>

namespace floe::freeze {

void copy_racing(std::byte* to, const std::byte* from);  // kPageBytes

}  // namespace floe::freeze
