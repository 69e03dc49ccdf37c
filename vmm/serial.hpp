// The 16550A serial port that carries the kernel's early console: output only.
//
// The kernel's console polls LSR before each byte, user space relies on transmitter-empty interrupts, and the driver tells a
// 16550A from its ancestors by the FIFO bits of IIR, the scratch register and the loop-back of MCR into MSR. Bytes leave the
// moment they are written, so the transmitter is always empty. Nothing is ever received, except in loop-back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>

#include "base/may_block.hpp"
#include "vmm/device.hpp"

namespace floe::vmm {

class Serial16550 final : public RegisterDevice {
 public:
  // Called with the written bytes on the vCPU thread that wrote them, under the port's lock: it must neither block nor access
  // the port.
  using Output = std::function<void(std::span<const std::byte>)>;

  static constexpr std::uint64_t kPorts = 8;

  // `irq` must outlive the port.
  Serial16550(InterruptLine& irq, Output output);

  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

  // The registers as a snapshot keeps them.
  struct State {
    std::uint32_t version = 1;
    std::uint8_t interrupt_enable = 0, fifo_control = 0, line_control = 0, modem_control = 0, scratch = 0;
    std::uint8_t divisor_low = 0x0c, divisor_high = 0;
    std::uint8_t receive = 0, receive_ready = 0, transmit_interrupt = 0;
    std::uint8_t reserved[2] = {};
  };
  // For frozen time only: takes no lock and allocates nothing, since every vCPU is parked. Bytes written, 0 when `out` is
  // smaller than sizeof(State).
  std::size_t save(std::span<std::byte> out) const noexcept;

 private:
  std::uint8_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint8_t value);
  std::uint8_t pending_interrupt() const;
  std::uint8_t modem_status() const;
  void transmit(std::uint8_t value);
  void update_line();
  bool divisor_latch() const;

  InterruptLine& irq_;
  Output output_;
  Checked<std::mutex> mutex_;
  State state_;
};

}  // namespace floe::vmm
