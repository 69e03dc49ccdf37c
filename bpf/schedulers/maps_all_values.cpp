// The maps that hold values, and those that hold memory.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bpf/schedulers/maps_all.hpp"
#include "bpf/schedulers/records.h"

namespace floe::schedulers {
namespace {

constexpr std::uint32_t kEntries = 12;
constexpr std::size_t kPage = 4096;

}  // namespace

void MapsAll::hashes() {
  const auto typed = [](Type type, const char* name, std::uint32_t entries, std::uint32_t flags) {
    return Shape{type, name, sizeof(floe_key), sizeof(floe_value), entries, flags, "floe_key", "floe_value"};
  };
  fill_with(typed(kHash, "all_hash", 64, 0), kEntries, false, false);
  fill_with(typed(kHash, "all_hash_lazy", 1000, BPF_F_NO_PREALLOC), 300, false, false);
  fill_with(typed(kHash, "all_hash_empty", 8, 0), 0, false, false);
  // Without BTF, and of sizes that no word divides.
  const Shape bare{kHash, "all_hash_bare", 5, 11, 40};
  if (create(bare) == 0) {
    for (std::uint32_t i = 0; i < kEntries; ++i) {
      Bytes k = key(i);
      k.resize(5);
      Bytes v = value(i);
      v.resize(11);
      if (put(k, v)) append_value(entries_, k, v);
    }
    say(bare);
  }
  fill_with(typed(kPercpuHash, "all_pcpu_hash", 64, 0), kEntries, true, false);
  fill_with(typed(kLruHash, "all_lru", 512, 0), kEntries, false, false);
  fill_with(typed(kLruPercpuHash, "all_pcpu_lru", 512, 0), kEntries, true, false);
  fill_with(typed(kRhash, "all_rhash", 200, BPF_F_NO_PREALLOC), 100, false, false);
}

void MapsAll::arrays() {
  const auto typed = [](Type type, const char* name, std::uint32_t entries, std::uint32_t flags) {
    return Shape{type, name, 4, sizeof(floe_value), entries, flags, "unsigned int", "floe_value"};
  };
  fill_with(typed(kArray, "all_array", 16, 0), 16, false, true);
  fill_with(typed(kArray, "all_array_one", 1, 0), 1, false, true);
  fill_with(typed(kArray, "all_array_mmap", 100, BPF_F_MMAPABLE), 100, false, true);
  fill_with(typed(kPercpuArray, "all_pcpu_array", 5, 0), 5, true, true);
}

void MapsAll::tries_and_queues() {
  const Shape trie{kLpmTrie, "all_lpm_trie", 8, sizeof(floe_value), 64, BPF_F_NO_PREALLOC};
  if (create(trie) == 0) {
    for (std::uint32_t i = 0; i < kEntries; ++i) {
      // Different lengths of prefixes that share their beginnings; the trie keeps the bits behind a prefix as they come.
      const auto bits = static_cast<std::uint32_t>(floe_mix(seed_, map_, i, 100));
      const std::uint32_t length = i == 0 ? 0 : 4 + i * 2;
      const std::uint32_t address = ::htonl((10U << 24) | (bits & 0x00ffffff));
      Bytes k = bytes_of(length);
      const Bytes tail = bytes_of(address);
      k.insert(k.end(), tail.begin(), tail.end());
      if (put(k, value(i))) append_value(entries_, k, value(i));
    }
    say(trie, "keys whose prefixes are equal replace each other");
  }
  for (const auto& shape : {Shape{kQueue, "all_queue", 0, sizeof(floe_value), 20}, Shape{kStack, "all_stack", 0, sizeof(floe_value), 20}}) {
    if (create(shape) != 0) continue;
    for (std::uint32_t i = 0; i < kEntries; ++i) {
      if (put({}, value(i))) append_value(entries_, {}, value(i));
    }
    say(shape, "in the order of pushing");
  }
  const Shape bloom{kBloomFilter, "all_bloom", 0, sizeof(floe_value), 50};
  if (create(bloom) == 0) {
    for (std::uint32_t i = 0; i < kEntries; ++i) {
      if (put({}, value(i))) append_value(entries_, {}, value(i));
    }
    say(bloom, "only their hashes are kept");
  }
}

void MapsAll::memories() {
  const Shape arena{kArena, "all_arena", 0, 0, 20, BPF_F_MMAPABLE, nullptr, nullptr, -1, 0x2ULL << 44};
  if (create(arena) == 0) {
    void* const at = ::mmap(reinterpret_cast<void*>(arena.extra), 20 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_, 0);
    if (at == MAP_FAILED) {
      ++failures_;
      last_error_ = errno;
    } else {
      for (const std::uint32_t page : {0U, 1U, 7U, 19U}) {
        const Bytes v = value(page);
        std::memcpy(static_cast<char*>(at) + page * kPage + 128, v.data(), v.size());
        append_value(entries_, number(page), v);
      }
    }
    say(arena, "keys here are pages, values stand at byte 128 of them");
  }
  const Shape insns{kInsnArray, "all_insn_array", 4, 16, 4};
  if (create(insns) == 0) {
    for (std::uint32_t i = 0; i < 4; ++i) {
      Bytes v(16, 0);
      const Bytes original = number(i * 3 + 1);
      std::copy(original.begin(), original.end(), v.begin());
      if (put(number(i), v)) append_value(entries_, number(i), v);
    }
    say(insns);
  }
  const Shape ring{kUserRingbuf, "all_user_ring", 0, 0, 8192};
  if (create(ring) == 0) {
    user_ring_buffer* const writer = ::user_ring_buffer__new(fd_, nullptr);
    for (std::uint32_t i = 0; writer != nullptr && i < 5; ++i) {
      const Bytes v = value(i);
      void* const slot = ::user_ring_buffer__reserve(writer, static_cast<__u32>(v.size()));
      if (slot == nullptr) break;
      std::memcpy(slot, v.data(), v.size());
      ::user_ring_buffer__submit(writer, slot);
      append_value(entries_, {}, v);
    }
    say(ring, "records, none consumed");
  }
}

void MapsAll::rings_and_ops() {
  const Shape shapes[] = {
      {kRingbuf, "all_ringbuf", 0, 0, 0}, {kStackTrace, "all_stacks", 0, 0, 0}, {kStructOps, "all_struct_ops", 0, 0, 0}};
  if (object_ == nullptr) {
    for (const auto& shape : shapes) refuse(shape, std::string("its object: ") + std::strerror(object_error_));
    return;
  }
  const auto fd_of = [this](const char* name) { return ::bpf_map__fd(::bpf_object__find_map_by_name(object_, name)); };
  const auto run = [this](const char* name) {
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    return ::bpf_prog_test_run_opts(::bpf_program__fd(::bpf_object__find_program_by_name(object_, name)), &options);
  };
  const int ring = run("fill_ring");
  already_made(shapes[0], fd_of("all_ringbuf"), ring == 0 ? "9 records, none consumed" : "its program could not be run");
  const int stacks = run("fill_stacks");
  already_made(shapes[1], fd_of("all_stacks"), stacks == 0 ? "the stacks of a test run" : "its program could not be run");
  bpf_link* const link = ::bpf_map__attach_struct_ops(::bpf_object__find_map_by_name(object_, "all_struct_ops"));
  already_made(shapes[2], fd_of("all_struct_ops"), link != nullptr ? "a TCP congestion control, registered" : "not registered");
}

}  // namespace floe::schedulers
