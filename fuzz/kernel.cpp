// Hostile kernel files: a bzImage or an ELF vmlinux of any content is refused with a reason, or lies within its own bounds and loads into
// RAM that is too small, too odd or just right. The first input byte chooses whether the fields that every kernel has are put right first:
// without them no input would come far.
#include <elf.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "vmm/boot.hpp"
#include "vmm/kernel_image.hpp"

using namespace floe;
using namespace floe::vmm;

namespace {

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "kernel: %s\n", what);
  std::abort();
}

template <class T>
void put(std::vector<std::byte>& bytes, std::size_t at, T value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

void repair_bzimage(std::vector<std::byte>& bytes) {
  put<std::uint16_t>(bytes, 0x1fe, 0xaa55);
  put<std::uint32_t>(bytes, 0x202, 0x53726448);  // HdrS
  put<std::uint16_t>(bytes, 0x206, 0x20f);
  put<std::uint16_t>(bytes, 0x236, 1);  // 64-bit entry
}

void repair_elf(std::vector<std::byte>& bytes) {
  if (bytes.size() < sizeof(Elf64_Ehdr)) return;
  std::memcpy(bytes.data(), ELFMAG, SELFMAG);
  put<std::uint8_t>(bytes, EI_CLASS, ELFCLASS64);
  put<std::uint16_t>(bytes, offsetof(Elf64_Ehdr, e_machine), EM_X86_64);
  put<std::uint16_t>(bytes, offsetof(Elf64_Ehdr, e_phentsize), sizeof(Elf64_Phdr));
  put<std::uint64_t>(bytes, offsetof(Elf64_Ehdr, e_phoff), sizeof(Elf64_Ehdr));
}

void check_bounds(const KernelImage& image) {
  require(!image.segments.empty(), "a kernel with nothing to load");
  for (const KernelImage::Segment& segment : image.segments) {
    require(segment.file_offset <= image.bytes.size() && segment.file_bytes <= image.bytes.size() - segment.file_offset,
            "a segment lies outside the file");
    require(segment.memory_bytes >= segment.file_bytes, "a segment does not hold its own bytes");
    require(segment.load.value + segment.memory_bytes >= segment.load.value, "a segment wraps");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto small = GuestRam::create(4U << 20).value(), large = GuestRam::create(64U << 20).value();
  fuzz::Input input(data, size);
  const auto mode = input.take<std::uint8_t>();
  const auto initrd_bytes = input.take<std::uint16_t>();
  const auto file = std::as_bytes(input.rest());
  std::vector<std::byte> bytes(file.begin(), file.end());
  if (mode % 3 == 1) repair_bzimage(bytes);
  if (mode % 3 == 2) repair_elf(bytes);

  const auto image = KernelImage::parse("vmlinuz", std::move(bytes));
  if (!image) {
    require(image.error().message.rfind("vmlinuz: ", 0) == 0, "a refusal does not name the file");
    return 0;
  }
  check_bounds(*image);
  const std::vector<std::byte> initrd(initrd_bytes * 16U, std::byte{0x5a});
  const std::string command_line(mode * 16U, 'x');
  for (const auto& ram : {small.get(), large.get()}) {
    const auto loaded = load_linux(*ram, {&*image, initrd, command_line, 1U + mode % 4});
    if (!loaded) require(!loaded.error().message.empty(), "a refusal without a reason");
  }
  return 0;
}
