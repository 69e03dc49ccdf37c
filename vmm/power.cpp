#include "vmm/power.hpp"

#include "vmm/layout.hpp"
#include "vmm/registers.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint16_t kSciEnable = 1;
constexpr std::uint16_t kSleepEnable = 1 << 13;
constexpr std::uint16_t kSleepTypeS5 = 5 << 10;
constexpr std::uint8_t kKeyboardPulseReset = 0xfe;
constexpr std::uint8_t kPvpanicPanicked = 1;

std::uint16_t value16(std::span<const std::byte> data) {
  return static_cast<std::uint16_t>(load_le(data));
}

}  // namespace

PowerDevices::PowerDevices(Bus& ports, std::function<void(PowerEvent)> on_event)
    : on_event_(std::move(on_event)), reset_(*this, layout::kResetValue), keyboard_(*this, kKeyboardPulseReset) {
  ports.add(layout::kPm1Event, 6, pm1_);
  ports.add(layout::kResetPort, 1, reset_);
  ports.add(layout::kKeyboardPort, 1, keyboard_);
  ports.add(layout::kPvpanicPort, 1, pvpanic_);
}

void PowerDevices::Pm1::read(std::uint64_t offset, std::span<std::byte> data) {
  const std::uint64_t block = std::uint64_t{enable_} << 16 | std::uint64_t{control_} << 32;
  store_le(data, block >> (offset * 8));
}

void PowerDevices::Pm1::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset == 2) enable_ = value16(data);
  if (offset == 0 && data.size() == 4) enable_ = static_cast<std::uint16_t>(load_le(data) >> 16);
  if (offset != 4) return;
  const std::uint16_t control = value16(data);
  control_ = static_cast<std::uint16_t>((control & ~kSleepEnable) | kSciEnable);
  // The kernel writes the sleep type first and the enable bit with a second write.
  if ((control & kSleepEnable) && (control & 0x1c00) == kSleepTypeS5) owner_.on_event_(PowerEvent::kPowerOff);
}

void PowerDevices::ResetRegister::read(std::uint64_t, std::span<std::byte> data) {
  store_le(data, 0);
}

void PowerDevices::ResetRegister::write(std::uint64_t, std::span<const std::byte> data) {
  if (value16(data) == value_) owner_.on_event_(PowerEvent::kReset);
}

void PowerDevices::Pvpanic::read(std::uint64_t, std::span<std::byte> data) {
  store_le(data, kPvpanicPanicked);
}

void PowerDevices::Pvpanic::write(std::uint64_t, std::span<const std::byte> data) {
  if (value16(data) & kPvpanicPanicked) owner_.on_event_(PowerEvent::kPvpanic);
}

}  // namespace floe::vmm
