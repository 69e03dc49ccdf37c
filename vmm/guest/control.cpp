#include "vmm/guest/control.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "vmm/guest/console.hpp"
#include "vmm/guest/small_files.hpp"

namespace floe::vmm::guest {
namespace {

void put(wire::ControlReply&, const Result<>&) {}
void put(wire::ControlReply& reply, Result<std::uint32_t>& pid) {
  reply.pid = *pid;
}
void put(wire::ControlReply& reply, Result<std::vector<std::byte>>& data) {
  reply.data = std::move(*data);
}

template <class T>
wire::ControlReply reply_of(std::uint32_t id, Result<T> result) {
  wire::ControlReply reply;
  reply.id = id;
  if (result) {
    put(reply, result);
  } else {
    reply.error = result.error().code != 0 ? result.error().code : EINVAL;
    reply.reason = std::move(result.error().message);
  }
  return reply;
}

}  // namespace

void Control::answer(wire::ControlReply reply) {
  port_.send(wire::kControlReply, wire::encode(reply));
}

void Control::handle(std::span<const std::byte> payload) {
  const auto request = wire::decode_control_request(payload);
  if (!request) return say(4, "a request of the host that makes no sense");  // its id makes none either
  const std::uint32_t id = request->id;
  const wire::ControlAction& action = request->action;
  if (const auto* start = std::get_if<wire::StartProcess>(&action)) answer(reply_of(id, processes_.start(*start, environment_)));
  if (const auto* signal = std::get_if<wire::SignalProcess>(&action)) answer(reply_of(id, processes_.signal(*signal)));
  if (const auto* folder = std::get_if<wire::MakeFolder>(&action)) answer(reply_of(id, make_folder(*folder)));
  if (const auto* folder = std::get_if<wire::RemoveFolder>(&action)) answer(reply_of(id, remove_folder(*folder)));
  if (const auto* file = std::get_if<wire::WriteFile>(&action)) answer(reply_of(id, write_file(*file)));
  if (const auto* file = std::get_if<wire::ReadFile>(&action)) answer(reply_of(id, read_file(*file)));
  if (const auto* file = std::get_if<wire::AwaitFile>(&action)) await(id, *file);
}

void Control::await(std::uint32_t id, const wire::AwaitFile& file) {
  Awaited awaited{id, file, now_ms() + file.timeout_ms};
  if (look_at(awaited)) return;
  if (awaited_.size() < kMostAwaited) return awaited_.push_back(std::move(awaited));
  answer(reply_of<void>(id, fail(Error(EAGAIN, std::to_string(kMostAwaited) + " files are awaited already"))));
}

void Control::look() {
  std::erase_if(awaited_, [this](const Awaited& awaited) { return look_at(awaited); });
}

// Whether it is over with it.
bool Control::look_at(const Awaited& awaited) {
  const auto& [path, prefix, timeout_ms] = awaited.file;
  auto content = read_file({path, 4096});
  std::string text;
  if (content) text.assign(reinterpret_cast<const char*>(content->data()), content->size());
  if (content && text.starts_with(prefix)) {
    answer(reply_of(awaited.id, std::move(content)));
    return true;
  }
  if (now_ms() < awaited.deadline) return false;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::string instead = content ? "it holds '" + text.substr(0, 100) + "'" : content.error().message;
  const std::string why = path + " does not begin with '" + prefix + "' after " + std::to_string(timeout_ms) + " ms: " + instead;
  answer(reply_of<void>(awaited.id, fail(Error(ETIMEDOUT, why))));
  return true;
}

}  // namespace floe::vmm::guest
