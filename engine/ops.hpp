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

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/fd.hpp"
#include "engine/context.hpp"
#include "engine/loop.hpp"
#include "engine/outcome.hpp"
#include "engine/request.hpp"
#include "engine/task.hpp"

namespace floe::engine {

// "at the current position", for files that have one and for those that have none (pipes, sockets, terminals).
inline constexpr std::uint64_t kCurrentPosition = ~std::uint64_t{0};

namespace detail {

class operation : private stop_hook {
 public:
  explicit operation(const request& what) : stop_hook(&operation::on_stop), request_(what) {}
  ~operation() {
    if (waiter_ != nullptr) [[unlikely]]
      broken("an operation was destroyed while the kernel works on it", waiter_->name);
  }

  bool await_ready() const noexcept { return false; }
  template <class P>
  bool await_suspend(std::coroutine_handle<P> task) {
    promise_base& waiter = task.promise();
    context& ctx = *waiter.ctx;
    loop& owner = ctx.owner();
    if (ctx.stop_requested() || owner.faults_armed()) [[unlikely]] {
      if (!may_start(waiter)) return false;
    }
    waiter_ = &waiter;
    waiter.waiting = this;
    owner.submit(request_, this, tag::operation);
    return true;
  }

  // The loop's side: stores what the kernel said, hands back whom to resume.
  promise_base& complete(int result) {
    result_ = result;
    promise_base& waiter = *waiter_;
    waiter_ = nullptr;
    waiter.waiting = nullptr;
    return waiter;
  }

 protected:
  bool ended_well() const { return result_ >= 0; }
  failure_t explain() const;

  int result_ = 0;

 private:
  bool may_start(promise_base& task);
  static void on_stop(stop_hook& hook);

  bool stopped_ = false;
  promise_base* waiter_ = nullptr;
  request request_;
};

template <class T>
class [[nodiscard]] typed_operation : public operation {
 public:
  explicit typed_operation(const request& what) : operation(what) {}
  outcome<T> await_resume() {
    if (!ended_well()) [[unlikely]]
      return explain();
    if constexpr (std::is_void_v<T>) {
      return ok;
    } else {
      return T(result_);
    }
  }
};

}  // namespace detail

using transfer = detail::typed_operation<std::size_t>;

// Bytes moved; 0 from read and recv is the end of the file. May be fewer than asked for.
inline transfer read(int fd, std::span<std::byte> into, std::uint64_t offset = kCurrentPosition) {
  return transfer(detail::request(detail::opcode::read, fd, into.data(), into.size(), offset, 0));
}
inline transfer write(int fd, std::span<const std::byte> from, std::uint64_t offset = kCurrentPosition) {
  return transfer(detail::request(detail::opcode::write, fd, from.data(), from.size(), offset, 0));
}
inline transfer readv(int fd, std::span<const iovec> into, std::uint64_t offset = kCurrentPosition) {
  return transfer(detail::request(detail::opcode::readv, fd, into.data(), into.size(), offset, 0));
}
inline transfer writev(int fd, std::span<const iovec> from, std::uint64_t offset = kCurrentPosition) {
  return transfer(detail::request(detail::opcode::writev, fd, from.data(), from.size(), offset, 0));
}
inline transfer recv(int fd, std::span<std::byte> into, int flags = 0) {
  return transfer(detail::request(detail::opcode::recv, fd, into.data(), into.size(), 0, static_cast<std::uint32_t>(flags)));
}
inline transfer send(int fd, std::span<const std::byte> from, int flags = MSG_NOSIGNAL) {
  return transfer(detail::request(detail::opcode::send, fd, from.data(), from.size(), 0, static_cast<std::uint32_t>(flags)));
}

// Writes all of it, however often the kernel takes only a part. At an offset, or at the current position.
task<void> write_all(int fd, std::span<const std::byte> from, std::uint64_t offset = kCurrentPosition);
// Reads until `into` is full or the file ends; gives the bytes read.
task<std::size_t> read_full(int fd, std::span<std::byte> into, std::uint64_t offset = kCurrentPosition);

detail::typed_operation<void> fsync(int fd);
detail::typed_operation<void> fdatasync(int fd);
detail::typed_operation<UniqueFd> openat(int directory, const char* path, int flags, mode_t mode = 0);
// Closes even in a stopped context. The descriptor is gone whatever the outcome.
detail::typed_operation<void> close(UniqueFd fd);
detail::typed_operation<void> renameat(int old_directory, const char* old_path, int new_directory, const char* new_path);

// Waits until one of the events in `mask` (POLLIN, ...) holds; gives those that do.
inline detail::typed_operation<int> poll(int fd, unsigned mask) {
  return detail::typed_operation<int>(detail::request(detail::opcode::poll_add, fd, nullptr, 0, 0, mask));
}
detail::typed_operation<UniqueFd> accept(int fd, int flags = SOCK_CLOEXEC);
detail::typed_operation<void> connect(int fd, const sockaddr* address, socklen_t length);
inline detail::typed_operation<void> nop() {
  return detail::typed_operation<void>(detail::request(detail::opcode::nop, -1, nullptr, 0, 0, 0));
}

}  // namespace floe::engine
