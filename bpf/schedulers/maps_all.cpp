#include "bpf/schedulers/maps_all.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "bpf/schedulers/records.h"

namespace floe::schedulers {
namespace {

std::string hex(const Bytes& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

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

}  // namespace floe::schedulers
