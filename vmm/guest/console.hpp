// Last words: what init says where there is no wire, on the kernel's log and the console.
#pragma once

#include <string>
#include <string_view>

namespace floe::vmm::guest {

// "floe-init: text" to /dev/kmsg (level as in syslog(3)) and, for errors, to /dev/console.
void say(int level, std::string_view text);

// "what: strerror(errno_value)"
std::string with_errno(std::string_view what, int errno_value);

// Kills whatever runs, writes out files, powers the machine off. Should even that fail, sleeps for good: PID 1 that returns is a
// kernel panic, which would be reported as one.
[[noreturn]] void power_off();

// say(3, reason), then power_off().
[[noreturn]] void fatal(std::string_view reason);

}  // namespace floe::vmm::guest
