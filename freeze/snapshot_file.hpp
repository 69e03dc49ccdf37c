// snapshots/NNNNNN.floesnap: one kept snapshot, small, because its pages are in the page file beside it (page_file.hpp). As a
// walkers::Memory it is as good as the ring's snapshot that it was written from. The layout is in docs/format.md.
//
// The file is hostile input: everything is checked when it is opened, nothing here crashes, hangs or allocates more than the file's size
// times a bounded compression ratio. A page whose bytes are damaged is unreadable, and problem() says so.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "freeze/page_file.hpp"
#include "freeze/snapshot.hpp"
#include "walkers/memory.hpp"

namespace floe::freeze {

inline constexpr std::uint32_t kAbsentNumber = 0xffff'ffff;

// `count` pages from the snapshot's page index `first` on are the page file's pages number, number + 1, ...; or all zero when number is 0;
// or all unknown when it is kAbsentNumber.
struct PageRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint32_t number = 0;
};

// Everything a snapshot file says.
struct KeptSnapshot {
  SnapshotMeta meta;
  MachineState machine;
  RamLayout layout;
  PageFileId pages;
  std::vector<PageRun> runs;  // cover pages [0, layout.pages()) in order
};

std::vector<std::byte> encode_snapshot(const KeptSnapshot& snapshot);
// `name` stands in the errors, which say what is wrong.
Result<KeptSnapshot> decode_snapshot(std::span<const std::byte> file, const std::string& name);

class SnapshotFile final : public walkers::Memory {
 public:
  // Opens the page file in the same folder too, unless `pages` is it (for a reader of many snapshots). Errors name the file and the reason:
  // missing, not a snapshot, another version, damaged; page file missing, damaged, or not the one that the snapshot was written with.
  static Result<std::unique_ptr<SnapshotFile>> open(const std::string& path, std::shared_ptr<const PageFile> pages = nullptr);

  const SnapshotMeta& meta() const { return snapshot_.meta; }
  const MachineState& machine() const { return snapshot_.machine; }
  const RamLayout& layout() const { return snapshot_.layout; }
  const std::shared_ptr<const PageFile>& page_file() const { return pages_; }

  std::size_t read(Gpa gpa, std::span<std::byte> out) const override;
  // What is not a zero page.
  std::vector<walkers::PhysRange> populated() const override;
  // By page index. False when there is no such page or its bytes are damaged.
  bool read_page(std::uint32_t page, std::size_t offset, std::span<std::byte> out) const;

  // The first damage met so far, empty if none.
  std::string problem() const { return pages_->problem(); }

 private:
  SnapshotFile(KeptSnapshot snapshot, std::shared_ptr<const PageFile> pages) : snapshot_(std::move(snapshot)), pages_(std::move(pages)) {}
  std::uint32_t number_of(std::uint32_t page) const;

  KeptSnapshot snapshot_;
  std::shared_ptr<const PageFile> pages_;
};

}  // namespace floe::freeze
