// Reading small files whole, large ones in parts, with the path in every error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace floe {

// The file's bytes. Errors name the path; `code` is the errno (ENOENT, EACCES, EISDIR, EFBIG over `limit`).
Result<std::vector<std::byte>> read_file(const std::string& path, std::uint64_t limit = std::uint64_t{1} << 32);
Result<std::string> read_text(const std::string& path, std::uint64_t limit = std::uint64_t{1} << 24);

// Opens a regular file for reading; `bytes` gets its size. Errors name it.
Result<UniqueFd> open_regular(const std::string& path, std::uint64_t& bytes);

// How many bytes of [offset, offset + out.size()) could be read from its start: fewer where the file ends or cannot be read.
std::size_t read_at(int fd, std::uint64_t offset, std::span<std::byte> out);

inline bool read_exactly(int fd, std::uint64_t offset, std::span<std::byte> out) {
  return read_at(fd, offset, out) == out.size();
}

// All of `data`, through partial writes and EINTR. For blocking descriptors.
Result<> write_fully(int fd, std::span<const std::byte> data, const std::string& what);

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace floe
