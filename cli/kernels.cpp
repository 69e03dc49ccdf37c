#include "cli/kernels.hpp"

#include <pwd.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "base/file.hpp"

namespace floe::cli {
namespace {

namespace fs = std::filesystem;

std::string floe_cache() {
  if (const char* own = std::getenv("FLOE_CACHE"); own && *own) return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) return std::string(xdg) + "/floe";
  const char* home = std::getenv("HOME");
  if (!home || !*home) {
    const passwd* user = ::getpwuid(::getuid());
    home = user ? user->pw_dir : "/";
  }
  return std::string(home) + "/.cache/floe";
}

// modules/order where there is one, else the three that kvm-amd has always needed.
std::vector<std::string> module_files(const fs::path& folder) {
  std::vector<std::string> names;
  if (const auto order = read_text((folder / "order").string())) {
    std::istringstream lines(*order);
    for (std::string line; std::getline(lines, line);)
      if (!line.empty()) names.push_back(line);
  } else {
    names = {"irqbypass", "kvm", "kvm-amd"};
  }
  std::vector<std::string> files;
  for (const std::string& name : names) {
    const auto has = [&](const std::string& file) {
      std::error_code error;
      return fs::is_regular_file(folder / file, error);
    };
    const std::string candidates[] = {name, name + ".ko.xz", name + ".ko"};
    const auto* found = std::find_if(std::begin(candidates), std::end(candidates), has);
    if (found == std::end(candidates)) return {};
    files.push_back((folder / *found).string());
  }
  return files;
}

}  // namespace

std::vector<std::string> kernel_folders() {
  std::vector<std::string> folders;
  if (const char* cache = std::getenv("FLOE_KERNEL_CACHE"); cache && *cache) folders.push_back(cache);
  folders.push_back(floe_cache() + "/kernels");
  return folders;
}

std::vector<StockKernel> stock_kernels() {
  std::vector<StockKernel> all;
  for (const std::string& folder : kernel_folders()) {
    std::vector<StockKernel> here;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const fs::path image = entry.path() / "vmlinuz";
      std::error_code missing;
      if (fs::is_regular_file(image, missing))
        here.push_back({entry.path().filename().string(), image.string(), module_files(entry.path() / "modules")});
    }
    std::sort(here.begin(), here.end(),
              [](const StockKernel& a, const StockKernel& b) { return ::strverscmp(a.version.c_str(), b.version.c_str()) > 0; });
    all.insert(all.end(), here.begin(), here.end());
  }
  return all;
}

Result<std::string> default_kernel() {
  const auto kernels = stock_kernels();
  if (kernels.empty())
    return fail("no kernel: give --kernel FILE, or run scripts/fetch-kernel once (looked in " + kernel_folders().front() + ")");
  return kernels.front().image;
}

Result<StockKernel> outer_kernel() {
  for (auto& kernel : stock_kernels())
    if (!kernel.modules.empty()) return kernel;
  return fail("--host tcg needs a stock kernel with its KVM modules for the outer machine: run scripts/fetch-kernel once");
}

}  // namespace floe::cli
