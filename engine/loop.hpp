// The loop: one per thread, it owns an io_uring, the timers and the tasks that can run.
//
//   auto made = loop::create();
//   if (!made) ...                                   // says why there is no io_uring, and the remedy
//   const outcome<> ended = (*made)->run(my_task());
//
// One pass: take what other threads posted, fire due timers, resume at most 64 ready tasks (or 200 us' worth), submit everything queued
// with one system call, and resume straight from the completions. The ring and the timers are thus looked at in bounded time however
// many tasks are ready, and a task whose deadline is the earliest runs first. With nothing to do the loop sleeps in the ring's own wait.
//
// create() may be called on any thread; the first run() binds the loop to its thread, where it must also be destroyed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.hpp"
#include "engine/clock.hpp"
#include "engine/context.hpp"
#include "engine/doorbell.hpp"
#include "engine/ready_set.hpp"
#include "engine/request.hpp"
#include "engine/task.hpp"
#include "engine/timer_heap.hpp"

namespace floe::engine {

// A task held the loop for `held`, or holds it still.
struct stall {
  std::string_view task;
  nanoseconds held;
};

struct loop_options {
  unsigned submission_entries = 256;
  unsigned completion_entries = 4096;                           // at least 4x the submissions: an overflow ends multishot operations
  manual_clock* clock = nullptr;                                // null: CLOCK_MONOTONIC. Must outlive the loop
  nanoseconds stall_threshold = std::chrono::milliseconds(50);  // 0: do not look
  std::function<void(const stall&)> on_stall;                   // default: one line on stderr
  nanoseconds longest_sleep = std::chrono::milliseconds(100);   // backstop should a wake ever get lost
  nanoseconds precise_window = std::chrono::microseconds(60);   // precise timers: spin this long before they are due
};

struct loop_counters {
  std::uint64_t passes = 0;
  std::uint64_t enters = 0;       // io_uring_enter calls
  std::uint64_t sleeps = 0;       // of these, with nothing to do and a wait
  std::uint64_t operations = 0;   // submission entries for operations
  std::uint64_t completions = 0;  // completions of operations and streams
  std::uint64_t cancels = 0;      // ASYNC_CANCEL requests
  std::uint64_t flushes = 0;      // a full submission queue, submitted early
  std::uint64_t overflows = 0;    // passes that saw the completion queue overflown
  std::uint64_t resumes = 0;
  std::uint64_t from_completion = 0;  // of these, without passing through the ready set
  std::uint64_t bounded_passes = 0;   // passes ended by the bound on resumes or on time
  std::uint64_t ready = 0;
  std::uint64_t aged = 0;  // resumes owed to fairness
  std::uint64_t deadlines_missed = 0;
  std::uint64_t timers = 0, timers_peak = 0, timers_fired = 0;
  std::uint64_t notes = 0;       // posted from other threads
  std::uint64_t rings = 0;       // of these, such that woke a sleeping loop
  std::uint64_t lost_wakes = 0;  // found by the backstop: expected 0
  std::uint64_t stalls = 0;
  std::uint64_t orphans = 0;  // streams given up whose last completion is still due
  frame_pool_counters frames;
};

// Faults for tests: at the n-th suspension, operation or system call counted from arming (1 is the next).
struct fault_plan {
  std::uint64_t stop_at_suspension = 0;  // stop the root context there; 0: never
  std::uint64_t fail_operation = 0;      // answer this operation with `error` without submitting it; 0: never
  int error = 5;                         // EIO
  std::uint64_t busy_enter = 0;          // after this one the kernel takes nothing until completions have been taken off; 0: never
};

namespace detail {
class ring;
class operation;
class stream_base;
}  // namespace detail

class loop {
 public:
  static Result<std::unique_ptr<loop>> create(loop_options options = {});
  ~loop();
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;

  // Drives the loop on this thread until the task has ended. Tasks of scopes that outlive it go on in the next run().
  template <class T>
  outcome<T> run(task<T> main, task_name name = "main") {
    task<T> kept = std::move(main);
    main_ending end;
    start_root(kept.promise(), name, end);
    drive(end.reached);
    return std::move(kept.promise().result);
  }

  // The loop that runs on this thread, else the last one created here. Ends the program where there is none.
  static loop& current();
  static loop* running_here() { return running_here_; }  // null outside of run()

  time_point now() const { return from_nanos(now_nanos()); }
  nanos now_nanos() const;

  // Stops everything on the loop that is not shielded. Loop's thread only; from others post a note or use a stop_source.
  void request_stop() { root_.request_stop(); }
  context& root() { return root_; }

  loop_counters counters() const;
  std::size_t submissions_queued() const;
  // "defer", "coop" or "plain", then what else was found: for floe doctor and benches.
  std::string features() const;
  bool supports(std::uint8_t opcode) const;
  void inject(fault_plan plan);
  std::uint64_t suspensions() const { return suspensions_; }  // since inject()

  // --- for the engine's own awaiters -------------------------------------------------------------------------------------------
  // Whose task is running. The same as the owner of the task's context, but not read from the task's frame: a CPU holds loads back while
  // the address of an older store is unknown, and what start() stores lies behind the loop's address. With a frame, a context and its owner
  // to read first, an operation costs 5 ns (7 %) more wherever the CPU has come to expect such a conflict.
  static loop& of_running_task() { return *running_here_; }
  context& current_context() { return current_context_ != nullptr ? *current_context_ : root_; }
  const char* intern(task_name name) { return name.is_literal() ? name.text().data() : keep_name(name.text()); }
  void set_current(context& ctx) { current_context_ = &ctx; }
  // Every awaiter that suspends says so, for fault_plan.
  void note_suspension() {
    if (faults_armed_) [[unlikely]]
      inject_stop();
  }

  // What the task waited for has come.
  void make_ready(detail::promise_base& task) {
    task.waits_for.clear();
    queue(task);
  }
  // A task that waits for nothing but its turn.
  void queue(detail::promise_base& task) { ready_.push(task, rough_now_); }
  bool more_urgent_ready(nanos deadline) const { return ready_.has_earlier_than(deadline); }
  bool slice_is_over();
  void start(detail::promise_base& child, context& ctx, const char* name) {
    child.ctx = &ctx;
    child.name = name;
    child.parent = nullptr;
    child.waits_for.set_to_begin();
    queue(child);
  }

  void add_timer(detail::timer_node& timer, nanos at);
  void remove_timer(detail::timer_node& timer) { timers_.remove(timer); }

  // A submission entry costs nothing to get but this comparison. Needs care: the queue is full, or faults are injected; then flush().
  bool entry_needs_care() const { return submissions_.tail == submissions_.limit; }
  std::uint64_t* take_entry() { return submissions_.entries[submissions_.tail++ & submissions_.mask]; }
  void flush();
  void submit(const detail::request& what, const void* target, detail::tag whose);
  bool faults_armed() const { return faults_armed_; }
  bool inject_fault(int& result);
  void submit_cancel(const void* target, detail::tag whose);
  detail::ring& ring() { return *ring_; }
  void adopt_stream(detail::stream_base& stream) { streams_.insert(&stream); }
  void drop_stream(detail::stream_base& stream) { streams_.erase(&stream); }

  std::uint16_t take_buffer_group() { return next_buffer_group_++; }

  detail::promise_base*& ended() { return ended_; }
  const std::shared_ptr<detail::doorbell>& doorbell() const { return doorbell_; }
  void run_notes() { notes_ += doorbell_->drain(); }
  void external_work(int change) { external_work_ += change; }
  void deadline_contexts(int change) { deadline_contexts_ += change; }
  void count_missed_deadline() { ++counters_.deadlines_missed; }

 private:
  struct name_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };
  struct main_ending : detail::ending {
    main_ending() : ending([](ending& self, detail::promise_base&) { static_cast<main_ending&>(self).reached = true; }) {}
    bool reached = false;
  };
  struct backlog_entry {
    std::uint64_t user_data;
    int result;
    unsigned flags;
  };

  class running;

  explicit loop(loop_options options);
  Result<> open();
  void start_root(detail::promise_base& main, task_name name, main_ending& end);
  const char* keep_name(std::string_view name);  // a copy that lives as long as the loop
  void bind_to_thread();
  void drive(const bool& done);
  std::size_t stack_gap() const;
  void fire_timers();
  void dispatch_ready(const bool& done);
  void look_at_ring();
  void sleep();
  void spin_until(nanos at);
  void enter(bool wait, nanos deadline);
  void after_odd_enter(int error);
  void put_completions_aside();
  void walk_completions();
  unsigned resume_completed(unsigned end);
  void sort_completions(unsigned end);
  bool others_wait(nanos& began);
  void complete(std::uint64_t user_data, int result, unsigned flags);
  bool run_ready(detail::promise_base& task, unsigned position);
  bool resume(detail::promise_base& task, unsigned position);
  bool begin(detail::promise_base& root, unsigned position);
  void note_resumed(const detail::promise_base& task, unsigned position);
  void tell_of_end();
  void look_for_stall(unsigned first, unsigned end);
  void report_stall(nanos held, unsigned first, unsigned end);
  void inject_stop();
  nanos coarse_now() const;
  void arm_doorbell();
  void drain_orphans();
  unsigned first_portion() const;
  unsigned next_portion(unsigned resumed, nanos& began);
  void count_full_pass();

  static constinit thread_local loop* running_here_;

  // What every operation and every resume touches comes first and together: see stack_gap().
  detail::submission_queue submissions_;
  context* current_context_ = nullptr;
  detail::promise_base* ended_ = nullptr;  // a root that has; one resume ends at most one
  unsigned walk_end_ = 0;                  // the completion that the present walk ends before
  bool faults_armed_ = false;
  std::array<const char*, 64> recent_{};  // names resumed since the last look at the clock, by position
  detail::ready_set ready_;
  detail::timer_heap timers_;
  std::unique_ptr<detail::ring> ring_;
  std::shared_ptr<detail::doorbell> doorbell_;
  std::vector<backlog_entry> backlog_;  // completions taken early so that the kernel accepts submissions again
  mutable nanos rough_now_ = 0;
  nanos slice_began_ = 0;
  nanos last_look_ = 0;
  nanos full_passes_ = 0;        // that resumed all they may, since this step of the coarse clock
  nanos full_passes_since_ = 0;  // 0: there was a sleep
  bool passes_are_short_ = false;
  unsigned doubts_ = 0;
  std::uint64_t suspensions_ = 0;
  std::uint64_t stop_at_suspension_ = 0;
  std::uint64_t operations_until_failure_ = 0;
  int injected_error_ = 0;
  std::uint64_t enters_until_busy_ = 0;
  std::uint64_t dispatched_ = 0;
  std::uint64_t others_completed_ = 0;
  std::uint64_t notes_ = 0;
  int external_work_ = 0;
  int deadline_contexts_ = 0;
  std::uint16_t next_buffer_group_ = 1;
  std::uint64_t own_submissions_ = 0;  // cancels and the doorbell's poll
  loop_options options_;
  bool doorbell_armed_ = false;
  bool running_ = false;
  bool bound_ = false;
  std::uint64_t thread_ = 0;
  loop_counters counters_;
  std::unordered_set<std::string, name_hash, std::equal_to<>> names_;
  std::string_view recent_name_;
  std::unordered_set<detail::stream_base*> streams_;
  context root_;
};

}  // namespace floe::engine
