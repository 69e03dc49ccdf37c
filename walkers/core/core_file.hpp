// An ELF core of a kernel, opened: QEMU's dump-guest-memory with and without paging, kdump's vmcore and makedumpfile's ELF form,
// cloud-hypervisor's, floe's own, and /proc/kcore, which is one of the running kernel.
//
// It is a Memory by physical addresses where it has them, and a KernelMemory by virtual ones otherwise (CoreMemory, CoreKernelMemory).
// Bytes come by pread(2) through a cache of blocks, not by mmap(2): a mapped file that somebody cuts short kills its reader with SIGBUS,
// and a block that was read once costs a lock and a copy, some 30 ns, which a walk hardly notices. /proc/kcore is not cached, it is alive.
//
// Not zero but unreadable: what no segment has, what lies beyond the end of a file that was cut short before or after it was opened
// (problem() says so), and what QEMU could not find in RAM. Zero: what makedumpfile left out, for it leaves out zero pages that way and
// does not tell them from user pages (headers().left_out_bytes; the ELF specification says zero too).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/may_block.hpp"
#include "walkers/core/headers.hpp"
#include "walkers/kernel_memory.hpp"
#include "walkers/memory.hpp"

namespace floe::walkers::core {

inline constexpr const char* kKcorePath = "/proc/kcore";

class CoreFile {
 public:
  // Errors name the file.
  static Result<std::shared_ptr<const CoreFile>> open(const std::string& path);

  const Headers& headers() const { return headers_; }
  const std::string& path() const { return path_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  bool live() const { return live_; }  // /proc/kcore

  // Bytes of the extents from `address` on, as many as there are without a gap.
  std::size_t read(const Extents& extents, std::uint64_t address, std::span<std::byte> out) const;

  // Of these extents, what may hold anything but zeroes. Holes of a sparse file do not.
  std::vector<PhysRange> populated(const Extents& extents) const;

  // The first read that failed although the file had those bytes when it was opened; empty if none.
  std::string problem() const;

 private:
  static constexpr std::size_t kBlockBytes = 16 << 10;
  static constexpr std::size_t kBlocks = 4096;  // 64 MiB, allocated as they are used
  struct Block {
    Checked<std::mutex> mutex;
    std::uint64_t number = ~std::uint64_t{0};
    std::size_t filled = 0;
    std::unique_ptr<std::byte[]> bytes;
  };

  CoreFile() = default;
  std::size_t read_file(std::uint64_t offset, std::span<std::byte> out) const;
  std::size_t read_block(std::uint64_t offset, std::span<std::byte> out) const;
  void note_short(std::uint64_t offset) const;

  std::string path_;
  UniqueFd fd_;
  std::uint64_t file_bytes_ = 0;
  bool live_ = false;
  Headers headers_;
  mutable std::vector<Block> blocks_;
  mutable Checked<std::mutex> problem_mutex_;
  mutable std::string problem_;
};

// By physical address. Any number of threads may read.
class CoreMemory final : public Memory {
 public:
  explicit CoreMemory(std::shared_ptr<const CoreFile> file) : file_(std::move(file)) {}
  std::size_t read(Gpa gpa, std::span<std::byte> out) const override { return file_->read(file_->headers().physical, gpa.value, out); }
  std::vector<PhysRange> populated() const override { return file_->populated(file_->headers().physical); }

 private:
  std::shared_ptr<const CoreFile> file_;
};

// By virtual address, for cores without physical ones. Any number of threads may read.
class CoreKernelMemory final : public KernelMemory {
 public:
  explicit CoreKernelMemory(std::shared_ptr<const CoreFile> file) : file_(std::move(file)) {}
  std::size_t read(Kva kva, std::span<std::byte> out) const override { return file_->read(file_->headers().kernel, kva.value, out); }
  std::string explain(Kva kva) const override;

 private:
  std::shared_ptr<const CoreFile> file_;
};

}  // namespace floe::walkers::core
