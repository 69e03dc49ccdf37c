#include "freeze/scenario/guest_control.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/engine.hpp"

namespace floe::freeze::scenario {
namespace {

namespace wire = vmm::wire;

// Takes a mailbox out of a map when its task ends, however that happens.
template <class Map>
class Registered {
 public:
  Registered(Map& map, std::uint32_t key, typename Map::mapped_type mailbox) : map_(map), mailbox_(mailbox) { map.emplace(key, mailbox); }
  ~Registered() {
    std::erase_if(map_, [this](const auto& entry) { return entry.second == mailbox_; });
  }
  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;

 private:
  Map& map_;
  typename Map::mapped_type mailbox_;
};

}  // namespace

bool GuestControl::take(std::uint32_t type, std::span<const std::byte> payload) {
  if (type == wire::kSchedulerExit || type == wire::kWorkloadResult) {
    const auto outcome = wire::decode_outcome(payload);
    if (outcome) note_end(type == wire::kSchedulerExit ? wire::kRunScheduler : wire::kRunCommand, *outcome);
    return false;
  }
  if (type == wire::kProcessEnd) {
    const auto end = wire::decode_process_end(payload);
    if (end && end->process >= wire::kFirstProcess)
      note_end(end->process, end->outcome);
    else
      ++ignored_;
    return true;
  }
  if (type != wire::kControlReply) return false;
  auto reply = wire::decode_control_reply(payload);
  const auto asked = reply ? asked_.find(reply->id) : asked_.end();
  if (asked != asked_.end())
    asked->second->post(std::move(*reply));
  else
    ++ignored_;
  return true;
}

void GuestControl::note_end(std::uint32_t process, const Outcome& outcome) {
  const auto known = processes_.find(process);
  if (known == processes_.end() || known->second) {
    ++ignored_;
    return;
  }
  known->second = outcome;
  const auto [first, last] = awaited_.equal_range(process);
  for (auto waiting = first; waiting != last; ++waiting) waiting->second->post(outcome);
}

void GuestControl::close(std::string reason) {
  closed_ = std::move(reason);
  for (const auto& [id, mailbox] : asked_) mailbox->close();
  for (const auto& [process, mailbox] : awaited_) mailbox->close();
}

engine::task<wire::ControlReply> GuestControl::exchange(wire::ControlAction action) {
  if (!closed_.empty()) co_return fail(closed_);
  wire::ControlRequest request;
  request.id = wire::next_id(last_id_);
  request.action = std::move(action);
  const auto payload = wire::encode(request);
  if (!payload) co_return payload.error();
  engine::mailbox<Reply> answers(1);
  const Registered registered(asked_, request.id, &answers);
  if (!send_(wire::kControlRequest, *payload)) co_return fail("the guest takes no request at the moment");
  auto answer = co_await answers.receive();
  if (answer.is_error()) co_return fail(closed_);
  if (!answer) co_return engine::cancelled;
  if (answer->error != 0) co_return fail(Error(answer->error, "in the guest: " + answer->reason));
  co_return std::move(*answer);
}

engine::task<std::uint32_t> GuestControl::start(wire::StartProcess process) {
  // After 4,294,967,279 of them the numbers come again; one that is still in use is refused by init.
  if (++last_process_ < wire::kFirstProcess) last_process_ = wire::kFirstProcess;
  process.process = last_process_;
  const std::uint32_t number = last_process_;
  processes_[number] = std::nullopt;  // its end may be told right behind the answer
  auto started = co_await ask(std::move(process));
  if (!started) {
    if (started.is_error()) processes_.erase(number);
    co_return std::move(started).failure();
  }
  co_return number;
}

engine::task<> GuestControl::signal(std::uint32_t process, std::uint8_t signal) {
  const wire::SignalProcess action{process, signal};
  auto done = co_await ask(action);
  if (!done) co_return std::move(done).failure();
  co_return engine::ok;
}

const wire::Outcome* GuestControl::outcome(std::uint32_t process) const {
  const auto known = processes_.find(process);
  return known != processes_.end() && known->second ? &*known->second : nullptr;
}

engine::task<wire::Outcome> GuestControl::ended(std::uint32_t process) {
  if (const Outcome* known = outcome(process)) co_return *known;
  if (!closed_.empty()) co_return fail(closed_);
  engine::mailbox<Outcome> ends(1);
  const Registered registered(awaited_, process, &ends);
  const auto end = co_await ends.receive();
  if (end.is_error()) co_return fail(closed_);
  if (!end) co_return engine::cancelled;
  co_return *end;
}

}  // namespace floe::freeze::scenario
