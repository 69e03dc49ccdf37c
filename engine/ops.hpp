// Operations of the ring, awaited one at a time. Each gives an outcome and suspends only the task that awaits it.
//
//   const auto got = co_await read(fd, buffer, 0);
//
// The state of an operation lies in the awaiting coroutine's frame, so nothing is allocated. Buffers, paths and addresses must stay
// valid until the operation has ended, which they do when they are locals or parameters of the awaiting task.
//
// When the task's context is stopped, the kernel is asked to cancel the operation, and the await ends only with the operation's own
// completion: nothing is written to a buffer afterwards. A completion that was faster keeps its value. In a context that is already
// stopped no operation starts, except close(); wrap clean-up in shielded() (scope.hpp).
//
// Errors carry the errno, the operation and the descriptor or path. Descriptors with O_NONBLOCK give EAGAIN instead of waiting (use
// poll first); blocking ones never block the loop.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "base/fd.hpp"
#include "engine/context.hpp"
#include "engine/file_ref.hpp"
#include "engine/loop.hpp"
#include "engine/outcome.hpp"
#include "engine/request.hpp"
#include "engine/task.hpp"

namespace floe::engine {

// "at the current position", for files that have one and for those that have none (pipes, sockets, terminals).
inline constexpr std::uint64_t kCurrentPosition = ~std::uint64_t{0};

namespace detail {

class operation {
 public:
  operation() = default;
  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;
  ~operation() {
    if (result_ == kInFlight) [[unlikely]]
      broken("an operation was destroyed while the kernel works on it");
  }
  bool await_ready() const noexcept { return false; }

  // The loop's side: the task may go on, with what the kernel said.
  static void complete(promise_base& task, int result) {
    operation& ended = *task.waits_for.known_in_flight();
    task.waits_for.clear();
    ended.result_ = result;
  }
  // Asks the kernel to cancel the operation that the task waits for.
  static void stop(promise_base& task);

 protected:
  // Inlined into the awaiting coroutine up to the store of the submission entry: this, and the resume straight from the completion, are
  // what keeps an awaited operation within a few ns of the bare ring.
  template <class What>
  bool start(promise_base& task, const What& what) {
    context& ctx = *task.ctx;
    loop& owner = loop::of_running_task();
    if (ctx.stop_requested() || owner.entry_needs_care()) [[unlikely]]
      return start_with_care(task, what.to_request());
    result_ = kInFlight;
    task.waits_for.set(*this);
    what.to_request().write(owner.take_entry(), address_of(&task) | static_cast<std::uint64_t>(tag::operation));
    return true;
  }
  bool ended_well() const { return result_ >= 0; }
  [[gnu::cold]] failure_t explain(const request& what) const;

  std::int32_t result_ = 0;

 private:
  static constexpr std::int32_t kInFlight = std::numeric_limits<std::int32_t>::min();  // no errno is that big

  [[gnu::cold]] bool start_with_care(promise_base& task, const request& what);

  std::int32_t stopped_ = 0;
};

// What an operation has to remember until it is submitted, and for its error message.
struct no_operands {
  static constexpr opcode kOp = opcode::nop;
  request to_request() const { return request(opcode::nop, -1, nullptr, 0, 0, 0); }
};

template <opcode Op>
struct transfer_operands {
  static constexpr opcode kOp = Op;
  transfer_operands(file_ref which, const void* memory, std::size_t bytes, std::uint64_t at, int op_flags)
      : file(which), flags(op_flags), address(memory), length(bytes), offset(at) {}
  request to_request() const { return request(Op, file, address, length, offset, static_cast<std::uint32_t>(flags)); }
  file_ref file;
  int flags;
  const void* address;
  std::size_t length;
  std::uint64_t offset;
};

template <class Operands, class T>
class [[nodiscard]] typed_operation : public operation {
 public:
  template <class... Values>
  explicit typed_operation(const Values&... values) : operands_(values...) {}
  template <class P>
  bool await_suspend(std::coroutine_handle<P> task) {
    return start(task.promise(), operands_);
  }
  outcome<T> await_resume() {
    if (!ended_well()) [[unlikely]]
      return explain(operands_.to_request());
    if constexpr (std::is_void_v<T>) {
      return ok;
    } else {
      return T(result_);
    }
  }

 private:
  Operands operands_;
};

template <opcode Op, class T>
using transfer = typed_operation<transfer_operands<Op>, T>;

}  // namespace detail

// Bytes moved; 0 from read and recv is the end of the file. May be fewer than asked for.
inline auto read(file_ref file, std::span<std::byte> into, std::uint64_t offset = kCurrentPosition) {
  return detail::transfer<detail::opcode::read, std::size_t>(file, into.data(), into.size(), offset, 0);
}
inline auto write(file_ref file, std::span<const std::byte> from, std::uint64_t offset = kCurrentPosition) {
  return detail::transfer<detail::opcode::write, std::size_t>(file, from.data(), from.size(), offset, 0);
}
inline auto readv(file_ref file, std::span<const iovec> into, std::uint64_t offset = kCurrentPosition) {
  return detail::transfer<detail::opcode::readv, std::size_t>(file, into.data(), into.size(), offset, 0);
}
inline auto writev(file_ref file, std::span<const iovec> from, std::uint64_t offset = kCurrentPosition) {
  return detail::transfer<detail::opcode::writev, std::size_t>(file, from.data(), from.size(), offset, 0);
}
inline auto recv(file_ref file, std::span<std::byte> into, int flags = 0) {
  return detail::transfer<detail::opcode::recv, std::size_t>(file, into.data(), into.size(), std::uint64_t{0}, flags);
}
inline auto send(file_ref file, std::span<const std::byte> from, int flags = MSG_NOSIGNAL) {
  return detail::transfer<detail::opcode::send, std::size_t>(file, from.data(), from.size(), std::uint64_t{0}, flags);
}

// Writes all of it, however often the kernel takes only a part. At an offset, or at the current position.
task<void> write_all(file_ref file, std::span<const std::byte> from, std::uint64_t offset = kCurrentPosition);
// Reads until `into` is full or the file ends; gives the bytes read.
task<std::size_t> read_full(file_ref file, std::span<std::byte> into, std::uint64_t offset = kCurrentPosition);

inline auto fsync(file_ref file) {
  return detail::transfer<detail::opcode::fsync, void>(file, nullptr, std::size_t{0}, std::uint64_t{0}, 0);
}
// The data and what is needed to read it back, not the times.
inline auto fdatasync(file_ref file) {
  constexpr int kDataOnly = 1;  // IORING_FSYNC_DATASYNC
  return detail::transfer<detail::opcode::fsync, void>(file, nullptr, std::size_t{0}, std::uint64_t{0}, kDataOnly);
}
// The descriptor closes on exec.
inline auto openat(int directory, const char* path, int flags, mode_t mode = 0) {
  return detail::transfer<detail::opcode::openat, UniqueFd>(directory, path, std::size_t{mode}, std::uint64_t{0}, flags | O_CLOEXEC);
}
// Closes even in a stopped context. The descriptor is gone whatever the outcome.
inline auto close(UniqueFd fd) {
  return detail::transfer<detail::opcode::close, void>(fd.release(), nullptr, std::size_t{0}, std::uint64_t{0}, 0);
}
inline auto renameat(int old_directory, const char* old_path, int new_directory, const char* new_path) {
  // struct io_uring_sqe: fd and addr are the old name, len (a descriptor, AT_FDCWD is negative) and addr2 (= off) the new one.
  return detail::transfer<detail::opcode::renameat, void>(old_directory, old_path, std::size_t{static_cast<std::uint32_t>(new_directory)},
                                                          detail::address_of(new_path), 0);
}

// Waits until one of the events in `mask` (POLLIN, ...) holds; gives those that do.
inline auto poll(file_ref file, unsigned mask) {
  return detail::transfer<detail::opcode::poll_add, int>(file, nullptr, std::size_t{0}, std::uint64_t{0}, static_cast<int>(mask));
}
inline auto accept(file_ref file, int flags = SOCK_CLOEXEC) {
  return detail::transfer<detail::opcode::accept, UniqueFd>(file, nullptr, std::size_t{0}, std::uint64_t{0}, flags);
}
inline auto connect(file_ref file, const sockaddr* address, socklen_t length) {
  return detail::transfer<detail::opcode::connect, void>(file, address, std::size_t{0}, std::uint64_t{length}, 0);  // addr2 (= off)
}
inline auto nop() {
  return detail::typed_operation<detail::no_operands, void>();
}

}  // namespace floe::engine
