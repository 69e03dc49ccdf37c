// floe as /init of the outer machine of --host tcg: mounts, loads KVM, runs the real floe as its child, powers off.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file.hpp"
#include "cli/outer.hpp"

namespace floe::cli {
namespace {

// A port has its name a moment after it is there.
constexpr int kPortTries = 500;
constexpr unsigned kPortPauseUs = 20'000;

[[noreturn]] void power_off() {
  ::sync();
  ::reboot(RB_POWER_OFF);
  for (;;) ::pause();
}

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "floe: outer machine: {}\n", what);
  power_off();
}

void mount_or_give_up(const char* type, const char* where) {
  ::mkdir(where, 0755);
  if (::mount(type, where, type, 0, nullptr) != 0 && errno != EBUSY) give_up(fmt::format("mounting {}: {}", where, std::strerror(errno)));
}

void load_modules() {
  std::vector<std::string> modules;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/floe/modules", error)) modules.push_back(entry.path().string());
  std::sort(modules.begin(), modules.end());
  for (const std::string& module : modules) {
    const UniqueFd fd(::open(module.c_str(), O_RDONLY | O_CLOEXEC));
    if (::syscall(SYS_finit_module, fd.get(), "", 0) != 0 && errno != EEXIST)
      give_up(fmt::format("loading {}: {}", module, std::strerror(errno)));
  }
}

std::vector<std::string> arguments() {
  const auto packed = read_text("/floe/args");
  if (!packed) give_up(packed.error().message);
  std::vector<std::string> args;
  for (std::size_t at = 0; at < packed->size();) {
    args.emplace_back(packed->c_str() + at);
    at += args.back().size() + 1;
  }
  return args;
}

// What the floe outside passes on reaches the inner one as what it was, whatever that one is waiting for.
[[noreturn]] void deliver_signals(pid_t inner) {
  auto path = link::find_port(link::kSignalPortName);
  for (int tries = 0; !path && tries < kPortTries; ++tries) {
    ::usleep(kPortPauseUs);
    path = link::find_port(link::kSignalPortName);
  }
  const UniqueFd port(path ? ::open(path->c_str(), O_RDONLY | O_CLOEXEC) : -1);
  if (!port) fmt::print(stderr, "floe: outer machine: signals do not arrive: {}\n", path ? std::strerror(errno) : path.error().message);
  for (unsigned char number = 0; ::read(port.get(), &number, 1) == 1;)
    if (number == SIGINT || number == SIGTERM) ::kill(inner, number);
  for (;;) ::pause();
}

}  // namespace

void outer_init() {
  mount_or_give_up("proc", "/proc");
  mount_or_give_up("sysfs", "/sys");
  mount_or_give_up("devtmpfs", "/dev");
  mount_or_give_up("tmpfs", "/tmp");
  const int console = ::open("/dev/console", O_RDWR);
  for (int fd = 0; fd <= 2; ++fd) ::dup2(console, fd);
  load_modules();

  std::vector<std::string> args = arguments();
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(127);
  }
  if (::fork() == 0) deliver_signals(child);
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(-1, &status, 0);
    if (ended == child || (ended < 0 && errno == ECHILD)) break;
  }
  if (WIFSIGNALED(status)) fmt::print(stderr, "floe: the inner floe died of signal {}\n", WTERMSIG(status));
  power_off();
}

}  // namespace floe::cli
