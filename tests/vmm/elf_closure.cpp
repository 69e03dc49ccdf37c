#include "vmm/elf_closure.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <random>

#include "base/file.hpp"
#include "tests/vmm/elf_builder.hpp"
#include "vmm/elf_image.hpp"
#include "vmm/guest_binary.hpp"

namespace checks {
namespace {

using floe::vmm::program_closure;

std::vector<std::string> paths(const std::string& program) {
  const auto closure = program_closure(program);
  BOOST_REQUIRE_MESSAGE(closure.has_value(), (closure ? "" : closure.error().message));
  std::vector<std::string> list;
  for (const auto& file : *closure) list.push_back(file.path);
  return list;
}

std::string refusal(const std::string& program) {
  const auto closure = program_closure(program);
  BOOST_REQUIRE(!closure.has_value());
  return closure.error().message;
}

bool mentions(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

bool has_suffix(const std::vector<std::string>& list, std::string_view suffix) {
  return std::any_of(list.begin(), list.end(), [suffix](const std::string& path) { return path.ends_with(suffix); });
}

using List = std::vector<std::string>;

}  // namespace

BOOST_AUTO_TEST_SUITE(elf_closure)

BOOST_AUTO_TEST_CASE(a_shell) {
  const auto list = paths("/bin/dash");
  BOOST_TEST(list.front() == "/bin/dash");
  BOOST_TEST(has_suffix(list, "/ld-linux-x86-64.so.2"));
  BOOST_TEST(has_suffix(list, "/libc.so.6"));
  auto sorted = list;
  std::sort(sorted.begin(), sorted.end());
  BOOST_TEST((std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()), "each file once");
}

BOOST_AUTO_TEST_CASE(a_name_is_searched_in_path) {
  BOOST_TEST(paths("dash").front().ends_with("bin/dash"));
  BOOST_TEST(mentions(refusal("no-such-program-here"), "no-such-program-here: no such program in PATH"));
}

BOOST_AUTO_TEST_CASE(what_is_no_file_is_no_program) {
  for (const char* path : {"/dev/zero", "/etc"}) {
    const auto closure = program_closure(path);
    BOOST_REQUIRE(!closure);
    BOOST_TEST(closure.error().message.find(path) != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(a_static_program_needs_nothing) {
  const Folder folder;
  const auto program = folder.write("static", floe::vmm::guest_init_binary());
  BOOST_TEST((paths(program) == List{program}));
}

BOOST_AUTO_TEST_CASE(origin_in_the_middle_of_a_path) {
  const Folder folder;
  const auto program = folder.write("bin/p", ElfBuilder().name(DT_NEEDED, "libone.so").name(DT_RUNPATH, "/nowhere:${ORIGIN}/../lib"));
  folder.write("lib/libone.so", ElfBuilder());
  BOOST_TEST((paths(program) == List{program, folder.path() + "/bin/../lib/libone.so"}));
}

BOOST_AUTO_TEST_CASE(rpath_is_inherited_and_runpath_is_not) {
  const Folder folder;
  folder.write("lib/libone.so", ElfBuilder().name(DT_NEEDED, "libtwo.so"));
  folder.write("lib/libtwo.so", ElfBuilder());
  const auto old = folder.write("old", ElfBuilder().name(DT_NEEDED, "libone.so").name(DT_RPATH, "$ORIGIN/lib"));
  BOOST_TEST((paths(old) == List{old, folder.path() + "/lib/libone.so", folder.path() + "/lib/libtwo.so"}));
  const auto recent = folder.write("new", ElfBuilder().name(DT_NEEDED, "libone.so").name(DT_RUNPATH, "$ORIGIN/lib"));
  const auto message = refusal(recent);
  BOOST_TEST(mentions(message, "libtwo.so: shared library not found"));
  BOOST_TEST(mentions(message, folder.path() + "/lib/libone.so"));
  const auto both =
      folder.write("both", ElfBuilder().name(DT_NEEDED, "libone.so").name(DT_RPATH, "$ORIGIN/lib").name(DT_RUNPATH, "/nowhere"));
  BOOST_TEST(mentions(refusal(both), "libone.so"));
}

BOOST_AUTO_TEST_CASE(libraries_in_a_circle_come_once) {
  const Folder folder;
  folder.write("liba.so", ElfBuilder().name(DT_NEEDED, "libb.so").name(DT_RUNPATH, "$ORIGIN"));
  folder.write("libb.so", ElfBuilder().name(DT_NEEDED, "liba.so").name(DT_RUNPATH, "$ORIGIN"));
  const auto program = folder.write("p", ElfBuilder().name(DT_NEEDED, "liba.so").name(DT_RUNPATH, "$ORIGIN"));
  BOOST_TEST((paths(program) == List{program, folder.path() + "/liba.so", folder.path() + "/libb.so"}));
}

BOOST_AUTO_TEST_CASE(a_soname_already_loaded_satisfies) {
  const Folder folder;
  folder.write("liba-1.so", ElfBuilder().name(DT_SONAME, "liba.so.1"));
  folder.write("libb.so", ElfBuilder().name(DT_NEEDED, "liba.so.1"));
  const auto program = folder.write("p", ElfBuilder().name(DT_NEEDED, "liba-1.so").name(DT_NEEDED, "libb.so").name(DT_RUNPATH, "$ORIGIN"));
  BOOST_TEST((paths(program) == List{program, folder.path() + "/liba-1.so", folder.path() + "/libb.so"}));
}

BOOST_AUTO_TEST_CASE(a_library_of_another_machine_is_passed_by) {
  const Folder folder;
  ElfBuilder foreign;
  foreign.machine = EM_AARCH64;
  folder.write("a/libone.so", foreign);
  folder.write("b/libone.so", ElfBuilder());
  const auto program = folder.write("p", ElfBuilder().name(DT_NEEDED, "libone.so").name(DT_RUNPATH, "$ORIGIN/a:$ORIGIN/b"));
  BOOST_TEST((paths(program) == List{program, folder.path() + "/b/libone.so"}));
  BOOST_TEST(mentions(refusal(folder.path() + "/a/libone.so"), "not an ELF file for x86-64"));
}

BOOST_AUTO_TEST_CASE(a_missing_library_is_named_with_who_needs_it) {
  const Folder folder;
  const auto program = folder.write("p", ElfBuilder().name(DT_NEEDED, "libmissing.so.7"));
  BOOST_TEST(refusal(program) == "libmissing.so.7: shared library not found, needed by " + program);
  ElfBuilder loaderless;
  loaderless.interpreter = "/lib64/no-such-loader.so";
  const auto other = folder.write("q", loaderless);
  BOOST_TEST(mentions(refusal(other), "/lib64/no-such-loader.so"));
  BOOST_TEST(mentions(refusal(other), other));
}

BOOST_AUTO_TEST_CASE(scripts_bring_their_interpreter) {
  const Folder folder;
  const auto plain = folder.write("plain", "#! /bin/dash -e\necho\n");
  BOOST_TEST((paths(plain)[1] == "/bin/dash"));
  BOOST_TEST(has_suffix(paths(plain), "/libc.so.6"));
  const auto env = folder.write("env", "#!/usr/bin/env -S A=b dash -e\n");
  BOOST_TEST(has_suffix(paths(env), "/usr/bin/env"));
  BOOST_TEST(has_suffix(paths(env), "bin/dash"));
  const auto chain = folder.write("chain", "#!" + plain + "\n");
  BOOST_TEST((paths(chain)[1] == plain));
  BOOST_TEST(mentions(refusal(folder.write("gone", "#!/no/such/thing\n")), "/no/such/thing"));
  BOOST_TEST(mentions(refusal(folder.write("empty", "#!\n")), "no interpreter"));
  BOOST_TEST(mentions(refusal(folder.write("relative", "#!bin/sh\n")), "not an absolute path"));
  BOOST_TEST(mentions(refusal(folder.write("text", "echo hi\n")), "neither an ELF program nor a script"));
  const std::string loop = folder.path() + "/loop";
  folder.write("loop", "#!" + loop + "\n");
  BOOST_TEST((paths(loop) == List{loop}), "a circle ends; the kernel will say ELOOP");
}

BOOST_AUTO_TEST_CASE(every_cut_of_a_program_is_an_error) {
  ElfBuilder builder;
  builder.interpreter = "/lib64/ld-linux-x86-64.so.2";
  const auto whole = builder.name(DT_NEEDED, "libc.so.6").build();
  BOOST_TEST(floe::vmm::read_elf(whole).value().needed.size() == 1U);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    // In a block of its own size: reading behind the end is then seen by the sanitizer.
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    const auto image = floe::vmm::read_elf(cut);
    BOOST_TEST(!image.has_value(), "cut to " << length);
  }
}

BOOST_AUTO_TEST_CASE(hostile_headers_never_harm) {
  ElfBuilder builder;
  builder.interpreter = "/lib64/ld-linux-x86-64.so.2";
  const auto whole = builder.name(DT_NEEDED, "libc.so.6").name(DT_RUNPATH, "$ORIGIN").build();
  std::mt19937_64 random(3);
  for (int round = 0; round < 50'000; ++round) {
    auto bytes = whole;
    for (int change = 0; change < 2; ++change) {
      const std::uint64_t value = random() >> (random() % 64);
      const std::size_t width = std::size_t{1} << (random() % 4);
      std::memcpy(bytes.data() + random() % (bytes.size() - 8), &value, width);
    }
    const auto image = floe::vmm::read_elf(bytes);
    if (!image) BOOST_TEST(!image.error().message.empty());
  }
}

BOOST_AUTO_TEST_CASE(a_malformed_library_is_named) {
  const Folder folder;
  folder.write("libone.so", "\177ELF and no more");
  const auto program = folder.write("p", ElfBuilder().name(DT_NEEDED, "libone.so").name(DT_RUNPATH, "$ORIGIN"));
  const auto message = refusal(program);
  BOOST_TEST(mentions(message, folder.path() + "/libone.so"));
  BOOST_TEST(mentions(message, program));
  BOOST_TEST(mentions(message, "malformed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace checks
