#include "vmm/initramfs.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <string_view>
#include <utility>

#include "base/file.hpp"
#include "vmm/elf_closure.hpp"

namespace floe::vmm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeaderBytes = 110;
constexpr std::size_t kPadTo = 512;
constexpr std::size_t kMaxName = 4095;  // PATH_MAX of the kernel that unpacks it, with the NUL
constexpr int kMaxSymlinks = 40;        // include/linux/namei.h, MAXSYMLINKS
constexpr std::string_view kTrailer = "TRAILER!!!";
constexpr const char* kLoaderCache = "/etc/ld.so.cache";

std::uint64_t aligned(std::uint64_t bytes, std::uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// In the archive: names stand there without the leading slash.
std::uint64_t entry_bytes(std::string_view path, std::uint64_t data) {
  return aligned(kHeaderBytes + path.size(), 4) + aligned(data, 4);  // size() counts the slash, which is the room of the NUL
}

std::deque<std::string> parts_of(std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const auto end = std::min(path.find('/'), path.size());
    if (end != 0 && path.substr(0, end) != ".") parts.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

void pop_part(std::string& path) {
  path.erase(path.empty() ? 0 : path.rfind('/'));
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()};
}

// Puts a symlink's target in front of the parts still to walk; `path` is where it stands.
void follow(std::string_view target, std::string& path, std::deque<std::string>& rest) {
  auto parts = parts_of(target);
  rest.insert(rest.begin(), parts.begin(), parts.end());
  if (target.starts_with('/'))
    path.clear();
  else
    pop_part(path);
}

Result<std::string> read_symlink(const std::string& path) {
  std::array<char, 4096> buffer;
  const auto length = ::readlink(path.c_str(), buffer.data(), buffer.size());
  if (length < 0) return fail_errno(errno, path);
  if (length == static_cast<ssize_t>(buffer.size())) return fail(Error(ENAMETOOLONG, path + ": the symlink is too long"));
  return std::string(buffer.data(), static_cast<std::size_t>(length));
}

Result<std::string> absolute(const std::string& path) {
  std::error_code error;
  if (path.empty()) return fail(Error(ENOENT, "an empty path cannot be added to the guest"));
  auto result = fs::absolute(path, error).string();
  if (error) return fail_errno(error.value(), path);
  return result;
}

const char* kind_of(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory";
    case S_IFLNK:
      return "a symlink";
    case S_IFREG:
      return "a file";
    default:
      return "a device";
  }
}

tl::unexpected<Error> too_large(const std::string& path) {
  return fail(Error(EFBIG, path + ": the initramfs would get larger than " + std::to_string(Initramfs::kMaxBytes >> 20) + " MiB"));
}

class CpioWriter {
 public:
  explicit CpioWriter(std::vector<std::byte>& out) : out_(out) {}

  void entry(std::string_view name, std::uint32_t mode, std::uint32_t links, std::span<const std::byte> data, std::uint32_t major,
             std::uint32_t minor) {
    char header[kHeaderBytes + 1];
    std::snprintf(header, sizeof header, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++inode_, mode, 0U, 0U, links, 0U,
                  static_cast<unsigned>(data.size()), 0U, 0U, major, minor, static_cast<unsigned>(name.size() + 1), 0U);
    append(floe::as_bytes({header, kHeaderBytes}));
    append(floe::as_bytes(name));
    out_.push_back(std::byte{0});
    pad(4);
    append(data);
    pad(4);
  }
  void trailer() {
    inode_ = ~0U;
    entry(kTrailer, 0, 1, {}, 0, 0);
    pad(kPadTo);
  }

 private:
  void append(std::span<const std::byte> bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void pad(std::size_t unit) { out_.resize(aligned(out_.size(), unit)); }
  std::vector<std::byte>& out_;
  std::uint32_t inode_ = 0;
};

}  // namespace

// The path with the archive's own symlinks followed, all but the last part. The root is empty.
Result<std::string> Initramfs::resolve(const std::string& path) const {
  if (!path.starts_with('/')) return fail("'" + path + "': a path in the guest starts with /");
  if (path.find('\0') != std::string::npos) return fail("a path in the guest contains a NUL byte");
  auto rest = parts_of(path);
  std::string at;
  int symlinks = 0;
  while (!rest.empty()) {
    const std::string part = std::move(rest.front());
    rest.pop_front();
    if (part == "..") {
      pop_part(at);
      continue;
    }
    at += "/" + part;
    if (at.size() > kMaxName) return fail(Error(ENAMETOOLONG, at.substr(0, 80) + "...: the path is too long for the guest"));
    const auto entry = entries_.find(at);
    if (rest.empty() || entry == entries_.end() || !S_ISLNK(entry->second.mode)) continue;
    if (++symlinks > kMaxSymlinks) return fail(Error(ELOOP, path + ": symlinks in a circle"));
    follow(text_of(entry->second.data), at, rest);
  }
  return at;
}

Result<> Initramfs::make_parents(const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    const auto known = entries_.find(parent);
    if (known == entries_.end()) {
      bytes_ += entry_bytes(parent, 0);
      entries_.emplace(parent, Entry{S_IFDIR | 0755, {}, 0, 0, true});
    } else if (!S_ISDIR(known->second.mode)) {
      return fail(path + ": " + parent + " is " + kind_of(known->second.mode) + " in the initramfs, not a directory");
    }
  }
  return {};
}

Result<> Initramfs::insert(const std::string& path, Entry entry) {
  auto resolved = resolve(path);
  if (!resolved) return fail(std::move(resolved.error()));
  if (resolved->substr(0, 1) == "/" && resolved->substr(1) == kTrailer)
    return fail(*resolved + ": the kernel takes this name for the end of the archive");
  if (resolved->empty()) return S_ISDIR(entry.mode) ? Result<>() : fail("/ of the initramfs can only be a directory");
  if (const auto known = entries_.find(*resolved); known != entries_.end()) {
    Entry& old = known->second;
    if (S_ISDIR(old.mode) && S_ISDIR(entry.mode)) {
      if (old.implied) old = std::move(entry);
      return {};
    }
    if (old == entry) return {};
    return fail(*resolved + ": the initramfs has " + kind_of(old.mode) + " there already, and shall have " +
                ((old.mode & S_IFMT) == (entry.mode & S_IFMT) ? "another" : kind_of(entry.mode)));
  }
  const std::uint64_t added = entry_bytes(*resolved, entry.data.size());
  if (size() + added > kMaxBytes) return too_large(*resolved);
  if (auto r = make_parents(*resolved); !r) return r;
  bytes_ += added;
  entries_.emplace(std::move(*resolved), std::move(entry));
  return {};
}

Result<> Initramfs::add_directory(const std::string& path, std::uint32_t mode) {
  return insert(path, {S_IFDIR | (mode & 07777), {}});
}

Result<> Initramfs::add_file(const std::string& path, std::span<const std::byte> bytes, std::uint32_t mode) {
  return insert(path, {S_IFREG | (mode & 07777), {bytes.begin(), bytes.end()}});
}

Result<> Initramfs::add_symlink(const std::string& path, const std::string& target) {
  if (target.empty() || target.size() > kMaxName) return fail(path + ": a symlink's target has 1 to 4095 bytes");
  const auto bytes = floe::as_bytes(target);
  return insert(path, {S_IFLNK | 0777, {bytes.begin(), bytes.end()}});
}

Result<> Initramfs::add_device(const std::string& path, std::uint32_t mode, std::uint32_t major, std::uint32_t minor, Device kind) {
  const std::uint32_t type = kind == Device::kCharacter ? S_IFCHR : S_IFBLK;
  return insert(path, {type | (mode & 07777), {}, major, minor});
}

// Walks a path of this host: every symlink on it goes into the archive, and so does every directory, with its mode. Returns where
// it ends, which is no symlink.
Result<std::string> Initramfs::place(const std::string& host_path) {
  auto start = absolute(host_path);
  if (!start) return start;
  auto rest = parts_of(*start);
  std::string at;
  int symlinks = 0;
  while (!rest.empty()) {
    const std::string part = std::move(rest.front());
    rest.pop_front();
    if (part == "..") {
      pop_part(at);
      continue;
    }
    at += "/" + part;
    struct stat info{};
    if (::lstat(at.c_str(), &info) != 0) return fail_errno(errno, at == *start ? at : *start + " (at " + at + ")");
    if (S_ISLNK(info.st_mode)) {
      if (++symlinks > kMaxSymlinks) return fail(Error(ELOOP, *start + ": symlinks in a circle"));
      const auto target = read_symlink(at);
      if (!target) return target;
      if (auto r = add_symlink(at, *target); !r) return fail(std::move(r.error()));
      follow(*target, at, rest);
    } else if (S_ISDIR(info.st_mode)) {
      if (auto r = add_directory(at, info.st_mode); !r) return fail(std::move(r.error()));
    } else if (!rest.empty()) {
      return fail_errno(ENOTDIR, *start);
    }
  }
  return at.empty() ? "/" : at;
}

Result<> Initramfs::add_regular(const std::string& path, std::uint32_t mode, std::uint64_t announced_size) {
  // Before it is read; insert() counts what was.
  if (announced_size > kMaxBytes) return too_large(path);
  auto bytes = read_file(path, kMaxBytes);
  if (!bytes) return bytes.error().code == EFBIG ? too_large(path) : fail(std::move(bytes.error()));
  return insert(path, {S_IFREG | (mode & 07777), std::move(*bytes)});
}

Result<> Initramfs::add_host_file(const std::string& host_path) {
  auto path = place(host_path);
  if (!path) return fail(std::move(path.error()));
  return add_host_entry(*path);
}

Result<> Initramfs::add_host_entry(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return fail_errno(errno, path);
  switch (info.st_mode & S_IFMT) {
    case S_IFREG:
      return add_regular(path, info.st_mode, static_cast<std::uint64_t>(info.st_size));
    case S_IFDIR:
      return add_directory(path, info.st_mode);
    case S_IFLNK: {
      const auto target = read_symlink(path);
      if (!target) return fail(target.error());
      return add_symlink(path, *target);
    }
    case S_IFCHR:
    case S_IFBLK:
      return add_device(path, info.st_mode, major(info.st_rdev), minor(info.st_rdev),
                        S_ISCHR(info.st_mode) ? Device::kCharacter : Device::kBlock);
    case S_IFIFO:
      return insert(path, {S_IFIFO | (info.st_mode & 07777), {}});
    default:
      return fail(path + ": a socket, which cannot be packed into an initramfs");
  }
}

// By a list instead of by recursion: a tree may be deeper than the stack.
Result<> Initramfs::add_host_tree(const std::string& path) {
  std::vector<std::string> waiting{path};
  while (!waiting.empty()) {
    const std::string dir = std::move(waiting.back());
    waiting.pop_back();
    std::error_code error;
    fs::directory_iterator iterator(dir, error);
    for (; !error && iterator != fs::directory_iterator(); iterator.increment(error)) {
      const std::string entry = iterator->path().string();
      if (auto r = add_host_entry(entry); !r) return r;
      std::error_code ignored;
      if (iterator->symlink_status(ignored).type() == fs::file_type::directory) waiting.push_back(entry);
    }
    if (error) return fail_errno(error.value(), dir);
  }
  return {};
}

Result<> Initramfs::add_path(const std::string& host_path) {
  auto path = place(host_path);
  if (!path) return fail(std::move(path.error()));
  for (const std::string_view hidden : {"/proc", "/sys", "/dev"})
    if (path->starts_with(hidden) && (path->size() == hidden.size() || (*path)[hidden.size()] == '/'))
      return fail(*path + ": the guest mounts a " + std::string(hidden) + " of its own there, which would hide it");
  if (auto r = add_host_entry(*path); !r) return r;
  std::error_code ignored;
  return fs::is_directory(*path, ignored) ? add_host_tree(*path) : Result<>();
}

Result<> Initramfs::add_program(const std::string& program) {
  auto closure = program_closure(program);
  if (!closure) return fail(std::move(closure.error()));
  for (const auto& file : *closure) {
    if (auto r = add_host_file(file.path); !r) return r;
    if (file.by_configuration && ::access(kLoaderCache, R_OK) == 0) {
      if (auto r = add_host_file(kLoaderCache); !r) return r;
    }
  }
  return {};
}

std::uint64_t Initramfs::size() const {
  return aligned(bytes_ + aligned(kHeaderBytes + kTrailer.size() + 1, 4), kPadTo);
}

std::vector<std::byte> Initramfs::finish() {
  std::vector<std::byte> out;
  out.reserve(size());
  CpioWriter writer(out);
  for (auto& [path, entry] : entries_) {
    writer.entry(std::string_view(path).substr(1), entry.mode, S_ISDIR(entry.mode) ? 2 : 1, entry.data, entry.major, entry.minor);
    std::vector<std::byte>().swap(entry.data);  // or a large archive is in memory twice
  }
  writer.trailer();
  entries_.clear();
  bytes_ = 0;
  return out;
}

}  // namespace floe::vmm
