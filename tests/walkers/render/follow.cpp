#include <bpf/btf.h>

#include <boost/test/unit_test.hpp>

#include "tests/walkers/render/fixture.hpp"

using namespace floe::walkers::render;
using floe::walkers::synthetic::TypeWriter;

namespace {

constexpr std::uint64_t kArena = 0x1000'0000'0000;
constexpr std::uint64_t kKernel = 0xffff'8880'0000'1000;

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

std::string pointer(std::uint64_t value, const std::string& rest = "") {
  return R"({"kind":"ptr","value":)" + std::to_string(value) + rest + "}";
}

std::string skipped(std::uint64_t value, const std::string& reason) {
  return pointer(value, R"(,"deref_skipped_reason":")" + reason + "\"");
}

std::string u32(std::uint32_t value) {
  return R"({"kind":"uint","bits":32,"value":)" + std::to_string(value) + "}";
}

// Types of a list in an arena, and memory for it.
struct World {
  TypeWriter w;
  int number_pointer = btf__add_ptr(w.raw(), w.u32);
  int node = 0, node_pointer = 0;
  PlantedMemory memory;

  World() {
    node_pointer = btf__add_ptr(w.raw(), btf__type_cnt(w.raw()) + 1);
    node = w.add_struct("node", 16, {{"next", node_pointer, 0}, {"value", w.u64, 64}});
  }
  std::string json(int type, const std::vector<std::byte>& bytes, std::uint64_t address = 0, const Casts* casts = nullptr) {
    Renderer renderer(table_of(w), {.cpus = 64, .max_derefs = 50, .pointers = &memory, .casts = casts});
    return json_of(renderer, type, bytes, address);
  }
  std::uint32_t id(int type) const { return static_cast<std::uint32_t>(type); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(follow)

BOOST_AUTO_TEST_CASE(arena_pointers_are_followed_and_kernel_pointers_are_not) {
  World world;
  world.memory.objects[kArena + 64] = bytes_of(7u);
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kArena + 64)) == pointer(kArena + 64, R"(,"deref":)" + u32(7)));
  BOOST_TEST(world.json(world.number_pointer, bytes_of(std::uint64_t{0})) == pointer(0));
  world.memory.objects[kKernel] = bytes_of(7u);
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kKernel)) == pointer(kKernel));
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kArena - 1)) == pointer(kArena - 1));
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kArena + kArenaWindow)) == pointer(kArena + kArenaWindow));
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kArena + 4096)) ==
             skipped(kArena + 4096, "4 bytes at 0x100000001000 cannot be read"));
  world.memory.start = 0;
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kArena + 64)) == pointer(kArena + 64));
}

BOOST_AUTO_TEST_CASE(objects_that_are_cut_off_or_large_are_truncated) {
  World world;
  world.memory.objects[kArena] = bytes_of(std::uint64_t{0}, 5u);
  BOOST_TEST(mentions(world.json(world.node_pointer, bytes_of(kArena)), R"("deref":{"kind":"truncated","needed":16,"had":12)"));
  const int large = world.w.add_struct("large", 8192, {{"x", world.w.u64, 0}, {"end", world.w.u64, 65472}});
  world.memory.objects[kArena] = std::vector<std::byte>(8192);
  BOOST_TEST(mentions(world.json(btf__add_ptr(world.w.raw(), large), bytes_of(kArena)), R"({"kind":"truncated","needed":8192,"had":4096)"));
}

BOOST_AUTO_TEST_CASE(loops_end_where_they_close) {
  World world;
  world.memory.objects[kArena + 16] = bytes_of(kArena + 32, std::uint64_t{1});
  world.memory.objects[kArena + 32] = bytes_of(kArena + 16, std::uint64_t{2});
  const auto text = world.json(world.node_pointer, bytes_of(kArena + 16));
  BOOST_TEST(mentions(text, skipped(kArena + 16, "cycle → 0x100000000010")));
  BOOST_TEST(mentions(text, R"("value":2)"));
  // The object that is rendered counts too, where its address is known.
  BOOST_TEST(mentions(world.json(world.node, bytes_of(kArena + 16, std::uint64_t{1}), kArena + 16),
                      skipped(kArena + 16, "cycle → 0x100000000010")));
  // What two lead to is shown twice: it is no loop.
  const int two = world.w.add_struct("two", 16, {{"a", world.number_pointer, 0}, {"b", world.number_pointer, 64}});
  world.memory.objects[kArena + 64] = bytes_of(7u);
  BOOST_TEST(!mentions(world.json(two, bytes_of(kArena + 64, kArena + 64)), "cycle"));
}

BOOST_AUTO_TEST_CASE(long_chains_and_wide_webs_are_bounded) {
  World world;
  for (std::uint64_t i = 0; i < 100; ++i) world.memory.objects[kArena + i * 16] = bytes_of(kArena + (i + 1) * 16, i);
  const auto chain = world.json(world.node_pointer, bytes_of(kArena));
  BOOST_TEST(mentions(chain, R"("value":15})"));  // two levels a node, 32 levels
  BOOST_TEST(!mentions(chain, R"("value":16})"));
  // Each object leads to the next twice: 2^n of them.
  const int web_pointer = btf__add_ptr(world.w.raw(), btf__type_cnt(world.w.raw()) + 1);
  world.w.add_struct("web", 16, {{"a", web_pointer, 0}, {"b", web_pointer, 64}});
  for (std::uint64_t i = 0; i < 100; ++i) world.memory.objects[kArena + i * 16] = bytes_of(kArena + (i + 1) * 16, kArena + (i + 1) * 16);
  const auto web = world.json(web_pointer, bytes_of(kArena));
  BOOST_TEST(mentions(web, "50 pointers of this value were followed already"));
  BOOST_TEST(web.size() < 100'000u);
}

BOOST_AUTO_TEST_CASE(what_the_allocators_list_is_not_shown_again) {
  World world;
  world.memory.objects[kArena + 64] = bytes_of(7u);
  world.memory.listed[kArena + 64] = true;
  BOOST_TEST(world.json(world.number_pointer, bytes_of(kArena + 64)) == skipped(kArena + 64, "already rendered in sdt_allocations"));
}

BOOST_AUTO_TEST_CASE(pointers_to_cpu_masks_are_read_from_the_kernel) {
  World world;
  const int mask = world.w.add_struct("bpf_cpumask", 1032, {{"cpumask", world.w.array(world.w.u64, 128), 0}, {"usage", world.w.u32, 8192}});
  const int tagged = btf__add_type_tag(world.w.raw(), "kptr", mask);
  const int kptr = btf__add_ptr(world.w.raw(), tagged);
  world.memory.objects[kKernel] = bytes_of(std::uint64_t{0x30f});
  BOOST_TEST(world.json(kptr, bytes_of(kKernel)) == pointer(kKernel, R"(,"deref":{"kind":"cpu_list","cpus":"0-3,8-9"})"));
  world.memory.objects[kKernel] = bytes_of(kKernel);
  BOOST_TEST(world.json(kptr, bytes_of(kKernel)) == skipped(kKernel, "no CPU mask: its first word is 0xffff888000001000"));
  world.memory.objects.clear();
  BOOST_TEST(world.json(kptr, bytes_of(kKernel)) == skipped(kKernel, "CPU mask at 0xffff888000001000 cannot be read"));
}

BOOST_AUTO_TEST_CASE(declared_types_are_completed_in_the_order_of_certainty) {
  World world;
  TypeWriter other;
  const int payload = other.add_struct("payload", 4, {{"from_slot", other.u32, 0}});
  const int elsewhere = other.add_struct("later", 4, {{"from_sibling", other.u32, 0}});
  const auto others = table_of(other);
  const TypeRef in_slot{others, static_cast<std::uint32_t>(payload)};

  const int fwd = btf__add_fwd(world.w.raw(), "later", BTF_FWD_STRUCT);
  const int type = btf__add_ptr(world.w.raw(), fwd);
  const auto at = bytes_of(kArena + 64);
  world.memory.objects[kArena + 64] = bytes_of(7u, 0u, 9u);
  BOOST_TEST(world.json(type, at) == skipped(kArena + 64, "struct later is only declared"));

  world.memory.siblings["later"] = {others, static_cast<std::uint32_t>(elsewhere)};
  BOOST_TEST(mentions(world.json(type, at), "from_sibling"));
  world.memory.sole = in_slot;
  BOOST_TEST(mentions(world.json(type, at), "from_slot"));
  BOOST_TEST(mentions(world.json(type, at), R"(},"cast_annotation":"sdt_alloc"})"));

  world.memory.slots[kArena + 64] = {.offset = 0, .header_bytes = 8, .payload = in_slot};
  BOOST_TEST(mentions(world.json(type, at), R"("from_slot","value":)" + u32(9)));  // behind the header
  world.memory.slots[kArena + 64] = {.offset = 8, .header_bytes = 8, .payload = in_slot};
  BOOST_TEST(mentions(world.json(type, at), R"("from_slot","value":)" + u32(7)));
  world.memory.slots[kArena + 64] = {.offset = 12, .header_bytes = 8, .payload = in_slot};
  BOOST_TEST(mentions(world.json(type, at), "from_sibling"));

  world.memory.untyped = kArena + 64;
  BOOST_TEST(world.json(type, at) == skipped(kArena + 64, "memory of an allocator that knows no types"));
  world.w.add_struct("later", 4, {{"own", world.w.u32, 0}});
  BOOST_TEST(mentions(world.json(type, at), R"("own")"));
  // Void: the slot alone may tell.
  world.memory.untyped = 0;
  BOOST_TEST(world.json(world.w.pointer, at) == skipped(kArena + 64, "its type is not known"));
  world.memory.slots[kArena + 64] = {.offset = 8, .header_bytes = 8, .payload = in_slot};
  BOOST_TEST(mentions(world.json(world.w.pointer, at), "from_slot"));
}

BOOST_AUTO_TEST_CASE(integers_are_followed_where_casts_know_them) {
  World world;
  const int target = world.w.add_struct("target", 4, {{"x", world.w.u32, 0}});
  const int sized = world.w.add_struct("sized", 4, {{"by_size", world.w.u32, 0}});
  const int hidden = world.w.add_struct("", 8, {{"inner", world.w.u64, 0}}, true);
  const int holder = world.w.add_struct(
      "holder", 40,
      {{"a", world.w.u64, 0}, {"plain", world.w.u64, 64}, {"list", world.w.array(world.w.u64, 2), 128}, {nullptr, hidden, 256}});
  const Casts casts({{{world.id(holder), 0}, CastSpace::kArena, world.id(target), 0},
                     {{world.id(holder), 16}, CastSpace::kKernel, world.id(target), 0},
                     {{world.id(hidden), 0}, CastSpace::kArena, 0, world.id(sized)}});
  world.memory.objects[kArena + 64] = bytes_of(7u);
  world.memory.objects[kKernel] = bytes_of(8u, 0u);
  const auto text = world.json(holder, bytes_of(kArena + 64, kArena + 64, kKernel, std::uint64_t{12}, kArena + 64), 0, &casts);
  const std::string target_json = R"(,"deref":{"kind":"struct","type_name":"target")";
  BOOST_TEST(mentions(text, R"({"name":"a","value":{"kind":"ptr","value":17592186044480)" + target_json));
  BOOST_TEST(mentions(text, R"("cast_annotation":"cast→arena")"));
  BOOST_TEST(mentions(text, R"({"name":"plain","value":{"kind":"uint","bits":64,"value":17592186044480}})"));
  BOOST_TEST(mentions(text, R"("cast_annotation":"cast→kernel"},{"kind":"uint","bits":64,"value":12}])"));
  BOOST_TEST(mentions(text, "by_size"));
  // A slot knows better than the size.
  world.memory.slots[kArena + 64] = {.offset = 0, .header_bytes = 0, .payload = {table_of(world.w), world.id(target)}};
  BOOST_TEST(
      mentions(world.json(holder, bytes_of(std::uint64_t{0}, kArena, kKernel, kKernel, kArena + 64), 0, &casts), "cast→arena (sdt_alloc)"));
  // Memory that begins with a kernel pointer where the type has none was freed, or is something else.
  world.memory.objects[kKernel] = bytes_of(kKernel);
  BOOST_TEST(mentions(world.json(holder, bytes_of(std::uint64_t{0}, kArena, kKernel, kKernel, std::uint64_t{0}), 0, &casts),
                      "freed or used for something else"));
}

BOOST_AUTO_TEST_CASE(kernel_objects_may_begin_with_a_pointer) {
  World world;
  const int list = world.w.add_struct("list_head", 16, {{"next", world.w.pointer, 0}, {"prev", world.w.pointer, 64}});
  const int either = world.w.add_struct("", 16, {{"word", world.w.u64, 0}, {"list", list, 0}}, true);
  const int object = world.w.add_struct("object", 24, {{nullptr, either, 0}, {"number", world.w.u64, 128}});
  const int other = world.w.add_struct("other", 24, {{"number", world.w.u64, 0}, {"list", list, 64}});
  const int holder = world.w.add_struct("holder", 8, {{"at", world.w.u64, 0}});
  world.memory.objects[kKernel] = bytes_of(kKernel + 64, kKernel + 64, std::uint64_t{5});
  for (const int target : {object, other}) {
    const Casts casts({{{world.id(holder), 0}, CastSpace::kKernel, world.id(target), 0}});
    const auto text = world.json(holder, bytes_of(kKernel), 0, &casts);
    BOOST_TEST(mentions(text, target == object ? R"({"name":"number","value":{"kind":"uint","bits":64,"value":5}})"
                                               : "looks like a pointer and should be none"));
  }
}

BOOST_AUTO_TEST_CASE(kernel_objects_have_the_kernels_types) {
  World world;
  // As programs declare what they need of a struct, for relocation.
  const int declared = world.w.add_struct("task_struct", 4, {{"pid", world.w.s32, 0}});
  const int holder = world.w.add_struct("holder", 8, {{"task", world.w.u64, 0}});
  TypeWriter kernel;
  kernel.add_struct("task_struct", 24, {{"flags", kernel.u64, 0}, {"state", kernel.u64, 64}, {"pid", kernel.s32, 128}});
  const Casts casts({{{world.id(holder), 0}, CastSpace::kKernel, world.id(declared), 0}});
  world.memory.objects[kKernel] = bytes_of(std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{77});
  Renderer renderer(table_of(world.w), {.pointers = &world.memory,
                                        .casts = &casts,
                                        .kernel_types = TypeTable::of_kernel(std::make_shared<const floe::walkers::Types>(
                                            floe::walkers::synthetic::parsed(kernel.bytes())))});
  const auto text = json_of(renderer, holder, bytes_of(kKernel));
  BOOST_TEST(mentions(text, R"({"name":"pid","value":{"kind":"int","bits":32,"value":77}})"));
  BOOST_TEST(mentions(text, "cast→kernel"));
}

BOOST_AUTO_TEST_CASE(large_kernel_objects_are_named_only) {
  World world;
  const int task = world.w.add_struct("task_struct", 4096, {{"pid", world.w.s32, 64}, {"comm", world.w.array(world.w.character, 16), 128}});
  const int large = world.w.add_struct("rq", 520, {{"x", world.w.u64, 0}});
  const int fits = world.w.add_struct("fits", 512, {{"x", world.w.u64, 0}});
  const int holder = world.w.add_struct("holder", 24, {{"task", world.w.u64, 0}, {"rq", world.w.u64, 64}, {"small", world.w.u64, 128}});
  const Casts casts({{{world.id(holder), 0}, CastSpace::kKernel, world.id(task), 0},
                     {{world.id(holder), 8}, CastSpace::kKernel, world.id(large), 0},
                     {{world.id(holder), 16}, CastSpace::kKernel, world.id(fits), 0}});
  const auto json = [&] { return world.json(holder, bytes_of(kKernel, kKernel, kKernel), 0, &casts); };
  auto& memory = world.memory.objects[kKernel];
  memory = bytes_of(std::uint64_t{1}, std::int32_t{77}, std::int32_t{0});
  for (const char c : std::string("a name of all 16")) memory.push_back(static_cast<std::byte>(c));
  memory.resize(4000);
  BOOST_TEST(mentions(json(), R"("deref_skipped_reason":"task 77 (a name of all 16): see task_enrichments")"));
  BOOST_TEST(mentions(json(), R"("deref_skipped_reason":"struct rq of 520 bytes is not shown here")"));
  BOOST_TEST(mentions(json(), R"("type_name":"fits")"));
  memory.resize(20);  // no name to be read
  BOOST_TEST(mentions(json(), R"("deref_skipped_reason":"struct task_struct of 4096 bytes is not shown here")"));
}

BOOST_AUTO_TEST_CASE(casts_of_one_btf_are_not_applied_to_another) {
  World world;
  TypeWriter other;
  const int same_id = other.add_struct("other", 8, {{"x", other.u64, 0}});
  const Casts casts({{{static_cast<std::uint32_t>(same_id), 0}, CastSpace::kArena, world.id(world.node), 0}});
  world.memory.objects[kArena + 64] = bytes_of(kArena + 128);
  world.memory.slots[kArena + 64] = {.offset = 0, .header_bytes = 0, .payload = {table_of(other), static_cast<std::uint32_t>(same_id)}};
  BOOST_TEST(mentions(world.json(world.w.pointer, bytes_of(kArena + 64), 0, &casts), R"("name":"x","value":{"kind":"uint")"));
}

BOOST_AUTO_TEST_SUITE_END()
