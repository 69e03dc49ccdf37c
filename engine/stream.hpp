// Streams: sources that complete again and again for one submission (multishot), without a system call per item.
//
//   auto opened = byte_stream::open(fd);
//   for (;;) {
//     const auto piece = co_await opened->next();
//     if (!piece) co_return piece.failure();
//     if (piece->at_end()) break;
//     parse(piece->bytes());
//   }                                               // the buffer goes back to the kernel when `piece` ends
//
// A byte_stream owns a ring of buffers that the kernel fills as bytes come. Its consumer holds the source back by not giving buffers back:
// no byte is lost or copied, and memory is bounded by the ring. Where the kernel has no multishot read (before 6.7), or the file cannot be
// polled, each buffer costs one submission instead. One task waits at a time. All of it on the loop's thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/result.hpp"
#include "engine/file_ref.hpp"
#include "engine/outcome.hpp"
#include "engine/stream_base.hpp"

namespace floe::engine {

class chunk;

namespace detail {
class byte_stream_state;
class poll_stream_state;
bool wait_in(byte_stream_state& state, promise_base& task);
bool wait_in(poll_stream_state& state, promise_base& task);
void take_from(byte_stream_state& state, outcome<chunk>& into);
void take_from(poll_stream_state& state, outcome<int>& into);

template <class State, class T>
class stream_awaiter {
 public:
  explicit stream_awaiter(State& state) : state_(&state) {}
  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> task) {
    return wait_in(*state_, task.promise());
  }
  outcome<T> await_resume() {
    outcome<T> taken = cancelled;
    take_from(*state_, taken);
    return taken;
  }

 private:
  State* state_;
};
}  // namespace detail

// Bytes in one of the stream's buffers. Move-only; destroying it gives the buffer back to the kernel. May outlive the stream.
class chunk {
 public:
  chunk() = default;
  chunk(detail::byte_stream_state* state, std::uint16_t buffer, std::span<const std::byte> bytes)
      : state_(state), buffer_(buffer), bytes_(bytes) {}
  chunk(chunk&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), buffer_(other.buffer_), bytes_(std::exchange(other.bytes_, {})) {}
  chunk& operator=(chunk&& other) noexcept {
    std::swap(state_, other.state_);
    std::swap(buffer_, other.buffer_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~chunk();

  std::span<const std::byte> bytes() const { return bytes_; }
  bool at_end() const { return bytes_.empty(); }

 private:
  detail::byte_stream_state* state_ = nullptr;
  std::uint16_t buffer_ = 0;
  std::span<const std::byte> bytes_;
};

struct byte_stream_options {
  std::uint16_t buffers = 16;  // a power of two, at most 32768
  std::uint32_t buffer_bytes = 4096;
  bool socket = false;  // recv instead of read
};

class byte_stream {
 public:
  // On the loop's thread. The file stays the caller's and must stay open until the stream is gone.
  static Result<byte_stream> open(file_ref file, byte_stream_options options = {});
  byte_stream(byte_stream&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  byte_stream& operator=(byte_stream&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~byte_stream();

  // The next bytes; an empty chunk at the end of the file, and from then on.
  detail::stream_awaiter<detail::byte_stream_state, chunk> next() {
    return detail::stream_awaiter<detail::byte_stream_state, chunk>(*state_);
  }
  bool multishot() const;  // false: fell back to one submission per buffer
  std::uint64_t submissions() const;

 private:
  explicit byte_stream(detail::byte_stream_state* state) : state_(state) {}
  detail::byte_stream_state* state_;
};

// Readiness, edge-triggered: next() gives every event seen since the last call. Drain the descriptor after each.
class poll_stream {
 public:
  static poll_stream open(file_ref file, unsigned mask);
  poll_stream(poll_stream&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  poll_stream& operator=(poll_stream&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~poll_stream();

  detail::stream_awaiter<detail::poll_stream_state, int> next() { return detail::stream_awaiter<detail::poll_stream_state, int>(*state_); }
  std::uint64_t submissions() const;

 private:
  explicit poll_stream(detail::poll_stream_state* state) : state_(state) {}
  detail::poll_stream_state* state_;
};

}  // namespace floe::engine
