// Stock kernels on this machine: folders VERSION/{vmlinuz, config, modules/} under FLOE_KERNEL_CACHE, or under floe's own cache where
// scripts/fetch-kernel puts them.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace floe::cli {

struct StockKernel {
  std::string version;  // the folder's name
  std::string image;
  std::vector<std::string> modules;  // what kvm-amd needs, in the order of loading; empty when not there
};

// Newest first (by version, as `sort -V`).
std::vector<StockKernel> stock_kernels();

// The folders that are looked into.
std::vector<std::string> kernel_folders();

// The kernel of a run without --kernel. Error: none, and how to get one.
Result<std::string> default_kernel();

// The kernel that an outer machine boots: the newest with its KVM modules.
Result<StockKernel> outer_kernel();

}  // namespace floe::cli
