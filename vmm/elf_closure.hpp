// Which files a program needs to start: itself, its interpreter, and every shared library, as the dynamic loader finds them.
//
// A guest that has nothing but an initramfs needs exactly these. They are found by reading ELF files, never by running anything:
// `ldd` executes what it inspects.
//
// What is not here: what a program opens for itself by dlopen(3) (NSS modules, plugins) or as data. Libraries come from their
// plain directories, not from glibc-hwcaps: the guest's CPU is not this one.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace floe::vmm {

struct ClosureFile {
  std::string path;       // absolute, as the kernel or the loader opens it; may lead through symlinks
  std::string needed_by;  // path of the file that asks for it, empty for the program itself
  // Found only by /etc/ld.so.conf: the guest's loader finds it by /etc/ld.so.cache alone.
  bool by_configuration = false;
  bool operator==(const ClosureFile&) const = default;
};

// The program first, then what it needs, each file once. `program` without a slash is searched in PATH. A script brings its
// interpreter, and what `#!/usr/bin/env NAME` names.
//
// Errors name the file at fault and who needs it: a program or library that is missing or unreadable, an ELF file that is
// malformed or not for x86-64, a file that is neither ELF nor a script.
Result<std::vector<ClosureFile>> program_closure(const std::string& program);

// The absolute path of `program`, searched in PATH when it has no slash. `code` is ENOENT or EACCES.
Result<std::string> find_program(const std::string& program);

}  // namespace floe::vmm
