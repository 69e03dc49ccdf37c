#include "vmm/elf_closure.hpp"

#include <glob.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/file.hpp"
#include "vmm/elf_image.hpp"

namespace floe::vmm {
namespace {

namespace fs = std::filesystem;

// Built into Debian's loader, in its order (ld.so --list-diagnostics, path.system_dirs).
constexpr const char* kSystemDirs[] = {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib", "/lib64", "/usr/lib64"};
constexpr const char* kConfiguration = "/etc/ld.so.conf";
constexpr const char* kMultiarchLib = "lib/x86_64-linux-gnu";  // what $LIB stands for
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kMaxFiles = 4096;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 30;
constexpr int kMaxInterpreters = 5;       // fs/exec.c, exec_binprm
constexpr std::size_t kScriptLine = 255;  // include/uapi/linux/binfmts.h, BINPRM_BUF_SIZE
constexpr int kMaxIncludes = 16;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string> words(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  std::vector<std::string> list;
  for (auto at = text.find_first_not_of(kBlank); at != std::string_view::npos; at = text.find_first_not_of(kBlank, at)) {
    const auto end = std::min(text.find_first_of(kBlank, at), text.size());
    list.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return list;
}

// From the root, without "." and empty parts. ".." stays: behind a symlink it does not mean the part before it.
std::string absolute(const std::string& path) {
  std::error_code ignored;
  std::string result;
  for (const auto& part : split(fs::absolute(path, ignored).string(), '/')) {
    if (!part.empty() && part != ".") result += "/" + part;
  }
  return ignored || result.empty() ? path : result;
}

// The directories of ld.so.conf and what it includes, in order. Unreadable files count as empty, as they do for ldconfig.
void read_configuration(const std::string& path, int depth, std::vector<std::string>& dirs) {
  const auto text = read_text(path);
  if (!text || depth > kMaxIncludes) return;
  for (auto line : split(*text, '\n')) {
    line = line.substr(0, line.find('#'));
    auto parts = words(line);
    if (parts.empty() || parts.front() == "hwcap") continue;
    if (parts.front() != "include") {
      dirs.push_back(parts.front());
      continue;
    }
    for (std::size_t i = 1; i < parts.size(); ++i) {
      const std::string pattern = fs::path(path).parent_path() / parts[i];  // an absolute right side stands alone
      glob_t matches{};
      if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0) {
        for (std::size_t m = 0; m < matches.gl_pathc; ++m) read_configuration(matches.gl_pathv[m], depth + 1, dirs);
      }
      ::globfree(&matches);
    }
  }
}

const std::vector<std::string>& configured_dirs() {
  static const std::vector<std::string> dirs = [] {
    std::vector<std::string> list;
    read_configuration(kConfiguration, 0, list);
    return list;
  }();
  return dirs;
}

bool is_system_dir(const std::string& dir) {
  return std::any_of(std::begin(kSystemDirs), std::end(kSystemDirs), [&dir](const char* other) { return dir == other; });
}

// $ORIGIN and $LIB, also in braces. Nothing for $PLATFORM, which is the host's, and for what the loader does not know.
std::optional<std::string> expand(std::string_view entry, const std::string& origin) {
  std::string text;
  while (!entry.empty()) {
    if (entry.front() != '$') {
      text += entry.front();
      entry.remove_prefix(1);
      continue;
    }
    const auto take = [&](std::string_view token, std::string_view value) {
      if (!entry.starts_with(token)) return false;
      text += value;
      entry.remove_prefix(token.size());
      return true;
    };
    if (!take("${ORIGIN}", origin) && !take("$ORIGIN", origin) && !take("${LIB}", kMultiarchLib) && !take("$LIB", kMultiarchLib)) {
      return std::nullopt;
    }
  }
  return text;
}

// A file in the loader's list.
struct Loaded {
  std::string path;
  std::string origin;  // the directory that $ORIGIN stands for
  ElfImage image;
  std::size_t loader = 0;  // who asked first; the program is its own
};

struct Found {
  std::string path;
  std::vector<std::byte> bytes;
  bool by_configuration = false;
};

class Closure {
 public:
  Result<> add_program(const std::string& path, const std::string& needed_by, int interpreters = 0);
  std::vector<ClosureFile> take() { return std::move(files_); }

 private:
  Result<> add_script(const std::string& path, std::span<const std::byte> bytes, int interpreters);
  Result<> add_elf(const std::string& path, std::span<const std::byte> bytes);
  Result<> load_needed(std::size_t index, std::vector<Loaded>& loaded, std::set<std::string>& names);
  Result<Found> find_library(const std::string& name, std::size_t index, const std::vector<Loaded>& loaded);
  std::optional<Found> try_dirs(const std::string& list, const std::string& name, const std::string& origin);
  std::optional<Found> try_file(const std::string& path);
  Result<> note(const std::string& path, const std::string& needed_by, bool by_configuration = false);

  std::vector<ClosureFile> files_;
  std::set<std::string> paths_;
};

Result<> Closure::note(const std::string& path, const std::string& needed_by, bool by_configuration) {
  if (!paths_.insert(path).second) return {};
  if (files_.size() == kMaxFiles) return fail(needed_by + ": needs more than " + std::to_string(kMaxFiles) + " files");
  files_.push_back({path, needed_by, by_configuration});
  return {};
}

std::string needed_text(const std::string& needed_by) {
  return needed_by.empty() ? std::string() : ", needed by " + needed_by;
}

Result<> Closure::add_program(const std::string& path, const std::string& needed_by, int interpreters) {
  if (interpreters > kMaxInterpreters) return fail(path + ": a chain of script interpreters that is too long for the kernel");
  if (paths_.contains(path)) return {};
  auto bytes = read_file(path, kMaxFileBytes);
  if (!bytes) {
    auto error = std::move(bytes.error());
    error.message += needed_text(needed_by);
    return fail(std::move(error));
  }
  if (auto r = note(path, needed_by); !r) return r;
  const bool script = bytes->size() >= 2 && (*bytes)[0] == std::byte{'#'} && (*bytes)[1] == std::byte{'!'};
  if (script) return add_script(path, *bytes, interpreters);
  if (is_elf(*bytes)) return add_elf(path, *bytes);
  return fail(path + ": neither an ELF program nor a script that starts with #!" + needed_text(needed_by));
}

// What env(1) will search: its first word that is neither an option nor an assignment.
std::optional<std::string> program_of_env(const std::vector<std::string>& line) {
  for (std::size_t i = 1; i < line.size(); ++i) {
    std::string word = line[i];
    if (word.starts_with("-S") && word.size() > 2) word = word.substr(2);
    if (!word.starts_with("-") && word.find('=') == std::string::npos) return word;
  }
  return std::nullopt;
}

Result<> Closure::add_script(const std::string& path, std::span<const std::byte> bytes, int interpreters) {
  std::string_view text(static_cast<const char*>(static_cast<const void*>(bytes.data())), std::min(bytes.size(), kScriptLine));
  text.remove_prefix(2);
  text = text.substr(0, text.find('\n'));
  const auto line = words(text);
  if (line.empty() || line.front().find('\0') != std::string::npos) return fail(path + ": no interpreter behind #!");
  // The kernel takes a relative interpreter from the working directory, which is the guest's: only an absolute one means one file.
  if (line.front().front() != '/') return fail(path + ": its interpreter " + line.front() + " is not an absolute path");
  if (auto r = add_program(line.front(), path, interpreters + 1); !r) return r;
  if (fs::path(line.front()).filename() != "env") return {};
  const auto name = program_of_env(line);
  if (!name) return {};
  auto found = find_program(*name);
  if (!found) {
    found.error().message += needed_text(path);
    return fail(std::move(found.error()));
  }
  return add_program(*found, path, interpreters + 1);
}

Result<> Closure::add_elf(const std::string& path, std::span<const std::byte> bytes) {
  auto image = read_elf(bytes);
  if (!image) return fail(std::move(image.error()).within(path));
  std::error_code ignored;
  const auto real = fs::canonical(path, ignored);  // the kernel's /proc/self/exe, from which the loader takes $ORIGIN
  std::vector<Loaded> loaded;
  std::set<std::string> names;
  loaded.push_back({path, (ignored ? fs::path(path) : real).parent_path().string(), std::move(*image), 0});
  if (const auto interpreter = loaded.front().image.interpreter) {
    auto loader_bytes = read_file(*interpreter, kMaxFileBytes);
    if (!loader_bytes) {
      loader_bytes.error().message += needed_text(path);
      return fail(std::move(loader_bytes.error()));
    }
    auto loader = read_elf(*loader_bytes);
    if (!loader) return fail(std::move(loader.error()).within(*interpreter));
    if (auto r = note(*interpreter, path); !r) return r;
    names.insert(fs::path(*interpreter).filename().string());
    if (loader->soname) names.insert(*loader->soname);
  }
  // Breadth first, as the loader does it: which of two libraries of one name wins depends on that.
  for (std::size_t index = 0; index < loaded.size(); ++index) {
    if (auto r = load_needed(index, loaded, names); !r) return r;
  }
  return {};
}

Result<> Closure::load_needed(std::size_t index, std::vector<Loaded>& loaded, std::set<std::string>& names) {
  const auto needed = loaded[index].image.needed;
  for (const auto& name : needed) {
    if (names.contains(name)) continue;
    auto found = find_library(name, index, loaded);
    if (!found) return fail(std::move(found.error()));
    auto image = read_elf(found->bytes);
    if (!image) return fail(std::move(image.error()).within(found->path + needed_text(loaded[index].path)));
    if (auto r = note(found->path, loaded[index].path, found->by_configuration); !r) return r;
    names.insert(name);
    if (image->soname) names.insert(*image->soname);
    if (loaded.size() == kMaxFiles) return fail(loaded.front().path + ": needs more than " + std::to_string(kMaxFiles) + " libraries");
    auto origin = fs::path(found->path).parent_path().string();
    loaded.push_back({std::move(found->path), std::move(origin), std::move(*image), index});
  }
  return {};
}

// The order of glibc's elf/dl-load.c, _dl_map_object. LD_LIBRARY_PATH is left out: init does not hand this one to the guest.
Result<Found> Closure::find_library(const std::string& name, std::size_t index, const std::vector<Loaded>& loaded) {
  const auto& asker = loaded[index];
  if (name.find('/') != std::string::npos) {
    const auto path = expand(name, asker.origin);
    if (path) {
      if (auto found = try_file(*path)) return std::move(*found);
    }
  } else {
    if (!asker.image.runpath) {
      for (std::size_t i = index;; i = loaded[i].loader) {
        const auto& l = loaded[i];
        if (l.image.rpath && !l.image.runpath) {
          if (auto found = try_dirs(*l.image.rpath, name, l.origin)) return std::move(*found);
        }
        if (i == loaded[i].loader) break;
      }
    } else if (auto found = try_dirs(*asker.image.runpath, name, asker.origin)) {
      return std::move(*found);
    }
    for (const auto& dir : configured_dirs()) {
      if (auto found = try_file(dir + "/" + name)) {
        found->by_configuration = !is_system_dir(dir);
        return std::move(*found);
      }
    }
    for (const auto* dir : kSystemDirs) {
      if (auto found = try_file(std::string(dir) + "/" + name)) return std::move(*found);
    }
  }
  return fail(Error(ENOENT, name + ": shared library not found" + needed_text(asker.path)));
}

std::optional<Found> Closure::try_dirs(const std::string& list, const std::string& name, const std::string& origin) {
  for (const auto& entry : split(list, ':')) {
    const auto dir = expand(entry, origin);
    if (!dir) continue;
    if (auto found = try_file(dir->empty() ? "./" + name : *dir + "/" + name)) return found;
  }
  return std::nullopt;
}

// The loader passes by files that it cannot open and those of another machine; anything else it takes.
std::optional<Found> Closure::try_file(const std::string& path) {
  auto bytes = read_file(path, kMaxFileBytes);
  if (!bytes || (is_elf(*bytes) && bytes->size() >= 64 && !is_x86_64(*bytes))) return std::nullopt;
  return Found{absolute(path), std::move(*bytes)};
}

}  // namespace

Result<std::string> find_program(const std::string& program) {
  if (program.empty()) return fail(Error(ENOENT, "the program's name is empty"));
  if (program.find('/') != std::string::npos) {
    auto path = absolute(program);
    if (::access(path.c_str(), F_OK) != 0) return fail_errno(errno, path);
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) return fail(Error(EACCES, path + ": not a regular file, so no program"));
    return path;
  }
  const char* path = std::getenv("PATH");
  for (const auto& dir : split(path != nullptr ? path : kDefaultPath, ':')) {
    auto candidate = absolute((dir.empty() ? "." : dir) + "/" + program);
    std::error_code ignored;
    if (::access(candidate.c_str(), X_OK) == 0 && fs::is_regular_file(candidate, ignored)) return candidate;
  }
  return fail(Error(ENOENT, program + ": no such program in PATH"));
}

Result<std::vector<ClosureFile>> program_closure(const std::string& program) {
  const auto path = find_program(program);
  if (!path) return fail(path.error());
  Closure closure;
  if (auto r = closure.add_program(*path, {}); !r) return fail(std::move(r.error()));
  return closure.take();
}

}  // namespace floe::vmm
