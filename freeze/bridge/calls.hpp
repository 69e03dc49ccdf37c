// A bridge's callbacks for threads other than the engine's: whoever calls one waits, on its own thread, until the engine has done it.
//
//   BridgeCalls calls({.capture = ..., .watch = ..., .kernel_op = ...});    // coroutines, on the loop's thread
//   SnapshotBridge bridge(calls.callbacks());
//   scope.spawn(calls.serve(), "bridge");                                   // until it is stopped
//
// The callbacks may outlive all of it and be called at any time: before serve() they wait for it, after its end they are refused at once.
// Every call is answered exactly once. On the engine's own thread, where to wait would be to wait for oneself, they are refused; a
// coroutine awaits what the callbacks are made of.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/task.hpp"
#include "freeze/bridge/snapshot_bridge.hpp"

namespace floe::freeze {

class BridgeCalls {
 public:
  struct Doing {
    std::function<engine::task<SharedReport>(std::string name)> capture;  // null: nothing was captured
    std::function<engine::task<>(std::string symbol)> watch;
    std::function<engine::task<KernelReply>(KernelOpRequest request)> kernel_op;
  };
  explicit BridgeCalls(Doing doing);  // on the thread of the loop that serves
  ~BridgeCalls();
  BridgeCalls(const BridgeCalls&) = delete;
  BridgeCalls& operator=(const BridgeCalls&) = delete;

  BridgeCallbacks callbacks() const;

  // Once. Calls that are under way when it is stopped are stopped, too, and refused.
  engine::task<> serve();

 private:
  struct Call;
  struct Line;
  static engine::task<> answer(const Doing& doing, std::shared_ptr<Line> line, std::shared_ptr<Call> call);

  Doing doing_;
  std::shared_ptr<Line> line_;
};

}  // namespace floe::freeze
