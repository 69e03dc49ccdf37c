#include "vmm/wire.hpp"

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstring>
#include <random>

#include "base/crc32.hpp"

namespace floe::vmm::wire {
namespace {

using Bytes = std::vector<std::byte>;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

struct Got {
  std::uint32_t type;
  std::uint64_t sequence;
  std::string payload;
  bool operator==(const Got&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Got& got) {
    return out << tag_name(got.type) << ' ' << got.sequence << ' ' << got.payload.substr(0, 40);
  }
};

void drain(Decoder& decoder, std::vector<Got>& frames) {
  while (const auto frame = decoder.next())
    frames.push_back({frame->type, frame->sequence,
                      std::string(static_cast<const char*>(static_cast<const void*>(frame->payload.data())), frame->payload.size())});
}

// Everything that comes out of `bytes` fed in pieces of `step`.
std::vector<Got> decode(Decoder& decoder, std::span<const std::byte> bytes, std::size_t step = SIZE_MAX, bool finish = false) {
  std::vector<Got> frames;
  while (!bytes.empty()) {
    const std::size_t piece = std::min(step, bytes.size());
    decoder.feed(bytes.first(piece));
    drain(decoder, frames);
    bytes = bytes.subspan(piece);
  }
  if (finish) {
    decoder.finish();
    drain(decoder, frames);
  }
  return frames;
}

void accounts_for(const Decoder& decoder, std::size_t received) {
  const auto& stats = decoder.stats();
  BOOST_TEST(stats.garbage_bytes + stats.frames * kHeaderBytes + stats.payload_bytes + decoder.residual() == received);
}

template <class T>
void put(Bytes& bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// Makes the header at `at` sound again after it was changed.
void seal(Bytes& bytes, std::size_t at) {
  put(bytes, at + 28, crc32(std::span(bytes).subspan(at, 28)));
}

// A header that announces `length` bytes, which do not follow.
Bytes lone_header(std::uint32_t length, std::uint64_t sequence = 7) {
  Bytes bytes(kHeaderBytes);
  put(bytes, 0, kMagic);
  put(bytes, 4, kVersion);
  put(bytes, 8, kLogLine);
  put(bytes, 12, length);
  put(bytes, 16, sequence);
  put(bytes, 24, std::uint32_t{0xdeadbeef});
  seal(bytes, 0);
  return bytes;
}

struct Fixture {
  Encoder encoder;
  Bytes stream;
  Decoder decoder;

  void add(std::uint32_t type, std::string_view payload) { BOOST_REQUIRE(encoder.encode(type, bytes_of(payload), stream)); }
  void append(const Bytes& bytes) { stream.insert(stream.end(), bytes.begin(), bytes.end()); }
  void append(std::string_view text) { stream.insert(stream.end(), bytes_of(text).begin(), bytes_of(text).end()); }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(wire, Fixture)

BOOST_AUTO_TEST_CASE(header_layout) {
  BOOST_TEST(tag("EXIT") == 0x45584954U);
  BOOST_TEST(tag_name(kBye) == "BYE!");
  BOOST_TEST(tag_name(1) == "....");
  add(tag("EXIT"), "");
  add(kLogLine, "abc");
  BOOST_REQUIRE_EQUAL(stream.size(), 67U);
  const std::uint8_t first[28] = {0x46, 0x4c, 0x4f, 0x45, 1, 0, 0, 0, 0x54, 0x49, 0x58, 0x45};
  BOOST_TEST(std::memcmp(stream.data(), first, 28) == 0);
  std::uint32_t header_crc = 0;
  std::memcpy(&header_crc, stream.data() + 28, 4);
  BOOST_TEST(header_crc == crc32(std::span(stream).first(28)));
  const std::uint8_t second[16] = {0x46, 0x4c, 0x4f, 0x45, 1, 0, 0, 0, 0x4c, 0x47, 0x4f, 0x4c, 3, 0, 0, 0};
  BOOST_TEST(std::memcmp(stream.data() + 32, second, 16) == 0);
  BOOST_TEST(std::to_integer<int>(stream[48]) == 1);
  BOOST_TEST(encoder.next_sequence() == 2U);
}

BOOST_AUTO_TEST_CASE(any_split_gives_the_same_frames) {
  add(kHello, "first");
  add(kWorkloadOut, "");
  append("garbage FLO FLOE");
  add(kLogLine, std::string(300, 'x'));
  append(lone_header(40));
  add(kBye, "");
  Decoder whole;
  const auto expected = decode(whole, stream, SIZE_MAX, true);
  BOOST_TEST(expected.size() == 4U);
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    Decoder pieces;
    BOOST_TEST(decode(pieces, stream, step, true) == expected, boost::test_tools::per_element());
    BOOST_TEST((pieces.stats() == whole.stats()));
  }
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    Decoder pieces;
    auto frames = decode(pieces, std::span(stream).first(cut));
    const auto rest = decode(pieces, std::span(stream).subspan(cut), SIZE_MAX, true);
    frames.insert(frames.end(), rest.begin(), rest.end());
    BOOST_TEST(frames == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(longest_payload) {
  add(kLogLine, std::string(kMaxPayload, 'm'));
  BOOST_TEST(!encoder.encode(kLogLine, Bytes(kMaxPayload + 1), stream));
  BOOST_TEST(encoder.next_sequence() == 1U);
  add(kBye, "");
  const auto frames = decode(decoder, stream, 1U << 20);
  BOOST_REQUIRE_EQUAL(frames.size(), 2U);
  BOOST_TEST(frames[0].payload.size() == kMaxPayload);
  BOOST_TEST(decoder.stats().garbage_bytes == 0U);
}

BOOST_AUTO_TEST_CASE(longer_than_the_longest_is_garbage) {
  append(lone_header(kMaxPayload + 1));
  append(lone_header(0xffff'ffff));
  add(kBye, "");
  BOOST_TEST(decode(decoder, stream).size() == 1U);
  BOOST_TEST(decoder.stats().oversize == 2U);
  BOOST_TEST(decoder.stats().garbage_bytes == 64U);
  Decoder strict(4);
  add(kLogLine, "five!");
  add(kLogLine, "four");
  BOOST_TEST(decode(strict, stream).size() == 2U);
  BOOST_TEST(strict.stats().oversize == 3U);
}

BOOST_AUTO_TEST_CASE(announced_bytes_are_not_reserved) {
  append(lone_header(kMaxPayload));
  BOOST_TEST(decode(decoder, stream).empty());
  BOOST_TEST(decoder.capacity() < 1024U);
  BOOST_TEST(decoder.residual() == kHeaderBytes);
}

BOOST_AUTO_TEST_CASE(bad_payload_loses_no_neighbour) {
  add(kHello, "one");
  const std::size_t second = stream.size();
  add(kLogLine, "two, and it is damaged");
  add(kBye, "three");
  stream[second + kHeaderBytes + 5] ^= std::byte{0x20};
  const auto frames = decode(decoder, stream);
  BOOST_REQUIRE_EQUAL(frames.size(), 2U);
  BOOST_TEST(frames[0].payload == "one");
  BOOST_TEST(frames[1].payload == "three");
  BOOST_TEST(decoder.stats().bad_payloads == 1U);
  BOOST_TEST(decoder.stats().sequence_gaps == 1U);
  BOOST_TEST(decoder.stats().missing_frames == 1U);
  accounts_for(decoder, stream.size());
}

BOOST_AUTO_TEST_CASE(any_damaged_bit_is_seen) {
  add(kLogLine, "payload");
  const Bytes good = stream;
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= std::byte{1} << (bit % 8);
    Decoder fresh;
    BOOST_TEST(decode(fresh, bad, SIZE_MAX, true).empty());
    accounts_for(fresh, bad.size());
  }
}

BOOST_AUTO_TEST_CASE(abandoned_prefix_swallows_nothing) {
  add(kHello, "before");
  append(lone_header(100));
  append("only some of the hundred bytes, then the sender began anew");
  add(kLogLine, "behind");
  add(kBye, std::string(60, '!'));
  const auto frames = decode(decoder, stream, 7);
  BOOST_REQUIRE_EQUAL(frames.size(), 3U);
  BOOST_TEST(frames[1].payload == "behind");
  BOOST_TEST(decoder.stats().bad_payloads == 1U);
  BOOST_TEST(decoder.stats().sequence_gaps == 0U);
}

BOOST_AUTO_TEST_CASE(abandoned_prefix_at_the_end) {
  append(lone_header(kMaxPayload));
  add(kLogLine, "inside what was announced");
  add(kBye, "");
  BOOST_TEST(decode(decoder, stream).empty());  // it might still be a frame
  std::vector<Got> frames;
  decoder.finish();
  drain(decoder, frames);
  BOOST_REQUIRE_EQUAL(frames.size(), 2U);
  BOOST_TEST(frames[1].type == kBye);
  BOOST_TEST(decoder.stats().truncated == 1U);
  BOOST_TEST(decoder.residual() == 0U);
}

BOOST_AUTO_TEST_CASE(half_a_frame_completes_later) {
  add(kWorkloadResult, "result");
  BOOST_TEST(decode(decoder, std::span(stream).first(35)).empty());
  BOOST_TEST(decode(decoder, std::span(stream).subspan(35)).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_frame_inside_a_payload_stays_inside) {
  Encoder other;
  Bytes inner;
  BOOST_REQUIRE(other.encode(kBye, {}, inner));
  BOOST_REQUIRE(encoder.encode(kWorkloadOut, inner, stream));
  BOOST_TEST(decode(decoder, stream, 1).size() == 1U);
  BOOST_TEST(decoder.stats().frames == 1U);
}

BOOST_AUTO_TEST_CASE(other_versions_and_flags) {
  add(kLogLine, "a");
  put(stream, 4, std::uint16_t{2});
  seal(stream, 0);
  const std::size_t at = stream.size();
  add(kLogLine, "b");
  put(stream, at + 6, std::uint16_t{1});
  seal(stream, at);
  add(kLogLine, "c");
  BOOST_TEST(decode(decoder, stream).size() == 1U);
  BOOST_TEST(decoder.stats().unsupported == 2U);
}

BOOST_AUTO_TEST_CASE(sequence_numbers) {
  for (int i = 0; i < 5; ++i) add(kLogLine, "x");
  const std::size_t frame = kHeaderBytes + 1;
  Bytes picked;
  for (const std::size_t i : {0, 1, 4, 2, 3}) picked.insert(picked.end(), stream.begin() + i * frame, stream.begin() + (i + 1) * frame);
  decode(decoder, picked);
  BOOST_TEST(decoder.stats().sequence_gaps == 1U);
  BOOST_TEST(decoder.stats().missing_frames == 2U);
  BOOST_TEST(decoder.stats().sequence_returns == 1U);
}

BOOST_AUTO_TEST_CASE(unknown_types_come_through) {
  add(0, "zero");
  add(0xffff'ffff, "ones");
  BOOST_TEST(decode(decoder, stream).size() == 2U);  // the receiver decides
}

// 64 MiB of noise, then frames: they are found, the noise is counted, the memory stays small.
BOOST_AUTO_TEST_CASE(noise_then_frames) {
  std::mt19937_64 random(1);
  Bytes noise(1U << 20);
  std::size_t received = 0, largest = 0;
  std::vector<Got> frames;
  for (int mib = 0; mib < 64; ++mib) {
    for (std::size_t i = 0; i < noise.size(); i += 8) put(noise, i, static_cast<std::uint64_t>(random()));
    if (mib % 8 == 3) put(noise, 5000, kMagic);
    decoder.feed(noise);
    drain(decoder, frames);
    received += noise.size();
    largest = std::max(largest, decoder.capacity());
  }
  for (int i = 0; i < 10; ++i) add(kLogLine, "after the noise");
  decoder.feed(stream);
  received += stream.size();
  drain(decoder, frames);
  BOOST_TEST(frames.size() == 10U);
  BOOST_TEST(decoder.stats().bad_headers >= 8U);
  BOOST_TEST(largest <= 4U << 20);
  accounts_for(decoder, received);
}

// The worst stream: sound headers only, each announcing almost all that a frame may hold. Checking each announced payload on
// its own would read 16 MiB for every 32 bytes: hours. Memory stays at one frame and a little.
BOOST_AUTO_TEST_CASE(headers_all_the_way_down) {
  Bytes block;
  for (std::uint32_t i = 0; i < 2048; ++i) {
    const Bytes header = lone_header(kMaxPayload - 4096 + i, i);
    block.insert(block.end(), header.begin(), header.end());
  }
  const auto start = std::chrono::steady_clock::now();
  std::size_t received = 0, largest = 0;
  std::vector<Got> frames;
  for (std::size_t total = 0; total < (20U << 20); total += block.size()) {
    decoder.feed(block);
    drain(decoder, frames);
    received += block.size();
    largest = std::max(largest, decoder.residual());
  }
  add(kBye, "");
  decoder.feed(stream);
  received += stream.size();
  decoder.finish();
  drain(decoder, frames);
  BOOST_TEST(frames.size() == 1U);
  BOOST_TEST(largest <= kMaxPayload + kHeaderBytes + block.size());
  BOOST_TEST(decoder.capacity() <= 3 * kMaxPayload);
  BOOST_TEST(decoder.stats().bad_payloads > 100'000U);
  accounts_for(decoder, received);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  BOOST_TEST_MESSAGE("20 MiB of headers in " << seconds << " s");
}

// Good frames right behind, and inside, bad ones: their checksums come from the running ones there.
BOOST_AUTO_TEST_CASE(frames_among_overlapping_bad_ones) {
  std::mt19937 random(2);
  std::size_t sent = 0;
  for (int i = 0; i < 400; ++i) {
    append(lone_header(random() % 6000));
    if (random() % 3 == 0) append(std::string(random() % 700, 'F'));
    if (random() % 2 == 0) {
      add(kLogLine, std::string(random() % 3000, static_cast<char>('a' + i % 26)));
      ++sent;
    }
  }
  append(std::string(8000, '.'));
  for (const std::size_t step : {std::size_t{1}, std::size_t{33}, std::size_t{4096}, stream.size()}) {
    Decoder fresh;
    const auto frames = decode(fresh, stream, step, true);
    BOOST_TEST(frames.size() == sent);
    BOOST_TEST(fresh.stats().sequence_gaps == 0U);
    BOOST_TEST(fresh.stats().bad_payloads == 400U);
    accounts_for(fresh, stream.size());
  }
}

BOOST_AUTO_TEST_CASE(reader_is_strict) {
  Bytes bytes;
  Writer writer(bytes);
  writer.u8(1);
  writer.u16(0x0203);
  writer.u32(0x04050607);
  writer.u64(0x08090a0b0c0d0e0f);
  writer.string("text");
  Reader reader(bytes);
  BOOST_TEST(reader.u8() == 1);
  BOOST_TEST(reader.u16() == 0x0203);
  BOOST_TEST(reader.u32() == 0x04050607U);
  BOOST_TEST(reader.u64() == 0x08090a0b0c0d0e0fU);
  BOOST_TEST(!reader.complete());
  BOOST_TEST(reader.string(4) == "text");
  BOOST_TEST(reader.complete());
  BOOST_TEST(reader.u8() == 0);
  BOOST_TEST(!reader.ok());
  const std::span<const std::byte> text = std::span(bytes).subspan(15);
  Reader bounded(text);
  BOOST_TEST(bounded.string(3).empty());
  BOOST_TEST(!bounded.ok());
  Bytes longest;
  Writer(longest).string(std::string(70'000, 'x'));
  BOOST_TEST(longest.size() == 65'537U);
}

BOOST_AUTO_TEST_CASE(hello_there_and_back) {
  const Hello hello{.sysname = "Linux",
                    .nodename = "(none)",
                    .release = "7.2.13",
                    .kernel_version = "#1 SMP",
                    .machine = "x86_64",
                    .cpus = 2,
                    .memory_kib = 250'000,
                    .processes = 61};
  Bytes bytes;
  encode(hello, bytes);
  BOOST_TEST((decode_hello(bytes) == hello));
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) BOOST_TEST(!decode_hello(std::span(bytes).first(cut)).has_value());
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  BOOST_TEST(!decode_hello(longer).has_value());
  put(bytes, 0, std::uint32_t{2});
  BOOST_TEST(!decode_hello(bytes).has_value());
  Bytes cut;
  Hello long_release = hello;
  long_release.release.assign(5000, 'r');
  encode(long_release, cut);
  BOOST_TEST(decode_hello(cut)->release.size() == Hello::kMaxString);
}

BOOST_AUTO_TEST_CASE(log_lines_and_outcomes_there_and_back) {
  Bytes line;
  encode(LogLine{3, "no such file"}, line);
  BOOST_TEST((decode_log_line(line) == LogLine{3, "no such file"}));
  line[0] = std::byte{8};
  BOOST_TEST(!decode_log_line(line).has_value());
  for (const Outcome outcome :
       {Outcome{Outcome::Kind::kExited, 3}, Outcome{Outcome::Kind::kSignalled, 9}, Outcome{Outcome::Kind::kNotStarted, -2}}) {
    Bytes bytes;
    encode(outcome, bytes);
    BOOST_TEST((decode_outcome(bytes) == outcome));
  }
  BOOST_TEST(!decode_outcome(Bytes(5)).has_value());
  BOOST_TEST(!decode_outcome(Bytes(5, std::byte{4})).has_value());
  BOOST_TEST(!decode_outcome({}).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm::wire
