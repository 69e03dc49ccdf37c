// What the host asks of the guest's init: start and signal processes, small files.
#include <algorithm>
#include <charconv>
#include <utility>

#include "vmm/requests.hpp"

namespace floe::vmm::wire {
namespace {

enum ActionKind : std::uint8_t { kStart = 1, kSignal, kMakeFolder, kRemoveFolder, kWrite, kRead, kAwait };
constexpr int kLeastNice = -20;
constexpr int kMostNice = 19;
constexpr std::uint8_t kMostSignal = 64;
constexpr std::uint32_t kMostCpu = 4095;

void write_words(Writer& writer, const std::vector<std::string>& words) {
  writer.u16(static_cast<std::uint16_t>(words.size()));
  for (const auto& word : words) writer.string(word);
}

std::vector<std::string> read_words(Reader& reader) {
  std::vector<std::string> words;
  const std::size_t count = reader.u16();
  for (std::size_t i = 0; i < count && reader.ok(); ++i) words.push_back(reader.string(ControlRequest::kMaxPayload));
  return words;
}

struct ActionWriter {
  Writer& writer;
  void operator()(const StartProcess& action) const {
    writer.u8(kStart);
    writer.u32(action.process);
    writer.u8(static_cast<std::uint8_t>(action.role));
    write_words(writer, action.argv);
    write_words(writer, action.environment);
    writer.string(action.cgroup);
    writer.string(action.cpus);
    writer.u8(static_cast<std::uint8_t>(action.nice));
  }
  void operator()(const SignalProcess& action) const {
    writer.u8(kSignal);
    writer.u32(action.process);
    writer.u8(action.signal);
  }
  void operator()(const MakeFolder& action) const {
    writer.u8(kMakeFolder);
    writer.string(action.path);
  }
  void operator()(const RemoveFolder& action) const {
    writer.u8(kRemoveFolder);
    writer.string(action.path);
  }
  void operator()(const WriteFile& action) const {
    writer.u8(kWrite);
    writer.string(action.path);
    writer.blob(action.data);
  }
  void operator()(const ReadFile& action) const {
    writer.u8(kRead);
    writer.string(action.path);
    writer.u32(action.limit);
  }
  void operator()(const AwaitFile& action) const {
    writer.u8(kAwait);
    writer.string(action.path);
    writer.string(action.prefix);
    writer.u32(action.timeout_ms);
  }
};

StartProcess read_start(Reader& reader) {
  StartProcess action;
  action.process = reader.u32();
  action.role = static_cast<StartProcess::Role>(reader.u8());
  action.argv = read_words(reader);
  action.environment = read_words(reader);
  action.cgroup = reader.string(ControlRequest::kMaxPath);
  action.cpus = reader.string(ControlRequest::kMaxCpus);
  action.nice = static_cast<std::int8_t>(reader.u8());
  return action;
}

std::optional<ControlAction> read_action(Reader& reader) {
  const auto path = [&reader] { return reader.string(ControlRequest::kMaxPath); };
  switch (reader.u8()) {
    case kStart:
      return read_start(reader);
    case kSignal: {
      SignalProcess action;
      action.process = reader.u32();
      action.signal = reader.u8();
      return action;
    }
    case kMakeFolder:
      return MakeFolder{path()};
    case kRemoveFolder:
      return RemoveFolder{path()};
    case kWrite: {
      WriteFile action;
      action.path = path();
      action.data = reader.blob(ControlRequest::kMaxPayload);
      return action;
    }
    case kRead: {
      ReadFile action;
      action.path = path();
      action.limit = reader.u32();
      return action;
    }
    case kAwait: {
      AwaitFile action;
      action.path = path();
      action.prefix = reader.string(ControlRequest::kMaxPrefix);
      action.timeout_ms = reader.u32();
      return action;
    }
    default:
      return std::nullopt;
  }
}

Result<> check_path(const std::string& path) {
  if (path.empty() || path.front() != '/' || path.size() > ControlRequest::kMaxPath || path.find('\0') != path.npos) {
    return fail("'" + std::string(cut_text(path, 80)) + "' is no absolute path of at most " + std::to_string(ControlRequest::kMaxPath) +
                " bytes");
  }
  return {};
}

Result<> check_cgroup(const std::string& path) {
  if (is_cgroup_path(path)) return {};
  return fail("cgroup '" + std::string(cut_text(path, 80)) + "': not a path like a/b below the guest's cgroup root");
}

Result<> check_words(const std::vector<std::string>& words, const char* what) {
  if (words.size() > ControlRequest::kMaxWords) {
    return fail(std::string(what) + ": " + std::to_string(words.size()) + " words, at most " + std::to_string(ControlRequest::kMaxWords));
  }
  for (const auto& word : words) {
    if (word.find('\0') != word.npos) return fail(std::string(what) + ": a word contains a NUL byte");
    if (word.size() > ControlRequest::kMaxPayload) return fail(std::string(what) + ": a word is too long");
  }
  return {};
}

struct ActionCheck {
  Result<> operator()(const StartProcess& action) const {
    if (action.process < kFirstProcess) return fail("process " + std::to_string(action.process) + " is reserved");
    if (action.role != StartProcess::Role::kScheduler && action.role != StartProcess::Role::kWorkload) return fail("an unknown role");
    if (action.argv.empty() || action.argv.front().empty()) return fail("no program is named");
    if (auto r = check_words(action.argv, "argv"); !r) return r;
    if (auto r = check_words(action.environment, "environment"); !r) return r;
    for (const auto& entry : action.environment) {
      const auto equals = entry.find('=');
      if (equals == 0 || equals == entry.npos) return fail("environment: '" + std::string(cut_text(entry, 80)) + "' is not NAME=value");
    }
    if (action.nice < kLeastNice || action.nice > kMostNice) {
      return fail("nice " + std::to_string(action.nice) + " is not " + std::to_string(kLeastNice) + " to " + std::to_string(kMostNice));
    }
    if (!action.cpus.empty() && !parse_cpu_list(action.cpus)) {
      return fail("'" + std::string(cut_text(action.cpus, 80)) + "' is no list of CPUs like 0-3,5");
    }
    return check_cgroup(action.cgroup);
  }
  Result<> operator()(const SignalProcess& action) const {
    if (action.process == 0) return fail("process 0");
    if (action.signal == 0 || action.signal > kMostSignal) return fail(std::to_string(action.signal) + " is no signal");
    return {};
  }
  Result<> operator()(const MakeFolder& action) const { return check_path(action.path); }
  Result<> operator()(const RemoveFolder& action) const { return check_path(action.path); }
  Result<> operator()(const WriteFile& action) const {
    if (action.data.size() > ControlRequest::kMaxPayload) return fail(action.path + ": too much to write at once");
    return check_path(action.path);
  }
  Result<> operator()(const ReadFile& action) const {
    if (action.limit == 0 || action.limit > ControlRequest::kMaxRead) {
      return fail(std::to_string(action.limit) + " bytes to read, not 1 to " + std::to_string(ControlRequest::kMaxRead));
    }
    return check_path(action.path);
  }
  Result<> operator()(const AwaitFile& action) const {
    if (action.prefix.size() > ControlRequest::kMaxPrefix) return fail("a content to await is longer than its bound");
    if (action.timeout_ms > ControlRequest::kMaxTimeoutMs) return fail("a deadline of more than an hour");
    return check_path(action.path);
  }
};

Result<> check(const ControlRequest& request) {
  if (request.id == 0) return fail("id 0");
  return std::visit(ActionCheck{}, request.action);
}

}  // namespace

bool is_cgroup_path(std::string_view path) {
  if (path.size() > ControlRequest::kMaxPath || path.find('\0') != path.npos || path.ends_with('/')) return false;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    if (name.empty() || name == "." || name == "..") return false;
    path.remove_prefix(std::min(path.size(), name.size() + 1));
  }
  return true;
}

std::optional<std::vector<std::uint32_t>> parse_cpu_list(std::string_view list) {
  std::vector<std::uint32_t> cpus;
  const auto number = [&list](std::uint32_t& value) {
    const auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), value);
    if (error != std::errc() || value > kMostCpu) return false;
    list.remove_prefix(static_cast<std::size_t>(end - list.data()));
    return true;
  };
  const auto skip = [&list](char c) {
    if (list.empty() || list.front() != c) return false;
    list.remove_prefix(1);
    return true;
  };
  do {
    std::uint32_t first = 0;
    if (!number(first)) return std::nullopt;
    std::uint32_t last = first;
    if (skip('-') && (!number(last) || last < first)) return std::nullopt;
    for (std::uint32_t cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (cpus.size() > 2 * std::size_t{kMostCpu}) return std::nullopt;
  } while (skip(','));
  if (!list.empty()) return std::nullopt;
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

Result<std::vector<std::byte>> encode(const ControlRequest& request) {
  if (auto r = check(request); !r) return fail(std::move(r.error()).within("request to the guest"));
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(request.id);
  std::visit(ActionWriter{writer}, request.action);
  if (out.size() > ControlRequest::kMaxPayload) {
    return fail("request to the guest: " + std::to_string(out.size()) + " bytes, at most " + std::to_string(ControlRequest::kMaxPayload) +
                " pass the wire at once");
  }
  return out;
}

std::optional<ControlRequest> decode_control_request(std::span<const std::byte> payload) {
  if (payload.size() > ControlRequest::kMaxPayload) return std::nullopt;
  Reader reader(payload);
  ControlRequest request;
  request.id = reader.u32();
  auto action = read_action(reader);
  if (!action || !reader.complete()) return std::nullopt;
  request.action = std::move(*action);
  if (!check(request)) return std::nullopt;
  return request;
}

std::vector<std::byte> encode(const ControlReply& reply) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(reply.id);
  writer.u32(static_cast<std::uint32_t>(reply.error));
  writer.string(cut_text(reply.reason, ControlReply::kMaxReason));
  writer.u32(reply.pid);
  writer.blob(std::span(reply.data).first(std::min<std::size_t>(reply.data.size(), ControlRequest::kMaxRead)));
  return out;
}

std::optional<ControlReply> decode_control_reply(std::span<const std::byte> payload) {
  Reader reader(payload);
  ControlReply reply;
  reply.id = reader.u32();
  reply.error = static_cast<std::int32_t>(reader.u32());
  reply.reason = reader.string(ControlReply::kMaxReason);
  reply.pid = reader.u32();
  reply.data = reader.blob(ControlRequest::kMaxRead);
  if (!reader.complete() || reply.id == 0) return std::nullopt;
  return reply;
}

std::vector<std::byte> encode(const ProcessEnd& end) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.u32(end.process);
  encode(end.outcome, out);
  return out;
}

std::optional<ProcessEnd> decode_process_end(std::span<const std::byte> payload) {
  constexpr std::size_t kNumberBytes = 4;
  if (payload.size() < kNumberBytes) return std::nullopt;
  const auto outcome = decode_outcome(payload.subspan(kNumberBytes));
  const std::uint32_t process = Reader(payload).u32();
  if (!outcome || process == 0) return std::nullopt;
  return ProcessEnd{process, *outcome};
}

}  // namespace floe::vmm::wire
