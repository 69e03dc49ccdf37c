#include "vmm/xz.hpp"

#include <lzma.h>

#include <algorithm>
#include <cstdint>

namespace floe::vmm {
namespace {

constexpr std::size_t kStep = std::size_t{1} << 20;

const char* describe(lzma_ret code) {
  switch (code) {
    case LZMA_FORMAT_ERROR:
      return "not .xz data";
    case LZMA_OPTIONS_ERROR:
      return ".xz data with options that liblzma does not know";
    case LZMA_DATA_ERROR:
      return "corrupt .xz data";
    case LZMA_BUF_ERROR:
      return ".xz data that is cut short";
    case LZMA_MEM_ERROR:
    case LZMA_MEMLIMIT_ERROR:
      return ".xz data that needs too much memory to unpack";
    default:
      return "liblzma failed";
  }
}

struct Stream {
  lzma_stream state = LZMA_STREAM_INIT;
  ~Stream() { ::lzma_end(&state); }
};

const std::uint8_t* octets(const std::byte* bytes) {
  return static_cast<const std::uint8_t*>(static_cast<const void*>(bytes));
}

}  // namespace

Result<std::vector<std::byte>> unpack_xz(std::span<const std::byte> bytes) {
  if (bytes.empty()) return fail(describe(LZMA_FORMAT_ERROR));
  Stream stream;
  lzma_stream& state = stream.state;
  lzma_ret code = ::lzma_stream_decoder(&state, kMaxXzOutput, LZMA_CONCATENATED);
  state.next_in = octets(bytes.data());
  state.avail_in = bytes.size();
  std::vector<std::byte> out;
  while (code == LZMA_OK) {
    const std::size_t used = out.size();
    if (used > kMaxXzOutput) return fail(".xz data that unpacks to more than " + std::to_string(kMaxXzOutput >> 20) + " MiB");
    // One byte over the bound tells "exactly full" from "more".
    const std::size_t step = std::min(std::max(kStep, used / 2), kMaxXzOutput + 1 - used);
    out.resize(used + step);
    state.next_out = static_cast<std::uint8_t*>(static_cast<void*>(out.data() + used));
    state.avail_out = step;
    code = ::lzma_code(&state, LZMA_FINISH);
    out.resize(used + step - state.avail_out);
  }
  if (code != LZMA_STREAM_END) return fail(describe(code));
  if (out.size() > kMaxXzOutput) return fail(".xz data that unpacks to more than " + std::to_string(kMaxXzOutput >> 20) + " MiB");
  return out;
}

}  // namespace floe::vmm
