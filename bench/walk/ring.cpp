// The same walks of a guest's RAM as it runs and of a snapshot of it in the ring, its pages not compressed.
#include <array>

#include "bench/walk/peers.hpp"
#include "bench/walk/rows.hpp"
#include "freeze/snapshot_memory.hpp"

namespace floe::bench {
namespace {

constexpr std::uint64_t kRingBytes = std::uint64_t{2} << 30;

Result<std::unique_ptr<vmm::GuestRam>> ram_of(const Guest& guest) {
  const auto& layout = guest.file->layout();
  auto ram = vmm::GuestRam::create(std::uint64_t{layout.pages()} * kPageBytes);
  if (!ram) return ram;
  for (const walkers::PhysRange& range : guest.flat->populated()) {
    std::vector<std::byte> bytes(range.bytes);
    if (guest.flat->read(range.start, bytes) != bytes.size() || !(*ram)->write(range.start, bytes))
      return fail("the snapshot's pages do not fit into RAM of its size");
  }
  return ram;
}

Result<std::unique_ptr<freeze::SnapshotRing>> ring_of(const Guest& guest) {
  const auto store = freeze::PageStore::create({.byte_limit = kRingBytes});
  if (!store) return fail(store.error());
  const auto& layout = guest.file->layout();
  auto ring =
      std::make_unique<freeze::SnapshotRing>(*store, freeze::SnapshotRing::Options{.pages = layout.pages(), .byte_limit = kRingBytes});
  std::vector<freeze::PageChange> changes;
  std::array<std::byte, kPageBytes> bytes;
  for (const walkers::PhysRange& range : guest.flat->populated())
    for (std::uint64_t at = 0; at < range.bytes; at += kPageBytes) {
      std::uint32_t page = 0;
      if (layout.find(range.start + at, page) == 0 || guest.flat->read(range.start + at, bytes) != bytes.size())
        return fail("a page of the snapshot is not RAM");
      const auto ref = ring->put(bytes);
      if (!ref) return fail(ref.error());
      if (*ref != freeze::kZeroPage) changes.push_back({page, *ref});
    }
  if (const auto pushed = ring->push({}, {}, changes); !pushed) return fail(pushed.error());
  return ring;
}

}  // namespace

Result<> ring_rows(const Settings& settings, const Guest& big, Report& report) {
  const std::string hash = "ring: the hash walked", table = "ring: the task table";
  if (!settings.wants(hash) && !settings.wants(table)) return {};
  const auto known = walkers::Kernel::open(*big.flat, big.how);
  if (!known) return fail(known.error());
  const auto ram = ram_of(big);
  if (!ram) return fail(ram.error());
  const auto ring = ring_of(big);
  if (!ring) return fail(ring.error());
  const auto view = (*ring)->newest();
  const freeze::RingMemory kept(view, big.file->layout());
  const freeze::LiveMemory live(**ram);
  const auto row = [&](const std::string& name, const auto& walk) -> Result<> {
    if (!settings.wants(name)) return {};
    Contender of_live{.name = "live memory"}, of_ring{.name = "ring entry"};
    for (unsigned round = 0; round < rounds_of(settings, 30); ++round) {
      const auto first = walk(live);
      if (!first) return fail(first.error());
      const auto second = walk(kept);
      if (!second) return fail(second.error());
      of_live.rounds.push_back(*first);
      of_ring.rounds.push_back(*second);
    }
    Row made{.name = name, .unit = "ms", .baseline = of_live.name, .contenders = {of_live, of_ring}, .promises = {}};
    made.promises = {ratio_at_most(made, of_ring.name, 2)};
    report.rows.push_back(std::move(made));
    return {};
  };
  if (const auto done = row(hash, [&](const walkers::Memory& memory) { return raw_hash_ms(memory, big, *known); }); !done) return done;
  return row(table, [&](const walkers::Memory& memory) -> Result<double> {
    const auto times = task_table_ms(memory, big, *known);
    if (!times) return fail(times.error());
    return times->with_details;
  });
}

}  // namespace floe::bench
