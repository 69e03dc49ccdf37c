#include "vmm/guest/mounts.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/guest/console.hpp"

namespace floe::vmm::guest {
namespace {

struct Mount {
  const char* type;
  const char* target;
  unsigned long flags;
  const char* options;
};

constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV | MS_NOEXEC;

// In this order: the later ones live in the earlier.
constexpr Mount kMounts[] = {
    {"proc", "/proc", kPlain, nullptr},
    {"sysfs", "/sys", kPlain, nullptr},
    {"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666"},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"cgroup2", "/sys/fs/cgroup", kPlain, nullptr},
    {"bpf", "/sys/fs/bpf", kPlain, "mode=0700"},
    {"debugfs", "/sys/kernel/debug", kPlain, nullptr},
    {"tracefs", "/sys/kernel/tracing", kPlain, nullptr},
};

// What devtmpfs leaves to udev, and a shell's process substitution needs.
struct Link {
  const char* path;
  const char* target;
};
constexpr Link kLinks[] = {{"/dev/fd", "/proc/self/fd"},
                           {"/dev/stdin", "/proc/self/fd/0"},
                           {"/dev/stdout", "/proc/self/fd/1"},
                           {"/dev/stderr", "/proc/self/fd/2"}};

// The initramfs brings /dev/console itself, or the kernel made one; this is for the one that has neither.
void standard_descriptors() {
  int fd = ::open("/dev/console", O_RDWR | O_NOCTTY);
  if (fd < 0) fd = ::open("/dev/null", O_RDWR);
  if (fd < 0) return;
  for (int target = 0; target <= 2; ++target) {
    if (fd != target) ::dup2(fd, target);
  }
  if (fd > 2) ::close(fd);
}

// A program built in the host's /tmp stands in the guest's: a mount would hide it, and the root is as writable and as volatile.
bool has_entries(const char* path) {
  DIR* dir = ::opendir(path);
  if (dir == nullptr) return false;
  int entries = 0;
  while (const dirent* entry = ::readdir(dir)) {
    if (::strcmp(entry->d_name, ".") != 0 && ::strcmp(entry->d_name, "..") != 0) ++entries;
  }
  ::closedir(dir);
  return entries != 0;
}

}  // namespace

std::vector<std::string> mount_all() {
  std::vector<std::string> failures;
  for (const auto& m : kMounts) {
    ::mkdir(m.target, 0755);
    if (::strcmp(m.type, "tmpfs") == 0 && has_entries(m.target)) continue;
    // EBUSY: there already, as devtmpfs is where the kernel mounts it by itself.
    if (::mount(m.type, m.target, m.type, m.flags, m.options) != 0 && errno != EBUSY) {
      failures.push_back(with_errno(std::string("cannot mount ") + m.type + " on " + m.target, errno));
    }
  }
  standard_descriptors();
  for (const auto& link : kLinks) {
    if (::symlink(link.target, link.path) != 0 && errno != EEXIST) failures.push_back(with_errno(link.path, errno));
  }
  return failures;
}

std::string loopback_up() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return with_errno("cannot bring the loopback interface up", errno);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const int failed = ::ioctl(fd, SIOCSIFFLAGS, &request) != 0 ? errno : 0;
  ::close(fd);
  return failed != 0 ? with_errno("cannot bring the loopback interface up", failed) : std::string();
}

}  // namespace floe::vmm::guest
