#include "tests/walkers/synthetic/types.hpp"

#include <bpf/btf.h>

#include <cstring>
#include <stdexcept>

namespace floe::walkers::synthetic {
namespace {

int checked(int id) {
  if (id < 0) throw std::runtime_error(std::string("libbpf refuses a test's type: ") + std::strerror(-id));
  return id;
}

}  // namespace

void TypeWriter::Free::operator()(struct btf* btf) const {
  btf__free(btf);
}

TypeWriter::TypeWriter() : btf_(btf__new_empty()) {
  const auto integer = [this](const char* name, std::size_t size, int encoding) {
    return checked(btf__add_int(btf_.get(), name, size, encoding));
  };
  u8 = integer("unsigned char", 1, 0);
  u16 = integer("short unsigned int", 2, 0);
  u32 = integer("unsigned int", 4, 0);
  u64 = integer("long unsigned int", 8, 0);
  s32 = integer("int", 4, BTF_INT_SIGNED);
  character = integer("char", 1, BTF_INT_CHAR);
  pointer = checked(btf__add_ptr(btf_.get(), 0));
  list_head = add_struct("list_head", 16, {{"next", pointer, 0}, {"prev", pointer, 64}});
}

int TypeWriter::array(int element, std::uint32_t count) {
  return checked(btf__add_array(btf_.get(), u32, element, count));
}

int TypeWriter::add_struct(const std::string& name, std::uint32_t size, const std::vector<MemberSpec>& members, bool is_union) {
  const char* own = name.empty() ? nullptr : name.c_str();
  const int id = checked(is_union ? btf__add_union(btf_.get(), own, size) : btf__add_struct(btf_.get(), own, size));
  for (const auto& member : members) checked(btf__add_field(btf_.get(), member.name, member.type, member.bit_offset, member.bits));
  return id;
}

int TypeWriter::add_enum(const std::string& name, const std::vector<std::pair<std::string, int>>& enumerators) {
  const int id = checked(btf__add_enum(btf_.get(), name.c_str(), 4));
  for (const auto& [own, value] : enumerators) checked(btf__add_enum_value(btf_.get(), own.c_str(), value));
  return id;
}

int TypeWriter::add_typedef(const std::string& name, int target) {
  return checked(btf__add_typedef(btf_.get(), name.c_str(), target));
}

int TypeWriter::add_const(int target) {
  return checked(btf__add_const(btf_.get(), target));
}

std::vector<std::byte> TypeWriter::bytes() const {
  std::uint32_t size = 0;
  const auto* data = static_cast<const std::byte*>(btf__raw_data(btf_.get(), &size));
  return {data, data + size};
}

Types parsed(const std::vector<std::byte>& blob) {
  auto types = Types::parse(blob);
  if (!types) throw std::runtime_error(types.error().message);
  return std::move(*types);
}

}  // namespace floe::walkers::synthetic
