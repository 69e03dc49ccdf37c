#include "vmm/device.hpp"

#include <algorithm>
#include <cstring>

namespace floe::vmm {

bool Bus::add(std::uint64_t start, std::uint64_t bytes, RegisterDevice& device) {
  if (bytes == 0 || start + bytes < start) return false;
  const auto next = windows_.lower_bound(start);
  if (next != windows_.end() && next->first < start + bytes) return false;
  if (next != windows_.begin()) {
    const auto& [before, window] = *std::prev(next);
    if (before + window.bytes > start) return false;
  }
  windows_.emplace(start, Window{bytes, &device});
  return true;
}

const Bus::Window* Bus::find(std::uint64_t address, std::size_t size, std::uint64_t& offset) const {
  auto next = windows_.upper_bound(address);
  if (next == windows_.begin()) return nullptr;
  const auto& [start, window] = *std::prev(next);
  offset = address - start;
  return offset < window.bytes && size <= window.bytes - offset ? &window : nullptr;
}

bool Bus::read(std::uint64_t address, std::span<std::byte> data) const {
  std::uint64_t offset = 0;
  if (const Window* window = find(address, data.size(), offset)) {
    window->device->read(offset, data);
    return true;
  }
  std::fill(data.begin(), data.end(), std::byte{0xff});
  return false;
}

bool Bus::write(std::uint64_t address, std::span<const std::byte> data) const {
  std::uint64_t offset = 0;
  const Window* window = find(address, data.size(), offset);
  if (window) window->device->write(offset, data);
  return window != nullptr;
}

}  // namespace floe::vmm
