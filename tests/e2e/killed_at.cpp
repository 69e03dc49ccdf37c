// killed_at N COMMAND...: runs COMMAND and kills it (SIGKILL) when it enters its N-th step of writing a file that shall be whole or absent,
// before that step is carried out. A step: a system call that creates, writes, syncs or renames a temporary (base/atomic_file.hpp).
// N = 0 kills nobody. Prints "steps: COUNT"; exits with 137 when it killed, else with COMMAND's code, 77 where it may not trace.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/atomic_file.hpp"

namespace {

std::string text_at(pid_t pid, std::uint64_t address) {
  std::array<char, 4096> bytes{};
  // Up to the end of its page: the next may not be there.
  const iovec to{bytes.data(), bytes.size() - address % bytes.size()}, from{reinterpret_cast<void*>(address), to.iov_len};
  if (::process_vm_readv(pid, &to, 1, &from, 1, 0) <= 0) return "";
  return std::string(bytes.data(), ::strnlen(bytes.data(), to.iov_len));
}

std::string name_of(pid_t pid, std::uint64_t fd) {
  std::array<char, 4096> target{};
  const std::string link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  const auto length = ::readlink(link.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : "";
}

bool is_step(pid_t pid, const __ptrace_syscall_info& info) {
  const auto* args = info.entry.args;
  std::string name;
  switch (info.entry.nr) {
    case SYS_write:
    case SYS_fsync:
      name = name_of(pid, args[0]);
      break;
    case SYS_openat:
      name = (args[2] & O_CREAT) != 0 ? text_at(pid, args[1]) : "";
      break;
    case SYS_rename:
      name = text_at(pid, args[0]);
      break;
    default:
      break;
  }
  return name.ends_with(floe::kPartSuffix);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const unsigned long wanted = std::strtoul(argv[1], nullptr, 10);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
    ::execv(argv[2], argv + 2);
    ::_exit(127);
  }
  unsigned long steps = 0;
  bool started = false;
  int status = 0;
  for (;;) {
    const pid_t pid = ::waitpid(-1, &status, __WALL);
    if (pid < 0) return 1;
    if (!WIFSTOPPED(status)) {
      if (pid == child) break;
      continue;
    }
    int signal = 0;
    if (!std::exchange(started, true)) {
      ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE);
    } else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
      __ptrace_syscall_info info{};
      ::ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), pid, sizeof info, &info);
      if (info.op == PTRACE_SYSCALL_INFO_ENTRY && is_step(child, info) && ++steps == wanted) ::kill(child, SIGKILL);
    } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP) {  // a thread that begins stops once
      signal = WSTOPSIG(status);
    }
    ::ptrace(PTRACE_SYSCALL, pid, nullptr, signal);
  }
  std::printf("steps: %lu\n", steps);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
