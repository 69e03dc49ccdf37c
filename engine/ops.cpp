#include "engine/ops.hpp"

#include <fcntl.h>
#include <liburing.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "engine/loop.hpp"

namespace floe::engine {
namespace detail {

bool operation::start(promise_base& task) {
  loop& owner = task.ctx->owner();
  if (stoppable_ && task.ctx->stop_requested()) {
    result_ = -ECANCELED;
    stopped_ = true;
    return false;
  }
  if (owner.injected_failure(result_)) [[unlikely]]
    return false;
  owner.note_suspension();
  waiter_ = &task;
  owner.submit(request_, this, tag::operation);
  // The suspension just noted may have stopped the context, by fault injection.
  if (!stoppable_) return true;
  if (task.ctx->stop_requested()) [[unlikely]] {
    on_stop(*this);
  } else {
    task.ctx->add(*this);
  }
  return true;
}

void operation::on_stop(stop_hook& hook) {
  auto& self = static_cast<operation&>(hook);
  self.stopped_ = true;
  self.waiter_->ctx->owner().submit_cancel(&self, tag::operation);
}

failure_t operation::explain() const {
  const int error = -result_;
  // Work that had already begun in a kernel thread is interrupted, not cancelled.
  if (stopped_ && (error == ECANCELED || error == EINTR)) return failure_t(cancelled);
  std::string text(verb_);
  if (path_ != nullptr) {
    text.append(" ").append(path_);
  } else if (request_.fd >= 0) {
    text.append(" fd ").append(std::to_string(request_.fd));
  }
  text.append(": ").append(std::generic_category().message(error));
  return failure_t(Error(error, std::move(text)));
}

request make_request(std::uint8_t opcode, int fd, const void* address, std::size_t length, std::uint64_t offset, std::uint32_t op_flags) {
  request what;
  what.opcode = opcode;
  what.fd = fd;
  what.address = address_of(address);
  // The kernel's length is 32 bits, and it moves at most 2 GiB at once anyway: longer ones are partial.
  what.length = static_cast<std::uint32_t>(length < 0x7ffff000 ? length : 0x7ffff000);
  what.offset = offset;
  what.op_flags = op_flags;
  return what;
}

}  // namespace detail

using detail::make_request;

transfer read(int fd, std::span<std::byte> into, std::uint64_t offset) {
  return transfer("read", make_request(IORING_OP_READ, fd, into.data(), into.size(), offset, 0));
}
transfer write(int fd, std::span<const std::byte> from, std::uint64_t offset) {
  return transfer("write", make_request(IORING_OP_WRITE, fd, from.data(), from.size(), offset, 0));
}
transfer readv(int fd, std::span<const iovec> into, std::uint64_t offset) {
  return transfer("readv", make_request(IORING_OP_READV, fd, into.data(), into.size(), offset, 0));
}
transfer writev(int fd, std::span<const iovec> from, std::uint64_t offset) {
  return transfer("writev", make_request(IORING_OP_WRITEV, fd, from.data(), from.size(), offset, 0));
}
transfer recv(int fd, std::span<std::byte> into, int flags) {
  return transfer("recv", make_request(IORING_OP_RECV, fd, into.data(), into.size(), 0, static_cast<std::uint32_t>(flags)));
}
transfer send(int fd, std::span<const std::byte> from, int flags) {
  return transfer("send", make_request(IORING_OP_SEND, fd, from.data(), from.size(), 0, static_cast<std::uint32_t>(flags)));
}

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
  return {"fsync", make_request(IORING_OP_FSYNC, fd, nullptr, 0, 0, 0)};
}
detail::typed_operation<void> fdatasync(int fd) {
  return {"fdatasync", make_request(IORING_OP_FSYNC, fd, nullptr, 0, 0, IORING_FSYNC_DATASYNC)};
}
detail::typed_operation<UniqueFd> openat(int directory, const char* path, int flags, mode_t mode) {
  return {"open", make_request(IORING_OP_OPENAT, directory, path, mode, 0, static_cast<std::uint32_t>(flags | O_CLOEXEC)), path};
}
detail::typed_operation<void> close(UniqueFd fd) {
  return {"close", make_request(IORING_OP_CLOSE, fd.release(), nullptr, 0, 0, 0), nullptr, false};
}
detail::typed_operation<void> renameat(int old_directory, const char* old_path, int new_directory, const char* new_path) {
  // struct io_uring_sqe: fd and addr are the old name, len (as a descriptor) and addr2 (= off) the new one.
  auto what = make_request(IORING_OP_RENAMEAT, old_directory, old_path, 0, detail::address_of(new_path), 0);
  what.length = static_cast<std::uint32_t>(new_directory);
  return {"rename", what, old_path};
}
detail::typed_operation<int> poll(int fd, unsigned mask) {
  return {"poll", make_request(IORING_OP_POLL_ADD, fd, nullptr, 0, 0, mask)};
}
detail::typed_operation<UniqueFd> accept(int fd, int flags) {
  return {"accept", make_request(IORING_OP_ACCEPT, fd, nullptr, 0, 0, static_cast<std::uint32_t>(flags))};
}
detail::typed_operation<void> connect(int fd, const sockaddr* address, socklen_t length) {
  return {"connect", make_request(IORING_OP_CONNECT, fd, address, 0, length, 0)};  // addr2 (= off) is the length
}
detail::typed_operation<void> nop() {
  return {"nop", make_request(IORING_OP_NOP, -1, nullptr, 0, 0, 0)};
}

}  // namespace floe::engine
