#include "vmm/guest/floe_guest.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "vmm/guest/relay.hpp"
#include "vmm/guest/workers.hpp"
#include "vmm/requests.hpp"

namespace floe::vmm::guest {
namespace {

constexpr const char* kUsage =
    "floe-guest snapshot NAME            take a snapshot of this machine under that name\n"
    "floe-guest watch SYMBOL             take one as soon as that kernel variable changes\n"
    "floe-guest read TARGET [BYTES]      print kernel memory: 4 or 8 (default) bytes as a number, others as hex\n"
    "floe-guest write TARGET VALUE       write a number of 64 bits, N:4 one of 32, or:N set bits of 32, hex:00ff bytes\n"
    "floe-guest cold read|write ...      the same while the machine stands still\n"
    "floe-guest reopen                   open the way to floe anew after an answer never came\n"
    "  TARGET: SYMBOL, 0xADDRESS, direct:0xADDRESS, percpu:CPU:SYMBOL:FIELD or task:PID:START_TIME_NS:FIELD\n";

constexpr int kDone = 0, kRefused = 1, kWrong = 2;

int refuse(const std::string& reason) {
  std::fprintf(stderr, "floe-guest: %s\n", reason.c_str());
  return kRefused;
}

int usage() {
  std::fputs(kUsage, stderr);
  std::fputs(kWorkerUsage, stderr);
  return kWrong;
}

std::optional<std::uint64_t> number(std::string_view text) {
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What stands before the next colon; the text keeps the rest.
std::string_view part(std::string_view& text) {
  const std::size_t colon = text.find(':');
  const std::string_view first = text.substr(0, colon);
  text.remove_prefix(colon == text.npos ? text.size() : colon + 1);
  return first;
}

std::optional<wire::KernelTarget> target_of(std::string_view text) {
  if (text.starts_with("0x")) {
    const auto address = number(text);
    if (!address) return std::nullopt;
    return wire::KvaTarget{*address};
  }
  if (text.find(':') == text.npos) return wire::SymbolTarget{std::string(text)};
  const std::string_view kind = part(text);
  const auto first = number(part(text));
  if (!first) return std::nullopt;
  if (kind == "direct" && text.empty()) return wire::DirectTarget{*first};
  if (kind == "percpu" && *first <= std::numeric_limits<std::uint32_t>::max()) {
    const std::string symbol(part(text));
    return wire::PerCpuTarget{symbol, std::string(text), static_cast<std::uint32_t>(*first)};
  }
  if (kind == "task" && *first <= std::numeric_limits<std::int32_t>::max()) {
    const auto start_time = number(part(text));
    if (start_time) return wire::TaskTarget{static_cast<std::int32_t>(*first), *start_time, std::string(text)};
  }
  return std::nullopt;
}

std::optional<wire::KernelValue> hex_value(std::string_view text) {
  std::vector<std::byte> bytes;
  for (; text.size() >= 2; text.remove_prefix(2)) {
    std::uint8_t byte = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + 2, byte, 16);
    if (error != std::errc() || end != text.data() + 2) return std::nullopt;
    bytes.push_back(static_cast<std::byte>(byte));
  }
  if (!text.empty()) return std::nullopt;
  return bytes;
}

std::optional<wire::KernelValue> value_of(std::string_view text) {
  if (text.starts_with("hex:")) return hex_value(text.substr(4));
  const bool bits = text.starts_with("or:");
  if (bits) text.remove_prefix(3);
  const bool word = text.ends_with(":4");
  if (word) text.remove_suffix(2);
  const auto value = number(text);
  if (!value || ((bits || word) && *value > std::numeric_limits<std::uint32_t>::max())) return std::nullopt;
  if (bits) return wire::OrU32{static_cast<std::uint32_t>(*value)};
  if (word) return wire::KernelValue(static_cast<std::uint32_t>(*value));
  return wire::KernelValue(*value);
}

wire::KernelValue width_of(std::uint64_t bytes) {
  if (bytes == 4) return std::uint32_t{0};
  if (bytes == 8) return std::uint64_t{0};
  return std::vector<std::byte>(bytes);
}

void print(const wire::KernelValue& value) {
  if (const auto* word = std::get_if<std::uint32_t>(&value)) std::printf("%u\n", *word);
  if (const auto* word = std::get_if<std::uint64_t>(&value)) std::printf("%llu\n", static_cast<unsigned long long>(*word));
  if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value)) {
    for (const std::byte byte : *bytes) std::printf("%02x", std::to_integer<unsigned>(byte));
    std::printf("\n");
  }
}

// One request over init's socket, and its answer.
class Connection {
 public:
  Result<> open() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, kSocketPath, sizeof address.sun_path - 1);
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd_ && ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return {};
    return fail_errno(errno, kSocketPath);
  }

  // The payload of the answer of that type. Init answers in any case, so there is no time-out here.
  Result<std::vector<std::byte>> ask(std::uint32_t type, std::span<const std::byte> payload, std::uint32_t answer_type) {
    std::vector<std::byte> out;
    if (!encoder_.encode(type, payload, out)) return fail("the request is too long");
    for (std::size_t at = 0; at < out.size();) {
      const auto sent = ::send(fd_.get(), out.data() + at, out.size() - at, MSG_NOSIGNAL);
      if (sent < 0 && errno != EINTR) return fail_errno(errno, kSocketPath);
      at += sent > 0 ? static_cast<std::size_t>(sent) : 0;
    }
    std::byte buffer[16 << 10];
    for (;;) {
      if (const auto frame = decoder_.next()) {
        if (frame->type == answer_type) return std::vector<std::byte>(frame->payload.begin(), frame->payload.end());
        continue;
      }
      const auto length = ::read(fd_.get(), buffer, sizeof buffer);
      if (length < 0 && errno == EINTR) continue;
      if (length < 0) return fail_errno(errno, kSocketPath);
      if (length == 0) return fail("init gave no answer");
      decoder_.feed({buffer, static_cast<std::size_t>(length)});
    }
  }

 private:
  UniqueFd fd_;
  wire::Encoder encoder_;
  wire::Decoder decoder_{wire::KernelOpReply::kMaxPayload};
};

int ask_for_snapshot(std::uint32_t type, std::span<const std::byte> payload) {
  Connection connection;
  if (auto opened = connection.open(); !opened) return refuse(opened.error().message);
  const auto answer = connection.ask(type, payload, wire::kSnapshotReply);
  if (!answer) return refuse(answer.error().message);
  const auto reply = wire::decode_snapshot_reply(*answer);
  if (!reply) return refuse("the answer makes no sense");
  return reply->status == wire::SnapshotReply::kOk ? kDone : refuse(reply->reason);
}

int snapshot(std::uint32_t kind, const char* tag) {
  const auto payload = wire::encode(wire::SnapshotRequest{1, kind, tag});
  return payload ? ask_for_snapshot(wire::kSnapshotRequest, *payload) : refuse(payload.error().message);
}

int kernel_op(bool cold, int argc, char** argv) {
  wire::KernelOpRequest request;
  request.id = 1;
  request.tag = "floe-guest";
  request.mode = cold ? wire::KernelOpRequest::Mode::kCold : wire::KernelOpRequest::Mode::kHot;
  const bool reads = argc >= 1 && std::strcmp(argv[0], "read") == 0;
  if (argc < (reads ? 2 : 3) || argc > 3) return usage();
  request.direction = reads ? wire::KernelOpRequest::Direction::kRead : wire::KernelOpRequest::Direction::kWrite;
  auto target = target_of(argv[1]);
  std::optional<wire::KernelValue> value;
  if (!reads) {
    value = value_of(argv[2]);
  } else if (const auto bytes = argc == 3 ? number(argv[2]) : 8; bytes && *bytes >= 1 && *bytes <= wire::KernelOpRequest::kMaxValue) {
    value = width_of(*bytes);
  }
  if (!target || !value) return usage();
  request.entries.push_back({std::move(*target), std::move(*value)});
  const auto payload = wire::encode(request);
  if (!payload) return refuse(payload.error().message);

  Connection connection;
  if (auto opened = connection.open(); !opened) return refuse(opened.error().message);
  const auto answer = connection.ask(wire::kKernelOpRequest, *payload, wire::kKernelOpReply);
  if (!answer) return refuse(answer.error().message);
  const auto reply = wire::decode_kernel_op_reply(*answer);
  if (!reply) return refuse("the answer makes no sense");
  if (!reply->success) return refuse(reply->reason);
  for (const auto& read : reply->values) print(read);
  return kDone;
}

}  // namespace

int floe_guest(int argc, char** argv) {
  const std::string_view verb = argc >= 2 ? argv[1] : "";
  if (verb == "worker") return run_workers(argc - 2, argv + 2);
  if (verb == "snapshot" && argc == 3) return snapshot(wire::SnapshotRequest::kCapture, argv[2]);
  if (verb == "watch" && argc == 3) return snapshot(wire::SnapshotRequest::kWatch, argv[2]);
  if (verb == "reopen" && argc == 2) return ask_for_snapshot(wire::kReopen, {});
  if (verb == "read" || verb == "write") return kernel_op(false, argc - 1, argv + 1);
  const std::string_view what = verb == "cold" && argc >= 3 ? argv[2] : "";
  if (what == "read" || what == "write") return kernel_op(true, argc - 2, argv + 2);
  return usage();
}

}  // namespace floe::vmm::guest
