// The cast analysis over code and files that were made to harm it. The first byte chooses: 0, the rest is a file in which objects are
// looked for; else it is instructions of functions over fixed types, [functions u8, high bit: as a kernel runs them][references u8][(at
// u16, kind u8, index u8)...][code...]. It ends, and what it finds names members that exist.
#include <bpf/btf.h>

#include <cstdlib>
#include <cstring>

#include "fuzz/input.hpp"
#include "tests/walkers/synthetic/types.hpp"
#include "walkers/bpf/bpf_object.hpp"
#include "walkers/bpf/casts.hpp"

using namespace floe;
using namespace floe::walkers;
using namespace floe::walkers::bpf;

namespace {

// Structs that lead to each other, a map's definition, and prototypes; ids are small enough for a byte to hit.
std::shared_ptr<const render::TypeTable> make_types() {
  synthetic::TypeWriter w;
  const int inner = w.add_struct("", 16, {{"x", w.u64, 0}, {"y", w.u32, 64}});
  const int four = w.array(w.u64, 4);
  const int later = btf__add_fwd(w.raw(), "later", BTF_FWD_STRUCT);
  const int later_pointer = btf__add_ptr(w.raw(), later);
  const int own_pointer = btf__add_ptr(w.raw(), btf__type_cnt(w.raw()) + 1);
  const int node = w.add_struct("node", 64, {{"next", own_pointer, 0}, {"a", w.u64, 64}, {nullptr, inner, 128}, {"many", four, 256}});
  const int other = w.add_struct("other", 16, {{"a", w.u64, 0}, {"l", later_pointer, 64}});
  const int other_pointer = btf__add_ptr(w.raw(), other);
  btf__add_var(w.raw(), "number", BTF_VAR_GLOBAL_ALLOCATED, w.u64);
  btf__add_var(w.raw(), "state", BTF_VAR_GLOBAL_ALLOCATED, node);
  btf__add_func_proto(w.raw(), own_pointer);
  btf__add_func_param(w.raw(), "n", own_pointer);
  btf__add_func_param(w.raw(), "o", other_pointer);
  return render::TypeTable::parse(w.bytes()).value_or(nullptr);
}

void check(const render::TypeTable& types, const render::Casts& casts) {
  for (const auto& cast : casts.all()) {
    const btf_type* parent = types.type(cast.key.parent);
    if (parent == nullptr || !(btf_is_composite(parent) || btf_is_var(parent))) std::abort();
    if (types.size(cast.key.parent).value_or(0) < std::uint64_t{cast.key.offset} + 8) std::abort();
    if (types.type(cast.target) == nullptr || types.type(cast.size_match) == nullptr) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  if (input.take<std::uint8_t>() == 0) {
    const auto analysis = CastAnalysis::of_file(std::as_bytes(input.rest()));
    for (const auto& object : analysis.objects()) check(*object.types, object.casts);
    return 0;
  }
  static const auto types = make_types();
  if (!types) std::abort();
  BpfObject object;
  object.types = types;
  const auto first = input.take<std::uint8_t>();
  const std::size_t functions = first % 5u + 1;
  if ((first & 0x80) != 0) object.kernel = types;  // as a verifier leaves code
  object.maps = {{}, {.value = types->find("node").value_or(0), .in_element = 24, .in_map = 96}};
  const std::size_t references = input.take<std::uint8_t>() % 32u;
  const char* const names[] = {"main", "scx_alloc_internal", "get", "scx_static_alloc_internal", "bpf_arena_alloc_pages"};
  for (std::size_t i = 0; i < functions; ++i) object.functions.push_back({.name = names[i]});
  for (std::size_t i = 0; i < references; ++i) {
    const auto at = input.take<std::uint16_t>();
    const auto kind = static_cast<Reference::Kind>(input.take<std::uint8_t>() % 5);
    std::uint32_t index = input.take<std::uint8_t>();
    if (kind == Reference::Kind::function) index %= static_cast<std::uint32_t>(functions);
    object.references[at] = {.kind = kind, .index = index, .offset = index, .name = names[index % 5]};
  }
  const auto code = input.rest();
  object.code.resize(std::min<std::size_t>(code.size() / sizeof(Instruction), 4096));
  if (!object.code.empty()) std::memcpy(object.code.data(), code.data(), object.code.size() * sizeof(Instruction));
  for (std::uint32_t id = 1; id < types->count(); ++id)
    if (btf_is_var(types->type(id))) object.variables.push_back({7, object.variables.size() * 64, 64, id});
  const auto each = object.code.size() / functions;
  for (std::size_t i = 0; i < functions; ++i) {
    object.functions[i].start = static_cast<std::uint32_t>(i * each);
    object.functions[i].end = static_cast<std::uint32_t>((i + 1) * each);
    object.functions[i].prototype = object.functions[i].start % types->count();
    object.functions[i].context = i == 2 ? types->count() - 2 : 0;
  }
  check(*types, casts_of(object));
  return 0;
}
