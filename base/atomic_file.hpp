// A file that is whole or absent: written under a temporary name, synced, then renamed, then its folder synced.
//
// Destroyed without commit() it leaves nothing behind. Blocking: for worker threads and the edges of the program.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe {

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

}  // namespace floe
