#include "vmm/kernel_image.hpp"

#include <elf.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/file.hpp"

namespace floe::vmm {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint64_t kMaxKernelBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxGpa = 0xc000'0000;  // images are loaded below the MMIO hole

template <class T>
T field(Bytes bytes, std::size_t offset) {
  T value{};
  if (offset <= bytes.size() && bytes.size() - offset >= sizeof value) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool begins_with(Bytes bytes, std::initializer_list<unsigned char> magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(), [](unsigned char m, std::byte b) { return std::byte{m} == b; });
}

// A kernel's dictionary is 128 MiB at most (scripts/xz_wrap.sh); a header can ask for 4 GiB.
constexpr std::uint64_t kMostXzMemory = std::uint64_t{256} << 20;

// The checks below unpack into a scratch buffer and keep nothing. nullopt: sound; else what is wrong.
std::optional<std::string> check_zstd(Bytes payload) {
  ZSTD_DStream* stream = ZSTD_createDStream();
  std::vector<char> scratch(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{payload.data(), payload.size(), 0};
  std::size_t left = 1;
  while (left != 0 && !ZSTD_isError(left)) {
    ZSTD_outBuffer out{scratch.data(), scratch.size(), 0};
    const auto consumed = in.pos;
    left = ZSTD_decompressStream(stream, &out, &in);
    if (in.pos == consumed && out.pos == 0) break;
  }
  ZSTD_freeDStream(stream);
  if (ZSTD_isError(left)) return ZSTD_getErrorName(left);
  if (left != 0) return "data ends early";
  return {};
}

std::optional<std::string> check_gzip(Bytes payload) {
  z_stream stream{};
  if (::inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) return "zlib could not start";
  std::vector<unsigned char> scratch(1 << 18);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(payload.data()));
  stream.avail_in = static_cast<uInt>(payload.size());
  int r = Z_OK;
  while (r == Z_OK) {
    stream.next_out = scratch.data();
    stream.avail_out = static_cast<uInt>(scratch.size());
    r = ::inflate(&stream, Z_NO_FLUSH);
  }
  const std::string reason = stream.msg ? stream.msg : "data ends early";
  ::inflateEnd(&stream);
  if (r != Z_STREAM_END) return reason;
  return {};
}

std::optional<std::string> check_xz(Bytes payload) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (::lzma_stream_decoder(&stream, kMostXzMemory, 0) != LZMA_OK) return "liblzma could not start";
  std::vector<std::uint8_t> scratch(1 << 18);
  stream.next_in = reinterpret_cast<const std::uint8_t*>(payload.data());
  stream.avail_in = payload.size();
  lzma_ret r = LZMA_OK;
  while (r == LZMA_OK) {
    stream.next_out = scratch.data();
    stream.avail_out = scratch.size();
    r = ::lzma_code(&stream, LZMA_FINISH);
  }
  ::lzma_end(&stream);
  if (r != LZMA_STREAM_END) return "error " + std::to_string(r) + " of liblzma";
  return {};
}

std::optional<std::string> check_payload(Bytes payload) {
  if (begins_with(payload, {0x28, 0xb5, 0x2f, 0xfd})) return check_zstd(payload);
  if (begins_with(payload, {0x1f, 0x8b})) return check_gzip(payload);
  if (begins_with(payload, {0xfd, '7', 'z', 'X', 'Z', 0})) return check_xz(payload);
  const bool known = begins_with(payload, {0x02, 0x21, 0x4c, 0x18}) || begins_with(payload, {'B', 'Z', 'h'}) ||
                     begins_with(payload, {0x89, 'L', 'Z', 'O'}) || begins_with(payload, {0x5d, 0, 0}) ||
                     begins_with(payload, {0x7f, 'E', 'L', 'F'});
  if (!known) return "no known compression begins there";
  return {};
}

Result<KernelImage> corrupt(const std::string& path, const std::string& what) {
  return fail(path + ": corrupt bzImage: " + what);
}

Result<KernelImage> parse_bzimage(KernelImage image) {
  const Bytes bytes = image.bytes;
  const auto version = field<std::uint16_t>(bytes, 0x206);
  if (version < 0x20c)
    return fail(image.path + ": boot protocol " + std::to_string(version >> 8) + "." + std::to_string(version & 0xff) +
                "; floe needs 2.12 (Linux 3.8) or later");
  if ((field<std::uint16_t>(bytes, 0x236) & 1) == 0) return fail(image.path + ": this kernel has no 64-bit entry point (32-bit x86?)");
  const std::uint64_t setup_sectors = field<std::uint8_t>(bytes, 0x1f1);
  const std::uint64_t setup = ((setup_sectors ? setup_sectors : 4) + 1) * 512;
  const std::uint64_t system = std::uint64_t{field<std::uint32_t>(bytes, 0x1f4)} * 16;
  // syssize counts 16-byte units, the file may end inside the last one.
  if (bytes.size() < setup + 0x200 || bytes.size() + 15 < setup + system)
    return corrupt(image.path,
                   "the header announces " + std::to_string(setup + system) + " bytes, the file has " + std::to_string(bytes.size()));
  const std::uint64_t payload_offset = field<std::uint32_t>(bytes, 0x248);
  const std::uint64_t payload_bytes = field<std::uint32_t>(bytes, 0x24c);
  if (payload_bytes < 8 || payload_offset + payload_bytes > bytes.size() - setup)
    return corrupt(image.path, "the payload lies outside the file");
  // The kernel's build appends the unpacked size to the payload, except where the format (gzip) ends with it anyway.
  Bytes payload = bytes.subspan(setup + payload_offset, payload_bytes);
  if (!begins_with(payload, {0x1f, 0x8b})) payload = payload.first(payload.size() - 4);
  if (const auto fault = check_payload(payload)) return corrupt(image.path, "the payload does not unpack (" + *fault + ")");

  const std::uint64_t load = field<std::uint64_t>(bytes, 0x258);        // pref_address
  const std::uint64_t init_bytes = field<std::uint32_t>(bytes, 0x260);  // init_size
  if (load < 0x100000 || load > kMaxGpa || init_bytes < bytes.size() - setup)
    return corrupt(image.path, "the load address or size makes no sense");
  image.kind = KernelImage::Kind::kBzImage;
  image.segments = {{setup, bytes.size() - setup, init_bytes, Gpa(load)}};
  image.entry = Gpa(load + 0x200);
  image.memory_end = load + init_bytes;
  image.initrd_max = std::uint64_t{field<std::uint32_t>(bytes, 0x22c)} + 1;
  image.command_line_max = field<std::uint32_t>(bytes, 0x238);
  return image;
}

// The PVH entry point: the descriptor of the Xen note of type 18, four or eight bytes.
std::optional<std::uint64_t> find_pvh_entry(Bytes notes) {
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    const auto header = field<Elf64_Nhdr>(notes, 0);
    const std::uint64_t name_end = sizeof header + ((std::uint64_t{header.n_namesz} + 3) & ~3ull);
    const std::uint64_t end = name_end + ((std::uint64_t{header.n_descsz} + 3) & ~3ull);
    if (end > notes.size()) break;
    const bool xen = header.n_namesz == 4 && std::memcmp(notes.data() + sizeof header, "Xen", 4) == 0;
    if (xen && header.n_type == 18 && header.n_descsz >= 8) return field<std::uint64_t>(notes, name_end);
    if (xen && header.n_type == 18 && header.n_descsz >= 4) return field<std::uint32_t>(notes, name_end);
    notes = notes.subspan(end);
  }
  return {};
}

Result<KernelImage> parse_elf(KernelImage image) {
  const Bytes bytes = image.bytes;
  const auto header = field<Elf64_Ehdr>(bytes, 0);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
    return fail(image.path + ": an ELF file, but not for x86-64");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > 64 || header.e_phoff > bytes.size() ||
      bytes.size() - header.e_phoff < std::uint64_t{header.e_phnum} * sizeof(Elf64_Phdr))
    return fail(image.path + ": ELF file without usable program headers (cut short?)");
  std::optional<std::uint64_t> entry;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto segment = field<Elf64_Phdr>(bytes, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment.p_type != PT_LOAD && segment.p_type != PT_NOTE) continue;
    if (segment.p_offset > bytes.size() || segment.p_filesz > bytes.size() - segment.p_offset)
      return fail(image.path + ": program header " + std::to_string(i) + " lies outside the file (cut short?)");
    if (segment.p_type == PT_NOTE && !entry) entry = find_pvh_entry(bytes.subspan(segment.p_offset, segment.p_filesz));
    if (segment.p_type != PT_LOAD) continue;
    if (segment.p_paddr < 0x100000 || segment.p_paddr > kMaxGpa || segment.p_memsz > kMaxGpa || segment.p_memsz < segment.p_filesz)
      return fail(image.path + ": program header " + std::to_string(i) + " does not load between 1 MiB and 3 GiB");
    image.segments.push_back({segment.p_offset, segment.p_filesz, segment.p_memsz, Gpa(segment.p_paddr)});
    image.memory_end = std::max(image.memory_end, page_ceil(segment.p_paddr + segment.p_memsz));
  }
  if (!entry) return fail(image.path + ": ELF file without a PVH note: build with CONFIG_PVH=y, or give the bzImage");
  if (image.segments.empty()) return fail(image.path + ": ELF file with nothing to load");
  image.kind = KernelImage::Kind::kElfPvh;
  image.entry = Gpa(*entry);
  image.initrd_max = kMaxGpa;
  image.command_line_max = 2047;
  return image;
}

}  // namespace

Result<KernelImage> KernelImage::open(const std::string& path) {
  auto bytes = read_file(path, kMaxKernelBytes);
  if (!bytes) return fail(std::move(bytes.error()).within("kernel"));
  return parse(path, std::move(*bytes));
}

Result<KernelImage> KernelImage::parse(std::string path, std::vector<std::byte> bytes) {
  KernelImage image;
  image.path = std::move(path);
  image.bytes = std::move(bytes);
  if (begins_with(image.bytes, {0x7f, 'E', 'L', 'F'})) return parse_elf(std::move(image));
  if (field<std::uint32_t>(image.bytes, 0x202) == 0x53726448 && field<std::uint16_t>(image.bytes, 0x1fe) == 0xaa55)
    return parse_bzimage(std::move(image));
  return fail(image.path + ": neither a bzImage (no \"HdrS\" header) nor an ELF vmlinux");
}

}  // namespace floe::vmm
