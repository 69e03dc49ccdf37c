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
