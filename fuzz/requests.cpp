// The payloads of requests and answers, guest's and host's, as hostile bytes: what decodes encodes into the same message again, and all
// but a snapshot's lossy text into the same bytes.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "vmm/requests.hpp"

namespace {

using namespace floe::vmm;
using Bytes = std::vector<std::byte>;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "requests: %s\n", what);
  std::abort();
}

Bytes payload_of(Bytes bytes) {
  return bytes;
}
Bytes payload_of(floe::Result<Bytes> bytes) {
  require(bytes.has_value(), "what was decoded cannot be encoded");
  return *bytes;
}

template <class Decode>
void same_bytes(std::span<const std::byte> payload, Decode decode) {
  const auto message = decode(payload);
  if (!message) return;
  const Bytes again = payload_of(wire::encode(*message));
  require(again == Bytes(payload.begin(), payload.end()), "a message changed on its way");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto payload = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0] % 7) {
    case 0:
      same_bytes(payload, wire::decode_kernel_op_request);
      break;
    case 1:
      same_bytes(payload, wire::decode_control_request);
      break;
    case 2:
      same_bytes(payload, wire::decode_control_reply);
      break;
    case 3:
      same_bytes(payload, wire::decode_process_end);
      break;
    case 4:
      if (const auto reply = wire::decode_kernel_op_reply(payload)) {
        require(wire::decode_kernel_op_reply(wire::encode(*reply)) == reply, "an answer changed on its way");
      }
      break;
    case 5:
      if (auto request = wire::decode_snapshot_request(payload)) {
        request->tag = wire::cut_text(request->tag, wire::SnapshotRequest::kMaxTag);  // U+FFFD is longer than what it stands for
        if (!request->tag.empty())
          require(wire::decode_snapshot_request(payload_of(wire::encode(*request))) == request, "a snapshot request changed on its way");
      }
      break;
    default:
      if (auto reply = wire::decode_snapshot_reply(payload)) {
        reply->reason = wire::cut_text(reply->reason, wire::SnapshotReply::kMaxReason);
        require(wire::decode_snapshot_reply(wire::encode(*reply)) == reply, "a snapshot reply changed on its way");
      }
      break;
  }
  return 0;
}
