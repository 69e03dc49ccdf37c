// A kernel file as the loader needs it: a bzImage (x86 boot protocol 2.12 or later, 64-bit entry) or an ELF vmlinux with a PVH note.
//
// open() refuses what could not boot, with a message that names the file and the fault: not a kernel, cut short, a payload that
// does not unpack (zstd, gzip and xz are checked; their checksums catch flipped bits), no 64-bit entry, no PVH note.
// Sources: Documentation/arch/x86/boot.rst; include/xen/interface/elfnote.h (XEN_ELFNOTE_PHYS32_ENTRY, 18).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"

namespace floe::vmm {

struct KernelImage {
  enum class Kind { kBzImage, kElfPvh };
  struct Segment {
    std::uint64_t file_offset = 0;
    std::uint64_t file_bytes = 0;
    std::uint64_t memory_bytes = 0;
    Gpa load;
  };

  Kind kind = Kind::kBzImage;
  std::string path;
  std::vector<std::byte> bytes;      // the whole file
  std::vector<Segment> segments;     // what is copied into RAM
  Gpa entry;                         // 64-bit entry of a bzImage, PVH entry of an ELF
  std::uint64_t memory_end = 0;      // first gpa free for an initrd
  std::uint64_t initrd_max = 0;      // the initrd must end at or below this gpa
  std::size_t command_line_max = 0;  // bytes without the NUL

  static Result<KernelImage> open(const std::string& path);
  static Result<KernelImage> parse(std::string path, std::vector<std::byte> bytes);
};

}  // namespace floe::vmm
