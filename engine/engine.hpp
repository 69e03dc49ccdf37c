// floe's engine: coroutines on io_uring. This header is the whole of it; read the parts in this order.
//
// The problem: one thread has to serve console bytes, timers, files, ring buffers and the exits of vCPU threads, keep deadlines, and end
// cleanly whatever happens. Written with callbacks that is a state machine nobody can follow; written with threads it is a set of races.
//
// The answer: a `task` is a function that can wait. A `loop` runs many on one thread and waits for all of them with one io_uring. A `scope`
// owns tasks that run side by side, so nothing outlives who started it. Stopping is a third `outcome` beside value and error,
// reaches operations inside the kernel, and a wait ends only when the kernel has let go of its buffers.
//
// Guarantees: a steady loop allocates nothing. With a deadline a task runs before those without; those still get 1 resume in 16. The ring
// and the timers are looked at after at most 64 resumes or 200 us. Posting from another thread never blocks. What is refused, missed
// or late is counted (loop_counters).
//
// It does not: run a task on more than one thread, interrupt a task that does not await (see checkpoint(), and the stall report that names
// it), or know anything about virtual machines.
//
// House rules for coroutines, because g++ 12 miscompiles what breaks them (scripts/lint refuses it): one co_await per statement with its
// result in a named local; arguments named before, no braces or lambdas inside; no captures in a coroutine lambda; no co_await in a
// condition; nothing over-aligned in a frame.
#pragma once

#include "engine/combine.hpp"     // when_all, when_any, with_deadline
#include "engine/fixed_file.hpp"  // a file in the ring's own table
#include "engine/loop.hpp"        // loop: create, run, counters
#include "engine/mailbox.hpp"     // from other threads
#include "engine/ops.hpp"         // read, write, openat, poll, ...
#include "engine/outcome.hpp"     // value, error or cancelled
#include "engine/pool.hpp"        // to other threads and back
#include "engine/scope.hpp"       // scope, with_stop, shielded
#include "engine/stop.hpp"        // stop_source, stop_token
#include "engine/stream.hpp"      // byte_stream, poll_stream: multishot
#include "engine/task.hpp"        // task<T>
#include "engine/timer.hpp"       // sleep_for, ticker, yield, checkpoint
