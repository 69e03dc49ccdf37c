#include "vmm/kvm.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

#include <string>

namespace floe::vmm::kvm {
namespace {

constexpr const char* kDevice = "/dev/kvm";

std::string owning_group() {
  struct stat info{};
  if (::stat(kDevice, &info) != 0) return "kvm";
  const group* entry = ::getgrgid(info.st_gid);
  return entry ? entry->gr_name : std::to_string(info.st_gid);
}

}  // namespace

Result<UniqueFd> open_device() {
  UniqueFd fd(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!fd) {
    const int error = errno;
    if (error == EACCES || error == EPERM) {
      const std::string who = owning_group();
      return fail(Error(error, std::string("no permission to open /dev/kvm: join the group '") + who + "' (sudo usermod -aG " + who +
                                   " $USER, then log in again)"));
    }
    if (error == ENOENT)
      return fail(Error(
          error, "this kernel has no /dev/kvm: load kvm_intel or kvm_amd (and enable VT-x/AMD-V in the firmware), or use --host tcg"));
    return fail_errno(error, "opening /dev/kvm");
  }
  const int version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION)
    return fail("/dev/kvm speaks KVM API version " + std::to_string(version) + ", not 12: it is no usable KVM");
  return fd;
}

}  // namespace floe::vmm::kvm
