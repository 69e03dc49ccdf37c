// What takes snapshots of a tiny guest: page store, ring, dirty source, Snapshotter, and an engine that runs one take() at a time on the
// caller's thread. Needs floe::freeze beside floe_tiny_guest.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.hpp"
#include "freeze/coordinator.hpp"
#include "freeze/snapshotter.hpp"
#include "tests/tiny/guest.hpp"

namespace floe::tiny {

struct RecorderOptions {
  std::string source = {};  // name of the dirty source; empty: the first that works
  freeze::SnapshotterOptions how = {};
  std::size_t depth = 60;
  std::uint64_t store_bytes = 512u << 20;
  std::uint64_t ring_bytes = 384u << 20;
  std::vector<freeze::SavedDevice> more_devices = {};  // saved inside of each pause, like the guest's own
};

class Recorder {
 public:
  // `guest` outlives the recorder, and has not been started.
  static Result<std::unique_ptr<Recorder>> create(Guest& guest, const RecorderOptions& options) {
    auto recorder = std::unique_ptr<Recorder>(new Recorder);
    auto store = freeze::PageStore::create({.byte_limit = options.store_bytes, .zstd_level = 1, .hash = nullptr});
    if (!store) return fail(std::move(store.error()));
    recorder->store_ = std::move(*store);
    const freeze::SnapshotRing::Options bounds{
        .pages = static_cast<std::uint32_t>(guest.vm().ram().pages()), .depth = options.depth, .byte_limit = options.ring_bytes};
    recorder->ring_ = std::make_unique<freeze::SnapshotRing>(recorder->store_, bounds);
    auto source =
        freeze::choose_dirty_source(guest.vm().ram(), {.kvm_fd = guest.vm().kvm_fd(), .vm_fd = guest.vm().fd(), .only = options.source});
    if (!source) return fail(std::move(source.error()));
    std::vector<freeze::SavedDevice> devices = devices_of(guest);
    devices.insert(devices.end(), options.more_devices.begin(), options.more_devices.end());
    auto snapshotter = freeze::Snapshotter::create(guest.vm(), *recorder->ring_, recorder->store_, std::move(source->source),
                                                   std::move(devices), options.how);
    if (!snapshotter) return fail(std::move(snapshotter.error()));
    recorder->snapshotter_ = std::move(*snapshotter);
    auto loop = engine::loop::create();
    if (!loop) return fail(std::move(loop.error()));
    recorder->loop_ = std::move(*loop);
    return recorder;
  }

  Result<freeze::Take> take() { return loop_->run(snapshotter_->take(++tick_, pool_)).to_result(); }

  engine::loop& loop() { return *loop_; }
  engine::worker_pool& pool() { return pool_; }
  freeze::SnapshotRing& ring() { return *ring_; }
  freeze::Snapshotter& snapshotter() { return *snapshotter_; }
  freeze::PageStore& store() { return *store_; }
  const char* source() const { return snapshotter_->dirty_source().name(); }

 private:
  Recorder() = default;

  static std::vector<freeze::SavedDevice> devices_of(Guest& guest) {
    if (!guest.has_pc()) return {};
    const auto save = [&guest](std::span<std::byte> out) { return guest.pc().console().save(out); };
    return {{"virtio-console", sizeof(vmm::VirtioConsole::State), save}};
  }

  std::unique_ptr<engine::loop> loop_;
  engine::worker_pool pool_{1};
  std::shared_ptr<freeze::PageStore> store_;
  std::unique_ptr<freeze::SnapshotRing> ring_;
  std::unique_ptr<freeze::Snapshotter> snapshotter_;
  std::uint64_t tick_ = 0;
};

// Runs `story` beside the coordinator that it gives its orders to, and ends that with it.
inline engine::task<> beside(freeze::Coordinator& coordinator, engine::task<> story) {
  engine::scope owner("coordinator");
  owner.spawn(coordinator.run(), "coordinator");
  const auto ended = co_await std::move(story);
  coordinator.close();
  const auto joined = co_await owner.join();
  if (!ended) co_return ended.failure();
  if (!joined) co_return joined.failure();
  co_return engine::ok;
}

}  // namespace floe::tiny
