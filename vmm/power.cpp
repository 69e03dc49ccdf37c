#include "vmm/power.hpp"

#include <algorithm>
#include <cstring>

#include "vmm/layout.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint16_t kSciEnable = 1;
constexpr std::uint16_t kSleepEnable = 1 << 13;
constexpr std::uint16_t kSleepTypeS5 = 5 << 10;
constexpr std::uint8_t kKeyboardPulseReset = 0xfe;
constexpr std::uint8_t kPvpanicPanicked = 1;

std::uint16_t value16(std::span<const std::byte> data) {
  std::uint16_t value = 0;
  std::memcpy(&value, data.data(), std::min(data.size(), sizeof value));
  return value;
}

void answer(std::span<std::byte> data, std::uint64_t value) {
  std::fill(data.begin(), data.end(), std::byte{0});
  std::memcpy(data.data(), &value, std::min(data.size(), sizeof value));
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
  answer(data, block >> (offset * 8));
}

void PowerDevices::Pm1::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset == 2) enable_ = value16(data);
  if (offset == 0 && data.size() == 4) {
    std::uint32_t both = 0;
    std::memcpy(&both, data.data(), sizeof both);
    enable_ = static_cast<std::uint16_t>(both >> 16);
  }
  if (offset != 4) return;
  const std::uint16_t control = value16(data);
  control_ = static_cast<std::uint16_t>((control & ~kSleepEnable) | kSciEnable);
  // The kernel writes the sleep type first and the enable bit with a second write.
  if ((control & kSleepEnable) && (control & 0x1c00) == kSleepTypeS5) owner_.on_event_(PowerEvent::kPowerOff);
}

void PowerDevices::ResetRegister::read(std::uint64_t, std::span<std::byte> data) { answer(data, 0); }

void PowerDevices::ResetRegister::write(std::uint64_t, std::span<const std::byte> data) {
  if (value16(data) == value_) owner_.on_event_(PowerEvent::kReset);
}

void PowerDevices::Pvpanic::read(std::uint64_t, std::span<std::byte> data) { answer(data, kPvpanicPanicked); }

void PowerDevices::Pvpanic::write(std::uint64_t, std::span<const std::byte> data) {
  if (value16(data) & kPvpanicPanicked) owner_.on_event_(PowerEvent::kPvpanic);
}

}  // namespace floe::vmm
