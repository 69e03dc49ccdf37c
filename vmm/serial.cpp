#include "vmm/serial.hpp"

#include <cstring>
#include <utility>

#include "vmm/registers.hpp"

namespace floe::vmm {
namespace {

enum Register : std::uint64_t { kData, kInterruptEnable, kIdentOrFifo, kLineControl, kModemControl, kLineStatus, kModemStatus, kScratch };

constexpr std::uint8_t kEnableReceive = 0x01, kEnableTransmit = 0x02;
constexpr std::uint8_t kIdentNone = 0x01, kIdentTransmit = 0x02, kIdentReceive = 0x04, kIdentFifos = 0xc0;
constexpr std::uint8_t kFifoEnable = 0x01, kFifoClearReceive = 0x02;
constexpr std::uint8_t kDivisorLatch = 0x80;
constexpr std::uint8_t kLoopBack = 0x10;
constexpr std::uint8_t kDataReady = 0x01, kTransmitterEmpty = 0x60;
constexpr std::uint8_t kModemIdle = 0xb0;  // carrier, data set ready, clear to send

}  // namespace

Serial16550::Serial16550(InterruptLine& irq, Output output) : irq_(irq), output_(std::move(output)) {}

// A wider access is what a bus makes of it: one access per byte, at rising addresses.
void Serial16550::read(std::uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (std::byte& byte : data) byte = std::byte{read_register(offset++)};
  update_line();
}

void Serial16550::write(std::uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  for (const std::byte byte : data) write_register(offset++, std::to_integer<std::uint8_t>(byte));
  update_line();
}

bool Serial16550::divisor_latch() const {
  return (state_.line_control & kDivisorLatch) != 0;
}

std::uint8_t Serial16550::read_register(std::uint64_t offset) {
  switch (offset) {
    case kData:
      if (divisor_latch()) return state_.divisor_low;
      state_.receive_ready = 0;
      return std::exchange(state_.receive, std::uint8_t{0});
    case kInterruptEnable:
      return divisor_latch() ? state_.divisor_high : state_.interrupt_enable;
    case kIdentOrFifo: {
      const std::uint8_t ident = pending_interrupt();
      if (ident == kIdentTransmit) state_.transmit_interrupt = 0;  // reading it is the acknowledgement
      return static_cast<std::uint8_t>(ident | ((state_.fifo_control & kFifoEnable) != 0 ? kIdentFifos : 0));
    }
    case kLineControl:
      return state_.line_control;
    case kModemControl:
      return state_.modem_control;
    case kLineStatus:
      return static_cast<std::uint8_t>(kTransmitterEmpty | (state_.receive_ready != 0 ? kDataReady : 0));
    case kModemStatus:
      return modem_status();
    case kScratch:
      return state_.scratch;
    default:
      return 0xff;
  }
}

void Serial16550::write_register(std::uint64_t offset, std::uint8_t value) {
  switch (offset) {
    case kData:
      if (divisor_latch())
        state_.divisor_low = value;
      else
        transmit(value);
      return;
    case kInterruptEnable:
      if (divisor_latch()) {
        state_.divisor_high = value;
        return;
      }
      state_.interrupt_enable = value & 0x0f;
      // The transmitter is empty, so enabling its interrupt raises it at once: that is how a driver starts to send.
      state_.transmit_interrupt = (value & kEnableTransmit) != 0 ? 1 : 0;
      return;
    case kIdentOrFifo:
      if ((value & kFifoClearReceive) != 0) state_.receive_ready = 0;
      state_.fifo_control = value;
      return;
    case kLineControl:
      state_.line_control = value;
      return;
    case kModemControl:
      state_.modem_control = value & 0x1f;
      return;
    case kScratch:
      state_.scratch = value;
      return;
    default:  // the status registers are read-only
      return;
  }
}

void Serial16550::transmit(std::uint8_t value) {
  if ((state_.modem_control & kLoopBack) != 0) {
    state_.receive = value;
    state_.receive_ready = 1;
  } else if (output_) {
    const std::byte byte{value};
    output_({&byte, 1});
  }
  state_.transmit_interrupt = 1;
}

std::uint8_t Serial16550::pending_interrupt() const {
  if ((state_.interrupt_enable & kEnableReceive) != 0 && state_.receive_ready != 0) return kIdentReceive;
  if ((state_.interrupt_enable & kEnableTransmit) != 0 && state_.transmit_interrupt != 0) return kIdentTransmit;
  return kIdentNone;
}

// In loop-back the four modem outputs come back as the four modem inputs; the driver's autodetection looks for exactly that.
std::uint8_t Serial16550::modem_status() const {
  const unsigned control = state_.modem_control;
  if ((control & kLoopBack) == 0) return kModemIdle;
  const unsigned dtr = control & 1U, rts = control >> 1 & 1U, out1 = control >> 2 & 1U, out2 = control >> 3 & 1U;
  return static_cast<std::uint8_t>(rts << 4 | dtr << 5 | out1 << 6 | out2 << 7);
}

void Serial16550::update_line() {
  irq_.set(pending_interrupt() != kIdentNone);
}

std::size_t Serial16550::save(std::span<std::byte> out) const noexcept {
  if (out.size() < sizeof(State)) return 0;
  std::memcpy(out.data(), &state_, sizeof(State));
  return sizeof(State);
}

}  // namespace floe::vmm
