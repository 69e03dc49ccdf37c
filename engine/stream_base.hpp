// Multishot operations: one submission, many completions. Private to the engine.
//
// The kernel may complete one as long as no completion without IORING_CQE_F_MORE was seen, so its state lives on the heap and not in a
// frame. Whoever gives it up while the kernel still holds it leaves an orphan, which the loop frees after the last completion.
#pragma once

#include "engine/context.hpp"
#include "engine/outcome.hpp"
#include "engine/request.hpp"

namespace floe::engine::detail {

class stream_base : private stop_hook {
 public:
  explicit stream_base(loop& owner);
  virtual ~stream_base();

  void on_completion(int result, unsigned flags);
  void abandon();  // by the owner of the stream: frees it now or after its last completion
  bool armed() const { return armed_; }
  bool orphan() const { return orphan_; }
  bool drained() const { return orphan_ && !armed_; }

  // For the awaiter of next(). At most one task waits.
  virtual bool has_item() const = 0;
  bool wait(promise_base& task);  // false: do not suspend
  bool was_stopped() const { return stopped_; }

 protected:
  virtual void take_completion(int result, unsigned flags) = 0;
  virtual bool arm() = 0;                      // submits; false: error state was set
  virtual bool busy() const { return false; }  // somebody else still refers to this object
  void submit(const request& what);
  void wake();
  void free_if_done();
  loop& owner() const { return *owner_; }

  bool armed_ = false;

 private:
  static void on_stop(stop_hook& hook);

  loop* owner_;
  promise_base* waiter_ = nullptr;
  bool orphan_ = false;
  bool stopped_ = false;
};

}  // namespace floe::engine::detail
