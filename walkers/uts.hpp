// Who the guest says it is: `init_uts_ns.name` (struct new_utsname), the fields of uname(2) in the initial namespace.
#pragma once

#include <string>

#include "base/result.hpp"
#include "walkers/kernel.hpp"

namespace floe::walkers {

struct Uts {
  std::string sysname;   // "Linux"
  std::string nodename;  // host name
  std::string release;   // as uname -r
  std::string version;   // as uname -v: build number and date
  std::string machine;   // "x86_64"
};

// All fields or an error naming the one that is missing or unreadable. Bytes are the guest's: they may be anything but NUL.
Result<Uts> uts(const Kernel& kernel);

}  // namespace floe::walkers
