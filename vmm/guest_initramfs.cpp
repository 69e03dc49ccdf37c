// The archive of one guest: what init, the plan and the programs it names need.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>
#include <utility>

#include "vmm/elf_closure.hpp"
#include "vmm/initramfs.hpp"

namespace floe::vmm {
namespace {

constexpr std::size_t kPadTo = 512;
constexpr std::uint32_t kMemMajor = 1;
constexpr std::uint32_t kNullMinor = 3;
constexpr std::uint32_t kTtyMajor = 5;
constexpr std::uint32_t kConsoleMinor = 1;

Result<> add_plan_program(Initramfs& archive, std::vector<std::string>& argv, bool may_be_elsewhere) {
  if (argv.empty()) return {};
  auto path = find_program(argv.front());
  if (!path && path.error().code == ENOENT && may_be_elsewhere) return {};
  if (!path) return fail(std::move(path.error()));
  if (auto r = archive.add_program(*path); !r) return r;
  argv.front() = std::move(*path);
  return {};
}

// An executable file that the kernel would start itself.
bool is_program(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || (info.st_mode & 0111) == 0) return false;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  char magic[4] = {};
  if (!file || std::fread(magic, 1, sizeof magic, file.get()) < 2) return false;
  const std::string_view start(magic, sizeof magic);
  return start == "\177ELF" || start.starts_with("#!");
}

Result<> fill(Initramfs& archive, GuestPlan plan, std::span<const std::byte> init_binary, const std::vector<std::string>& add,
              bool user_initrd) {
  if (auto r = add_plan_program(archive, plan.scheduler, user_initrd); !r) return fail(std::move(r.error()).within("scheduler"));
  if (auto r = add_plan_program(archive, plan.command, user_initrd); !r) return fail(std::move(r.error()).within("command"));
  for (const auto& path : add) {
    auto r = is_program(path) ? archive.add_program(path.find('/') == std::string::npos ? "./" + path : path) : archive.add_path(path);
    if (!r) return r;
  }
  auto bytes = encode(plan);
  if (!bytes) return fail(std::move(bytes.error()));
  if (auto r = archive.add_file("/init", init_binary, 0755); !r) return r;
  if (auto r = archive.add_symlink("/usr/bin/floe-guest", "/init"); !r) return r;  // the same program in its other role
  if (auto r = archive.add_file(GuestPlan::kPath, *bytes, 0600); !r) return r;
  if (auto r = archive.add_device("/dev/console", 0600, kTtyMajor, kConsoleMinor); !r) return r;
  if (auto r = archive.add_device("/dev/null", 0666, kMemMajor, kNullMinor); !r) return r;
  return archive.add_directory("/root", 0700);
}

}  // namespace

Result<std::vector<std::byte>> guest_initramfs(const GuestPlan& plan, std::span<const std::byte> init_binary,
                                               const std::vector<std::string>& add, std::span<const std::byte> user_initrd) {
  Initramfs archive;
  if (auto r = fill(archive, plan, init_binary, add, !user_initrd.empty()); !r) return fail(std::move(r.error()).within("initramfs"));
  if (user_initrd.empty()) return archive.finish();
  std::vector<std::byte> own = archive.finish();
  if (user_initrd.size() + own.size() > Initramfs::kMaxBytes) {
    return fail(
        Error(EFBIG, "initramfs: with the given initrd it gets larger than " + std::to_string(Initramfs::kMaxBytes >> 20) + " MiB"));
  }
  std::vector<std::byte> out(user_initrd.begin(), user_initrd.end());
  // The kernel skips zeros between archives, and takes an uncompressed one only at a multiple of 4.
  out.resize((out.size() + kPadTo - 1) / kPadTo * kPadTo);
  out.insert(out.end(), own.begin(), own.end());
  return out;
}

}  // namespace floe::vmm
