#include "engine/ops.hpp"

#include <fcntl.h>
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

// The rare cases: the context is stopped, the queue is full, or faults are injected (which may stop the context now).
bool operation::start_with_care(promise_base& task, const request& what) {
  loop& owner = task.ctx->owner();
  if (owner.faults_armed() && owner.inject_fault(result_)) return false;
  if (task.ctx->stop_requested() && what.op() != opcode::close) {
    result_ = -ECANCELED;
    stopped_ = 1;
    return false;
  }
  result_ = kInFlight;
  task.waits_for.set(*this);
  owner.submit(what, &task, tag::operation);
  return true;
}

void operation::stop(promise_base& task) {
  task.waits_for.known_in_flight()->stopped_ = 1;
  task.ctx->owner().submit_cancel(&task, tag::operation);
}

failure_t operation::explain(const request& what) const {
  const int error = -result_;
  // Work that had already begun in a kernel thread is interrupted, not cancelled.
  if (stopped_ && (error == ECANCELED || error == EINTR)) return failure_t(cancelled);
  const opcode op = what.op();
  std::string text(verb_of(op));
  if (op == opcode::openat || op == opcode::renameat) {
    text.append(" ").append(reinterpret_cast<const char*>(what.address));
  } else if (what.file().number() >= 0) {
    text.append(" ").append(what.file().name());
  }
  text.append(": ").append(std::generic_category().message(error));
  return failure_t(Error(error, std::move(text)));
}

}  // namespace detail

task<void> write_all(file_ref file, std::span<const std::byte> from, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < from.size()) {
    const auto rest = from.subspan(done);
    const std::uint64_t at = offset == kCurrentPosition ? offset : offset + done;
    const auto put = co_await write(file, rest, at);
    if (!put) co_return put.failure();
    if (*put == 0) co_return fail(Error(EIO, "write " + file.name() + ": the file takes no more bytes"));
    done += *put;
  }
  co_return ok;
}

task<std::size_t> read_full(file_ref file, std::span<std::byte> into, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto rest = into.subspan(done);
    const std::uint64_t at = offset == kCurrentPosition ? offset : offset + done;
    const auto got = co_await read(file, rest, at);
    if (!got) co_return got.failure();
    if (*got == 0) break;
    done += *got;
  }
  co_return done;
}

}  // namespace floe::engine
