#include "freeze/bridge/calls.hpp"

#include <algorithm>
#include <future>
#include <list>
#include <mutex>
#include <thread>
#include <variant>

#include "engine/engine.hpp"

namespace floe::freeze {
namespace {

constexpr const char* kEnded = "the run is ending";
constexpr const char* kOwnThread = "the engine's own thread cannot wait for the engine: await the capture instead";

struct CaptureCall {
  std::string name;
};
struct WatchCall {
  std::string symbol;
};

KernelReply refusal_of(const KernelOpRequest& request, std::string reason) {
  KernelReply reply;
  reply.id = request.id;
  reply.success = false;
  reply.reason = std::move(reason);
  return reply;
}

}  // namespace

// One call and its answer. The caller owns it together with the line.
struct BridgeCalls::Call {
  using Request = std::variant<CaptureCall, WatchCall, KernelOpRequest>;
  using Answer = std::variant<SharedReport, Result<void>, KernelReply>;

  explicit Call(Request asked) : request(std::move(asked)) {}
  Answer refused(const std::string& why) const {
    if (std::holds_alternative<CaptureCall>(request)) return SharedReport();
    if (std::holds_alternative<WatchCall>(request)) return Result<void>(fail(why));
    return refusal_of(std::get<KernelOpRequest>(request), why);
  }

  const Request request;
  std::promise<Answer> answer;
};

// Between the callers' threads and the engine's.
struct BridgeCalls::Line {
  engine::mailbox<std::shared_ptr<Call>> calls;
  const std::thread::id engine = std::this_thread::get_id();
  std::mutex mutex;  // of what follows
  bool open = true;
  std::list<std::shared_ptr<Call>> unanswered;

  Call::Answer ask(Call::Request request) {
    const auto call = std::make_shared<Call>(std::move(request));
    if (std::this_thread::get_id() == engine) return call->refused(kOwnThread);
    auto answer = call->answer.get_future();
    {
      const std::lock_guard lock(mutex);
      if (!open) return call->refused(kEnded);
      unanswered.push_back(call);
      calls.post(call);
    }
    return answer.get();
  }

  // Whoever comes second, the answer or the end, finds it gone.
  void finish(const std::shared_ptr<Call>& call, Call::Answer answer) {
    {
      const std::lock_guard lock(mutex);
      if (std::erase(unanswered, call) == 0) return;
    }
    call->answer.set_value(std::move(answer));
  }

  void end() {
    std::list<std::shared_ptr<Call>> left;
    {
      const std::lock_guard lock(mutex);
      open = false;
      left.swap(unanswered);
    }
    for (const auto& call : left) call->answer.set_value(call->refused(kEnded));
  }
};

BridgeCalls::BridgeCalls(Doing doing) : doing_(std::move(doing)), line_(std::make_shared<Line>()) {}

BridgeCalls::~BridgeCalls() {
  line_->end();
}

BridgeCallbacks BridgeCalls::callbacks() const {
  BridgeCallbacks made;
  made.capture = [line = line_](const std::string& name) -> std::optional<SharedReport> {
    auto answer = line->ask(CaptureCall{name});
    auto& report = std::get<SharedReport>(answer);
    return report ? std::optional(std::move(report)) : std::nullopt;
  };
  made.register_watch = [line = line_](const std::string& symbol) {
    auto answer = line->ask(WatchCall{symbol});
    return std::get<Result<void>>(std::move(answer));
  };
  made.kernel_op = [line = line_](const KernelOpRequest& request) {
    auto answer = line->ask(request);
    return std::get<KernelReply>(std::move(answer));
  };
  return made;
}

engine::task<> BridgeCalls::serve() {
  engine::scope doing("calls of the bridge", engine::errors::collect);
  const auto line = line_;
  const auto answer_one = [this, &line](std::shared_ptr<Call> call) { return answer(doing_, line, std::move(call)); };
  for (;;) {
    const auto call = co_await line->calls.receive();
    if (!call) break;
    doing.spawn(answer_one(*call), "a call of the bridge");
  }
  doing.request_stop();
  const auto ended = co_await doing.join();
  (void)ended;
  line->end();
  co_return engine::ok;
}

engine::task<> BridgeCalls::answer(const Doing& doing, std::shared_ptr<Line> line, std::shared_ptr<Call> call) {
  Call::Answer answer = call->refused(kEnded);
  if (const auto* capture = std::get_if<CaptureCall>(&call->request)) {
    auto report = co_await doing.capture(capture->name);
    if (report) answer = std::move(*report);
  } else if (const auto* watch = std::get_if<WatchCall>(&call->request)) {
    auto watched = co_await doing.watch(watch->symbol);
    if (!watched.is_cancelled()) answer = std::move(watched).to_result();
  } else {
    const auto& request = std::get<KernelOpRequest>(call->request);
    auto reply = co_await doing.kernel_op(request);
    if (reply) answer = std::move(*reply);
    if (reply.is_error()) answer = refusal_of(request, reply.error().message);
  }
  line->finish(call, std::move(answer));
  co_return engine::ok;
}

}  // namespace floe::freeze
