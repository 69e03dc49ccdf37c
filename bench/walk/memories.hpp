// The memories that are walked: kept snapshots of two guests (make-memories), each as the file that floe dump reads and as flat bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "freeze/snapshot_file.hpp"
#include "walkers/kernel.hpp"
#include "walkers/memory.hpp"

namespace floe::bench {

// A snapshot whose pages stand in one piece of this process's memory: what a walk costs once nothing has to be decompressed.
class FlatMemory final : public walkers::Memory {
 public:
  explicit FlatMemory(const freeze::SnapshotFile& file);
  ~FlatMemory() override;
  FlatMemory(const FlatMemory&) = delete;
  FlatMemory& operator=(const FlatMemory&) = delete;

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override;
  bool prefetch(Gpa gpa, std::size_t bytes) const override;
  std::vector<walkers::PhysRange> populated() const override { return populated_; }
  std::uint64_t populated_bytes() const;

 private:
  freeze::RamLayout layout_;
  std::vector<walkers::PhysRange> populated_;
  std::byte* bytes_ = nullptr;  // by page index
  std::size_t size_ = 0;
};

struct Guest {
  std::string path;  // of the snapshot
  std::unique_ptr<freeze::SnapshotFile> file;
  std::unique_ptr<FlatMemory> flat;
  walkers::OpenOptions how;  // by the page tables of its CPU
};

// The newest snapshot of a run that has the big map in it.
Result<Guest> load_big(const std::string& run);
// The one in which a task has waited longest on a DSQ: the last before the kernel threw the scheduler out.
Result<Guest> load_stalled(const std::string& run);

}  // namespace floe::bench
