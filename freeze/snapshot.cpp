#include "freeze/snapshot.hpp"

#include <limits>
#include <string>

namespace floe::freeze {

std::uint64_t MachineState::bytes() const {
  std::uint64_t bytes = sizeof *this + vcpus.capacity() * sizeof(VcpuState) + devices.capacity() * sizeof(DeviceState);
  for (const VcpuState& vcpu : vcpus) bytes += vcpu.blob.capacity();
  for (const DeviceState& device : devices) bytes += device.name.capacity() + device.blob.capacity();
  return bytes;
}

Result<RamLayout> RamLayout::create(std::vector<RamSlot> slots) {
  std::uint64_t pages = 0;
  std::uint64_t free_from = 0;
  for (std::size_t n = 0; n < slots.size(); ++n) {
    const RamSlot& slot = slots[n];
    const auto reject = [n](const char* reason) { return fail("RAM slot " + std::to_string(n) + " " + reason); };
    if (slot.bytes == 0 || slot.bytes % kPageBytes != 0 || slot.start.value % kPageBytes != 0) return reject("is not made of whole pages");
    if (slot.start.value + slot.bytes < slot.start.value) return reject("wraps around the address space");
    if (slot.start.value < free_from) return reject("overlaps the one before");
    if (slot.first_page != pages) return reject("does not continue the page numbers of the one before");
    pages += slot.bytes / kPageBytes;
    if (pages > std::numeric_limits<std::uint32_t>::max()) return reject("is beyond 16 TiB of RAM");
    free_from = slot.start.value + slot.bytes;
  }
  RamLayout layout;
  layout.slots_ = std::move(slots);
  layout.pages_ = static_cast<std::uint32_t>(pages);
  return layout;
}

Result<RamLayout> RamLayout::of(const vmm::GuestRam& ram) {
  std::vector<RamSlot> slots;
  for (const vmm::RamRegion& region : ram.regions())
    slots.push_back({region.start, region.bytes, static_cast<std::uint32_t>(region.offset / kPageBytes)});
  return create(std::move(slots));
}

std::uint64_t RamLayout::find(Gpa gpa, std::uint32_t& page) const {
  for (const RamSlot& slot : slots_) {
    const std::uint64_t offset = gpa - slot.start;  // wraps to huge when below the slot
    if (offset >= slot.bytes) continue;
    page = slot.first_page + static_cast<std::uint32_t>(offset / kPageBytes);
    return slot.bytes - offset;
  }
  return 0;
}

}  // namespace floe::freeze
