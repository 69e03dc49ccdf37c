// One map of every type that the running kernel accepts: creates them, fills them from a seed, tells what went in, a JSON line each (see
// floe_maps_all.cpp), and holds them as long as the process lives.
#pragma once

#include <bpf/libbpf.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace floe::schedulers {

std::span<const char> fill_object();  // fill.bpf.c, compiled

// include/uapi/linux/bpf.h, enum bpf_map_type; Debian 12's ends at 31.
enum Type : std::uint32_t {
  kHash = 1,
  kArray,
  kProgArray,
  kPerfEventArray,
  kPercpuHash,
  kPercpuArray,
  kStackTrace,
  kCgroupArray,
  kLruHash,
  kLruPercpuHash,
  kLpmTrie,
  kArrayOfMaps,
  kHashOfMaps,
  kDevmap,
  kSockmap,
  kCpumap,
  kXskmap,
  kSockhash,
  kCgroupStorage,
  kReuseportSockarray,
  kPercpuCgroupStorage,
  kQueue,
  kStack,
  kSkStorage,
  kDevmapHash,
  kStructOps,
  kRingbuf,
  kInodeStorage,
  kTaskStorage,
  kBloomFilter,
  kUserRingbuf,
  kCgrpStorage,
  kArena,
  kInsnArray,
  kRhash,
};

using Bytes = std::vector<unsigned char>;

template <class T>
Bytes bytes_of(const T& value) {
  const auto* const from = reinterpret_cast<const unsigned char*>(&value);
  return Bytes(from, from + sizeof value);
}

struct Shape {
  Type type;
  const char* name;
  std::uint32_t key_size;
  std::uint32_t value_size;
  std::uint32_t max_entries;
  std::uint32_t flags = 0;
  const char* key_type = nullptr;  // names in the object's BTF
  const char* value_type = nullptr;
  int inner_fd = -1;
  std::uint64_t extra = 0;
};

class MapsAll {
 public:
  explicit MapsAll(std::uint64_t seed) : seed_(seed), cpus_(::libbpf_num_possible_cpus()) {}
  void make_all();
  std::size_t count() const { return fds_.size(); }

 private:
  void load_object();
  int create(const Shape& shape);
  bool put(const Bytes& key, const Bytes& value, std::uint64_t flags = BPF_ANY);
  void say(const Shape& shape, const std::string& note = {});
  void refuse(const Shape& shape, const std::string& why);
  std::string line_head(const Shape& shape) const;

  Bytes value(std::uint64_t entry) const;
  Bytes key(std::uint32_t entry) const;
  Bytes number(std::uint32_t entry) const { return bytes_of(entry); }
  Bytes per_cpu(std::uint32_t entry);

  void hashes();
  void arrays();
  void tries_and_queues();
  void maps_of_maps();
  void programs_and_events();
  void cgroups();
  void network();
  void storages();
  void memories();
  void rings_and_ops();
  void unknown_types();
  void fill_with(const Shape& shape, std::uint32_t count, bool percpu, bool numbered);
  void one_fd(const Shape& shape, const Bytes& key, int fd, const std::string& what);
  void already_made(const Shape& shape, int fd, const std::string& note);

  std::uint64_t seed_;
  int cpus_;
  std::uint64_t map_ = 100;  // this map's number for floe_mix()
  bpf_object* object_ = nullptr;
  int object_error_ = 0;
  int fd_ = -1;  // of the map being filled
  std::vector<int> fds_;
  std::set<std::uint32_t> seen_;
  std::string entries_;
  int failures_ = 0;
  int last_error_ = 0;
};

void append(std::string& entries, const Bytes& key, const std::string& rest);
void append_value(std::string& entries, const Bytes& key, const Bytes& value);

}  // namespace floe::schedulers
