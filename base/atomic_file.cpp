#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/file.hpp"
#include "base/may_block.hpp"

namespace floe {

Result<AtomicFile> AtomicFile::create(std::string path) {
  may_block("a file was created");
  AtomicFile file;
  file.path_ = std::move(path);
  file.temporary_ = file.path_ + ".part";
  file.fd_.reset(::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.fd_) return fail_errno(errno, "creating " + file.temporary_);
  return file;
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

}  // namespace floe
