// Small files of the guest, the kernel's mostly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/requests.hpp"

namespace floe::vmm::guest {

// The first `limit` bytes, or what could be read of them.
std::string slurp(const char* path, std::size_t limit);

Result<std::vector<std::byte>> read_file(const wire::ReadFile& request);
Result<> write_file(const wire::WriteFile& request);
Result<> make_folder(const wire::MakeFolder& request);
Result<> remove_folder(const wire::RemoveFolder& request);

}  // namespace floe::vmm::guest
