// Snapshots and kernel operations. Those for init are in control_requests.cpp.
#include "vmm/requests.hpp"

#include <algorithm>
#include <utility>

#include "base/utf8.hpp"

namespace floe::vmm::wire {
namespace {

// A field of fixed width, filled up with NUL.
void padded(Writer& writer, std::string_view text, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) writer.u8(i < text.size() ? static_cast<std::uint8_t>(text[i]) : 0);
}

std::string unpadded(Reader& reader, std::size_t width) {
  std::string bytes(width, '\0');
  for (char& byte : bytes) byte = static_cast<char>(reader.u8());
  bytes.resize(std::min(width, bytes.find('\0')));
  std::string text;
  for (std::string_view rest = bytes; !rest.empty();) {
    const std::size_t length = utf8_length(rest);
    text += length == 0 ? kReplacementCharacter : rest.substr(0, length);
    rest.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return text;
}

enum TargetKind : std::uint8_t { kSymbol, kDirect, kKva, kPerCpuField, kTaskField };
enum ValueKind : std::uint8_t { kU32, kU64, kBytes, kOrU32 };

struct TargetWriter {
  Writer& writer;
  void operator()(const SymbolTarget& target) const {
    writer.u8(kSymbol);
    writer.string(target.name);
  }
  void operator()(const DirectTarget& target) const {
    writer.u8(kDirect);
    writer.u64(target.address);
  }
  void operator()(const KvaTarget& target) const {
    writer.u8(kKva);
    writer.u64(target.address);
  }
  void operator()(const PerCpuTarget& target) const {
    writer.u8(kPerCpuField);
    writer.string(target.symbol);
    writer.string(target.field);
    writer.u32(target.cpu);
  }
  void operator()(const TaskTarget& target) const {
    writer.u8(kTaskField);
    writer.u32(static_cast<std::uint32_t>(target.pid));
    writer.u64(target.start_time_ns);
    writer.string(target.field);
  }
};

struct ValueWriter {
  Writer& writer;
  void operator()(std::uint32_t value) const {
    writer.u8(kU32);
    writer.u32(value);
  }
  void operator()(std::uint64_t value) const {
    writer.u8(kU64);
    writer.u64(value);
  }
  void operator()(const std::vector<std::byte>& value) const {
    writer.u8(kBytes);
    writer.blob(value);
  }
  void operator()(const OrU32& value) const {
    writer.u8(kOrU32);
    writer.u32(value.mask);
  }
};

std::optional<KernelTarget> read_target(Reader& reader) {
  constexpr std::size_t kMaxName = KernelOpRequest::kMaxName;
  switch (reader.u8()) {
    case kSymbol:
      return SymbolTarget{reader.string(kMaxName)};
    case kDirect:
      return DirectTarget{reader.u64()};
    case kKva:
      return KvaTarget{reader.u64()};
    case kPerCpuField: {
      PerCpuTarget target;
      target.symbol = reader.string(kMaxName);
      target.field = reader.string(kMaxName);
      target.cpu = reader.u32();
      return target;
    }
    case kTaskField: {
      TaskTarget target;
      target.pid = static_cast<std::int32_t>(reader.u32());
      target.start_time_ns = reader.u64();
      target.field = reader.string(kMaxName);
      return target;
    }
    default:
      return std::nullopt;
  }
}

std::optional<KernelValue> read_value(Reader& reader) {
  switch (reader.u8()) {
    case kU32:
      return KernelValue(std::in_place_type<std::uint32_t>, reader.u32());
    case kU64:
      return KernelValue(std::in_place_type<std::uint64_t>, reader.u64());
    case kBytes:
      return reader.blob(KernelOpRequest::kMaxValue);
    case kOrU32:
      return OrU32{reader.u32()};
    default:
      return std::nullopt;
  }
}

Result<> check_name(const std::string& name, const char* what) {
  if (name.empty()) return fail(std::string(what) + " is empty");
  if (name.size() > KernelOpRequest::kMaxName) {
    return fail(std::string(what) + " has " + std::to_string(name.size()) + " bytes, at most " + std::to_string(KernelOpRequest::kMaxName));
  }
  if (name.find('\0') != name.npos) return fail(std::string(what) + " contains a NUL byte");
  return {};
}

Result<> check(const KernelTarget& target) {
  if (const auto* symbol = std::get_if<SymbolTarget>(&target)) return check_name(symbol->name, "the symbol");
  if (const auto* task = std::get_if<TaskTarget>(&target)) return check_name(task->field, "the task's field");
  if (const auto* cpu = std::get_if<PerCpuTarget>(&target)) {
    if (auto r = check_name(cpu->symbol, "the per-CPU symbol"); !r) return r;
    return check_name(cpu->field, "the per-CPU field");
  }
  return {};
}

Result<> check(const KernelOpEntry& entry, KernelOpRequest::Direction direction) {
  if (auto r = check(entry.target); !r) return r;
  if (const auto* bytes = std::get_if<std::vector<std::byte>>(&entry.value)) {
    if (bytes->empty() || bytes->size() > KernelOpRequest::kMaxValue) {
      return fail("a value of " + std::to_string(bytes->size()) + " bytes, not 1 to " + std::to_string(KernelOpRequest::kMaxValue));
    }
  }
  if (direction == KernelOpRequest::Direction::kRead && std::holds_alternative<OrU32>(entry.value)) {
    return fail("bits are set by a write, not by a read");
  }
  return {};
}

// What holds for a request on both sides, but for its length.
Result<> check(const KernelOpRequest& request) {
  if (request.id == 0) return fail("id 0");
  if (request.tag.size() > KernelOpRequest::kMaxTag) {
    return fail("a tag of " + std::to_string(request.tag.size()) + " bytes, at most " + std::to_string(KernelOpRequest::kMaxTag));
  }
  if (request.entries.empty() || request.entries.size() > KernelOpRequest::kMaxEntries) {
    return fail(std::to_string(request.entries.size()) + " entries, not 1 to " + std::to_string(KernelOpRequest::kMaxEntries));
  }
  for (std::size_t i = 0; i < request.entries.size(); ++i) {
    if (auto r = check(request.entries[i], request.direction); !r) return fail(std::move(r.error()).within("entry " + std::to_string(i)));
  }
  return {};
}

}  // namespace

std::string_view cut_text(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && most - end < 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80 ? most : end);
}

Result<std::vector<std::byte>> encode(const SnapshotRequest& request) {
  if (request.id == 0 || request.kind == 0) return fail("a snapshot request without an id or a kind");
  if (request.tag.empty() || request.tag.size() > SnapshotRequest::kMaxTag || request.tag.find('\0') != request.tag.npos) {
    return fail("'" + std::string(cut_text(request.tag, 80)) + "' is no name of a snapshot or a watch: 1 to " +
                std::to_string(SnapshotRequest::kMaxTag) + " bytes, without NUL");
  }
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(request.id);
  writer.u32(request.kind);
  padded(writer, request.tag, SnapshotRequest::kMaxTag);
  return out;
}

std::optional<SnapshotRequest> decode_snapshot_request(std::span<const std::byte> payload) {
  if (payload.size() != SnapshotRequest::kBytes) return std::nullopt;
  Reader reader(payload);
  SnapshotRequest request;
  request.id = reader.u32();
  request.kind = reader.u32();
  request.tag = unpadded(reader, SnapshotRequest::kMaxTag);
  if (request.id == 0 || request.kind == 0) return std::nullopt;
  return request;
}

std::vector<std::byte> encode(const SnapshotReply& reply) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(reply.id);
  writer.u32(reply.status);
  padded(writer, cut_text(reply.reason, SnapshotReply::kMaxReason), SnapshotReply::kMaxReason);
  return out;
}

std::optional<SnapshotReply> decode_snapshot_reply(std::span<const std::byte> payload) {
  if (payload.size() != SnapshotReply::kBytes) return std::nullopt;
  Reader reader(payload);
  SnapshotReply reply;
  reply.id = reader.u32();
  reply.status = reader.u32();
  reply.reason = unpadded(reader, SnapshotReply::kMaxReason);
  if (reply.id == 0) return std::nullopt;
  return reply;
}

Result<std::vector<std::byte>> encode(const KernelOpRequest& request) {
  if (auto r = check(request); !r) return fail(std::move(r.error()).within("kernel operation"));
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(request.id);
  writer.u8(static_cast<std::uint8_t>(request.mode));
  writer.u8(static_cast<std::uint8_t>(request.direction));
  writer.string(request.tag);
  writer.u16(static_cast<std::uint16_t>(request.entries.size()));
  for (const auto& entry : request.entries) {
    std::visit(TargetWriter{writer}, entry.target);
    std::visit(ValueWriter{writer}, entry.value);
  }
  if (out.size() > KernelOpRequest::kMaxPayload) {
    return fail("kernel operation: " + std::to_string(out.size()) + " bytes, at most " + std::to_string(KernelOpRequest::kMaxPayload) +
                " pass the wire at once");
  }
  return out;
}

// Memory follows the bytes there are: a count without its entries ends at the first that is missing.
std::optional<KernelOpRequest> decode_kernel_op_request(std::span<const std::byte> payload) {
  if (payload.size() > KernelOpRequest::kMaxPayload) return std::nullopt;
  Reader reader(payload);
  KernelOpRequest request;
  request.id = reader.u32();
  const std::uint8_t mode = reader.u8();
  const std::uint8_t direction = reader.u8();
  if (mode > 1 || direction > 1) return std::nullopt;
  request.mode = static_cast<KernelOpRequest::Mode>(mode);
  request.direction = static_cast<KernelOpRequest::Direction>(direction);
  request.tag = reader.string(KernelOpRequest::kMaxTag);
  const std::size_t count = reader.u16();
  for (std::size_t i = 0; i < count && reader.ok(); ++i) {
    auto target = read_target(reader);
    auto value = read_value(reader);
    if (!target || !value) return std::nullopt;
    request.entries.push_back({std::move(*target), std::move(*value)});
  }
  if (!reader.complete() || !check(request)) return std::nullopt;
  return request;
}

std::vector<std::byte> encode(const KernelOpReply& reply) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(reply.id);
  writer.u8(reply.success ? 1 : 0);
  writer.string(cut_text(reply.reason, KernelOpReply::kMaxReason));
  const std::size_t count = std::min(reply.values.size(), KernelOpRequest::kMaxEntries);
  writer.u16(static_cast<std::uint16_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    std::visit(ValueWriter{writer}, reply.values[i]);
    if (out.size() > KernelOpReply::kMaxPayload) {
      return encode(KernelOpReply{
          reply.id,
          false,
          "the values read are longer than " + std::to_string(KernelOpReply::kMaxPayload) + " bytes, which is all that one answer holds",
          {}});
    }
  }
  return out;
}

std::optional<KernelOpReply> decode_kernel_op_reply(std::span<const std::byte> payload) {
  if (payload.size() > KernelOpReply::kMaxPayload) return std::nullopt;
  Reader reader(payload);
  KernelOpReply reply;
  reply.id = reader.u32();
  const std::uint8_t success = reader.u8();
  reply.success = success != 0;
  reply.reason = reader.string(KernelOpReply::kMaxReason);
  const std::size_t count = reader.u16();
  for (std::size_t i = 0; i < count && reader.ok(); ++i) {
    auto value = read_value(reader);
    if (!value) return std::nullopt;
    reply.values.push_back(std::move(*value));
  }
  if (!reader.complete() || reply.id == 0 || success > 1 || count > KernelOpRequest::kMaxEntries) return std::nullopt;
  return reply;
}

}  // namespace floe::vmm::wire
