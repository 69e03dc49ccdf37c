#include "vmm/guest/small_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.hpp"

namespace floe::vmm::guest {
namespace {

// Never blocks in open(2), as a FIFO would make it; init has one thread.
constexpr int kFlags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
constexpr std::size_t kChunk = 64U << 10;

}  // namespace

std::string slurp(const char* path, std::size_t limit) {
  std::string text;
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  while (fd && text.size() < limit) {
    const auto length = ::read(fd.get(), buffer, std::min(sizeof buffer, limit - text.size()));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) break;
    text.append(buffer, static_cast<std::size_t>(length));
  }
  return text;
}

Result<std::vector<std::byte>> read_file(const wire::ReadFile& request) {
  const UniqueFd fd(::open(request.path.c_str(), O_RDONLY | kFlags));
  if (!fd) return fail_errno(errno, request.path);
  std::vector<std::byte> data;
  while (data.size() < request.limit) {
    const std::size_t before = data.size();
    data.resize(std::min<std::size_t>(request.limit, before + kChunk));
    const auto length = ::read(fd.get(), data.data() + before, data.size() - before);
    const int error = length < 0 ? errno : 0;
    data.resize(before + static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    if (error == EINTR) continue;
    if (error != 0) return fail_errno(error, request.path);
    if (length == 0) break;
  }
  return data;
}

Result<> write_file(const wire::WriteFile& request) {
  const UniqueFd fd(::open(request.path.c_str(), O_WRONLY | O_CREAT | kFlags, 0644));
  if (!fd) return fail_errno(errno, request.path);
  ssize_t length = 0;
  do length = ::write(fd.get(), request.data.data(), request.data.size());
  while (length < 0 && errno == EINTR);
  if (length < 0) return fail_errno(errno, request.path);
  if (static_cast<std::size_t>(length) == request.data.size()) return {};
  return fail(Error(EIO, request.path + ": took " + std::to_string(length) + " of " + std::to_string(request.data.size()) + " bytes"));
}

Result<> make_folder(const wire::MakeFolder& request) {
  for (std::size_t end = request.path.find('/', 1);; end = request.path.find('/', end + 1)) {
    const std::string folder = request.path.substr(0, end);
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(errno, folder);
    if (end == request.path.npos) return {};
  }
}

Result<> remove_folder(const wire::RemoveFolder& request) {
  if (::rmdir(request.path.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, request.path);
  return {};
}

}  // namespace floe::vmm::guest
