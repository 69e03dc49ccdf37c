#include "vmm/virtio_console.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "vmm/registers.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint16_t kDeviceType = 3;
constexpr std::uint32_t kClassCode = 0x078000;  // communication controller, other
constexpr std::uint16_t kQueueSize = 64;
constexpr unsigned kControlReceive = 2, kControlTransmit = 3;
constexpr std::size_t kControlBytes = 8;  // struct virtio_console_control: u32 id, u16 event, u16 value

// struct virtio_console_config.
constexpr std::uint32_t kConfigBytes = 12;
constexpr std::size_t kConfigMaxPorts = 4;

enum Event : std::uint16_t { kDeviceReady = 0, kPortAdd = 1, kPortReady = 3, kConsole = 4, kPortOpen = 6, kPortName = 7 };

constexpr unsigned receive_queue(unsigned port) {
  return port == 0 ? 0 : 2 + 2 * port;
}
constexpr unsigned transmit_queue(unsigned port) {
  return receive_queue(port) + 1;
}
constexpr unsigned port_of(unsigned queue) {
  return queue < 2 ? 0 : (queue - 2) / 2;
}

}  // namespace

VirtioConsole::VirtioConsole(GuestRam& ram, MsiSink& sink, Options options)
    : options_{std::max<std::size_t>(options.output_bytes, Virtqueue::kMaxChainBytes), options.input_bytes},
      pci_(ram, sink, *this,
           {.device_type = kDeviceType,
            .class_code = kClassCode,
            .features = kFeatureMultiport,
            .queues = kQueues,
            .queue_size = kQueueSize,
            .config_bytes = kConfigBytes}) {
  control_.reserve(std::size_t{4} * kPorts);
}

// --- the transport's side, lock held ---------------------------------------------------------------------------------------

void VirtioConsole::read_config(std::uint64_t offset, std::span<std::byte> data) {
  std::array<std::byte, kConfigBytes> image{};  // columns and rows 0: their feature is not offered
  store_le(std::span(image).subspan(kConfigMaxPorts, 4), kPorts);
  read_image(image, offset, data);
}

void VirtioConsole::write_config(std::uint64_t, std::span<const std::byte>) {
  ++counters_.config_writes;
}

void VirtioConsole::started(std::uint64_t features) {
  multiport_ = (features & kFeatureMultiport) != 0;
  ports_[kConsolePort].guest_open = true;
}

void VirtioConsole::notified(unsigned queue) {
  if (queue >= 2 && !multiport_) {
    ++counters_.stray_queues;
    return;
  }
  if (queue == kControlReceive) return flush_control();
  if (queue == kControlTransmit) return read_control();
  const unsigned port = port_of(queue);
  if (queue == transmit_queue(port))
    transmit(port);
  else
    receive(port);
}

// What the driver made available arrives even if it never notified for it ("write, then reset at once"). Nobody is woken: a
// guest that resets in a loop must not keep the host busy, and the next take() finds the bytes.
void VirtioConsole::stopping(bool queues_usable) {
  for (unsigned port = 0; port < kPorts; ++port) {
    const bool reachable = port == 0 || multiport_;
    if (queues_usable && reachable) drain_output(port, options_.output_bytes + kResetRoom);
    ports_[port].ready = ports_[port].guest_open = false;
  }
  control_.clear();
  multiport_ = device_ready_ = false;
}

void VirtioConsole::unlocked() {
  if (wake_.exchange(false, std::memory_order_acq_rel) && on_output_) on_output_();
}

// --- guest to host -----------------------------------------------------------------------------------------------------------

void VirtioConsole::transmit(unsigned port) {
  Counters::Port& count = counters_.port[port];
  const unsigned queue = transmit_queue(port);
  std::uint64_t bytes = 0;
  unsigned chains = 0;
  for (;;) {
    if (pci_.peek(queue, chain_) != Virtqueue::Peek::kChain) break;
    if (bytes + chain_.readable_bytes > kTransmitBytes || chains == kTransmitChains) {
      defer();
      break;
    }
    if (ports_[port].output.size() + chain_.readable_bytes > options_.output_bytes) {
      ++count.back_pressure;
      break;  // take() continues
    }
    bytes += chain_.readable_bytes;
    ++chains;
    copy_output(port);
  }
  if (chains != 0) pci_.interrupt(queue);
  if (bytes != 0) wake_.store(true, std::memory_order_release);
}

void VirtioConsole::copy_output(unsigned port) {
  Counters::Port& count = counters_.port[port];
  std::vector<std::byte>& output = ports_[port].output;
  for (const Chain::Buffer& buffer : chain_.readable) output.insert(output.end(), buffer.host.begin(), buffer.host.end());
  count.output_bytes += chain_.readable_bytes;
  ++count.output_chains;
  if (chain_.readable_bytes == 0) ++count.empty_output_chains;
  if (chain_.writable_seen) ++count.odd_chains;
  pci_.queue(transmit_queue(port)).finish(chain_, 0);
}

// At most as many chains as a queue holds, whatever the driver adds meanwhile.
void VirtioConsole::drain_output(unsigned port, std::uint64_t limit) {
  for (unsigned chains = 0; chains < kQueueSize; ++chains) {
    if (pci_.peek(transmit_queue(port), chain_) != Virtqueue::Peek::kChain) return;
    if (ports_[port].output.size() + chain_.readable_bytes <= limit) {
      copy_output(port);
    } else {
      ++counters_.port[port].lost_at_reset_chains;
      pci_.queue(transmit_queue(port)).finish(chain_, 0);
    }
  }
}

// --- host to guest -----------------------------------------------------------------------------------------------------------

bool VirtioConsole::input_allowed(unsigned port) const {
  return ports_[port].guest_open && pci_.queue_ready(receive_queue(port)) && (port == 0 || multiport_);
}

void VirtioConsole::receive(unsigned port) {
  Port& state = ports_[port];
  Counters::Port& count = counters_.port[port];
  const unsigned queue = receive_queue(port);
  unsigned chains = 0;
  while (state.pending() != 0 && input_allowed(port)) {
    if (chains == kReceiveChains) {
      defer();
      break;
    }
    if (pci_.peek(queue, chain_) != Virtqueue::Peek::kChain) break;
    ++chains;
    const std::span<const std::byte> waiting = std::span(state.input).subspan(state.input_at);
    const std::size_t copied = pci_.queue(queue).fill(chain_, waiting);
    pci_.queue(queue).finish(chain_, static_cast<std::uint32_t>(copied));
    state.input_at += copied;
    count.input_bytes += copied;
    ++count.input_chains;
    if (copied == 0) ++count.torn_input_chains;
    if (!chain_.readable.empty()) ++count.odd_chains;
  }
  if (chains != 0) pci_.interrupt(queue);
  if (state.pending() == 0 && state.input_at != 0) {
    state.input.clear();
    state.input_at = 0;
    if (state.input.capacity() > kKeptCapacity) std::vector<std::byte>().swap(state.input);
  }
}

// --- control -----------------------------------------------------------------------------------------------------------------

void VirtioConsole::read_control() {
  unsigned chains = 0;
  for (; chains < kControlChains; ++chains) {
    if (pci_.peek(kControlTransmit, chain_) != Virtqueue::Peek::kChain) break;
    std::array<std::byte, kControlBytes> message{};
    std::size_t filled = 0;
    for (const Chain::Buffer& buffer : chain_.readable) {
      const std::size_t piece = std::min(buffer.host.size(), message.size() - filled);
      std::memcpy(message.data() + filled, buffer.host.data(), piece);
      filled += piece;
    }
    pci_.queue(kControlTransmit).finish(chain_, 0);
    if (filled == kControlBytes)
      handle_control(message);
    else
      ++counters_.short_control;
  }
  if (chains != 0) pci_.interrupt(kControlTransmit);
  if (chains == kControlChains) defer();
  flush_control();
}

void VirtioConsole::handle_control(std::span<const std::byte> message) {
  const auto id = static_cast<std::uint32_t>(load_le(message.first(4)));
  const auto event = static_cast<std::uint16_t>(load_le(message.subspan(4, 2)));
  const auto value = static_cast<std::uint16_t>(load_le(message.subspan(6, 2)));
  ++counters_.control_messages;
  if (event == kDeviceReady && value == 1) {  // its id means nothing
    if (std::exchange(device_ready_, true)) {
      ++counters_.repeated_control;
      return;
    }
    for (std::uint32_t port = 0; port < kPorts; ++port) control_.push_back({port, kPortAdd, 1, {}});
  } else if (event == kPortReady && id < kPorts) {
    port_ready(id, value);
  } else if (event == kPortOpen && id < kPorts) {
    port_open(id, value);
  } else {
    ++counters_.unknown_control;
  }
}

// The name goes before the open, so that a program that waits for the port to be usable finds its name in sysfs.
void VirtioConsole::port_ready(unsigned port, std::uint16_t value) {
  if (value == 0) {
    ++counters_.failed_ports;
  } else if (value != 1) {
    ++counters_.unknown_control;
  } else if (std::exchange(ports_[port].ready, true)) {
    ++counters_.repeated_control;
  } else {
    if (port == kConsolePort) control_.push_back({port, kConsole, 1, {}});
    control_.push_back({port, kPortName, 1, kPortNames[port]});
    control_.push_back({port, kPortOpen, 1, {}});
  }
}

void VirtioConsole::port_open(unsigned port, std::uint16_t value) {
  if (value > 1) {
    ++counters_.unknown_control;
    return;
  }
  (value == 1 ? counters_.port[port].opens : counters_.port[port].closes) += 1;
  if (port == kConsolePort) return;  // the kernel's own console writes to it without opening it
  if (std::exchange(ports_[port].guest_open, value == 1) == (value == 1)) return;
  wake_.store(true, std::memory_order_release);
  if (value == 1) receive(port);
}

// Messages that find no buffer stay, in order; the driver notifies the queue for each buffer that it adds.
void VirtioConsole::flush_control() {
  std::size_t sent = 0;
  bool used = false;
  for (unsigned chains = 0; sent < control_.size() && chains < kReceiveChains; ++chains) {
    if (!pci_.queue_ready(kControlReceive) || pci_.peek(kControlReceive, chain_) != Virtqueue::Peek::kChain) break;
    const ControlMessage& message = control_[sent];
    std::array<std::byte, kControlBytes + 32> bytes{};
    store_le(std::span(bytes).subspan(0, 4), message.port);
    store_le(std::span(bytes).subspan(4, 2), message.event);
    store_le(std::span(bytes).subspan(6, 2), message.value);
    const std::size_t length = kControlBytes + message.name.copy(reinterpret_cast<char*>(bytes.data() + kControlBytes), 32);
    const bool fits = chain_.writable_bytes >= length;
    if (fits) pci_.queue(kControlReceive).fill(chain_, std::span(bytes).first(length));
    pci_.queue(kControlReceive).finish(chain_, fits ? static_cast<std::uint32_t>(length) : 0);
    used = true;
    if (fits)
      ++sent;
    else
      ++counters_.short_control;
  }
  if (used) pci_.interrupt(kControlReceive);
  control_.erase(control_.begin(), control_.begin() + static_cast<std::ptrdiff_t>(sent));
}

// --- the host's side ---------------------------------------------------------------------------------------------------------

void VirtioConsole::defer() {
  ++counters_.deferred_calls;
  wake_.store(true, std::memory_order_release);
}

void VirtioConsole::continue_work() {
  if (multiport_ && pci_.queue_ready(kControlTransmit)) read_control();
  for (unsigned port = 0; port < kPorts; ++port) {
    if (port != 0 && !multiport_) continue;
    if (pci_.queue_ready(transmit_queue(port))) transmit(port);
    receive(port);
  }
}

std::size_t VirtioConsole::take(unsigned port, std::vector<std::byte>& out) {
  out.clear();
  if (port >= kPorts) return 0;
  if (out.capacity() > kKeptCapacity) std::vector<std::byte>().swap(out);  // freed here, not under the lock
  std::size_t taken = 0;
  pci_.locked([&] {
    ports_[port].output.swap(out);
    taken = out.size();
    continue_work();
  });
  return taken;
}

void VirtioConsole::service() {
  pci_.locked([&] { continue_work(); });
}

std::size_t VirtioConsole::final_drain(unsigned port, std::vector<std::byte>& out) {
  if (port >= kPorts) return 0;
  std::size_t taken = 0;
  pci_.locked([&] {
    if (port == kConsolePort ? ports_[port].guest_open : multiport_)  // set while the driver runs
      drain_output(port, options_.output_bytes + std::uint64_t{kQueueSize} * Virtqueue::kMaxChainBytes);
    taken = ports_[port].output.size();
    out.insert(out.end(), ports_[port].output.begin(), ports_[port].output.end());
    std::vector<std::byte>().swap(ports_[port].output);
  });
  return taken;
}

bool VirtioConsole::send(unsigned port, std::span<const std::byte> data) {
  if (port >= kPorts) return false;
  bool queued = false;
  pci_.locked([&] {
    Port& state = ports_[port];
    if (data.size() > options_.input_bytes || state.pending() > options_.input_bytes - data.size()) {
      ++counters_.port[port].refused_sends;
      return;
    }
    queued = true;
    if (state.input_at >= std::max<std::size_t>(state.pending(), 4096)) {
      state.input.erase(state.input.begin(), state.input.begin() + static_cast<std::ptrdiff_t>(state.input_at));
      state.input_at = 0;
    }
    state.input.insert(state.input.end(), data.begin(), data.end());
    receive(port);
  });
  return queued;
}

bool VirtioConsole::guest_open(unsigned port) {
  bool open = false;
  if (port < kPorts) pci_.locked([&] { open = ports_[port].guest_open; });
  return open;
}

std::size_t VirtioConsole::pending_input(unsigned port) {
  std::size_t bytes = 0;
  if (port < kPorts) pci_.locked([&] { bytes = ports_[port].pending(); });
  return bytes;
}

std::size_t VirtioConsole::pending_output(unsigned port) {
  std::size_t bytes = 0;
  if (port < kPorts) pci_.locked([&] { bytes = ports_[port].output.size(); });
  return bytes;
}

VirtioConsole::Counters VirtioConsole::counters() {
  Counters copy;
  pci_.locked([&] { copy = counters_; });
  return copy;
}

std::size_t VirtioConsole::save(std::span<std::byte> out) const noexcept {
  if (out.size() < sizeof(State)) return 0;
  State state;
  for (unsigned port = 0; port < kPorts; ++port) {
    state.port[port].pending_output = ports_[port].output.size();
    state.port[port].pending_input = ports_[port].pending();
    state.port[port].ready = ports_[port].ready;
    state.port[port].guest_open = ports_[port].guest_open;
  }
  state.pending_control = static_cast<std::uint32_t>(control_.size());
  state.multiport = multiport_;
  state.device_ready = device_ready_;
  std::array<std::byte, sizeof(VirtioPci::State)> pci;
  pci_.save(pci);
  std::memcpy(&state.pci, pci.data(), pci.size());
  std::memcpy(out.data(), &state, sizeof state);
  return sizeof state;
}

}  // namespace floe::vmm
