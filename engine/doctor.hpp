// Why there is no io_uring here, and what to do about it, for error messages and for `floe doctor`.
#pragma once

#include <string>

namespace floe::engine {

// `error`: what io_uring_setup returned. `io_uring_disabled`: content of /proc/sys/kernel/io_uring_disabled (Linux 6.6), or empty.
std::string explain_missing_ring(int error, const std::string& io_uring_disabled);

}  // namespace floe::engine
