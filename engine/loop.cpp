#include "engine/loop.hpp"

#include <alloca.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "engine/ops.hpp"
#include "engine/ring.hpp"
#include "engine/stream_base.hpp"

namespace floe::engine {
namespace {

using detail::promise_base;

// A pass resumes this many tasks, or works this long, before it looks at the ring and the timers again.
constexpr unsigned kResumesPerPass = 64;
constexpr nanos kNanosPerPass = 200'000;
// The exact clock costs 23 ns, a resume some 3: it is first read after so many.
constexpr unsigned kPortion = 16;
constexpr unsigned kTimedOneByOne = 2;
constexpr std::uintptr_t kAliasing = 4096;
// Passes that go to sleep with their submission, after one whose submission completed nothing.
constexpr unsigned kPassesInDoubt = 64;

constinit thread_local loop* tls_latest = nullptr;  // created or run here last

nanos read_clock(clockid_t which) {
  timespec now{};
  clock_gettime(which, &now);
  return now.tv_sec * nanos{1'000'000'000} + now.tv_nsec;
}

void print_stall(const stall& seen) {
  std::fprintf(stderr, "floe engine: task '%.*s' held the loop for %lld ms\n", static_cast<int>(seen.task.size()), seen.task.data(),
               static_cast<long long>(seen.held.count() / 1'000'000));
}

}  // namespace

constinit thread_local loop* loop::running_here_ = nullptr;

// While tasks may be resumed. A loop may run inside of a task of another one.
class loop::running {
 public:
  explicit running(loop& self) : outer_(std::exchange(running_here_, &self)) {}
  ~running() { running_here_ = outer_; }
  running(const running&) = delete;
  running& operator=(const running&) = delete;

 private:
  loop* outer_;
};

loop::loop(loop_options options) : ring_(std::make_unique<detail::ring>()), options_(std::move(options)), root_(*this) {
  if (!options_.on_stall) options_.on_stall = print_stall;
}

Result<std::unique_ptr<loop>> loop::create(loop_options options) {
  std::unique_ptr<loop> made(new loop(std::move(options)));
  if (auto opened = made->open(); !opened) return fail(std::move(opened.error()));
  tls_latest = made.get();
  return made;
}

Result<> loop::open() {
  if (auto opened = ring_->open(options_.submission_entries, options_.completion_entries); !opened) return opened;
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno(errno, "eventfd");
  doorbell_ = std::make_shared<detail::doorbell>(std::move(event));
  ring_->describe(submissions_);
  rough_now_ = now_nanos();
  return {};
}

loop::~loop() {
  if (running_) detail::broken("a loop was destroyed while it runs");
  if (doorbell_ != nullptr) {
    run_notes();
    doorbell_->close();
  }
  drain_orphans();
  if (tls_latest == this) tls_latest = nullptr;
}

loop& loop::current() {
  loop* const here = running_here_ != nullptr ? running_here_ : tls_latest;
  if (here == nullptr) detail::broken("no engine loop on this thread");
  return *here;
}

nanos loop::now_nanos() const {
  rough_now_ = options_.clock != nullptr ? options_.clock->now_nanos() : read_clock(CLOCK_MONOTONIC);
  return rough_now_;
}

const char* loop::keep_name(std::string_view name) {
  if (!recent_name_.empty() && recent_name_ == name) return recent_name_.data();
  auto place = names_.find(name);
  if (place == names_.end()) place = names_.emplace(name).first;
  recent_name_ = *place;
  return place->c_str();
}

void loop::inject(fault_plan plan) {
  faults_armed_ = true;
  submissions_.limit = submissions_.tail;
  suspensions_ = 0;
  stop_at_suspension_ = plan.stop_at_suspension;
  operations_until_failure_ = plan.fail_operation;
  injected_error_ = plan.error;
  enters_until_busy_ = plan.busy_enter;
}

void loop::inject_stop() {
  if (++suspensions_ == stop_at_suspension_) request_stop();
}

bool loop::inject_fault(int& result) {
  if (operations_until_failure_ != 0 && --operations_until_failure_ == 0) {
    result = -injected_error_;
    return true;
  }
  inject_stop();
  return false;
}

// ---- running ------------------------------------------------------------------------------------------------------------------

void loop::start_root(promise_base& main, task_name name, main_ending& end) {
  if (running_) detail::broken("run() was called from inside the loop");
  bind_to_thread();
  main.at_end = &end;
  start(main, root_, intern(name));
}

void loop::bind_to_thread() {
  const auto self = static_cast<std::uint64_t>(syscall(SYS_gettid));
  if (!bound_) {
    if (auto enabled = ring_->enable(); !enabled) detail::broken(enabled.error().message.c_str());
    thread_ = self;
    bound_ = true;
  }
  if (thread_ != self) detail::broken("a loop runs on one thread for ever; this is another one");
  tls_latest = this;
}

// A load waits for an older store in flight whose address has the same low 12 bits, and the stack begins anywhere in its page: where what a
// resumed task pushes lies on what every operation reads of the loop, an operation costs 5 ns (7 %) more. So the loop moves the stack by so
// many bytes that it grows away from there.
std::size_t loop::stack_gap() const {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto hot = reinterpret_cast<std::uintptr_t>(&submissions_);
  return (here - hot) & (kAliasing - 1) & ~std::uintptr_t{15};
}

void loop::drive(const bool& done) {
  asm volatile("" : : "r"(alloca(stack_gap())) : "memory");  // nothing is kept there
  const running here(*this);
  running_ = true;
  last_look_ = coarse_now();
  while (!done) {
    ++counters_.passes;
    if (!doorbell_->empty()) run_notes();
    if (!timers_.empty()) fire_timers();
    slice_began_ = 0;
    dispatch_ready(done);
    if (done) break;
    look_at_ring();
    if (!ring_->has_completion() && backlog_.empty()) continue;
    slice_began_ = 0;
    walk_completions();
  }
  current_context_ = nullptr;
  running_ = false;
}

void loop::fire_timers() {
  const nanos now = now_nanos();
  while (timers_.next() <= now) {
    detail::timer_node& timer = timers_.pop();
    ++counters_.timers_fired;
    timer.fire(timer);
  }
}

void loop::dispatch_ready(const bool& done) {
  unsigned portion = first_portion();
  unsigned resumed = 0;
  nanos began = 0;
  while (!ready_.empty() && !done) {
    const unsigned first = resumed;
    do {
      const bool ended = run_ready(ready_.pop(), resumed++);
      if (ended && done) break;
    } while (--portion != 0 && !ready_.empty());
    look_for_stall(first, resumed);
    portion = next_portion(resumed, began);
    if (portion == 0) {
      ++counters_.bounded_passes;
      break;
    }
  }
  dispatched_ += resumed;
}

// How many may be resumed before the clocks are looked at: one by one where one or two are ready, and the whole pass where the loop is busy
// and passes are short.
unsigned loop::first_portion() const {
  if (!ready_.has_more_than(kTimedOneByOne)) return 1;
  return passes_are_short_ ? kResumesPerPass : kPortion;
}

// How many more. 0: the pass has had its share.
unsigned loop::next_portion(unsigned resumed, nanos& began) {
  if (resumed < kTimedOneByOne) return 1;
  if (resumed < kPortion) return kPortion - resumed;
  if (resumed >= kResumesPerPass) {
    count_full_pass();
    return 0;
  }
  const nanos now = now_nanos();
  if (began == 0) began = now;
  return now - began > kNanosPerPass ? 0 : kPortion;
}

// How long passes take that resume all they may: on average, from one step of the coarse clock to the next. The exact clock would cost
// more than the rest of what such a pass does besides its resumes.
void loop::count_full_pass() {
  ++full_passes_;
  const nanos now = options_.stall_threshold.count() != 0 ? last_look_ : coarse_now();
  if (now == full_passes_since_) return;
  passes_are_short_ = now - full_passes_since_ <= full_passes_ * kNanosPerPass;
  rough_now_ = std::max(rough_now_, now);
  full_passes_since_ = now;
  full_passes_ = 0;
}

// checkpoint() asks: has this task worked long enough for others to have a turn? The clock starts with the first question.
bool loop::slice_is_over() {
  const nanos now = now_nanos();
  if (slice_began_ == 0) slice_began_ = now;
  return now - slice_began_ > kNanosPerPass;
}

inline void loop::note_resumed(const promise_base& task, unsigned position) {
  current_context_ = task.ctx;
  recent_[position % recent_.size()] = task.name;
}

inline void loop::tell_of_end() {
  promise_base& ended = *std::exchange(ended_, nullptr);
  ended.at_end->on_end(*ended.at_end, ended);
}

// Did a task without a parent end? Forced inline: it is most of what lies between a completion and the task that waited for it.
[[gnu::always_inline]] inline bool loop::resume(promise_base& task, unsigned position) {
  note_resumed(task, position);
  task.handle().resume();
  if (ended_ == nullptr) [[likely]]
    return false;
  context::remove_root(*ended_);
  tell_of_end();
  return true;
}

// The first turn of a task that was started. Its context gets to know it only if it waits: many that are short never do.
inline bool loop::begin(promise_base& root, unsigned position) {
  root.waits_for.clear();
  note_resumed(root, position);
  root.handle().resume();
  if (ended_ == nullptr) {
    root.ctx->add_root(root);
    return false;
  }
  tell_of_end();
  return true;
}

inline bool loop::run_ready(promise_base& task, unsigned position) {
  return task.waits_for.to_begin() ? begin(task, position) : resume(task, position);
}

nanos loop::coarse_now() const {
  return options_.clock != nullptr ? options_.clock->now_nanos() : read_clock(CLOCK_MONOTONIC_COARSE);
}

// Did the tasks resumed at these positions, since the last look, hold the loop too long? When one or two tasks are to run, each is timed by
// itself; in a burst, where each is short or the loop would not get so far, groups of up to as many as there are names are. The coarse
// clock (3 ns) moves with the scheduler tick, fine enough for a task that held the loop for tens of milliseconds.
void loop::look_for_stall(unsigned first, unsigned end) {
  if (options_.stall_threshold.count() == 0) return;
  const nanos now = coarse_now();
  const nanos held = now - last_look_;
  last_look_ = now;
  if (held >= options_.stall_threshold.count()) [[unlikely]]
    report_stall(held, first, end);
}

void loop::report_stall(nanos held, unsigned first, unsigned end) {
  std::string names;
  for (unsigned index = first; index != end; ++index) {
    const char* const name = recent_[index % recent_.size()];
    bool known = name == nullptr;  // no task: a stream's completion
    for (unsigned earlier = first; earlier != index; ++earlier) known = known || recent_[earlier % recent_.size()] == name;
    if (!known) names.append(names.empty() ? "" : " or ").append(name);
  }
  if (names.empty()) return;
  ++counters_.stalls;
  options_.on_stall({names, nanoseconds(held)});
}

// ---- the ring -----------------------------------------------------------------------------------------------------------------

// What is done as soon as it is submitted (a read from the page cache, a nop) needs no sleep, whose announcement costs a full fence. So
// submitting without one is tried for as long as it works, and now and then after it did not: a try in vain costs one system call.
// Forced inline, as is enter(): see ring.hpp, enter_ring().
[[gnu::always_inline]] inline void loop::look_at_ring() {
  const bool idle = ready_.empty() && backlog_.empty() && !ring_->has_completion();
  const unsigned queued = ring_->unsubmitted(submissions_);
  if (idle && (queued == 0 || doubts_ != 0)) {
    if (queued != 0) --doubts_;
    passes_are_short_ = false;
    full_passes_since_ = 0;
    sleep();
  } else if (queued != 0 || ring_->kernel_has_more()) {
    enter(false, kNever);
    if (idle && !ring_->has_completion()) doubts_ = kPassesInDoubt;
  } else {
    return;
  }
  if (options_.stall_threshold.count() != 0) last_look_ = coarse_now();  // time in the kernel is nobody's stall
}

void loop::sleep() {
  const nanos next = timers_.next();
  if (options_.clock != nullptr && options_.clock->jumps() && next != kNever && external_work_ == 0) {
    enter(false, kNever);  // whatever completes by itself comes before time moves
    if (!ring_->has_completion() && doorbell_->empty()) options_.clock->jump_to(next);
    return;
  }
  if (!doorbell_armed_) arm_doorbell();
  nanos until = options_.clock != nullptr ? kNever : next;
  if (until != kNever && timers_.next_is_precise()) {
    until -= options_.precise_window.count();
    if (now_nanos() >= until) return spin_until(next);
  }
  // Only a wait that submits nothing needs the backstop: after any completion the next wait is of that kind. It spares the 75 ns that a
  // timeout costs in a busy loop.
  bool backstop = false;
  if (ring_->unsubmitted(submissions_) == 0) {
    const nanos limit = saturating_add(read_clock(CLOCK_MONOTONIC), options_.longest_sleep.count());
    backstop = limit < until;
    until = std::min(until, limit);
  }
  if (!doorbell_->try_park()) return;
  ++counters_.sleeps;
  enter(true, until);
  doorbell_->unpark();
  // Notes without a completion: the eventfd's poll said nothing although somebody posted.
  if (backstop && !ring_->has_completion() && !doorbell_->empty() && read_clock(CLOCK_MONOTONIC) >= until) ++counters_.lost_wakes;
}

void loop::spin_until(nanos at) {
  while (now_nanos() < at) {
    if (ring_->has_completion() || !doorbell_->empty()) return;
    if (ring_->unsubmitted(submissions_) != 0 || ring_->kernel_has_more()) return enter(false, kNever);
    __builtin_ia32_pause();
  }
}

[[gnu::always_inline]] inline void loop::enter(bool wait, nanos deadline) {
  const unsigned before = ring_->unsubmitted(submissions_);
  const int error = wait ? ring_->wait(submissions_, deadline) : ring_->submit(submissions_);
  ++counters_.enters;
  counters_.operations += before - ring_->unsubmitted(submissions_);
  if (error != 0 || faults_armed_ || ring_->overflown()) [[unlikely]]
    after_odd_enter(error);
}

void loop::after_odd_enter(int error) {
  if (ring_->overflown()) ++counters_.overflows;
  if (enters_until_busy_ != 0 && --enters_until_busy_ == 0 && error == 0) error = EBUSY;
  for (unsigned attempt = 0; error == EBUSY || error == EAGAIN; ++attempt) {
    // The kernel takes no more until completions are taken off, or is short of memory.
    if (!ring_->has_completion() && attempt > 1000) detail::broken("io_uring_enter: the kernel stays out of memory");
    if (!ring_->has_completion()) sched_yield();
    put_completions_aside();
    const unsigned before = ring_->unsubmitted(submissions_);
    error = ring_->submit(submissions_);
    ++counters_.enters;
    counters_.operations += before - ring_->unsubmitted(submissions_);
  }
  if (error != 0 && error != EINTR && error != ETIME) detail::broken(("io_uring_enter: " + std::string(std::strerror(error))).c_str());
  if (faults_armed_) submissions_.limit = submissions_.tail;
}

// Also those that a walk under way has before it: it ends here.
void loop::put_completions_aside() {
  const detail::completion_queue queue = ring_->completions();
  walk_end_ = queue.oldest();
  for (unsigned position = queue.oldest(); position != queue.newest(); ++position) {
    const io_uring_cqe& entry = queue.at(position);
    backlog_.push_back({entry.user_data, entry.res, entry.flags});
    queue.release(position + 1);
  }
}

// As many as there are now: what completes meanwhile waits for the next pass. While any deadline exists, completions pass through the ready
// set, which knows the order; otherwise each resumes its task straight away.
void loop::walk_completions() {
  if (!backlog_.empty()) [[unlikely]] {
    const auto taken = std::exchange(backlog_, {});
    for (const backlog_entry& entry : taken) complete(entry.user_data, entry.result, entry.flags);
  }
  const detail::completion_queue queue = ring_->completions();
  const unsigned end = queue.newest();
  if (deadline_contexts_ != 0) return sort_completions(end);
  const unsigned most = end - queue.oldest() <= kTimedOneByOne ? 1 : kResumesPerPass;
  nanos began = 0;
  while (queue.oldest() != end && backlog_.empty()) {
    const unsigned first = queue.oldest();
    const unsigned walked_to = resume_completed(std::min(end - first, most) + first);
    look_for_stall(first, walked_to);
    if (most != 1 && walked_to != end && others_wait(began)) {
      ++counters_.bounded_passes;
      break;
    }
  }
}

// Up to this position; gives the one it came to. A task may fill the submission queue; the flush that follows may have to put the rest of
// the completions aside, which ends the walk early.
unsigned loop::resume_completed(unsigned end) {
  const detail::completion_queue queue = ring_->completions();
  const std::uint64_t others_before = others_completed_;
  const unsigned begin = queue.oldest();
  unsigned position = begin;
  walk_end_ = end;
  while (position != walk_end_) {
    const io_uring_cqe& entry = queue.at(position);
    const std::uint64_t user_data = entry.user_data;
    const int result = entry.res;
    const unsigned flags = entry.flags;
    queue.release(++position);
    // The next task's frame, most often; where there is no next completion an old address, which does no harm.
    const std::uintptr_t following = queue.at(position).user_data;  // a number: it may be null, from which no pointer can be computed
    __builtin_prefetch(reinterpret_cast<const void*>(following), 1);
    __builtin_prefetch(reinterpret_cast<const void*>(following + 64), 1);
    __builtin_prefetch(reinterpret_cast<const void*>(following + 128), 1);
    if ((user_data & detail::kTagMask) == static_cast<std::uint64_t>(detail::tag::operation)) [[likely]] {
      auto& task = *reinterpret_cast<promise_base*>(user_data);
      detail::operation::complete(task, result);
      resume(task, position - 1);
    } else {
      recent_[(position - 1) % recent_.size()] = nullptr;
      complete(user_data, result, flags);
    }
  }
  counters_.from_completion += position - begin - (others_completed_ - others_before);
  return position;
}

void loop::sort_completions(unsigned end) {
  const detail::completion_queue queue = ring_->completions();
  walk_end_ = end;
  for (unsigned position = queue.oldest(); position != walk_end_;) {
    const io_uring_cqe& entry = queue.at(position);
    const backlog_entry read{entry.user_data, entry.res, entry.flags};
    queue.release(++position);
    complete(read.user_data, read.result, read.flags);
  }
}

// Between two portions of completions: is there anything else to do, or has the pass had its time?
bool loop::others_wait(nanos& began) {
  if (!doorbell_->empty() || !ready_.empty()) return true;
  const nanos now = now_nanos();
  if (began == 0) began = now;
  return timers_.next() <= now || now - began > kNanosPerPass;
}

void loop::complete(std::uint64_t user_data, int result, unsigned flags) {
  ++others_completed_;
  void* const whose = reinterpret_cast<void*>(user_data & ~detail::kTagMask);
  switch (static_cast<detail::tag>(user_data & detail::kTagMask)) {
    case detail::tag::operation: {
      auto& task = *static_cast<promise_base*>(whose);
      detail::operation::complete(task, result);
      return make_ready(task);
    }
    case detail::tag::stream:
      static_cast<detail::stream_base*>(whose)->on_completion(result, flags);
      return;
    case detail::tag::doorbell:
      if ((flags & IORING_CQE_F_MORE) == 0) doorbell_armed_ = false;  // by an overflow, or a kernel without multishot poll
      return;
    case detail::tag::ignored:
      return;
  }
}

// Makes room for one entry. While faults are armed the limit is kept at the tail, so that every operation comes by here.
void loop::flush() {
  ring_->refresh(submissions_);
  while (submissions_.tail == submissions_.limit) {
    ++counters_.flushes;
    enter(false, kNever);
    ring_->refresh(submissions_);
  }
  if (faults_armed_) submissions_.limit = submissions_.tail + 1;
}

void loop::submit(const detail::request& what, const void* target, detail::tag whose) {
  if (entry_needs_care()) flush();
  what.write(take_entry(), reinterpret_cast<std::uint64_t>(target) | static_cast<std::uint64_t>(whose));
}

void loop::submit_cancel(const void* target, detail::tag whose) {
  const std::uint64_t user_data = reinterpret_cast<std::uint64_t>(target) | static_cast<std::uint64_t>(whose);
  const detail::request what(detail::opcode::async_cancel, -1, user_data, 0, 0, 0, detail::kSqeSkipSuccess);
  ++counters_.cancels;
  ++own_submissions_;
  submit(what, nullptr, detail::tag::ignored);
}

void loop::arm_doorbell() {
  doorbell_->silence();  // a level left over would complete the new poll at once, for ever
  const detail::request what(detail::opcode::poll_add, doorbell_->fd(), nullptr, IORING_POLL_ADD_MULTI, 0, POLLIN);
  ++own_submissions_;
  submit(what, nullptr, detail::tag::doorbell);
  doorbell_armed_ = true;
}

void loop::add_timer(detail::timer_node& timer, nanos at) {
  timers_.insert(timer, at);
  if (timers_.size() > counters_.timers_peak) counters_.timers_peak = timers_.size();
}

// The kernel may still write into the buffers of streams that were given up. Wait for their last completions.
void loop::drain_orphans() {
  if (!bound_ || streams_.empty()) return;
  const running here(*this);
  for (int round = 0; round < 1000 && !streams_.empty(); ++round) {
    const nanos until = saturating_add(read_clock(CLOCK_MONOTONIC), 10'000'000);
    enter(true, until);
    walk_completions();
    bool armed = false;
    for (const detail::stream_base* stream : streams_) armed = armed || (stream->orphan() && stream->armed());
    if (!armed) break;
  }
  if (!streams_.empty()) detail::broken("a stream, or a chunk of one, outlives its loop");
}

// ---- what can be asked ---------------------------------------------------------------------------------------------------------

loop_counters loop::counters() const {
  loop_counters all = counters_;
  all.operations -= own_submissions_;
  all.completions = counters_.from_completion + others_completed_;
  all.resumes = dispatched_ + counters_.from_completion;
  all.ready = ready_.size();
  all.aged = ready_.aged();
  all.timers = timers_.size();
  all.notes = notes_;
  all.rings = doorbell_->rings();
  for (const detail::stream_base* stream : streams_) all.orphans += stream->orphan() ? 1 : 0;
  all.frames = frame_pool::counters();
  return all;
}

std::size_t loop::submissions_queued() const {
  return ring_->unsubmitted(submissions_);
}
bool loop::supports(std::uint8_t opcode) const {
  return ring_->supports(opcode);
}

std::string loop::features() const {
  const unsigned flags = ring_->setup_flags();
  std::string text = (flags & IORING_SETUP_DEFER_TASKRUN) != 0 ? "defer" : (flags & IORING_SETUP_COOP_TASKRUN) != 0 ? "coop" : "plain";
  if (ring_->has_absolute_wait()) text += " abs-timer";
  if (ring_->has_no_iowait()) text += " no-iowait";
  if (ring_->supports(49)) text += " read-multishot";
  return text;
}

}  // namespace floe::engine
