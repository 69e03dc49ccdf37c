#include "walkers/render/type_table.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "walkers/btf_check.hpp"
#include "walkers/name_hash.hpp"

namespace floe::walkers::render {
namespace {

constexpr int kMaxPeel = 32;
constexpr std::size_t kMaxName = 512;
constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 31;

bool is_wrapper(const btf_type* type) {
  return btf_is_mod(type) || btf_is_typedef(type) || btf_is_var(type) || btf_is_decl_tag(type);
}

}  // namespace

void TypeTable::Free::operator()(struct btf* btf) const {
  btf__free(btf);
}

Result<std::shared_ptr<const TypeTable>> TypeTable::parse(std::span<const std::byte> blob, std::shared_ptr<const Types> base) {
  if (blob.size() > kMaxBytes) return fail(fmt::format("BTF of {} bytes is larger than the {} MiB allowed", blob.size(), kMaxBytes >> 20));
  const auto first = base ? static_cast<std::uint32_t>(base->count()) : 1u;
  const auto checked = check_btf(blob, first);
  if (!checked) return fail(checked.error());
  silence_libbpf();

  const auto table = std::shared_ptr<TypeTable>(new TypeTable);
  const auto size = static_cast<std::uint32_t>(blob.size());
  errno = 0;
  // libbpf takes a base that is not const, and reads it only.
  table->own_.reset(base ? btf__new_split(blob.data(), size, const_cast<struct btf*>(base->raw())) : btf__new(blob.data(), size));
  if (!table->own_) return fail(Error(errno, fmt::format("libbpf refuses the BTF: {}", std::strerror(errno))));
  table->raw_ = table->own_.get();
  table->first_ = first;
  table->base_ = std::move(base);
  for (const auto& named : *checked)
    if (!named.is_enum) table->structs_.push_back({hash_name(table->name(named.name_offset)), named.bytes, named.id});
  std::sort(table->structs_.begin(), table->structs_.end(),
            [](const Named& a, const Named& b) { return std::tuple(a.hash, b.bytes, a.id) < std::tuple(b.hash, a.bytes, b.id); });
  return table;
}

std::shared_ptr<const TypeTable> TypeTable::of_kernel(std::shared_ptr<const Types> types) {
  const auto table = std::shared_ptr<TypeTable>(new TypeTable);
  table->raw_ = types->raw();
  table->base_ = std::move(types);
  return table;
}

const btf_type* TypeTable::type(std::uint32_t id) const {
  return btf__type_by_id(raw_, id);
}

std::string_view TypeTable::name(std::uint32_t offset) const {
  const char* name = btf__name_by_offset(raw_, offset);
  return name == nullptr ? std::string_view{} : std::string_view(name, strnlen(name, kMaxName));
}

std::string_view TypeTable::name_of(std::uint32_t id) const {
  const btf_type* found = type(id);
  return found == nullptr ? std::string_view{} : name(found->name_off);
}

std::optional<std::uint32_t> TypeTable::peel(std::uint32_t id) const {
  for (int i = 0; i < kMaxPeel; ++i) {
    const btf_type* found = type(id);
    if (found == nullptr) return std::nullopt;
    if (!is_wrapper(found)) return id;
    id = found->type;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> TypeTable::size(std::uint32_t id) const {
  std::uint64_t factor = 1;
  for (int i = 0; i < kMaxPeel; ++i) {
    const auto peeled = peel(id);
    if (!peeled) return std::nullopt;
    const btf_type* found = type(*peeled);
    std::uint64_t own = 0;
    if (btf_is_array(found)) {
      own = btf_array(found)->nelems;
    } else if (btf_is_ptr(found)) {
      own = 8;
    } else if (btf_is_int(found) || btf_is_composite(found) || btf_is_any_enum(found) || btf_is_float(found) || btf_is_datasec(found)) {
      own = found->size;
    } else {
      return std::nullopt;
    }
    if (__builtin_mul_overflow(factor, own, &factor) || factor > kMaxSize) return std::nullopt;
    if (!btf_is_array(found)) return factor;
    id = btf_array(found)->type;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> TypeTable::find(std::string_view wanted, bool is_union) const {
  const auto fits = [&](std::uint32_t id) {
    const btf_type* found = type(id);
    return found != nullptr && (is_union ? btf_is_union(found) : btf_is_struct(found)) && name(found->name_off) == wanted;
  };
  if (wanted.empty()) return std::nullopt;
  const std::uint32_t hash = hash_name(wanted);
  auto at = std::lower_bound(structs_.begin(), structs_.end(), hash, [](const Named& named, std::uint32_t h) { return named.hash < h; });
  for (; at != structs_.end() && at->hash == hash; ++at)
    if (fits(at->id)) return at->id;
  if (!base_) return std::nullopt;
  const auto below = base_->find(wanted);
  return below && fits(*below) ? below : std::nullopt;
}

std::uint32_t TypeTable::count() const {
  return btf__type_cnt(raw_);
}

}  // namespace floe::walkers::render
