// An initramfs written by floe: programs of this host with all they need, plain files and trees, packed as the kernel unpacks them.
//
// Format: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed, because packing costs more than it saves
// for a guest on the same machine. The bytes follow from the content alone: owner root, times 0, entries sorted by path.
//
// Paths. Every path given is absolute. A program's files stand at the same places as here: each one at its canonical path, with
// every symlink that leads there beside it (/lib64 -> usr/lib64, libz.so.1 -> libz.so.1.2.13), so that the kernel and the dynamic
// loader find them by the same names. A path that goes through a symlink of the archive means what the symlink points at.
// Directories on the way are made. Adding the same thing twice is fine; adding two different things at one path is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/guest_plan.hpp"

namespace floe::vmm {

class Initramfs {
 public:
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;  // of the whole archive

  enum class Device { kCharacter, kBlock };

  // `mode` is the permission bits, 07777 at most.
  Result<> add_directory(const std::string& path, std::uint32_t mode = 0755);
  Result<> add_file(const std::string& path, std::span<const std::byte> bytes, std::uint32_t mode = 0644);
  Result<> add_symlink(const std::string& path, const std::string& target);
  Result<> add_device(const std::string& path, std::uint32_t mode, std::uint32_t major, std::uint32_t minor,
                      Device kind = Device::kCharacter);

  // A program of this host (searched in PATH when it has no slash) and its closure: see elf_closure.hpp.
  Result<> add_program(const std::string& program);
  // A file or a whole tree of this host, to the same path: regular files, symlinks (as they are; one given itself is followed),
  // directories, devices and FIFOs, modes kept. An error names what cannot be read, and sockets, which cannot be packed.
  Result<> add_path(const std::string& host_path);

  bool contains(const std::string& path) const { return entries_.contains(path); }
  // Bytes of the finished archive.
  std::uint64_t size() const;

  // The archive, padded to 512 bytes. Leaves this empty.
  std::vector<std::byte> finish();

 private:
  struct Entry {
    std::uint32_t mode = 0;  // with the file type, as in stat(2)
    std::vector<std::byte> data;
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    bool implied = false;  // a directory made for what is below it
    bool operator==(const Entry&) const = default;
  };

  Result<> insert(const std::string& path, Entry entry);
  Result<> make_parents(const std::string& path);
  Result<std::string> resolve(const std::string& path) const;
  Result<std::string> place(const std::string& host_path);
  Result<> add_host_file(const std::string& host_path);
  Result<> add_host_entry(const std::string& path);
  Result<> add_host_tree(const std::string& path);
  Result<> add_regular(const std::string& path, std::uint32_t mode, std::uint64_t announced_size);

  std::map<std::string, Entry> entries_;  // by canonical path: a directory sorts before what is in it
  std::uint64_t bytes_ = 0;
};

// The whole archive that a guest boots with: `user_initrd` (may be empty, or compressed) as it is, padded; behind it /init, the
// plan, the programs of scheduler and command with their closures, `add`, and the device nodes that init starts with.
//
// A program given as a name or a relative path stands in the plan by its absolute path: the guest's PATH and working directory are not
// the host's. One that this host does not have is taken to be in `user_initrd`, where there is one. Of `add`, a program (an
// executable ELF file or script) brings its closure, anything else comes alone.
Result<std::vector<std::byte>> guest_initramfs(const GuestPlan& plan, std::span<const std::byte> init_binary,
                                               const std::vector<std::string>& add, std::span<const std::byte> user_initrd);

}  // namespace floe::vmm
