#include "vmm/wire.hpp"

#include <algorithm>
#include <cstring>

#include "base/crc32.hpp"

namespace floe::vmm::wire {
namespace {

constexpr std::size_t kCheckpointBytes = 512;
constexpr std::size_t kCheckedHeaderBytes = 28;
constexpr std::size_t kCompactBytes = std::size_t{64} << 10;  // less is not worth a move
constexpr std::size_t kKeptCapacity = std::size_t{1} << 20;   // of an empty buffer
constexpr std::byte kMagicBytes[4] = {std::byte{'F'}, std::byte{'L'}, std::byte{'O'}, std::byte{'E'}};

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

}  // namespace

std::string tag_name(std::uint32_t type) {
  std::string name;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const auto letter = static_cast<unsigned char>(type >> shift);
    name += letter >= 0x20 && letter < 0x7f ? static_cast<char>(letter) : '.';
  }
  return name;
}

bool Encoder::encode(std::uint32_t type, std::span<const std::byte> payload, std::vector<std::byte>& out) {
  if (payload.size() > kMaxPayload) return false;
  std::byte header[kHeaderBytes] = {};
  store(header, kMagic);
  store(header + 4, kVersion);
  store(header + 8, type);
  store(header + 12, static_cast<std::uint32_t>(payload.size()));
  store(header + 16, sequence_);
  store(header + 24, crc32(payload));
  store(header + kCheckedHeaderBytes, crc32({header, kCheckedHeaderBytes}));
  out.insert(out.end(), header, header + kHeaderBytes);
  out.insert(out.end(), payload.begin(), payload.end());
  ++sequence_;
  return true;
}

void Decoder::feed(std::span<const std::byte> bytes) {
  compact();
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

std::optional<Frame> Decoder::next() {
  while (find_magic()) {
    Frame frame;
    switch (judge(frame)) {
      case Verdict::kFrame:
        ++stats_.frames;
        stats_.payload_bytes += frame.payload.size();
        note_sequence(frame.sequence);
        at_ += kHeaderBytes + frame.payload.size();
        return frame;
      case Verdict::kNotOne:
        step_over(1);
        break;
      case Verdict::kWait:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

// Moves to the next place where a frame may start. A tail that could be the first bytes of a magic stays.
bool Decoder::find_magic() {
  while (residual() != 0) {
    const auto* begin = buffer_.data() + at_;
    const auto* hit = static_cast<const std::byte*>(std::memchr(begin, 'F', residual()));
    if (hit == nullptr) break;
    step_over(static_cast<std::size_t>(hit - begin));
    const std::size_t compared = std::min(residual(), sizeof kMagicBytes);
    if (std::memcmp(hit, kMagicBytes, compared) == 0) {
      if (residual() >= kHeaderBytes) return true;
      if (!finished_) return false;
    }
    step_over(1);
  }
  step_over(residual());
  return false;
}

Decoder::Verdict Decoder::judge(Frame& frame) {
  const std::byte* header = buffer_.data() + at_;
  if (load<std::uint32_t>(header + kCheckedHeaderBytes) != crc32({header, kCheckedHeaderBytes})) {
    ++stats_.bad_headers;
    return Verdict::kNotOne;
  }
  if (load<std::uint16_t>(header + 4) != kVersion || load<std::uint16_t>(header + 6) != 0) {
    ++stats_.unsupported;
    return Verdict::kNotOne;
  }
  const std::size_t length = load<std::uint32_t>(header + 12);
  if (length > max_payload_) {
    ++stats_.oversize;
    return Verdict::kNotOne;
  }
  if (residual() - kHeaderBytes < length) {
    if (!finished_) return Verdict::kWait;
    ++stats_.truncated;
    return Verdict::kNotOne;
  }
  const std::size_t from = at_ + kHeaderBytes;
  if (payload_crc(from, from + length) != load<std::uint32_t>(header + 24)) {
    ++stats_.bad_payloads;
    suspect_until_ = std::max(suspect_until_, from + length);
    return Verdict::kNotOne;
  }
  frame = {load<std::uint32_t>(header + 8), load<std::uint64_t>(header + 16), {header + kHeaderBytes, length}};
  return Verdict::kFrame;
}

std::uint32_t Decoder::payload_crc(std::size_t from, std::size_t to) {
  if (from >= suspect_until_) return crc32(std::span(buffer_).subspan(from, to - from));
  if (checkpoints_.empty() || from < checkpoint_base_) {
    checkpoints_.assign(1, 0);
    checkpoint_base_ = from;
  }
  const std::uint32_t before = prefix_crc(from);
  return crc32_suffix(before, prefix_crc(to), to - from);
}

// The running checksum up to `position`, from the nearest checkpoint before it.
std::uint32_t Decoder::prefix_crc(std::size_t position) {
  const std::size_t index = (position - checkpoint_base_) / kCheckpointBytes;
  while (checkpoints_.size() <= index) {
    const std::size_t from = checkpoint_base_ + (checkpoints_.size() - 1) * kCheckpointBytes;
    checkpoints_.push_back(crc32(std::span(buffer_).subspan(from, kCheckpointBytes), checkpoints_.back()));
  }
  const std::size_t from = checkpoint_base_ + index * kCheckpointBytes;
  return crc32(std::span(buffer_).subspan(from, position - from), checkpoints_[index]);
}

void Decoder::step_over(std::size_t bytes) {
  stats_.garbage_bytes += bytes;
  at_ += bytes;
}

// Drops what was judged, once it is worth the move. Bytes behind the last checkpoint stay while candidates near it may follow.
void Decoder::compact() {
  if (at_ < std::max<std::size_t>(residual() / 4, kCompactBytes) && residual() != 0) return;
  std::size_t drop = at_;
  if (at_ >= suspect_until_) {
    checkpoints_.clear();
    suspect_until_ = 0;
  } else if (!checkpoints_.empty() && checkpoint_base_ <= at_) {
    const std::size_t passed = (at_ - checkpoint_base_) / kCheckpointBytes;
    if (passed < checkpoints_.size()) {
      checkpoints_.erase(checkpoints_.begin(), checkpoints_.begin() + static_cast<std::ptrdiff_t>(passed));
      checkpoint_base_ += passed * kCheckpointBytes;
      drop = checkpoint_base_;
    } else {
      checkpoints_.clear();  // the next candidate starts them afresh, over bytes that they never covered
    }
  }
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(drop));
  at_ -= drop;
  suspect_until_ -= std::min(suspect_until_, drop);
  checkpoint_base_ -= std::min(checkpoint_base_, drop);
  if (buffer_.empty() && buffer_.capacity() > kKeptCapacity) std::vector<std::byte>().swap(buffer_);
}

void Decoder::note_sequence(std::uint64_t sequence) {
  if (sequence > expected_) {
    ++stats_.sequence_gaps;
    stats_.missing_frames += sequence - expected_;
  } else if (sequence < expected_) {
    ++stats_.sequence_returns;
  }
  expected_ = sequence + 1;
}

void Writer::number(std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void Writer::string(std::string_view text) {
  text = text.substr(0, 0xffff);
  u16(static_cast<std::uint16_t>(text.size()));
  const auto bytes = std::as_bytes(std::span(text));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void Writer::blob(std::span<const std::byte> bytes) {
  u32(static_cast<std::uint32_t>(bytes.size()));
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

std::uint64_t Reader::number(std::size_t bytes) {
  if (!ok_ || data_.size() < bytes) {
    ok_ = false;
    return 0;
  }
  std::uint64_t value = 0;
  std::memcpy(&value, data_.data(), bytes);
  data_ = data_.subspan(bytes);
  return value;
}

std::string Reader::string(std::size_t max_bytes) {
  const std::size_t length = u16();
  if (!ok_ || length > max_bytes || length > data_.size()) {
    ok_ = false;
    return {};
  }
  std::string text(reinterpret_cast<const char*>(data_.data()), length);
  data_ = data_.subspan(length);
  return text;
}

std::vector<std::byte> Reader::blob(std::size_t max_bytes) {
  const std::size_t length = u32();
  if (!ok_ || length > max_bytes || length > data_.size()) {
    ok_ = false;
    return {};
  }
  std::vector<std::byte> bytes(data_.begin(), data_.begin() + static_cast<std::ptrdiff_t>(length));
  data_ = data_.subspan(length);
  return bytes;
}

void encode(const Hello& hello, std::vector<std::byte>& out) {
  Writer writer(out);
  const auto bounded = [&writer](std::string_view text) { writer.string(text.substr(0, Hello::kMaxString)); };
  writer.u32(hello.version);
  bounded(hello.sysname);
  bounded(hello.nodename);
  bounded(hello.release);
  bounded(hello.kernel_version);
  bounded(hello.machine);
  writer.u32(hello.cpus);
  writer.u64(hello.memory_kib);
  writer.u32(hello.processes);
}

std::optional<Hello> decode_hello(std::span<const std::byte> payload) {
  Reader reader(payload);
  Hello hello;
  hello.version = reader.u32();
  hello.sysname = reader.string(Hello::kMaxString);
  hello.nodename = reader.string(Hello::kMaxString);
  hello.release = reader.string(Hello::kMaxString);
  hello.kernel_version = reader.string(Hello::kMaxString);
  hello.machine = reader.string(Hello::kMaxString);
  hello.cpus = reader.u32();
  hello.memory_kib = reader.u64();
  hello.processes = reader.u32();
  if (!reader.complete() || hello.version != 1) return std::nullopt;
  return hello;
}

void encode(const LogLine& line, std::vector<std::byte>& out) {
  Writer writer(out);
  writer.u8(line.level);
  writer.string(std::string_view(line.text).substr(0, LogLine::kMaxText));
}

std::optional<LogLine> decode_log_line(std::span<const std::byte> payload) {
  Reader reader(payload);
  LogLine line;
  line.level = reader.u8();
  line.text = reader.string(LogLine::kMaxText);
  if (!reader.complete() || line.level > 7) return std::nullopt;
  return line;
}

void encode(const Outcome& outcome, std::vector<std::byte>& out) {
  Writer writer(out);
  writer.u8(static_cast<std::uint8_t>(outcome.kind));
  writer.u32(static_cast<std::uint32_t>(outcome.code));
}

std::optional<Outcome> decode_outcome(std::span<const std::byte> payload) {
  Reader reader(payload);
  const std::uint8_t kind = reader.u8();
  const auto code = static_cast<std::int32_t>(reader.u32());
  if (!reader.complete() || kind < 1 || kind > 3) return std::nullopt;
  return Outcome{static_cast<Outcome::Kind>(kind), code};
}

}  // namespace floe::vmm::wire
