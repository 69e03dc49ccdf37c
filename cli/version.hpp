#pragma once

namespace floe::cli {

inline constexpr const char* kVersion = FLOE_VERSION;

}  // namespace floe::cli
