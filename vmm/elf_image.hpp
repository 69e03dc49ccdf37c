// What the dynamic loader reads of an ELF file: the interpreter and the names in the dynamic section.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace floe::vmm {

struct ElfImage {
  bool shared_object = false;              // ET_DYN: a library, or a position-independent program
  std::optional<std::string> interpreter;  // PT_INTERP
  std::optional<std::string> soname;       // DT_SONAME
  std::optional<std::string> rpath;        // DT_RPATH, colon-separated
  std::optional<std::string> runpath;      // DT_RUNPATH, colon-separated; where it stands, DT_RPATH does not count
  std::vector<std::string> needed;         // DT_NEEDED, in order
};

bool is_elf(std::span<const std::byte> bytes);
// As the loader checks before it takes a library: 64-bit, little-endian, x86-64.
bool is_x86_64(std::span<const std::byte> bytes);

// Errors say what is malformed; the caller names the file. Any bytes are fine.
Result<ElfImage> read_elf(std::span<const std::byte> bytes);

}  // namespace floe::vmm
