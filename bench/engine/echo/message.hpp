// A message says which trip it is on, and the rest is a pattern: what comes back is compared with what went out, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace floe::bench {

class Message {
 public:
  explicit Message(std::size_t bytes) : out_(bytes), in_(bytes) {
    for (std::size_t index = 0; index < bytes; ++index) out_[index] = static_cast<std::byte>(index * 7 + 3);
  }

  // The next message to send.
  const std::byte* prepare(std::uint64_t trip) {
    std::memcpy(out_.data(), &trip, sizeof trip);
    received_ = 0;
    return out_.data();
  }
  // Where the rest of the answer goes, for those that bring no buffers of their own.
  std::byte* rest() { return in_.data() + received_; }
  std::size_t missing() const { return in_.size() - received_; }
  // A part of the answer that lies in rest() already.
  void arrived(std::size_t bytes) { received_ += bytes; }
  // A part that lies elsewhere. Most often it is all of it, and is compared where it lies.
  bool take(const std::byte* part, std::size_t bytes) {
    if (bytes > missing()) return false;
    const bool same = std::memcmp(part, out_.data() + received_, bytes) == 0;
    received_ += bytes;
    return same;
  }
  bool complete() const { return received_ == in_.size(); }
  bool correct() const { return std::memcmp(in_.data(), out_.data(), out_.size()) == 0; }
  std::size_t size() const { return out_.size(); }

 private:
  std::vector<std::byte> out_, in_;
  std::size_t received_ = 0;
};

}  // namespace floe::bench
