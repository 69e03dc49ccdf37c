// The headers of an ELF core of a kernel: which addresses are where in the file, and its notes.
//
// Parsed here and not by libelf: the handful of structs is fixed, and the file may be hostile, cut short or (/proc/kcore) without a size,
// where libelf wants a sound one. Everything is checked against the file's size first, so that no allocation is larger than the file
// itself says with bytes. What is wrong with a part of it costs that part and leaves a problem; an error is only what makes it no core.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "walkers/core/extents.hpp"
#include "walkers/core/notes.hpp"

namespace floe::walkers::core {

// More than 65,534 program headers are counted in the first section header (PN_XNUM). Each costs 56 bytes of file.
inline constexpr std::uint64_t kMaxProgramHeaders = 4 << 20;
inline constexpr std::uint64_t kMaxNoteBytes = 64 << 20;

struct Headers {
  Extents physical;                  // by p_paddr; empty when the file has no physical addresses
  Extents kernel;                    // by p_vaddr, of the kernel's half of the address space
  Notes notes;                       // with the problems of the headers too
  std::uint64_t left_out_bytes = 0;  // that segments have in memory and not in the file: they read as zeroes
};

// Reads them from an open file of `file_bytes` bytes. Errors say what the file is instead, and what to do; they do not name it.
Result<Headers> read_headers(int fd, std::uint64_t file_bytes);

}  // namespace floe::walkers::core
