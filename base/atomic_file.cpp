#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "base/file.hpp"
#include "base/may_block.hpp"

namespace floe {
namespace {

constexpr unsigned kMostNames = 100;  // writers of one path at the same time
constexpr int kDeepestLeftover = 2;   // run/DATE/snapshots/NAME

// Does the name still lead to the open file? Whoever removes a temporary holds its lock, so under the lock the answer stays true.
bool names(const std::string& path, int fd) {
  struct stat named{}, open{};
  return ::lstat(path.c_str(), &named) == 0 && ::fstat(fd, &open) == 0 && named.st_ino == open.st_ino && named.st_dev == open.st_dev;
}

// The lock can be had: nobody is writing it any more.
bool remove_if_left(const std::string& part) {
  const UniqueFd fd(::open(part.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 || !names(part, fd.get())) return false;
  return ::unlink(part.c_str()) == 0;
}

std::string part_name(const std::string& path, unsigned number) {
  return path + (number == 1 ? "" : "." + std::to_string(number)) + std::string(kPartSuffix);
}

}  // namespace

Result<AtomicFile> AtomicFile::create(std::string path) {
  may_block("a file was created");
  AtomicFile file;
  file.path_ = std::move(path);
  unsigned number = 1;
  for (unsigned tries = 0; tries < 2 * kMostNames && number <= kMostNames; ++tries) {
    file.temporary_ = part_name(file.path_, number);
    UniqueFd fd(::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!fd && errno != EEXIST) return fail_errno(errno, "creating " + file.temporary_);
    if (!fd) {
      if (!remove_if_left(file.temporary_)) ++number;  // somebody else is writing the same
      continue;
    }
    // Between open and lock it looks as if left behind: whoever took it for that has it now, and it is gone.
    const bool locked = ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (!locked || !names(file.temporary_, fd.get())) continue;
    file.fd_ = std::move(fd);
    return file;
  }
  return fail(Error(EEXIST, "creating " + file.path_ + ": remove its leftovers, " + part_name(file.path_, 1) + " and so on"));
}

AtomicFile::~AtomicFile() {
  if (fd_) ::unlink(temporary_.c_str());
}

Result<> AtomicFile::append(std::span<const std::byte> bytes) {
  return write_fully(fd_.get(), bytes, temporary_);
}

Result<> AtomicFile::commit() {
  may_block("a file was synced");
  if (::fsync(fd_.get()) != 0) return fail_errno(errno, "syncing " + temporary_);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return fail_errno(errno, "renaming " + temporary_ + " to " + path_);
  fd_.reset();
  const auto slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const UniqueFd folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd || ::fsync(folder_fd.get()) != 0) return fail_errno(errno, "syncing " + folder);
  return {};
}

Result<> write_file(const std::string& path, std::span<const std::byte> bytes) {
  auto file = AtomicFile::create(path);
  if (!file) return fail(std::move(file.error()));
  const auto written = file->append(bytes);
  return written ? file->commit() : written;
}

std::size_t remove_leftovers(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> parts;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (at.depth() >= kDeepestLeftover) at.disable_recursion_pending();
    if (std::string name = at->path().string(); name.ends_with(kPartSuffix)) parts.push_back(std::move(name));
  }
  std::size_t removed = 0;
  for (const std::string& part : parts) removed += remove_if_left(part);
  return removed;
}

}  // namespace floe
