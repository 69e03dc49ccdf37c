// The TLV decoder over hostile bytes. The input's first bytes say where to cut the stream; the rest is the stream, partly made of
// good frames (see `grow`). However the bytes are cut, the same frames come out and every byte is accounted for; a frame that
// came out encodes into the very bytes it came from.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/crc32.hpp"
#include "vmm/wire.hpp"

namespace {

using namespace floe::vmm;
using Bytes = std::vector<std::byte>;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "tlv: %s\n", what);
  std::abort();
}

struct Got {
  std::uint32_t type;
  std::uint64_t sequence;
  Bytes payload;
  bool operator==(const Got&) const = default;
};

// Random bytes never have a right checksum. So the input is a script: 'f' makes a frame of the next byte's length, 'h' a sound
// header alone (with a length of two bytes), 'c' damages the byte before, anything else is itself.
Bytes grow(std::span<const std::byte> script) {
  Bytes stream;
  wire::Encoder encoder;
  while (!script.empty()) {
    const std::byte verb = script.front();
    script = script.subspan(1);
    if (verb == std::byte{'f'} && !script.empty()) {
      const std::size_t length = std::min<std::size_t>(std::to_integer<std::size_t>(script.front()), script.size() - 1);
      const std::uint32_t type = length % 3 == 0 ? wire::kHello : length % 3 == 1 ? wire::kLogLine : wire::kWorkloadResult;
      require(encoder.encode(type, script.subspan(1, length), stream), "a short payload was refused");
      script = script.subspan(1 + length);
    } else if (verb == std::byte{'h'} && script.size() >= 2) {
      const std::size_t at = stream.size();
      require(encoder.encode(wire::kLogLine, {}, stream), "an empty payload was refused");
      std::uint32_t length = 0;
      std::memcpy(&length, script.data(), 2);
      std::memcpy(stream.data() + at + 12, &length, 4);
      const std::uint32_t crc = floe::crc32(std::span(stream).subspan(at, 28));
      std::memcpy(stream.data() + at + 28, &crc, 4);
      script = script.subspan(2);
    } else if (verb == std::byte{'c'} && !stream.empty()) {
      stream.back() ^= std::byte{1};
    } else {
      stream.push_back(verb);
    }
  }
  return stream;
}

void check_payload(const Got& frame) {
  Bytes again;
  if (const auto hello = wire::decode_hello(frame.payload)) {
    wire::encode(*hello, again);
    require(again == frame.payload, "a hello changed on its way");
  }
  again.clear();
  if (const auto line = wire::decode_log_line(frame.payload)) {
    wire::encode(*line, again);
    require(again == frame.payload, "a log line changed on its way");
  }
  again.clear();
  if (const auto outcome = wire::decode_outcome(frame.payload)) {
    wire::encode(*outcome, again);
    require(again == frame.payload, "an outcome changed on its way");
  }
}

std::vector<Got> drain(wire::Decoder& decoder) {
  std::vector<Got> frames;
  while (const auto frame = decoder.next())
    frames.push_back({frame->type, frame->sequence, Bytes(frame->payload.begin(), frame->payload.end())});
  return frames;
}

std::vector<Got> decode(wire::Decoder& decoder, const Bytes& stream, std::span<const std::byte> cuts) {
  std::vector<Got> frames;
  std::size_t at = 0;
  for (std::size_t i = 0; at < stream.size(); ++i) {
    const std::size_t piece = cuts.empty() ? stream.size() : 1 + std::to_integer<std::size_t>(cuts[i % cuts.size()]);
    const std::size_t bytes = std::min(piece, stream.size() - at);
    decoder.feed(std::span(stream).subspan(at, bytes));
    at += bytes;
    for (Got& frame : drain(decoder)) frames.push_back(std::move(frame));
  }
  decoder.finish();
  for (Got& frame : drain(decoder)) frames.push_back(std::move(frame));
  require(decoder.residual() == 0, "bytes were left over at the end");
  const auto& stats = decoder.stats();
  require(stats.garbage_bytes + stats.frames * wire::kHeaderBytes + stats.payload_bytes == stream.size(), "bytes are unaccounted for");
  return frames;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const std::size_t cut_bytes = std::min<std::size_t>(input.size(), 4);
  const Bytes stream = grow(input.subspan(cut_bytes));

  wire::Decoder whole;
  const auto expected = decode(whole, stream, {});
  wire::Decoder pieces;
  require(decode(pieces, stream, input.first(cut_bytes)) == expected, "other cuts gave other frames");
  require(pieces.stats() == whole.stats(), "other cuts gave other counts");

  std::size_t from = 0;
  for (const Got& frame : expected) {
    check_payload(frame);
    // Its bytes stand in the stream, in order: magic to type are implied, the rest is compared.
    Bytes again;
    wire::Encoder encoder;
    require(encoder.encode(frame.type, frame.payload, again), "a frame could not be encoded again");
    std::memcpy(again.data() + 16, &frame.sequence, 8);
    const std::uint32_t crc = floe::crc32(std::span(again).first(28));
    std::memcpy(again.data() + 28, &crc, 4);
    const auto at = std::search(stream.begin() + static_cast<std::ptrdiff_t>(from), stream.end(), again.begin(), again.end());
    require(at != stream.end(), "a frame is not in the stream");
    from = static_cast<std::size_t>(at - stream.begin()) + again.size();
  }
  return 0;
}
