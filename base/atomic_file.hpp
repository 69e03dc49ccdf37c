// A file that is whole or absent: written under a temporary name, synced, then renamed, then its folder synced.
//
// Destroyed without commit() it leaves nothing behind. A writer that is killed leaves its temporary, PATH.floepart. A living one holds a
// lock (flock) on it, which goes with its process, so that whoever comes later can tell: the next writer of the same path removes what a
// dead one left, remove_leftovers() does so for a folder. Blocking: for worker threads and the edges of the program.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe {

inline constexpr std::string_view kPartSuffix = ".floepart";

class AtomicFile {
 public:
  // Errors name the path; nothing at `path` is touched before commit().
  static Result<AtomicFile> create(std::string path);
  ~AtomicFile();
  AtomicFile(AtomicFile&&) noexcept = default;
  AtomicFile& operator=(AtomicFile&&) = delete;

  Result<> append(std::span<const std::byte> bytes);
  Result<> commit();

 private:
  AtomicFile() = default;
  std::string path_;
  std::string temporary_;
  UniqueFd fd_;
};

// The whole of `bytes` at `path`, atomically.
Result<> write_file(const std::string& path, std::span<const std::byte> bytes);

// Removes what writers that are dead left in `folder` and two levels below it; says how many files. Whatever else is there stays, and so
// does what a file system without locks cannot tell about. No folder: nothing to do.
std::size_t remove_leftovers(const std::string& folder);

}  // namespace floe
