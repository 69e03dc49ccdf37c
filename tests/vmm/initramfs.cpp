#include "vmm/initramfs.hpp"

#include <sys/sysmacros.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <charconv>
#include <map>
#include <set>

#include "base/file.hpp"
#include "tests/vmm/elf_builder.hpp"
#include "vmm/guest_binary.hpp"

namespace checks {
namespace {

using floe::vmm::guest_initramfs;
using floe::vmm::GuestPlan;
using floe::vmm::Initramfs;
using Bytes = std::vector<std::byte>;

struct Item {
  std::uint32_t mode = 0, inode = 0, links = 0, time = 0, owner = 0, major = 0, minor = 0;
  std::string data;
};

std::uint32_t hex(std::string_view text) {
  std::uint32_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  BOOST_REQUIRE((end.ec == std::errc() && end.ptr == text.data() + text.size()));
  return value;
}

std::size_t aligned(std::size_t at) {
  return (at + 3) / 4 * 4;
}

// Reads an archive as the kernel's initramfs.c does, and holds it to what that relies on.
std::map<std::string, Item> parse(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::map<std::string, Item> items;
  std::set<std::uint32_t> inodes;
  for (std::size_t at = 0;;) {
    BOOST_REQUIRE(text.size() - at >= 110);
    BOOST_REQUIRE(text.substr(at, 6) == "070701");
    std::uint32_t f[13];
    for (std::size_t i = 0; i < 13; ++i) f[i] = hex(text.substr(at + 6 + 8 * i, 8));
    const std::string name(text.substr(at + 110, f[11] - 1));
    BOOST_REQUIRE(text[at + 110 + f[11] - 1] == '\0');
    at = aligned(at + 110 + f[11]);
    BOOST_REQUIRE(at + f[6] <= text.size());
    const std::string data(text.substr(at, f[6]));
    at = aligned(at + f[6]);
    if (name == "TRAILER!!!") {
      BOOST_TEST(text.find_first_not_of('\0', at) == std::string_view::npos);
      BOOST_TEST(text.size() % 512 == 0U);
      return items;
    }
    BOOST_TEST(inodes.insert(f[0]).second);
    if (const auto slash = name.rfind('/'); slash != std::string::npos) {
      BOOST_REQUIRE_MESSAGE(items.contains(name.substr(0, slash)), "the parent of " << name << " comes first");
      BOOST_TEST(S_ISDIR(items[name.substr(0, slash)].mode));
    }
    BOOST_TEST(items.emplace(name, Item{f[1], f[0], f[4], f[5], f[2] + f[3], f[9], f[10], data}).second, name << " once");
  }
}

std::string refusal(const floe::Result<>& result) {
  BOOST_REQUIRE(!result.has_value());
  return result.error().message;
}

bool mentions(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Opens a path in the archive as the guest's kernel would: following symlinks. Nothing, when it leads nowhere.
const Item* look_up(const std::map<std::string, Item>& items, const std::string& path) {
  namespace fs = std::filesystem;
  fs::path at;
  std::vector<std::string> rest;
  const auto push = [&rest](const fs::path& p) {
    std::vector<std::string> parts;
    for (const auto& part : p.relative_path()) parts.push_back(part.string());
    rest.insert(rest.end(), parts.rbegin(), parts.rend());
  };
  push(path);
  const Item* item = nullptr;
  for (int steps = 0; !rest.empty() && steps < 200; ++steps) {
    const std::string part = rest.back();
    rest.pop_back();
    if (part == "..") {
      at = at.parent_path();
      continue;
    }
    at /= part;
    const auto found = items.find(at.string());
    if (found == items.end()) return nullptr;
    item = &found->second;
    if (!S_ISLNK(item->mode)) continue;
    at = item->data.front() == '/' ? fs::path() : at.parent_path();
    push(item->data);
  }
  return item;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(initramfs)

BOOST_AUTO_TEST_CASE(what_went_in_comes_out) {
  Initramfs archive;
  BOOST_TEST(archive.add_file("/a/b/file", as_bytes("text"), 0640).has_value());
  BOOST_TEST(archive.add_file("/a/empty", {}).has_value());
  BOOST_TEST(archive.add_directory("/a", 0700).has_value());
  BOOST_TEST(archive.add_symlink("/link", "a/b").has_value());
  BOOST_TEST(archive.add_device("/dev/console", 0600, 5, 1).has_value());
  BOOST_TEST(archive.add_device("/dev/disk", 0600, 259, 300, Initramfs::Device::kBlock).has_value());
  const auto size = archive.size();
  const auto bytes = archive.finish();
  BOOST_TEST(bytes.size() == size);
  const auto items = parse(bytes);
  BOOST_TEST(items.size() == 8U);
  BOOST_TEST(items.at("a").mode == (S_IFDIR | 0700U));
  BOOST_TEST(items.at("a/b").mode == (S_IFDIR | 0755U));
  BOOST_TEST(items.at("a/b/file").mode == (S_IFREG | 0640U));
  BOOST_TEST(items.at("a/b/file").data == "text");
  BOOST_TEST(items.at("a/b/file").links == 1U);
  BOOST_TEST(items.at("a/empty").data.empty());
  BOOST_TEST(items.at("link").mode == (S_IFLNK | 0777U));
  BOOST_TEST(items.at("link").data == "a/b");
  BOOST_TEST(items.at("dev/console").mode == (S_IFCHR | 0600U));
  BOOST_TEST(items.at("dev/console").major == 5U);
  BOOST_TEST(items.at("dev/console").minor == 1U);
  BOOST_TEST(items.at("dev/disk").mode == (S_IFBLK | 0600U));
  for (const auto& [name, item] : items) BOOST_TEST(item.time + item.owner == 0U, name);
}

BOOST_AUTO_TEST_CASE(an_empty_archive_is_an_archive) {
  BOOST_TEST(parse(Initramfs().finish()).empty());
}

BOOST_AUTO_TEST_CASE(order_and_time_do_not_matter) {
  const auto build = [](bool reversed) {
    Initramfs archive;
    std::vector<std::string> paths{"/x/1", "/x/2", "/y", "/x.y", "/x-y/z"};
    if (reversed) std::reverse(paths.begin(), paths.end());
    for (const auto& path : paths) BOOST_TEST(archive.add_file(path, as_bytes(path)).has_value());
    BOOST_TEST(archive.add_program("/bin/dash").has_value());
    return archive.finish();
  };
  BOOST_TEST((build(false) == build(true)));
}

BOOST_AUTO_TEST_CASE(each_path_once) {
  Initramfs archive;
  BOOST_TEST(archive.add_file("/f", as_bytes("one")).has_value());
  BOOST_TEST(archive.add_file("/f", as_bytes("one")).has_value());
  BOOST_TEST(mentions(refusal(archive.add_file("/f", as_bytes("two"))), "/f"));
  BOOST_TEST(mentions(refusal(archive.add_directory("/f")), "has a file there already"));
  BOOST_TEST(mentions(refusal(archive.add_file("/f/below", {})), "/f is a file"));
  BOOST_TEST(mentions(refusal(archive.add_file("relative", {})), "relative"));
  BOOST_TEST(parse(archive.finish()).size() == 1U);
}

BOOST_AUTO_TEST_CASE(paths_go_through_the_archives_symlinks) {
  Initramfs archive;
  BOOST_TEST(archive.add_symlink("/bin", "usr/bin").has_value());
  BOOST_TEST(archive.add_file("/bin/x", as_bytes("x")).has_value());
  BOOST_TEST(archive.add_file("/usr/lib/../bin/y", as_bytes("y")).has_value());
  BOOST_TEST(archive.contains("/usr/bin/x"));
  BOOST_TEST(archive.contains("/usr/bin/y"));
  BOOST_TEST(archive.add_symlink("/loop", "loop").has_value());
  BOOST_TEST(mentions(refusal(archive.add_file("/loop/z", {})), "circle"));
}

BOOST_AUTO_TEST_CASE(a_program_is_found_by_every_name_its_loader_uses) {
  Initramfs archive;
  BOOST_REQUIRE(archive.add_program("/bin/dash").has_value());
  BOOST_REQUIRE(archive.add_program("dash").has_value());
  const auto items = parse(archive.finish());
  for (const auto* path : {"/bin/dash", "/lib64/ld-linux-x86-64.so.2"}) {
    const auto* item = look_up(items, path);
    BOOST_REQUIRE_MESSAGE(item != nullptr, path);
    BOOST_TEST(S_ISREG(item->mode));
    BOOST_TEST((item->mode & 0111) == 0111U);
    BOOST_TEST((item->data == floe::read_text(path).value()));
  }
  BOOST_TEST((look_up(items, "/lib/x86_64-linux-gnu/libc.so.6") != nullptr));
  std::error_code ignored;
  if (std::filesystem::is_symlink("/bin", ignored)) BOOST_TEST(S_ISLNK(items.at("bin").mode));
}

BOOST_AUTO_TEST_CASE(a_library_behind_a_detour_is_found_by_that_detour) {
  const Folder folder;
  const auto program = folder.write("bin/p", ElfBuilder().name(DT_NEEDED, "libone.so.1").name(DT_RUNPATH, "$ORIGIN/plugins/../../lib"));
  std::filesystem::create_directories(folder.path() + "/bin/plugins");
  folder.write("store/libone.so.1.2", ElfBuilder());
  std::filesystem::create_directory_symlink("store", folder.path() + "/lib");
  std::filesystem::create_symlink("libone.so.1.2", folder.path() + "/store/libone.so.1");
  Initramfs archive;
  const auto added = archive.add_program(program);
  BOOST_REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
  const auto items = parse(archive.finish());
  BOOST_TEST((look_up(items, folder.path() + "/bin/plugins/../../lib/libone.so.1") != nullptr));
}

BOOST_AUTO_TEST_CASE(a_tree_comes_with_its_modes_and_links) {
  const Folder folder;
  folder.write("tree/run", "#!/bin/sh\n", 0750);
  folder.write("tree/sub/data", "data", 0604);
  std::filesystem::create_symlink("../nowhere", folder.path() + "/tree/sub/dangling");
  std::filesystem::create_directory(folder.path() + "/tree/empty");
  ::mkfifo((folder.path() + "/tree/fifo").c_str(), 0600);
  Initramfs archive;
  const auto added = archive.add_path(folder.path() + "/tree");
  BOOST_REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
  const auto items = parse(archive.finish());
  const std::string base = folder.path().substr(1) + "/tree";
  BOOST_TEST(items.at(base + "/run").mode == (S_IFREG | 0750U));
  BOOST_TEST(items.at(base + "/sub/data").mode == (S_IFREG | 0604U));
  BOOST_TEST(items.at(base + "/sub/data").data == "data");
  BOOST_TEST(items.at(base + "/sub/dangling").data == "../nowhere");
  BOOST_TEST(S_ISDIR(items.at(base + "/empty").mode));
  BOOST_TEST(S_ISFIFO(items.at(base + "/fifo").mode));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_named) {
  const Folder folder;
  Initramfs archive;
  BOOST_TEST(mentions(refusal(archive.add_path(folder.path() + "/missing")), folder.path() + "/missing"));
  BOOST_TEST(mentions(refusal(archive.add_program(folder.path() + "/missing")), folder.path() + "/missing"));
  std::filesystem::create_symlink("gone", folder.path() + "/dangling");
  BOOST_TEST(mentions(refusal(archive.add_path(folder.path() + "/dangling")), folder.path() + "/gone"));
  std::filesystem::create_symlink("loop", folder.path() + "/loop");
  BOOST_TEST(mentions(refusal(archive.add_path(folder.path() + "/loop")), "circle"));
  const auto secret = folder.write("tree/secret", "x", 0);
  if (::access(secret.c_str(), R_OK) != 0) BOOST_TEST(mentions(refusal(archive.add_path(folder.path() + "/tree")), secret));
}

BOOST_AUTO_TEST_CASE(what_the_guest_could_not_see_is_refused) {
  Initramfs archive;
  BOOST_TEST(!archive.add_file("/TRAILER!!!", {}).has_value());  // the unpacker would stop there
  BOOST_TEST(archive.add_file("/etc/TRAILER!!!", {}).has_value());
  BOOST_TEST(!archive.add_path("/proc/self/status").has_value());
  BOOST_TEST(!archive.add_path("/dev/null").has_value());
}

BOOST_AUTO_TEST_CASE(size_is_bounded) {
  const Folder folder;
  const auto huge = folder.write("huge", "");
  std::filesystem::resize_file(huge, Initramfs::kMaxBytes + 1);  // a hole
  Initramfs archive;
  const auto message = refusal(archive.add_path(huge));
  BOOST_TEST(mentions(message, huge));
  BOOST_TEST(mentions(message, "1024 MiB"));
}

BOOST_AUTO_TEST_CASE(the_guests_whole_archive) {
  const Folder folder;
  const auto extra = folder.write("extra", "extra", 0644);
  GuestPlan plan;
  plan.command = {"dash", "-c", "true", extra};
  const auto bytes = guest_initramfs(plan, floe::vmm::guest_init_binary(), {}, {});
  BOOST_REQUIRE(bytes.has_value());
  const auto items = parse(*bytes);
  BOOST_TEST(items.at("init").mode == (S_IFREG | 0755U));
  BOOST_TEST((items.at("init").data.substr(0, 4) == "\177ELF"));
  BOOST_TEST(items.at("dev/console").minor == 1U);
  BOOST_TEST(items.at("dev/null").minor == 3U);
  BOOST_TEST(!items.contains(extra.substr(1)), "an argument is not a file to bring");
  const auto& packed = items.at("etc/floe/run").data;
  const auto back = floe::vmm::decode_guest_plan(as_bytes(packed)).value();
  BOOST_TEST(back.command.front().starts_with('/'));
  BOOST_TEST((look_up(items, back.command.front()) != nullptr));
  BOOST_TEST(back.command[3] == extra);

  const auto with = guest_initramfs(plan, floe::vmm::guest_init_binary(), {extra, "/bin/true"}, {});
  BOOST_REQUIRE(with.has_value());
  BOOST_TEST(parse(*with).at(extra.substr(1)).data == "extra");
}

BOOST_AUTO_TEST_CASE(nothing_to_run_needs_no_shell) {
  const auto bytes = guest_initramfs({}, floe::vmm::guest_init_binary(), {}, {});
  BOOST_REQUIRE(bytes.has_value());
  BOOST_TEST(bytes->size() < 2U << 20);
  const auto items = parse(*bytes);
  BOOST_TEST((look_up(items, "/bin/sh") == nullptr));
}

BOOST_AUTO_TEST_CASE(an_added_program_brings_its_libraries) {
  const auto bytes = guest_initramfs({}, floe::vmm::guest_init_binary(), {"/bin/dash"}, {});
  BOOST_REQUIRE(bytes.has_value());
  BOOST_TEST((look_up(parse(*bytes), "/lib64/ld-linux-x86-64.so.2") != nullptr));
}

BOOST_AUTO_TEST_CASE(the_users_initrd_comes_first_and_padded) {
  const auto own = guest_initramfs({}, floe::vmm::guest_init_binary(), {}, {}).value();
  const Bytes user(1001, std::byte{0x1f});
  const auto both = guest_initramfs({}, floe::vmm::guest_init_binary(), {}, user).value();
  BOOST_REQUIRE(both.size() == 1024 + own.size());
  BOOST_TEST((std::equal(user.begin(), user.end(), both.begin())));
  BOOST_TEST((both[1001] == std::byte{0}));
  BOOST_TEST((std::equal(own.begin(), own.end(), both.begin() + 1024)));

  // What the host does not have is in there, or init reports that it is not.
  GuestPlan plan;
  plan.command = {"/opt/only-in-the-guest"};
  BOOST_TEST(guest_initramfs(plan, floe::vmm::guest_init_binary(), {}, user).has_value());
  const auto refused = guest_initramfs(plan, floe::vmm::guest_init_binary(), {}, {});
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(mentions(refused.error().message, "command: /opt/only-in-the-guest"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace checks
