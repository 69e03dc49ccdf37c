// A BTF blob as it might come from guest memory: parsed, then asked for members by every name that is in it.
#include <bpf/btf.h>

#include <cstdlib>
#include <string>

#include "walkers/types.hpp"

using namespace floe;
using namespace floe::walkers;

namespace {

void ask(const Types& types, const std::string& path) {
  (void)types.member(path);
  (void)types.field(path);
  (void)types.offset(path + "[1]");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto types = Types::parse(std::as_bytes(std::span(data, size)));
  if (!types) {
    if (types.error().message.empty()) std::abort();
    return 0;
  }
  const auto count = std::min<std::uint32_t>(btf__type_cnt(types->raw()), 64);
  for (std::uint32_t id = 1; id < count; ++id) {
    const btf_type* type = btf__type_by_id(types->raw(), id);
    const char* name = btf__name_by_offset(types->raw(), type->name_off);
    if (!(btf_is_struct(type) || btf_is_union(type)) || name == nullptr) continue;
    (void)types->size(name);
    const std::string prefix = std::string(name) + ".";
    const auto members = std::min<std::uint32_t>(btf_vlen(type), 16);
    for (std::uint32_t i = 0; i < members; ++i) {
      const char* member = btf__name_by_offset(types->raw(), btf_members(type)[i].name_off);
      ask(*types, prefix + (member != nullptr ? member : ""));
      ask(*types, prefix + (member != nullptr ? member : "") + ".next");
    }
    ask(*types, prefix + "absent");
  }
  return 0;
}
