// floe_maps_all: one map of every type that the running kernel accepts, filled from a seed, and held open.
//
//   floe_maps_all [--seed N] [--hold SECONDS]      without a time: until stdin closes, or SIGTERM
//
// Prints a JSON line for each map, then "floe_maps_all: holding N maps":
//
//   {"type":1,"type_name":"hash","name":"all_hash","id":3,"key_size":8,"value_size":64,"max_entries":64,
//    "entries":[{"key_hex":"...","value_hex":"..."},...]}
//
// with "per_cpu":["...",...] in place of value_hex in the per-CPU types, "note" where what went in is not what a lookup gives, and
// "refused" with the kernel's reason where there is no map. A type that this program does not know is listed as refused, too.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_xdp.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "bpf/schedulers/maps_all.hpp"
#include "bpf/schedulers/records.h"

namespace floe::schedulers {
namespace {

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

constexpr const char* kCgroupRoot = "/sys/fs/cgroup";
constexpr const char* kCgroupChild = "/sys/fs/cgroup/floe_maps_all";
constexpr std::uint32_t kEntries = 12;
constexpr std::size_t kPage = 4096;

using Bytes = std::vector<unsigned char>;

template <class T>
Bytes bytes_of(const T& value) {
  const auto* const from = reinterpret_cast<const unsigned char*>(&value);
  return Bytes(from, from + sizeof value);
}

std::string hex(const Bytes& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
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

Bytes MapsAll::value(std::uint64_t entry) const {
  floe_value made{};
  floe_fill_value(&made, seed_, map_, entry);
  return bytes_of(made);
}

Bytes MapsAll::key(std::uint32_t entry) const {
  floe_key made{};
  floe_fill_key(&made, seed_, map_, entry);
  return bytes_of(made);
}

Bytes MapsAll::per_cpu(std::uint32_t entry) {
  Bytes all;
  for (int cpu = 0; cpu < cpus_; ++cpu) {
    const Bytes one = value(entry * FLOE_CPU_STRIDE + static_cast<unsigned>(cpu));
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

std::string MapsAll::line_head(const Shape& shape) const {
  const char* type_name = shape.type <= kUserRingbuf ? ::libbpf_bpf_map_type_str(static_cast<bpf_map_type>(shape.type)) : nullptr;
  if (shape.type == kCgrpStorage) type_name = "cgrp_storage";
  if (shape.type == kArena) type_name = "arena";
  if (shape.type == kInsnArray) type_name = "insn_array";
  if (shape.type == kRhash) type_name = "rhash";
  return "{\"type\":" + std::to_string(shape.type) + ",\"type_name\":\"" + (type_name != nullptr ? type_name : "unknown") +
         "\",\"name\":\"" + shape.name + "\"";
}

void MapsAll::refuse(const Shape& shape, const std::string& why) {
  seen_.insert(shape.type);
  std::printf("%s,\"refused\":\"%s\"}\n", line_head(shape).c_str(), why.c_str());
}

// 0, or -1 after telling why not. Kernels take BTF for some types and not for others: it is offered first.
int MapsAll::create(const Shape& shape) {
  entries_.clear();
  failures_ = 0;
  ++map_;
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = shape.flags;
  options.map_extra = shape.extra;
  if (shape.inner_fd >= 0) options.inner_map_fd = static_cast<__u32>(shape.inner_fd);
  const auto type = static_cast<bpf_map_type>(shape.type);
  fd_ = -1;
  if (object_ != nullptr && shape.value_type != nullptr) {
    const btf* types = ::bpf_object__btf(object_);
    const int key_id = shape.key_type != nullptr ? ::btf__find_by_name(types, shape.key_type) : 0;
    const int value_id = ::btf__find_by_name(types, shape.value_type);
    if (key_id >= 0 && value_id > 0) {
      options.btf_fd = static_cast<__u32>(::bpf_object__btf_fd(object_));
      options.btf_key_type_id = static_cast<__u32>(key_id);
      options.btf_value_type_id = static_cast<__u32>(value_id);
      fd_ = ::bpf_map_create(type, shape.name, shape.key_size, shape.value_size, shape.max_entries, &options);
      options.btf_fd = options.btf_key_type_id = options.btf_value_type_id = 0;
    }
  }
  if (fd_ < 0) fd_ = ::bpf_map_create(type, shape.name, shape.key_size, shape.value_size, shape.max_entries, &options);
  if (fd_ >= 0) return 0;
  refuse(shape, std::string("create: ") + std::strerror(errno));
  return -1;
}

bool MapsAll::put(const Bytes& key, const Bytes& value, std::uint64_t flags) {
  if (::bpf_map_update_elem(fd_, key.empty() ? nullptr : key.data(), value.data(), flags) != 0) {
    ++failures_;
    last_error_ = errno;
    return false;
  }
  return true;
}

void MapsAll::say(const Shape& shape, const std::string& note) {
  seen_.insert(shape.type);
  bpf_map_info info{};
  __u32 length = sizeof info;
  ::bpf_map_get_info_by_fd(fd_, &info, &length);
  std::printf("%s,\"id\":%u,\"key_size\":%u,\"value_size\":%u,\"max_entries\":%u,\"entries\":[%s]", line_head(shape).c_str(), info.id,
              info.key_size, info.value_size, info.max_entries, entries_.c_str());
  if (!note.empty()) std::printf(",\"note\":\"%s\"", note.c_str());
  if (failures_ != 0) std::printf(",\"failed\":%d,\"error\":\"%s\"", failures_, std::strerror(last_error_));
  std::printf("}\n");
  fds_.push_back(fd_);
}

void append(std::string& entries, const Bytes& key, const std::string& rest) {
  entries += (entries.empty() ? "" : ",") + ("{\"key_hex\":\"" + hex(key) + "\"" + rest + "}");
}

void append_value(std::string& entries, const Bytes& key, const Bytes& value) {
  append(entries, key, ",\"value_hex\":\"" + hex(value) + "\"");
}

void MapsAll::fill_with(const Shape& shape, std::uint32_t count, bool percpu, bool numbered) {
  if (create(shape) != 0) return;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Bytes k = numbered ? number(i) : key(i);
    const Bytes v = percpu ? per_cpu(i) : value(i);
    if (!put(k, v)) continue;
    if (!percpu) {
      append_value(entries_, k, v);
      continue;
    }
    std::string list;
    for (std::size_t at = 0; at < v.size(); at += sizeof(floe_value)) {
      const auto from = v.begin() + static_cast<std::ptrdiff_t>(at);
      list += (list.empty() ? "\"" : ",\"") + hex(Bytes(from, from + sizeof(floe_value))) + "\"";
    }
    append(entries_, k, ",\"per_cpu\":[" + list + "]");
  }
  say(shape);
}

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

void MapsAll::maps_of_maps() {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  int inner[3];
  for (int& fd : inner) fd = ::bpf_map_create(BPF_MAP_TYPE_ARRAY, "all_inner", 4, 8, 4, &options);
  for (const auto& shape : {Shape{kArrayOfMaps, "all_array_maps", 4, 4, 6, 0, nullptr, nullptr, inner[0]},
                            Shape{kHashOfMaps, "all_hash_maps", 4, 4, 6, 0, nullptr, nullptr, inner[0]}}) {
    if (create(shape) != 0) continue;
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (!put(number(i * 2), bytes_of(inner[i]))) continue;
      bpf_map_info info{};
      __u32 length = sizeof info;
      ::bpf_map_get_info_by_fd(inner[i], &info, &length);
      append_value(entries_, number(i * 2), bytes_of(info.id));
    }
    say(shape, "values are ids, as a lookup gives them");
  }
  for (const int fd : inner) fds_.push_back(fd);
}

// A map that holds kernel objects: one of them at `key`, given by a descriptor.
void MapsAll::one_fd(const Shape& shape, const Bytes& key, int fd, const std::string& what) {
  if (create(shape) != 0) return;
  Bytes given = bytes_of(fd);
  given.resize(shape.value_size, 0);
  if (put(key, given)) append(entries_, key, "");
  say(shape, what);
}

int trivial_program(bpf_prog_type type, bpf_attach_type attach, int storage_map = -1) {
  std::vector<bpf_insn> code;
  const auto add = [&code](std::uint8_t op, std::uint8_t dst, std::uint8_t src, std::int32_t imm) {
    bpf_insn insn{};
    insn.code = op;
    insn.dst_reg = dst & 15;
    insn.src_reg = src & 15;
    insn.imm = imm;
    code.push_back(insn);
  };
  if (storage_map >= 0) {
    add(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, storage_map);
    add(0, 0, 0, 0);
    add(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0);
    add(BPF_JMP | BPF_CALL, 0, 0, BPF_FUNC_get_local_storage);
  }
  add(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 1);
  add(BPF_JMP | BPF_EXIT, 0, 0, 0);
  bpf_prog_load_opts options{};
  options.sz = sizeof options;
  options.expected_attach_type = attach;
  return ::bpf_prog_load(type, "all_trivial", "GPL", code.data(), code.size(), &options);
}

void MapsAll::programs_and_events() {
  const int program = trivial_program(BPF_PROG_TYPE_SOCKET_FILTER, BPF_CGROUP_INET_INGRESS);
  one_fd({kProgArray, "all_prog_array", 4, 4, 8}, number(3), program, "a socket filter");
  perf_event_attr event{};
  event.type = PERF_TYPE_SOFTWARE;
  event.size = sizeof event;
  event.config = PERF_COUNT_SW_DUMMY;
  const int counter = static_cast<int>(::syscall(SYS_perf_event_open, &event, -1, 0, -1, 0));
  one_fd({kPerfEventArray, "all_perf_array", 4, 4, 8}, number(1), counter, "a dummy event");
}

void MapsAll::cgroups() {
  const int root = ::open(kCgroupRoot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  one_fd({kCgroupArray, "all_cgroup_arr", 4, 4, 8}, number(5), root, "the root cgroup");
  const Shape storage{kCgrpStorage, "all_cgrp_store", 4, sizeof(floe_value), 0, BPF_F_NO_PREALLOC, "int", "floe_value"};
  if (create(storage) == 0) {
    if (put(bytes_of(root), value(0))) append_value(entries_, {}, value(0));
    say(storage, "of the root cgroup");
  }
  // The deprecated pair: entries come to be when a program that uses the map is attached.
  ::mkdir(kCgroupChild, 0755);
  const int child = ::open(kCgroupChild, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct stat inode{};
  ::fstat(child, &inode);
  for (const auto& shape : {Shape{kCgroupStorage, "all_cgroup_old", 16, sizeof(floe_value), 0},
                            Shape{kPercpuCgroupStorage, "all_cgroup_pcpu", 16, sizeof(floe_value), 0}}) {
    if (create(shape) != 0) continue;
    const auto attach = shape.type == kCgroupStorage ? BPF_CGROUP_INET_INGRESS : BPF_CGROUP_INET_EGRESS;
    const int program = trivial_program(BPF_PROG_TYPE_CGROUP_SKB, attach, fd_);
    const bool attached = program >= 0 && ::bpf_prog_attach(program, child, attach, BPF_F_ALLOW_MULTI) == 0;
    bpf_cgroup_storage_key key{};
    key.cgroup_inode_id = inode.st_ino;
    key.attach_type = attach;
    const bool percpu = shape.type == kPercpuCgroupStorage;
    if (put(bytes_of(key), percpu ? per_cpu(0) : value(0), BPF_EXIST))
      append_value(entries_, bytes_of(key), percpu ? per_cpu(0) : value(0));
    say(shape, attached ? "of one attached program" : "its program could not be attached");
  }
}

int bound_socket(int type, bool reuse) {
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const int one = 1;
  if (reuse) ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  if (type == SOCK_STREAM) ::listen(fd, 4);
  return fd;
}

// 7.x takes a socket into an XSKMAP only when it has a ring to receive into.
int xdp_socket() {
  const int fd = ::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  const int descriptors = 64;
  ::setsockopt(fd, SOL_XDP, XDP_RX_RING, &descriptors, sizeof descriptors);
  return fd;
}

void MapsAll::network() {
  const int loopback = static_cast<int>(::if_nametoindex("lo"));
  for (const auto& shape : {Shape{kDevmap, "all_devmap", 4, 4, 8}, Shape{kDevmapHash, "all_devmap_hash", 4, 4, 8}}) {
    if (create(shape) != 0) continue;
    if (put(number(6), bytes_of(loopback))) append_value(entries_, number(6), bytes_of(loopback));
    say(shape, "the loopback device");
  }
  const Shape cpumap{kCpumap, "all_cpumap", 4, 4, 1};
  if (create(cpumap) == 0) {
    const std::uint32_t size = 192;
    if (put(number(0), bytes_of(size))) append_value(entries_, number(0), bytes_of(size));
    say(cpumap, "a queue of 192");
  }
  one_fd({kSockmap, "all_sockmap", 4, 8, 8}, number(2), bound_socket(SOCK_STREAM, false), "a listening socket");
  one_fd({kSockhash, "all_sockhash", 4, 8, 8}, number(77), bound_socket(SOCK_STREAM, false), "a listening socket");
  one_fd({kXskmap, "all_xskmap", 4, 4, 8}, number(4), xdp_socket(), "an XDP socket");
  one_fd({kReuseportSockarray, "all_reuseport", 4, 8, 8}, number(1), bound_socket(SOCK_DGRAM, true), "a datagram socket");
  const Shape storage{kSkStorage, "all_sk_store", 4, sizeof(floe_value), 0, BPF_F_NO_PREALLOC, "int", "floe_value"};
  if (create(storage) == 0) {
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (put(bytes_of(bound_socket(SOCK_DGRAM, false)), value(i))) append_value(entries_, {}, value(i));
    }
    say(storage, "of three sockets");
  }
}

void MapsAll::storages() {
  const Shape inode{kInodeStorage, "all_inode_store", 4, sizeof(floe_value), 0, BPF_F_NO_PREALLOC, "int", "floe_value"};
  if (create(inode) == 0) {
    const int file = ::open("/", O_RDONLY | O_CLOEXEC);
    if (put(bytes_of(file), value(0))) append_value(entries_, {}, value(0));
    say(inode, "of the root folder");
  }
  const Shape task{kTaskStorage, "all_task_store", 4, sizeof(floe_value), 0, BPF_F_NO_PREALLOC, "int", "floe_value"};
  if (create(task) == 0) {
    std::uint32_t i = 0;
    for (const pid_t pid : {pid_t{1}, ::getpid()}) {
      const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
      if (put(bytes_of(pidfd), value(i))) append_value(entries_, bytes_of(pid), value(i));
      ++i;
    }
    say(task, "keys here are pids");
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

void MapsAll::already_made(const Shape& shape, int fd, const std::string& note) {
  entries_.clear();
  failures_ = 0;
  fd_ = fd;
  say(shape, note);
}

void MapsAll::load_object() {
  const auto bytes = fill_object();
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = "floe_fill";
  object_ = ::bpf_object__open_mem(bytes.data(), bytes.size(), &options);
  if (object_ == nullptr) return void(object_error_ = errno);
  if (const int failed = ::bpf_object__load(object_); failed != 0) {
    object_error_ = -failed;
    ::bpf_object__close(object_);
    object_ = nullptr;
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

// What this kernel has and this program does not know.
void MapsAll::unknown_types() {
  btf* const types = ::btf__load_vmlinux_btf();
  if (types == nullptr) return;
  const int id = ::btf__find_by_name_kind(types, "bpf_map_type", BTF_KIND_ENUM);
  if (id > 0) {
    const btf_type* type = ::btf__type_by_id(types, static_cast<__u32>(id));
    for (int i = 0; i < ::btf_vlen(type); ++i) {
      const char* name = ::btf__name_by_offset(types, ::btf_enum(type)[i].name_off);
      const auto number = static_cast<std::uint32_t>(::btf_enum(type)[i].val);
      if (number == 0 || name[0] == '_' || seen_.contains(number)) continue;
      seen_.insert(number);
      std::printf("{\"type\":%u,\"type_name\":\"%s\",\"name\":\"\",\"refused\":\"not known here\"}\n", number, name);
    }
  }
  ::btf__free(types);
}

void MapsAll::make_all() {
  load_object();
  hashes();
  arrays();
  tries_and_queues();
  maps_of_maps();
  programs_and_events();
  cgroups();
  network();
  storages();
  memories();
  rings_and_ops();
  unknown_types();
}

volatile std::sig_atomic_t stopped = 0;

void hold(double seconds) {
  struct sigaction action{};
  action.sa_handler = [](int) { stopped = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  if (seconds > 0) {
    const timespec time = {static_cast<time_t>(seconds),
                           static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e9)};
    ::nanosleep(&time, nullptr);
    return;
  }
  char ignored[64];
  while (stopped == 0 && ::read(0, ignored, sizeof ignored) > 0) {
  }
}

}  // namespace
}  // namespace floe::schedulers

int main(int argc, char** argv) {
  std::uint64_t seed = 1;
  double seconds = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (i + 1 == argc || (flag != "--seed" && flag != "--hold")) {
      std::fprintf(stderr, "usage: floe_maps_all [--seed N] [--hold SECONDS]\n");
      return 2;
    }
    const char* value = argv[++i];
    flag == "--seed" ? void(seed = std::strtoull(value, nullptr, 0)) : void(seconds = std::strtod(value, nullptr));
  }
  ::libbpf_set_print(nullptr);
  floe::schedulers::MapsAll maps(seed);
  maps.make_all();
  std::printf("floe_maps_all: holding %zu maps\n", maps.count());
  std::fflush(stdout);
  floe::schedulers::hold(seconds);
  return 0;
}
