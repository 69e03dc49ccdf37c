// The maps whose values are the kernel's objects, and those that belong to one.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/if_xdp.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf/schedulers/maps_all.hpp"
#include "bpf/schedulers/records.h"

namespace floe::schedulers {
namespace {

constexpr const char* kCgroupRoot = "/sys/fs/cgroup";
constexpr const char* kCgroupChild = "/sys/fs/cgroup/floe_maps_all";

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

}  // namespace

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

}  // namespace floe::schedulers
