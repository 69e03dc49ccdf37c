// What a task costs: to make, await and destroy one; to switch into one and back; to run many side by side and wait for all.
#pragma once

#include <cstdint>

#include "bench/engine/bench.hpp"

namespace floe::bench {

// Awaits tasks that give 0, 1, ... count-1, and sums what they give.
std::uint64_t floe_sum(engine::loop& on, std::uint64_t count);
std::uint64_t bare_sum(std::uint64_t count);

// Makes tasks in batches of kBatch, awaits them (or not), destroys them. The difference is two switches per task. Gives how many ran.
inline constexpr unsigned kBatch = 64;
std::uint64_t floe_batches(engine::loop& on, std::uint64_t batches, bool await);
std::uint64_t bare_batches(std::uint64_t batches, bool await);

// Starts `wave` tasks, all alive before the first one runs, waits for all, `waves` times. Gives how many ran.
std::uint64_t floe_waves(engine::loop& on, std::uint64_t waves, std::uint64_t wave);
std::uint64_t bare_waves(std::uint64_t waves, std::uint64_t wave);
void bare_forget_frames();  // so that the next wave has to ask malloc

}  // namespace floe::bench
