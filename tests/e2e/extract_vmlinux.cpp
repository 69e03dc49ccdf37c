// extract_vmlinux BZIMAGE VMLINUX: unpacks the ELF kernel inside a bzImage with a zstd payload. Exit 77 for other payloads.
#include <zstd.h>

#include <cstdio>
#include <cstring>

#include "base/atomic_file.hpp"
#include "base/file.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto image = floe::read_file(argv[1]);
  if (!image || image->size() < 0x260) return 2;
  const auto field = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, image->data() + at, sizeof value);
    return value;
  };
  const std::size_t setup = (static_cast<std::size_t>((*image)[0x1f1]) + 1) * 512;
  const std::size_t at = setup + field(0x248);
  const std::size_t bytes = field(0x24c);
  if (bytes < 8 || at + bytes > image->size() || field(at) != 0xfd2fb528) {
    std::printf("the payload is not zstd\n");
    return 77;
  }
  std::uint32_t unpacked = 0;  // the kernel's build puts it behind the payload
  std::memcpy(&unpacked, image->data() + at + bytes - 4, sizeof unpacked);
  std::vector<std::byte> elf(unpacked);
  const std::size_t got = ZSTD_decompress(elf.data(), elf.size(), image->data() + at, bytes - 4);
  if (ZSTD_isError(got) || got != unpacked) return 1;
  return floe::write_file(argv[2], elf) ? 0 : 1;
}
