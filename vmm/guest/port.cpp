#include "vmm/guest/port.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "vmm/guest/console.hpp"

namespace floe::vmm::guest {
namespace {

constexpr const char* kClass = "/sys/class/virtio-ports";
constexpr int kLookEveryUs = 5'000;
constexpr int kLooks = 10'000'000 / kLookEveryUs;
constexpr std::size_t kMaxWrite = 32U << 10;  // drivers/char/virtio_console.c, port_fops_write: more is cut anyway

bool has_name(const std::string& entry) {
  const std::string path = std::string(kClass) + "/" + entry + "/name";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[64];
  const auto length = ::read(fd, text, sizeof text);
  ::close(fd);
  std::string_view name(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  if (!name.empty() && name.back() == '\n') name.remove_suffix(1);
  return name == Port::kName;
}

// The device node's path, or nothing yet. The port's number says nothing: the name is what counts.
std::string find_port() {
  std::string found;
  DIR* dir = ::opendir(kClass);
  if (dir == nullptr) return found;
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_name[0] != '.' && has_name(entry->d_name)) {
      found = std::string("/dev/") + entry->d_name;
      break;
    }
  }
  ::closedir(dir);
  return found;
}

}  // namespace

Result<> Port::open() {
  std::string why = std::string("no virtio-console port named ") + kName;
  for (int look = 0; look < kLooks; ++look) {
    const std::string path = find_port();
    if (!path.empty()) {
      fd_.reset(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
      if (fd_) {
        path_ = path;
        return {};
      }
      why = with_errno(path, errno);
    }
    ::usleep(kLookEveryUs);
  }
  return fail(why + " within 10 s");
}

Result<> Port::reopen() {
  fd_.reset();  // the kernel refuses a second one
  fd_.reset(::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!fd_) return fail_errno(errno, path_);
  away_ = false;
  decoder_ = wire::Decoder(kMaxIncoming);
  return {};
}

void Port::send(std::uint32_t type, std::span<const std::byte> payload) {
  if (!encoder_.encode(type, payload, out_)) say(4, "a frame of " + wire::tag_name(type) + " is too long for the wire");
}

std::size_t Port::flush() {
  std::size_t progress = 0;
  while (pending() != 0) {
    const auto written = ::write(fd_.get(), out_.data() + written_, std::min(pending(), kMaxWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;  // EAGAIN: the queue is full. Anything else is the host's end going away; poll tells
    written_ += static_cast<std::size_t>(written);
    progress += static_cast<std::size_t>(written);
  }
  if (pending() == 0) {
    out_.clear();
    written_ = 0;
  } else if (written_ >= kFull) {
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(written_));
    written_ = 0;
  }
  return progress;
}

void Port::receive() {
  std::byte buffer[4096];
  // A bounded number: a host that never stops talking must not keep init from its children.
  for (int round = 0; round < 16; ++round) {
    const auto length = ::read(fd_.get(), buffer, sizeof buffer);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
      away_ = true;  // 0: the host's end is closed
      return;
    }
    decoder_.feed({buffer, static_cast<std::size_t>(length)});
    if (static_cast<std::size_t>(length) < sizeof buffer) return;
  }
}

}  // namespace floe::vmm::guest
