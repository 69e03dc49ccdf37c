#include "engine/ops.hpp"

#include <fcntl.h>
#include <liburing.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "engine/loop.hpp"

namespace floe::engine {
namespace detail {

namespace {

const char* verb_of(opcode op) {
  switch (op) {
    case opcode::nop:
      return "nop";
    case opcode::readv:
      return "readv";
    case opcode::writev:
      return "writev";
    case opcode::fsync:
      return "fsync";
    case opcode::poll_add:
      return "poll";
    case opcode::accept:
      return "accept";
    case opcode::async_cancel:
      return "cancel";
    case opcode::connect:
      return "connect";
    case opcode::openat:
      return "open";
    case opcode::close:
      return "close";
    case opcode::read:
    case opcode::read_multishot:
      return "read";
    case opcode::write:
      return "write";
    case opcode::send:
      return "send";
    case opcode::recv:
      return "recv";
    case opcode::renameat:
      return "rename";
  }
  return "operation";
}

}  // namespace

// The rare cases: the context is stopped, or faults are injected (which may stop it now).
bool operation::may_start(promise_base& task) {
  loop& owner = task.ctx->owner();
  if (owner.faults_armed() && owner.inject_fault(result_)) return false;
  if (!task.ctx->stop_requested() || request_.op() == opcode::close) return true;
  result_ = -ECANCELED;
  stopped_ = true;
  return false;
}

void operation::on_stop(stop_hook& hook) {
  auto& self = static_cast<operation&>(hook);
  if (self.request_.op() == opcode::close) return;  // a descriptor that stays open is not what a stop is for
  self.stopped_ = true;
  self.waiter_->ctx->owner().submit_cancel(&self, tag::operation);
}

failure_t operation::explain() const {
  const int error = -result_;
  // Work that had already begun in a kernel thread is interrupted, not cancelled.
  if (stopped_ && (error == ECANCELED || error == EINTR)) return failure_t(cancelled);
  const opcode op = request_.op();
  std::string text(verb_of(op));
  if (op == opcode::openat || op == opcode::renameat) {
    text.append(" ").append(reinterpret_cast<const char*>(request_.address));
  } else if (request_.fd() >= 0) {
    text.append(" fd ").append(std::to_string(request_.fd()));
  }
  text.append(": ").append(std::generic_category().message(error));
  return failure_t(Error(error, std::move(text)));
}

}  // namespace detail

using detail::opcode;

task<void> write_all(int fd, std::span<const std::byte> from, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < from.size()) {
    const auto rest = from.subspan(done);
    const std::uint64_t at = offset == kCurrentPosition ? offset : offset + done;
    const auto put = co_await write(fd, rest, at);
    if (!put) co_return put.failure();
    if (*put == 0) co_return fail(Error(EIO, "write fd " + std::to_string(fd) + ": the file takes no more bytes"));
    done += *put;
  }
  co_return ok;
}

task<std::size_t> read_full(int fd, std::span<std::byte> into, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto rest = into.subspan(done);
    const std::uint64_t at = offset == kCurrentPosition ? offset : offset + done;
    const auto got = co_await read(fd, rest, at);
    if (!got) co_return got.failure();
    if (*got == 0) break;
    done += *got;
  }
  co_return done;
}

detail::typed_operation<void> fsync(int fd) {
  return detail::typed_operation<void>(detail::request(opcode::fsync, fd, nullptr, 0, 0, 0));
}

detail::typed_operation<void> fdatasync(int fd) {
  return detail::typed_operation<void>(detail::request(opcode::fsync, fd, nullptr, 0, 0, IORING_FSYNC_DATASYNC));
}

detail::typed_operation<UniqueFd> openat(int directory, const char* path, int flags, mode_t mode) {
  const auto all = static_cast<std::uint32_t>(flags | O_CLOEXEC);
  return detail::typed_operation<UniqueFd>(detail::request(opcode::openat, directory, path, mode, 0, all));
}

detail::typed_operation<void> close(UniqueFd fd) {
  return detail::typed_operation<void>(detail::request(opcode::close, fd.release(), nullptr, 0, 0, 0));
}

detail::typed_operation<void> renameat(int old_directory, const char* old_path, int new_directory, const char* new_path) {
  // struct io_uring_sqe: fd and addr are the old name, len (as a descriptor, AT_FDCWD is negative) and addr2 (= off) the new one.
  detail::request what(opcode::renameat, old_directory, old_path, 0, detail::address_of(new_path), 0);
  what.length_and_flags = static_cast<std::uint32_t>(new_directory);
  return detail::typed_operation<void>(what);
}

detail::typed_operation<UniqueFd> accept(int fd, int flags) {
  return detail::typed_operation<UniqueFd>(detail::request(opcode::accept, fd, nullptr, 0, 0, static_cast<std::uint32_t>(flags)));
}

detail::typed_operation<void> connect(int fd, const sockaddr* address, socklen_t length) {
  return detail::typed_operation<void>(detail::request(opcode::connect, fd, address, 0, length, 0));  // addr2 (= off) is the length
}

}  // namespace floe::engine
