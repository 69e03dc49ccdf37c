// Init's end of the wire: the virtio-console port named "floe-tlv".
//
// The kernel lets a port be opened once (a second open is EBUSY), so one descriptor serves both directions, non-blocking. What is
// said goes into a buffer and from there to the port as it takes it, a partial write resuming at its exact byte: nothing is
// dropped. Who produces much asks full() first and stops reading its source: that is the back-pressure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "vmm/wire.hpp"

namespace floe::vmm::guest {

class Port {
 public:
  static constexpr const char* kName = "floe-tlv";
  // The driver takes 32 KiB in one write: with its header, a chunk of this size is one buffer on the queue.
  static constexpr std::size_t kChunk = (32U << 10) - wire::kHeaderBytes;

  Port() = default;
  // A non-blocking stream; `path` is for reopen().
  explicit Port(UniqueFd opened, std::string path = {}) : fd_(std::move(opened)), path_(std::move(path)) {}

  // Waits until the port is there, looking every 5 ms, 10 s at most.
  Result<> open();
  // Closes it and opens it again, without waiting. What was not sent yet is kept; what the host had sent and was not read is lost.
  Result<> reopen();
  void close() { fd_.reset(); }

  void send(std::uint32_t type, std::span<const std::byte> payload);
  template <class Message>
  void send_message(std::uint32_t type, const Message& message) {
    std::vector<std::byte> payload;
    wire::encode(message, payload);
    send(type, payload);
  }

  std::size_t pending() const { return out_.size() - written_; }
  bool full() const { return pending() >= kFull; }

  // For poll(2): the descriptor, or -1 while the host's end is closed (which poll would report without end); then look again
  // after a pause.
  int poll_fd() const { return away_ ? -1 : fd_.get(); }
  bool away() const { return away_; }
  void look_again() { away_ = false; }

  // Writes what the port takes now. `progress` bytes went out.
  std::size_t flush();
  // Reads what is there; then frames come out of next().
  void receive();
  std::optional<wire::Frame> next() { return decoder_.next(); }

 private:
  static constexpr std::size_t kFull = 256U << 10;
  static constexpr std::size_t kMaxIncoming = 1U << 20;  // payload: an answer with kernel memory

  UniqueFd fd_;
  std::string path_;  // of the device
  bool away_ = false;
  wire::Encoder encoder_;
  wire::Decoder decoder_{kMaxIncoming};
  std::vector<std::byte> out_;
  std::size_t written_ = 0;
};

}  // namespace floe::vmm::guest
