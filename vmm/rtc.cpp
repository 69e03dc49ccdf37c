#include "vmm/rtc.hpp"

#include <cstring>
#include <utility>

namespace floe::vmm {
namespace {

enum Register : std::uint8_t {
  kSeconds = 0x00,
  kMinutes = 0x02,
  kHours = 0x04,
  kWeekday = 0x06,  // Sunday is 1
  kDay = 0x07,
  kMonth = 0x08,
  kYear = 0x09,
  kStatusA = 0x0a,
  kStatusB = 0x0b,
  kStatusC = 0x0c,
  kStatusD = 0x0d,
  kCentury = 0x32,
};

constexpr std::uint8_t kStatusAIdle = 0x26;    // 32.768 kHz divider, 1024 Hz, no update in progress
constexpr std::uint8_t kStatusB24Hour = 0x02;  // BCD, no interrupt enabled
constexpr std::uint8_t kStatusDValid = 0x80;

std::uint8_t bcd(int value) {
  return static_cast<std::uint8_t>((value / 10 % 10) << 4 | value % 10);
}

}  // namespace

CmosRtc::CmosRtc(Clock clock) : clock_(std::move(clock)) {
  if (!clock_) clock_ = [] { return std::time(nullptr); };
}

void CmosRtc::read(std::uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (std::byte& byte : data) {
    byte = std::byte{offset == 1 ? read_data() : std::uint8_t{0xff}};  // the index port is write-only
    ++offset;
  }
}

void CmosRtc::write(std::uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (const std::byte byte : data) {
    const auto value = std::to_integer<std::uint8_t>(byte);
    if (offset == 0) state_.index = value & 0x7f;
    if (offset == 1) write_data(value);
    ++offset;
  }
}

std::uint8_t CmosRtc::read_data() const {
  const std::time_t now = clock_();
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  switch (state_.index) {
    case kSeconds:
      return bcd(utc.tm_sec);
    case kMinutes:
      return bcd(utc.tm_min);
    case kHours:
      return bcd(utc.tm_hour);
    case kWeekday:
      return bcd(utc.tm_wday + 1);
    case kDay:
      return bcd(utc.tm_mday);
    case kMonth:
      return bcd(utc.tm_mon + 1);
    case kYear:
      return bcd(utc.tm_year % 100);
    case kCentury:
      return bcd((utc.tm_year + 1900) / 100);
    case kStatusA:
      return kStatusAIdle;
    case kStatusB:
      return kStatusB24Hour;
    case kStatusC:
      return 0;
    case kStatusD:
      return kStatusDValid;
    default:
      return state_.memory[state_.index];
  }
}

void CmosRtc::write_data(std::uint8_t value) {
  switch (state_.index) {
    case kSeconds:
    case kMinutes:
    case kHours:
    case kWeekday:
    case kDay:
    case kMonth:
    case kYear:
    case kCentury:
    case kStatusA:
    case kStatusB:
    case kStatusC:
    case kStatusD:
      ++ignored_writes_;
      return;
    default:
      state_.memory[state_.index] = value;
  }
}

std::uint64_t CmosRtc::ignored_writes() const {
  const std::lock_guard lock(mutex_);
  return ignored_writes_;
}

std::size_t CmosRtc::save(std::span<std::byte> out) const noexcept {
  if (out.size() < sizeof(State)) return 0;
  std::memcpy(out.data(), &state_, sizeof(State));
  return sizeof(State);
}

}  // namespace floe::vmm
