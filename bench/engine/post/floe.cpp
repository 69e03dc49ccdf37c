#include "bench/engine/post/post.hpp"

namespace floe::bench {
namespace {

using engine::ok;
using engine::task;

task<void> take_all(engine::mailbox<std::uint64_t>& box, Inbox& into) {
  while (!into.done()) {
    const auto got = co_await box.receive();
    if (!got) co_return got.failure();
    into.take(*got);
  }
  co_return ok;
}

task<void> keep_awake(const Inbox& until) {
  while (!until.done()) co_await engine::yield();
  co_return ok;
}

task<void> both(engine::mailbox<std::uint64_t>& box, Inbox& into) {
  engine::scope all("posts");
  all.spawn(take_all(box, into), "receiver");
  all.spawn(keep_awake(into), "awake");
  const auto joined = co_await all.join();
  if (!joined) co_return joined.failure();
  co_return ok;
}

}  // namespace

void FloeTarget::receive(Inbox& into, bool awake) {
  const auto ended = on_->run(awake ? both(box_, into) : take_all(box_, into));
  require(ended.has_value(), "floe: a post was lost");
}

}  // namespace floe::bench
