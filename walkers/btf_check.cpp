#include "walkers/btf_check.hpp"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <cstring>
#include <mutex>
#include <optional>

#include "walkers/types.hpp"

namespace floe::walkers {
namespace {

constexpr std::size_t kMaxNamed = 500'000;  // structs, unions and enums; 7.2 has 14,000

// Bytes behind the fixed part of a type record of this kind, or nothing for a kind libbpf 1.4 does not know.
std::optional<std::size_t> tail_bytes(std::uint32_t info) {
  const std::size_t entries = BTF_INFO_VLEN(info);
  switch (BTF_INFO_KIND(info)) {
    case BTF_KIND_FWD:
    case BTF_KIND_CONST:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_PTR:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_FUNC:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPE_TAG:
      return 0;
    case BTF_KIND_INT:
      return sizeof(std::uint32_t);
    case BTF_KIND_ENUM:
      return entries * sizeof(struct btf_enum);
    case BTF_KIND_ENUM64:
      return entries * sizeof(struct btf_enum64);
    case BTF_KIND_ARRAY:
      return sizeof(struct btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return entries * sizeof(struct btf_member);
    case BTF_KIND_FUNC_PROTO:
      return entries * sizeof(struct btf_param);
    case BTF_KIND_VAR:
      return sizeof(struct btf_var);
    case BTF_KIND_DATASEC:
      return entries * sizeof(struct btf_var_secinfo);
    case BTF_KIND_DECL_TAG:
      return sizeof(struct btf_decl_tag);
    default:
      return std::nullopt;
  }
}

}  // namespace

Result<std::vector<NamedType>> check_btf(std::span<const std::byte> blob, std::uint32_t first_id) {
  const bool split = first_id > 1;
  btf_header header{};
  if (blob.size() < sizeof header) return fail(fmt::format("BTF of {} bytes has no room for its header", blob.size()));
  std::memcpy(&header, blob.data(), sizeof header);
  if (header.magic != Types::kMagic) return fail(fmt::format("BTF magic is {:#x}, not 0xeb9f", header.magic));
  if (header.version != BTF_VERSION) return fail(fmt::format("BTF version {} is not known", header.version));
  const std::uint64_t body = header.hdr_len;
  const std::uint64_t types_end = std::uint64_t{header.type_off} + header.type_len;
  const std::uint64_t strings_end = std::uint64_t{header.str_off} + header.str_len;
  if (body < sizeof header || body % 4 != 0 || header.type_off % 4 != 0 || types_end > header.str_off || (header.str_len == 0 && !split) ||
      body + strings_end > blob.size())
    return fail(fmt::format("BTF header is inconsistent: header {}, types {}+{}, strings {}+{} in {} bytes", body, header.type_off,
                            header.type_len, header.str_off, header.str_len, blob.size()));
  const auto strings = blob.subspan(body + header.str_off, header.str_len);
  // Strings of split BTF follow on from the base's, so the empty one need not come first.
  if (!strings.empty() && ((!split && strings.front() != std::byte{0}) || strings.back() != std::byte{0}))
    return fail("BTF string section is not bounded by NULs");

  const auto records = blob.subspan(body + header.type_off, header.type_len);
  std::vector<NamedType> named;
  named.reserve(records.size() / 256);
  std::size_t at = 0;
  for (std::uint32_t id = first_id; at < records.size(); ++id) {
    btf_type type{};
    if (records.size() - at < sizeof type) return fail(fmt::format("BTF type {} is cut off", id));
    std::memcpy(&type, records.data() + at, sizeof type);
    at += sizeof type;
    const auto tail = tail_bytes(type.info);
    if (!tail) return fail(fmt::format("BTF type {} is of unknown kind {}", id, BTF_INFO_KIND(type.info)));
    if (*tail > records.size() - at) return fail(fmt::format("BTF type {} is cut off", id));
    at += *tail;
    const auto kind = BTF_INFO_KIND(type.info);
    const bool is_enum = kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64;
    if ((kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION && !is_enum) || type.name_off == 0) continue;
    if (named.size() == kMaxNamed) return fail(fmt::format("BTF has more than {} structs and enums", kMaxNamed));
    named.push_back({id, type.name_off, type.size, is_enum});
  }
  return named;
}

void silence_libbpf() {
  static std::once_flag silenced;
  std::call_once(silenced, [] { libbpf_set_print(nullptr); });
}

}  // namespace floe::walkers
