#include "walkers/types.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <tuple>
#include <vector>

#include "walkers/btf_check.hpp"
#include "walkers/name_hash.hpp"

namespace floe::walkers {
namespace {

constexpr std::uint32_t kMaxEnumerators = 4096;             // looked at of one enum
constexpr std::size_t kMaxName = 512;                       // KSYM_NAME_LEN
constexpr int kMaxPeel = 32;                                // typedefs and qualifiers around one type
constexpr std::uint32_t kMaxVisits = 65'536;                // members looked at for one path
constexpr int kMaxNesting = 32;                             // anonymous structs in one another
constexpr std::uint64_t kMaxBits = std::uint64_t{1} << 34;  // an offset of 2 GiB in bits

bool is_composite(const btf_type* type) {
  return btf_is_struct(type) || btf_is_union(type);
}

// "name[3]" -> "name", 3
struct PathPart {
  std::string_view name;
  std::optional<std::uint32_t> index;
};

std::optional<PathPart> parse_part(std::string_view text) {
  const auto bracket = text.find('[');
  if (bracket == text.npos) return text.empty() ? std::nullopt : std::optional(PathPart{text, std::nullopt});
  if (text.back() != ']') return std::nullopt;
  std::uint32_t index = 0;
  const auto digits = text.substr(bracket + 1, text.size() - bracket - 2);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return PathPart{text.substr(0, bracket), index};
}

}  // namespace

void Types::Free::operator()(struct btf* btf) const {
  btf__free(btf);
}

// Follows one path. Holds the number of members looked at, which bounds what loops of anonymous members can cost.
class Types::Resolver {
 public:
  explicit Resolver(const struct btf* btf) : btf_(btf) {}

  // Without typedefs, qualifiers and tags. Null for a chain that does not end.
  const btf_type* peel(std::uint32_t id) const {
    for (int i = 0; i < kMaxPeel; ++i) {
      const btf_type* type = btf__type_by_id(btf_, id);
      if (type == nullptr || !(btf_is_mod(type) || btf_is_typedef(type))) return type;
      id = type->type;
    }
    return nullptr;
  }

  std::optional<Member> find(const btf_type* parent, std::string_view name, int nesting = 0) {
    if (nesting > kMaxNesting) return std::nullopt;
    const btf_member* members = btf_members(parent);
    for (std::uint32_t i = 0; i < btf_vlen(parent); ++i) {
      if (++visits_ > kMaxVisits) return std::nullopt;
      Member found{btf_member_bit_offset(parent, i), btf_member_bitfield_size(parent, i), members[i].type};
      const char* own = btf__name_by_offset(btf_, members[i].name_off);
      if (own != nullptr && own[0] != '\0') {
        if (name == own) return with_integer_bits(found);
        continue;
      }
      const btf_type* inner = peel(members[i].type);
      if (inner == nullptr || !is_composite(inner)) continue;
      if (auto below = find(inner, name, nesting + 1)) {
        below->bit_offset += found.bit_offset;
        return below;
      }
    }
    return std::nullopt;
  }

  // Steps from an array to one element. A flexible array has 0 elements and any index.
  bool index(Member& member, std::uint32_t index) const {
    const btf_type* type = peel(member.type_id);
    if (type == nullptr || !btf_is_array(type) || member.bits != 0) return false;
    const struct btf_array* array = ::btf_array(type);
    const auto bytes = size_of(array->type);
    if (!bytes || (array->nelems != 0 && index >= array->nelems)) return false;
    const auto skipped = product(*bytes, index);
    if (!skipped) return false;
    member.bit_offset += *skipped * 8;
    member.type_id = array->type;
    return true;
  }

  // Bytes of a type, at most kMaxBits / 8.
  std::optional<std::uint64_t> size_of(std::uint32_t id) const {
    std::uint64_t factor = 1;
    for (int i = 0; i < kMaxPeel; ++i) {
      const btf_type* type = peel(id);
      if (type == nullptr) return std::nullopt;
      if (!btf_is_array(type)) return product(factor, own_size(type));
      const auto elements = product(factor, ::btf_array(type)->nelems);
      if (!elements) return std::nullopt;
      factor = *elements;
      id = ::btf_array(type)->type;
    }
    return std::nullopt;
  }

 private:
  static std::optional<std::uint64_t> product(std::uint64_t a, std::optional<std::uint64_t> b) {
    std::uint64_t result = 0;
    if (!b || __builtin_mul_overflow(a, *b, &result) || result > kMaxBits / 8) return std::nullopt;
    return result;
  }

  static std::optional<std::uint64_t> own_size(const btf_type* type) {
    if (btf_is_ptr(type)) return 8;
    if (btf_is_int(type) || is_composite(type) || btf_is_any_enum(type) || btf_is_float(type) || btf_is_datasec(type)) return type->size;
    return std::nullopt;
  }

  // Before member offsets carried a width, a bit-field was an integer type narrower than its storage.
  Member with_integer_bits(Member member) const {
    const btf_type* type = peel(member.type_id);
    if (member.bits != 0 || type == nullptr || !btf_is_int(type)) return member;
    if (btf_int_bits(type) != type->size * 8 || btf_int_offset(type) != 0) {
      member.bits = btf_int_bits(type);
      member.bit_offset += btf_int_offset(type);
    }
    return member;
  }

  const struct btf* btf_;
  std::uint32_t visits_ = 0;
};

Result<Types> Types::parse(std::span<const std::byte> blob) {
  if (blob.size() > kMaxBytes) return fail(fmt::format("BTF of {} bytes is larger than the {} MiB allowed", blob.size(), kMaxBytes >> 20));
  const auto checked = check_btf(blob);
  if (!checked) return fail(checked.error());
  silence_libbpf();

  Types types;
  errno = 0;
  types.btf_.reset(btf__new(blob.data(), static_cast<std::uint32_t>(blob.size())));
  if (!types.btf_) return fail(Error(errno, fmt::format("libbpf refuses the BTF: {}", std::strerror(errno))));

  types.structs_.reserve(checked->size());
  for (const auto& named : *checked)
    (named.is_enum ? types.enums_ : types.structs_)
        .push_back({hash_name(types.name_at(named.name_offset)), named.bytes, named.id, named.name_offset});
  // The largest of a name comes first, and the first of several as large.
  const auto earlier = [](const Named& a, const Named& b) { return std::tuple(a.hash, b.bytes, a.id) < std::tuple(b.hash, a.bytes, b.id); };
  std::sort(types.structs_.begin(), types.structs_.end(), earlier);
  std::sort(types.enums_.begin(), types.enums_.end(), earlier);
  return types;
}

// At most kMaxName bytes of it, so that a string without end costs no more than a long one.
std::string_view Types::name_at(std::uint32_t offset) const {
  const char* name = btf__name_by_offset(btf_.get(), offset);
  return name == nullptr ? std::string_view{} : std::string_view(name, strnlen(name, kMaxName));
}

// Calls visit(entry) for each of `named` that may have this name, until it returns false.
template <class Visit>
void Types::each_named(const std::vector<Named>& named, std::string_view name, Visit visit) const {
  const std::uint32_t hash = hash_name(name);
  auto at = std::lower_bound(named.begin(), named.end(), hash, [](const Named& one, std::uint32_t wanted) { return one.hash < wanted; });
  for (; at != named.end() && at->hash == hash; ++at)
    if (name_at(at->name_offset) == name && !visit(*at)) return;
}

std::optional<std::uint32_t> Types::find(std::string_view name) const {
  std::optional<std::uint32_t> id;
  each_named(structs_, name, [&](const Named& found) {
    id = found.id;
    return false;
  });
  return id;
}

// Calls visit(name, value) for each enumerator of the enums of that name, until it returns false.
template <class Visit>
void Types::each_enumerator(std::string_view name_of_enum, Visit visit) const {
  each_named(enums_, name_of_enum, [&](const Named& found) {
    const btf_type* type = btf__type_by_id(btf_.get(), found.id);
    const std::uint32_t count = std::min<std::uint32_t>(btf_vlen(type), kMaxEnumerators);
    const bool is_signed = btf_kflag(type);
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint32_t name_offset = 0;
      std::int64_t value = 0;
      if (btf_is_enum64(type)) {
        name_offset = btf_enum64(type)[i].name_off;
        value = static_cast<std::int64_t>(btf_enum64_value(&btf_enum64(type)[i]));
      } else {
        name_offset = btf_enum(type)[i].name_off;
        value = btf_enum(type)[i].val;
        if (!is_signed) value &= 0xffffffff;
      }
      if (!visit(name_at(name_offset), value)) return false;
    }
    return true;
  });
}

std::optional<std::int64_t> Types::enumerator(std::string_view name_of_enum, std::string_view name) const {
  std::optional<std::int64_t> result;
  each_enumerator(name_of_enum, [&](std::string_view own, std::int64_t value) {
    if (own == name) result = value;
    return !result;
  });
  return result;
}

std::optional<std::string_view> Types::enumerator_name(std::string_view name_of_enum, std::int64_t value) const {
  std::optional<std::string_view> result;
  each_enumerator(name_of_enum, [&](std::string_view name, std::int64_t own) {
    if (own == value) result = name;
    return !result;
  });
  return result;
}

std::size_t Types::count() const {
  return btf__type_cnt(btf_.get());
}

Result<Member> Types::member(std::string_view path) const {
  const auto dot = path.find('.');
  const auto root = path.substr(0, dot);
  const auto id = find(root);
  if (!id) return fail(fmt::format("the kernel's BTF has no struct {}", root));
  if (dot == path.npos) return fail(fmt::format("\"{}\" names no member", path));

  Resolver resolver(btf_.get());
  Member at{0, 0, *id};
  auto rest = path.substr(dot + 1);
  for (bool more = true; more;) {
    const auto next = rest.find('.');
    const auto part = parse_part(rest.substr(0, next));
    more = next != rest.npos;
    rest = more ? rest.substr(next + 1) : std::string_view{};
    if (!part) return fail(fmt::format("\"{}\" is not a path of members", path));

    const btf_type* parent = resolver.peel(at.type_id);
    auto found = parent != nullptr && is_composite(parent) && at.bits == 0 ? resolver.find(parent, part->name) : std::nullopt;
    if (!found) return fail(fmt::format("the kernel's BTF has no member {} on the path {}", part->name, path));
    found->bit_offset += at.bit_offset;
    at = *found;
    if (part->index && !resolver.index(at, *part->index))
      return fail(fmt::format("{} on the path {} is no array with an element {}", part->name, path, *part->index));
    if (at.bit_offset > kMaxBits) return fail(fmt::format("{} lies {} bits into its struct", path, at.bit_offset));
  }
  return at;
}

Result<std::uint32_t> Types::offset(std::string_view path) const {
  const auto found = member(path);
  if (!found) return fail(found.error());
  if (found->bits != 0 || found->bit_offset % 8 != 0) return fail(fmt::format("{} is a bit-field and has no byte offset", path));
  return static_cast<std::uint32_t>(found->bit_offset / 8);
}

Result<Field> Types::field(std::string_view path) const {
  const auto start = offset(path);
  if (!start) return fail(start.error());
  const auto bytes = size(path);
  if (!bytes) return fail(bytes.error());
  return Field{*start, *bytes};
}

std::optional<Field> Types::maybe_field(std::string_view path) const {
  const auto found = field(path);
  return found ? std::optional(*found) : std::nullopt;
}

Result<void> Types::fill(std::initializer_list<std::pair<std::string_view, Field*>> needed) const {
  for (const auto& [path, into] : needed) {
    const auto found = field(path);
    if (!found) return fail(found.error());
    *into = *found;
  }
  return {};
}

Result<std::uint64_t> Types::size(std::string_view path) const {
  std::uint32_t id = 0;
  if (path.find('.') == path.npos) {
    const auto found = find(path);
    if (!found) return fail(fmt::format("the kernel's BTF has no struct {}", path));
    id = *found;
  } else {
    const auto found = member(path);
    if (!found) return fail(found.error());
    if (found->bits != 0) return fail(fmt::format("{} is a bit-field and has no size in bytes", path));
    id = found->type_id;
  }
  const auto bytes = Resolver(btf_.get()).size_of(id);
  if (!bytes) return fail(fmt::format("the type of {} has no size", path));
  return *bytes;
}

}  // namespace floe::walkers
