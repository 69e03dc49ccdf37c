#include "base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.hpp"
#include "base/may_block.hpp"

namespace floe {
namespace {

template <class Container>
Result<Container> read_whole(const std::string& path, std::uint64_t limit) {
  may_block("a file was read");
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(errno, path);
  if (S_ISDIR(info.st_mode)) return fail_errno(EISDIR, path);
  Container content;
  content.resize(static_cast<std::size_t>(std::min<std::uint64_t>(static_cast<std::uint64_t>(info.st_size), limit)));
  std::size_t filled = 0;
  for (;;) {
    // Files of procfs and sysfs say size 0 and pipes say nothing: grow until a read gives no more.
    if (filled == content.size()) content.resize(filled + 4096);
    const auto got = ::read(fd.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, path);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
    if (filled > limit) return fail(Error(EFBIG, path + ": larger than the " + std::to_string(limit) + " bytes allowed here"));
  }
  content.resize(filled);
  return content;
}

}  // namespace

Result<std::vector<std::byte>> read_file(const std::string& path, std::uint64_t limit) {
  return read_whole<std::vector<std::byte>>(path, limit);
}

Result<std::string> read_text(const std::string& path, std::uint64_t limit) {
  return read_whole<std::string>(path, limit);
}

Result<UniqueFd> open_regular(const std::string& path, std::uint64_t& bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // NONBLOCK: a FIFO must not hang us
  if (!fd) return fail_errno(errno, path);
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return fail_errno(errno, path);
  if (!S_ISREG(st.st_mode)) return fail(Error(EINVAL, path + " is not a regular file"));
  bytes = static_cast<std::uint64_t>(st.st_size);
  return fd;
}

std::size_t read_at(int fd, std::uint64_t offset, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Result<> write_fully(int fd, std::span<const std::byte> data, const std::string& what) {
  may_block("a file was written");
  while (!data.empty()) {
    const auto put = ::write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, "writing " + what);
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace floe
