#include "vmm/guest/console.hpp"

#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace floe::vmm::guest {
namespace {

void write_line(const char* path, const std::string& line) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return;
  [[maybe_unused]] const auto written = ::write(fd, line.data(), line.size());  // nowhere left to report to
  ::close(fd);
}

}  // namespace

void say(int level, std::string_view text) {
  const std::string line = "floe-init: " + std::string(text.substr(0, 900)) + "\n";
  write_line("/dev/kmsg", "<" + std::to_string(level) + ">" + line);
  if (level <= 3) write_line("/dev/console", line);
}

std::string with_errno(std::string_view what, int errno_value) {
  return std::string(what) + ": " + ::strerror(errno_value);
}

void power_off() {
  ::kill(-1, SIGKILL);
  ::sync();
  ::reboot(RB_POWER_OFF);
  say(3, with_errno("cannot power off", errno));
  for (;;) ::pause();
}

void fatal(std::string_view reason) {
  say(3, reason);
  power_off();
}

}  // namespace floe::vmm::guest
