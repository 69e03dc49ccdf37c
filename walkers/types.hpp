// The guest kernel's types, from the BTF blob in its own memory: how large a struct is and where a member lies.
//
// Walkers ask for members by the path a C programmer would write, "task_struct.thread_info.cpu"; anonymous structs and unions
// are looked through, arrays are indexed ("pid.numbers[0].nr"), typedefs and qualifiers peeled. Whether a member exists is how
// a walker tells kernels apart, so a miss is an ordinary answer.
//
// Parsing is libbpf's (its btf__new validates ids and strings since 1.4); before libbpf sees the blob, its header and every
// type record are checked here, since the offsets in it are the guest's. Loops of typedefs or of anonymous members, which
// libbpf lets pass, end in a bounded number of steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "walkers/field.hpp"

struct btf;

namespace floe::walkers {

struct Member {
  std::uint64_t bit_offset = 0;  // from the start of the struct the path begins with
  std::uint32_t bits = 0;        // width of a bit-field, 0 for an ordinary member
  std::uint32_t type_id = 0;     // as declared, not peeled
};

class Types {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{64} << 20;  // 7.2 has 5.2 MB
  static constexpr std::uint32_t kMagic = 0xeb9f;

  // Copies and checks the blob, and indexes structs, unions and enums by name. Of several with one name the largest is kept: drivers
  // have small structs of their own called like the kernel's. libbpf's log output is switched off for the process.
  static Result<Types> parse(std::span<const std::byte> blob);

  // "struct.member", "struct.member.member", "struct.array[3].member". Errors name the part of the path that is not there.
  Result<Member> member(std::string_view path) const;

  // The same in bytes. Errors also for a bit-field and for a member that does not start on a byte.
  Result<std::uint32_t> offset(std::string_view path) const;

  // Offset and size together. Errors as of both.
  Result<Field> field(std::string_view path) const;

  // The same of a member that not every kernel has.
  std::optional<Field> maybe_field(std::string_view path) const;

  // The members that a walker cannot do without. Error: that of the first which is not there.
  Result<void> fill(std::initializer_list<std::pair<std::string_view, Field*>> needed) const;

  // Bytes of a struct or union by name ("task_struct"), or of the member a path ends in ("task_struct.comm": 16).
  Result<std::uint64_t> size(std::string_view path) const;

  bool has(std::string_view path) const { return member(path).has_value(); }

  // Type id of a struct or union.
  std::optional<std::uint32_t> find(std::string_view name) const;

  // The value of an enumerator, enumerator("psi_states", "PSI_IRQ_FULL"), and the name of the first one with a value. Of several
  // enums with one name, the first that has it.
  std::optional<std::int64_t> enumerator(std::string_view name_of_enum, std::string_view name) const;
  std::optional<std::string_view> enumerator_name(std::string_view name_of_enum, std::int64_t value) const;

  std::size_t count() const;
  const struct btf* raw() const { return btf_.get(); }  // for renderers; lives as long as this object

 private:
  struct Free {
    void operator()(struct btf* btf) const;
  };
  class Resolver;

  struct Named {
    std::uint32_t hash;
    std::uint32_t bytes;
    std::uint32_t id;
    std::uint32_t name_offset;
  };

  Types() = default;
  std::string_view name_at(std::uint32_t offset) const;
  template <class Visit>
  void each_named(const std::vector<Named>& named, std::string_view name, Visit visit) const;
  template <class Visit>
  void each_enumerator(std::string_view name_of_enum, Visit visit) const;

  std::unique_ptr<struct btf, Free> btf_;
  std::vector<Named> structs_;  // by hash
  std::vector<Named> enums_;    // by hash
};

}  // namespace floe::walkers
