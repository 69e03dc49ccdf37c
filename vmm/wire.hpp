// The TLV wire: typed, checksummed messages over a byte stream that may lose or gain bytes.
//
// It links the guest's init with floe (console port 1), and a floe inside an outer machine with the one outside. The stream has
// no boundaries of its own, and a sender may leave half a frame behind, so every frame starts with a header that can be
// recognised anywhere: magic plus a checksum of its own. A receiver that meets garbage looks for the next such header.
//
// A frame, little-endian:
//   0  u32 magic        the bytes 'F' 'L' 'O' 'E'
//   4  u16 version      1
//   6  u16 flags        0
//   8  u32 type         four ASCII letters, the first in the top byte ("EXIT" = 0x45584954)
//  12  u32 length       payload bytes, at most 16 MiB
//  16  u64 sequence     0, 1, 2, ... per sender
//  24  u32 payload_crc  CRC-32/ISO-HDLC of the payload
//  28  u32 header_crc   the same of bytes 0..27
//  32  payload
//
// Depends on base/ alone: the static program inside the guest uses this file too. Nothing here throws, except for want of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace floe::vmm::wire {

inline constexpr std::uint32_t kMagic = 0x454f'4c46;
inline constexpr std::uint16_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 32;
inline constexpr std::size_t kMaxPayload = 16U << 20;

constexpr std::uint32_t tag(const char (&letters)[5]) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(letters[i]);
  return value;
}
// "EXIT" again, with '.' for what is not printable: for messages.
std::string tag_name(std::uint32_t type);

// Spoken today.
inline constexpr std::uint32_t kHello = tag("HELO");           // Hello: the guest's init is up
inline constexpr std::uint32_t kLogLine = tag("LOGL");         // LogLine
inline constexpr std::uint32_t kWorkloadOut = tag("WOUT");     // raw bytes of the workload's stdout
inline constexpr std::uint32_t kWorkloadErr = tag("WERR");     // raw bytes of the workload's stderr
inline constexpr std::uint32_t kWorkloadResult = tag("WRES");  // Outcome
inline constexpr std::uint32_t kBye = tag("BYE!");             // empty: the last frame of a sender
// Kept for snapshots on demand, kernel operations, scheduler events and scenarios.
inline constexpr std::uint32_t kSnapshotRequest = tag("SNRQ");
inline constexpr std::uint32_t kSnapshotReply = tag("SNRP");
inline constexpr std::uint32_t kKernelOpRequest = tag("KORQ");
inline constexpr std::uint32_t kKernelOpReply = tag("KORP");
inline constexpr std::uint32_t kSystemReady = tag("SRDY");
inline constexpr std::uint32_t kLifecycle = tag("LIFE");
inline constexpr std::uint32_t kKernelAddresses = tag("KADR");
inline constexpr std::uint32_t kScenarioStart = tag("SCST");
inline constexpr std::uint32_t kScenarioPause = tag("SCPP");
inline constexpr std::uint32_t kScenarioResume = tag("SCRR");
inline constexpr std::uint32_t kScenarioEnd = tag("SCEN");
inline constexpr std::uint32_t kStimulus = tag("STIM");
inline constexpr std::uint32_t kStimulusEnd = tag("STEN");
inline constexpr std::uint32_t kSchedulerExit = tag("SCDX");
inline constexpr std::uint32_t kSchedulerSwap = tag("SCSW");
inline constexpr std::uint32_t kSchedulerOut = tag("SSTO");
inline constexpr std::uint32_t kSchedulerErr = tag("SSTE");
inline constexpr std::uint32_t kProgress = tag("WPRG");
inline constexpr std::uint32_t kTeardownBarrier = tag("TDBR");
inline constexpr std::uint32_t kTeardownAck = tag("TDBA");
inline constexpr std::uint32_t kExit = tag("EXIT");

// Writes frames; owns the sequence number.
class Encoder {
 public:
  // Appends one frame to `out`. False, and nothing appended, when the payload is over kMaxPayload.
  [[nodiscard]] bool encode(std::uint32_t type, std::span<const std::byte> payload, std::vector<std::byte>& out);
  std::uint64_t next_sequence() const { return sequence_; }

 private:
  std::uint64_t sequence_ = 0;
};

struct Frame {
  std::uint32_t type = 0;
  std::uint64_t sequence = 0;
  std::span<const std::byte> payload;  // valid until the next call on the decoder
};

// Finds frames in a stream. Only whole frames with both checksums right come out; everything else is counted and stepped over.
//
// A header whose frame turns out bad was not a frame: the search goes on one byte behind it, never behind the length that it
// announced, so one abandoned prefix swallows nothing. While bytes of an announced payload are still missing the decoder waits
// for them. Memory follows the bytes received, never an announced length: once next() has returned nothing, at most one
// header and one payload are kept. Work is linear in the bytes received, whatever they are.
class Decoder {
 public:
  explicit Decoder(std::size_t max_payload = kMaxPayload) : max_payload_(max_payload) {}

  // Takes bytes in. Call next() until it returns nothing after each feed: that is what bounds the memory.
  void feed(std::span<const std::byte> bytes);
  std::optional<Frame> next();

  // The stream is over: what is still incomplete is garbage from now on, and frames behind it come out of next().
  void finish() { finished_ = true; }

  struct Stats {
    std::uint64_t frames = 0;
    std::uint64_t payload_bytes = 0;     // of those frames
    std::uint64_t garbage_bytes = 0;     // stepped over: received == garbage + 32 * frames + payload_bytes + residual()
    std::uint64_t bad_headers = 0;       // the magic, with a wrong header checksum
    std::uint64_t bad_payloads = 0;      // a sound header, with a wrong payload checksum
    std::uint64_t oversize = 0;          // a sound header, announcing more than the limit
    std::uint64_t unsupported = 0;       // a sound header of another version or with flags
    std::uint64_t truncated = 0;         // a sound header whose payload never came
    std::uint64_t sequence_gaps = 0;     // places where the number jumped forward
    std::uint64_t missing_frames = 0;    // how many numbers those jumps left out
    std::uint64_t sequence_returns = 0;  // places where it went back: a sender that started again, or a frame inside garbage
    bool operator==(const Stats&) const = default;
  };
  const Stats& stats() const { return stats_; }
  std::size_t residual() const { return buffer_.size() - at_; }  // bytes held and not yet judged
  std::size_t capacity() const { return buffer_.capacity(); }    // memory they sit in

 private:
  enum class Verdict { kFrame, kNotOne, kWait };
  Verdict judge(Frame& frame);
  bool find_magic();
  void step_over(std::size_t bytes);
  void compact();
  std::uint32_t payload_crc(std::size_t from, std::size_t to);
  std::uint32_t prefix_crc(std::size_t position);
  void note_sequence(std::uint64_t sequence);

  std::size_t max_payload_;
  std::vector<std::byte> buffer_;
  std::size_t at_ = 0;  // first byte not yet judged
  bool finished_ = false;
  std::uint64_t expected_ = 0;
  Stats stats_;

  // Where a bad frame was, checksums of overlapping candidates come from running checksums at fixed steps instead of from the
  // bytes: a stream of headers that each announce 16 MiB would else cost 16 MiB of checksum per 32 bytes received.
  std::size_t suspect_until_ = 0;           // end of the last bad frame, in buffer_
  std::size_t checkpoint_base_ = 0;         // where in buffer_ checkpoints_[0] stands
  std::vector<std::uint32_t> checkpoints_;  // running checksum every kCheckpointBytes
};

// Fields of a payload, in order. Strings are a u16 length and that many bytes.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}
  void u8(std::uint8_t value) { number(value, 1); }
  void u16(std::uint16_t value) { number(value, 2); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  // Cut after 65535 bytes.
  void string(std::string_view text);
  // A u32 length and that many bytes.
  void blob(std::span<const std::byte> bytes);

 private:
  void number(std::uint64_t value, int bytes);
  std::vector<std::byte>& out_;
};

// The way back, over hostile bytes: what does not fit reads as zero or empty and clears ok() for good.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> data) : data_(data) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::string string(std::size_t max_bytes);
  std::vector<std::byte> blob(std::size_t max_bytes);
  bool ok() const { return ok_; }
  // Everything read, nothing left.
  bool complete() const { return ok_ && data_.empty(); }

 private:
  std::uint64_t number(std::size_t bytes);
  std::span<const std::byte> data_;
  bool ok_ = true;
};

// What the guest's init says first: its own view, for the record (the host reads the kernel's memory for itself).
struct Hello {
  static constexpr std::size_t kMaxString = 256;
  std::uint32_t version = 1;                                        // of this payload
  std::string sysname, nodename, release, kernel_version, machine;  // uname(2)
  std::uint32_t cpus = 0;                                           // online
  std::uint64_t memory_kib = 0;                                     // MemTotal
  std::uint32_t processes = 0;                                      // numeric entries in /proc
  bool operator==(const Hello&) const = default;
};

struct LogLine {
  static constexpr std::size_t kMaxText = 4096;
  std::uint8_t level = 6;  // as syslog(3): 3 error, 4 warning, 6 information, 7 debug
  std::string text;
  bool operator==(const LogLine&) const = default;
};

struct Outcome {
  enum class Kind : std::uint8_t { kExited = 1, kSignalled = 2, kNotStarted = 3 };
  Kind kind = Kind::kExited;
  std::int32_t code = 0;  // exit code, signal number, or errno
  bool operator==(const Outcome&) const = default;
};

// Append the payload to `out`; strings are cut at their bounds.
void encode(const Hello& hello, std::vector<std::byte>& out);
void encode(const LogLine& line, std::vector<std::byte>& out);
void encode(const Outcome& outcome, std::vector<std::byte>& out);
// Nothing, when a field is out of its bounds, or bytes are missing or left over.
std::optional<Hello> decode_hello(std::span<const std::byte> payload);
std::optional<LogLine> decode_log_line(std::span<const std::byte> payload);
std::optional<Outcome> decode_outcome(std::span<const std::byte> payload);

}  // namespace floe::vmm::wire
