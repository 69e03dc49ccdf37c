// Load for a scheduler: processes that do one thing each until they are killed.
#pragma once

namespace floe::vmm::guest {

// floe-guest worker NAME KIND COUNT [PERIOD_US]. Starts them under that name and waits for SIGTERM, which ends all of them and gives 0.
// CPUs, nice value and cgroup are those it was started with.
int run_workers(int argc, char** argv);

inline constexpr const char* kWorkerUsage =
    "floe-guest worker NAME KIND COUNT [PERIOD_US]\n"
    "  KIND: spin; sleep-wake (sleeps PERIOD_US, 1000, at a time); yield; pipe-ping-pong (two that wake each other by turns);\n"
    "  fork-storm (starts a child and waits for its end, every PERIOD_US, 0)\n";

}  // namespace floe::vmm::guest
