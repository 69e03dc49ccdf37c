#include "vmm/guest/hello.hpp"

#include <dirent.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "vmm/guest/small_files.hpp"

namespace floe::vmm::guest {
namespace {

std::uint32_t count_processes() {
  std::uint32_t count = 0;
  DIR* dir = ::opendir("/proc");
  if (dir == nullptr) return 0;
  while (const dirent* entry = ::readdir(dir)) {
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') ++count;
  }
  ::closedir(dir);
  return count;
}

}  // namespace

wire::Hello hello() {
  wire::Hello hello;
  utsname names{};
  ::uname(&names);
  hello.sysname = names.sysname;
  hello.nodename = names.nodename;
  hello.release = names.release;
  hello.kernel_version = names.version;
  hello.machine = names.machine;
  hello.cpus = static_cast<std::uint32_t>(std::max(0L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  const std::string memory = slurp("/proc/meminfo", 4096);
  constexpr const char* kTotal = "MemTotal:";
  if (const auto at = memory.find(kTotal); at != std::string::npos) {
    hello.memory_kib = std::strtoull(memory.c_str() + at + std::strlen(kTotal), nullptr, 10);
  }
  hello.processes = count_processes();
  return hello;
}

}  // namespace floe::vmm::guest
