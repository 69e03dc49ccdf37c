// The test schedulers as objects, without a kernel: what a loader, and a reader of the loaded scheduler, count on finding.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gelf.h>

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "bpf/schedulers/records.h"

namespace {

namespace data = boost::unit_test::data;

constexpr bpf_map_type kArena = static_cast<bpf_map_type>(33);

using Object = std::unique_ptr<bpf_object, decltype(&bpf_object__close)>;

Object open_object(const std::string& name) {
  const std::string path = std::string(FLOE_BPF_OBJECTS) + "/floe_" + name + ".bpf.o";
  Object object(bpf_object__open_file(path.c_str(), nullptr), &bpf_object__close);
  BOOST_REQUIRE_MESSAGE(object, path);
  return object;
}

std::map<std::string, bpf_map_type> maps_of(const bpf_object* object) {
  std::map<std::string, bpf_map_type> maps;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) maps[bpf_map__name(map)] = bpf_map__type(map);
  return maps;
}

// The variables of a section, by its BTF.
std::set<std::string> variables_of(const bpf_object* object, const std::string& section) {
  std::set<std::string> names;
  const btf* types = bpf_object__btf(object);
  const int id = btf__find_by_name_kind(types, section.c_str(), BTF_KIND_DATASEC);
  BOOST_REQUIRE_GT(id, 0);
  const btf_type* type = btf__type_by_id(types, static_cast<__u32>(id));
  for (int i = 0; i < btf_vlen(type); ++i)
    names.insert(btf__name_by_offset(types, btf__type_by_id(types, btf_var_secinfos(type)[i].type)->name_off));
  return names;
}

__u32 size_of(const bpf_object* object, const char* name) {
  const btf* types = bpf_object__btf(object);
  const int id = btf__find_by_name_kind(types, name, BTF_KIND_STRUCT);
  BOOST_REQUIRE_MESSAGE(id > 0, name);
  return btf__type_by_id(types, static_cast<__u32>(id))->size;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(schedulers)

BOOST_DATA_TEST_CASE(each_is_a_sched_ext_ops_with_a_latch, data::make({"fair", "maps", "stall", "error"}), name) {
  const auto object = open_object(name);
  const auto maps = maps_of(object.get());
  const std::string ops = std::string(name) + "_ops";
  BOOST_REQUIRE(maps.contains(ops));
  BOOST_TEST(maps.at(ops) == BPF_MAP_TYPE_STRUCT_OPS);
  std::size_t length = 0;
  const auto* value = static_cast<const char*>(bpf_map__initial_value(bpf_object__find_map_by_name(object.get(), ops.c_str()), &length));
  BOOST_TEST(std::string_view(value, length).find("floe_" + std::string(name)) != std::string_view::npos);
  const auto variables = variables_of(object.get(), ".bss");
  for (const char* latched : {"floe_exit_kind_snap", "floe_exit_aborting", "floe_exit_bypass_depth", "floe_exit_sched_kva",
                              "floe_exit_watchdog_timeout", "floe_exit_reason", "floe_exit_msg"})
    BOOST_TEST(variables.contains(latched), latched);
  int operations = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get()) operations += bpf_program__type(program) == BPF_PROG_TYPE_STRUCT_OPS ? 1 : 0;
  BOOST_TEST(operations >= 5);
}

BOOST_AUTO_TEST_CASE(maps_has_one_of_each_type_that_schedulers_use) {
  const auto object = open_object("maps");
  auto maps = maps_of(object.get());
  BOOST_TEST(maps["floe_hash"] == BPF_MAP_TYPE_HASH);
  BOOST_TEST(maps["floe_lru"] == BPF_MAP_TYPE_LRU_HASH);
  BOOST_TEST(maps["floe_array"] == BPF_MAP_TYPE_ARRAY);
  BOOST_TEST(maps["floe_pcpu_array"] == BPF_MAP_TYPE_PERCPU_ARRAY);
  BOOST_TEST(maps["floe_pcpu_hash"] == BPF_MAP_TYPE_PERCPU_HASH);
  BOOST_TEST(maps["floe_ring"] == BPF_MAP_TYPE_RINGBUF);
  BOOST_TEST(maps["floe_stacks"] == BPF_MAP_TYPE_STACK_TRACE);
  BOOST_TEST(maps["floe_task_data"] == BPF_MAP_TYPE_TASK_STORAGE);
  BOOST_TEST(maps["arena"] == kArena);
  for (const char* section : {".bss", ".data", ".rodata"}) BOOST_TEST(variables_of(object.get(), section).size() > 0, section);
}

// By these names and sizes readers of other schedulers find what lies in an arena.
BOOST_AUTO_TEST_CASE(the_allocators_have_the_public_layout) {
  const auto object = open_object("maps");
  BOOST_TEST(size_of(object.get(), "sdt_desc") == 80U);
  BOOST_TEST(size_of(object.get(), "scx_allocator") == 40U);
  BOOST_TEST(size_of(object.get(), "scx_static") == 24U);
  // Payloads that share their size with others, so a reader must choose by the allocator's name.
  BOOST_TEST(size_of(object.get(), "task_ctx") == 64U);
  BOOST_TEST(size_of(object.get(), "cell_ctx") == 32U);
  // The compiler leaves a structure that only members point to as a declaration; schedulers' BTF is like that, and so is this.
  const btf* types = bpf_object__btf(object.get());
  for (const char* name : {"sdt_data", "sdt_chunk"}) BOOST_TEST(btf__find_by_name_kind(types, name, BTF_KIND_FWD) > 0, name);
  BOOST_TEST(size_of(object.get(), "floe_value") == sizeof(floe_value));
  const auto variables = variables_of(object.get(), ".bss");
  for (const char* name : {"scx_task_allocator", "scx_cell_allocator", "scx_static_area"}) BOOST_TEST(variables.contains(name), name);
}

BOOST_AUTO_TEST_CASE(the_program_carries_its_objects_by_name) {
  elf_version(EV_CURRENT);
  const floe::UniqueFd fd(::open(FLOE_SCHED, O_RDONLY | O_CLOEXEC));
  BOOST_REQUIRE(fd);
  Elf* const elf = elf_begin(fd.get(), ELF_C_READ, nullptr);
  BOOST_REQUIRE(elf != nullptr);
  std::size_t strings = 0;
  elf_getshdrstrndx(elf, &strings);
  std::size_t objects_section = 0;
  std::map<std::string, std::uint64_t> objects;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header{};
    gelf_getshdr(section, &header);
    if (std::string_view(".bpf.objs") == elf_strptr(elf, strings, header.sh_name)) objects_section = elf_ndxscn(section);
  }
  BOOST_REQUIRE(objects_section != 0);
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header{};
    gelf_getshdr(section, &header);
    if (header.sh_type != SHT_SYMTAB) continue;
    Elf_Data* const symbols = elf_getdata(section, nullptr);
    for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
      GElf_Sym symbol{};
      gelf_getsym(symbols, static_cast<int>(i), &symbol);
      if (symbol.st_shndx == objects_section && GELF_ST_TYPE(symbol.st_info) == STT_OBJECT)
        objects[elf_strptr(elf, header.sh_link, symbol.st_name)] = symbol.st_size;
    }
  }
  elf_end(elf);
  BOOST_TEST(objects.size() == 4U);
  for (const char* name : {"fair", "maps", "stall", "error"}) {
    const auto file = floe::read_file(std::string(FLOE_BPF_OBJECTS) + "/floe_" + name + ".bpf.o", 1U << 24);
    BOOST_REQUIRE(file);
    BOOST_TEST(objects["floe_" + std::string(name) + "_object"] == file->size());
  }
}

// tests/e2e/maps.py has the same function: who changes one must change the other.
BOOST_AUTO_TEST_CASE(values_of_a_seed) {
  BOOST_TEST(floe_mix(0, 0, 0, 0) == 0xe220a8397b1dcdafULL);
  BOOST_TEST(floe_mix(1, 2, 3, 4) != floe_mix(1, 2, 4, 3));
  floe_value first{};
  floe_value second{};
  floe_fill_value(&first, 7, FLOE_MAP_HASH, 3);
  floe_fill_value(&second, 8, FLOE_MAP_HASH, 3);
  BOOST_TEST(std::string_view(first.name).size() == 15U);
  BOOST_TEST(std::string_view(first.name) != std::string_view(second.name));
}

BOOST_AUTO_TEST_SUITE_END()
