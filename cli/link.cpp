#include "cli/link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.hpp"

namespace floe::cli::link {
namespace {

namespace wire = vmm::wire;

constexpr std::size_t kMostFileFrame = 1u << 20;
constexpr std::size_t kMostName = 256;
constexpr auto kAliveEvery = std::chrono::seconds(1);
constexpr auto kTakenLimit = std::chrono::seconds(20);
constexpr auto kAnswerLimit = std::chrono::seconds(50);  // less than whoever asks at the socket waits

class LinkSink final : public freeze::FileSink {
 public:
  LinkSink(LinkFolder& link, const std::string& subfolder) : link_(link), prefix_(subfolder.empty() ? "" : subfolder + "/") {}
  Result<> begin(std::string_view name) override { return link_.send(kBegin, as_bytes(prefix_ + std::string(name))); }
  Result<> append(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kMostFileFrame));
      const auto sent = link_.send(kData, piece);
      if (!sent) return sent;
      bytes = bytes.subspan(piece.size());
    }
    return {};
  }
  Result<> commit() override { return link_.send(kCommit, {}); }
  void abandon() override { (void)link_.send(kAbandon, {}); }

 private:
  LinkFolder& link_;
  std::string prefix_;
};

}  // namespace

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > kMostName || name.front() == '/' || name.front() == '.') return false;
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == '/';
  };
  return std::all_of(name.begin(), name.end(), plain) && name.find("..") == std::string_view::npos &&
         name.find("//") == std::string_view::npos;
}

bool has_impossible_flags(std::string_view console) {
  constexpr std::string_view kMark = "EFLAGS: ";
  for (auto at = console.find(kMark); at != std::string_view::npos; at = console.find(kMark, at + 1)) {
    const std::string digits(console.substr(at + kMark.size(), 8));
    if (std::strtoul(digits.c_str(), nullptr, 16) >> 22) return true;
  }
  return false;
}

Result<std::string> find_port(const std::string& name) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/virtio-ports", error)) {
    const auto given = read_text((entry.path() / "name").string());
    if (given && given->substr(0, given->find('\n')) == name) return "/dev/" + entry.path().filename().string();
  }
  return fail(Error(ENOENT, "no virtio port named " + name));
}

Result<std::unique_ptr<LinkFolder>> LinkFolder::open(std::string shown_path) {
  const auto node = find_port(kPortName);
  if (!node) return fail(node.error());
  UniqueFd port(::open(node->c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!port) return fail_errno(errno, *node);
  auto folder = std::unique_ptr<LinkFolder>(new LinkFolder(std::move(port), std::move(shown_path)));
  const auto ready = folder->send(kReady, {});
  if (!ready) return fail(ready.error());
  folder->alive_ = std::thread(&LinkFolder::say_alive, folder.get());
  return folder;
}

LinkFolder::~LinkFolder() {
  {
    const std::lock_guard lock(stop_mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  if (alive_.joinable()) alive_.join();
}

void LinkFolder::say_alive() {
  std::unique_lock stop(stop_mutex_);
  while (!stop_changed_.wait_for(stop, kAliveEvery, [this] { return stop_; })) {
    stop.unlock();
    // Who holds it is saying something.
    if (const std::unique_lock line(mutex_, std::try_to_lock); line) (void)send_locked(kAlive, {});
    stop.lock();
  }
}

std::unique_ptr<freeze::FileSink> LinkFolder::sink(const std::string& subfolder) {
  return std::make_unique<LinkSink>(*this, subfolder);
}

Result<> LinkFolder::send(std::uint32_t type, std::span<const std::byte> payload) {
  const std::lock_guard lock(mutex_);
  return send_locked(type, payload);
}

Result<> LinkFolder::send_locked(std::uint32_t type, std::span<const std::byte> payload) {
  frame_.clear();
  if (!encoder_.encode(type, payload, frame_))
    return fail("a message of " + std::to_string(payload.size()) + " bytes is too long for the link");
  std::span<const std::byte> left = frame_;
  while (!left.empty()) {
    const auto put = ::write(port_.get(), left.data(), left.size());
    if (put > 0) {
      left = left.subspan(static_cast<std::size_t>(put));
      continue;
    }
    if (put < 0 && errno != EAGAIN && errno != EINTR) return fail_errno(errno, "writing to the host outside");
    pollfd wait{port_.get(), POLLOUT, 0};
    ::poll(&wait, 1, 1000);
  }
  return {};
}

Result<> LinkFolder::send_verdict(const Verdict& verdict) {
  std::vector<std::byte> payload;
  wire::Writer writer(payload);
  writer.u32(static_cast<std::uint32_t>(verdict.code));
  writer.string(verdict.reason);
  const auto sent = send(kVerdict, payload);
  if (!sent) return sent;
  wire::Decoder decoder;
  std::array<std::byte, 512> buffer;
  const auto until = std::chrono::steady_clock::now() + kTakenLimit;
  while (std::chrono::steady_clock::now() < until) {
    pollfd wait{port_.get(), POLLIN, 0};
    ::poll(&wait, 1, 1000);
    const auto got = ::read(port_.get(), buffer.data(), buffer.size());
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) break;
    if (got > 0) decoder.feed(std::span(buffer).first(static_cast<std::size_t>(got)));
    while (const auto frame = decoder.next())
      if (frame->type == kVerdictTaken) return {};
  }
  return fail("the host outside did not say that it has the verdict");
}

engine::task<> LinkFolder::write(Item item) {
  Result<> sent;
  if (item.kind == Item::Kind::kFile) {
    std::vector<std::byte> payload;
    wire::Writer(payload).string(item.file);
    payload.insert(payload.end(), item.bytes.begin(), item.bytes.end());
    sent = send(kAppend, payload);
  } else {
    sent = send(item.kind == Item::Kind::kOut ? kStdout : kStderr, item.bytes);
  }
  co_return sent;
}

engine::task<> LinkFolder::receive(RequestHandler handler) {
  engine::scope answers("requests from outside", engine::errors::collect);
  wire::Decoder decoder;
  std::array<std::byte, 512> buffer;
  for (;;) {
    const auto readable = co_await engine::poll(port_.get(), POLLIN);
    if (!readable) break;
    const auto got = ::read(port_.get(), buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) break;
    decoder.feed(std::span(buffer).first(static_cast<std::size_t>(got)));
    while (const auto frame = decoder.next()) {
      if (frame->type != kRequest) continue;
      wire::Reader reader(frame->payload);
      const std::uint32_t number = reader.u32();
      const std::string request = reader.string(ControlServer::kMostLine);
      if (reader.ok()) answers.spawn(answer(number, request, handler), "request from outside");
    }
  }
  answers.request_stop();
  const auto answered = co_await answers.join();
  (void)answered;
  co_return engine::ok;
}

engine::task<> LinkFolder::answer(std::uint32_t id, std::string request, RequestHandler handler) {
  auto asking = handler(std::move(request));
  const auto answered = co_await engine::shielded(std::move(asking));
  std::vector<std::byte> payload;
  wire::Writer writer(payload);
  writer.u32(id);
  writer.string(answered ? *answered : refusal("the run is ending"));
  (void)send(kAnswer, payload);
  co_return engine::ok;
}

engine::task<> LinkServer::serve() {
  std::vector<std::byte> buffer(256u << 10);
  engine::outcome<> ended;
  for (;;) {
    const auto got = co_await engine::recv(fd_, buffer);
    if (!got) ended = got.failure();
    if (!got || *got == 0) break;
    heard_bytes_ += *got;
    decoder_.feed(std::span(buffer).first(*got));
    while (const auto frame = decoder_.next()) handle(*frame);
  }
  for (const auto& [id, answer] : *asked_) answer->post(refusal("the run has ended"));
  co_return std::move(ended);
}

engine::task<> LinkServer::send(std::uint32_t type, std::vector<std::byte> payload) {
  std::vector<std::byte> frame;
  if (!encoder_.encode(type, payload, frame)) co_return engine::ok;
  const auto sent = co_await engine::write_all(fd_, frame);
  if (!sent) co_return sent.failure();
  co_return engine::ok;
}

void LinkServer::nudge() {
  std::vector<std::byte> frame;
  if (ready_ && encoder_.encode(kNudge, {}, frame)) (void)::send(fd_, frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

engine::task<std::string> LinkServer::ask(std::string request) {
  if (!ready_) co_return refusal("the run has not begun yet");
  const std::uint32_t id = ++last_request_;
  std::vector<std::byte> payload;
  wire::Writer writer(payload);
  writer.u32(id);
  writer.string(request);
  const auto asked = asked_;
  const auto answer = std::make_shared<engine::mailbox<std::string>>();
  asked->emplace(id, answer);
  auto sending = send(kRequest, std::move(payload));
  const auto sent = co_await std::move(sending);
  if (!sent) {
    asked->erase(id);
    co_return refusal("the run has ended");
  }
  const auto receive = [](std::shared_ptr<engine::mailbox<std::string>> from) -> engine::task<std::string> {
    auto got = co_await from->receive();
    co_return std::move(got);
  };
  auto receiving = receive(answer);
  auto got = co_await engine::with_timeout(std::move(receiving), kAnswerLimit);
  asked->erase(id);
  if (!got) co_return refusal("the run inside the outer machine did not answer");
  co_return std::move(*got);
}

void LinkServer::append(std::span<const std::byte> payload) {
  wire::Reader reader(payload);
  const std::string name = reader.string(kMostName);
  if (!reader.ok() || !valid_name(name)) return;
  const auto bytes = payload.subspan(2 + name.size());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (name == artefact::kConsole && has_impossible_flags(text)) impossible_flags_ = true;
  folder_.append(name, bytes);
}

// What cannot be written is told; without their page file the snapshots would be useless.
void LinkServer::begin(std::string name) {
  file_.reset();
  if (!valid_name(name) || (no_pages_ && name.starts_with(std::string(artefact::kSnapshots) + "/"))) return;
  name_ = std::move(name);
  file_ = folder_.sink("");
  if (const auto begun = file_->begin(name_); !begun) give_up(begun.error());
}

void LinkServer::commit() {
  if (!file_) return;
  if (const auto committed = file_->commit(); !committed) return give_up(committed.error());
  if (name_ == artefact::kManifest) manifest_written_ = true;
  file_.reset();
}

void LinkServer::give_up(const Error& error) {
  folder_.note_error(error.message);
  if (name_ == std::string(artefact::kSnapshots) + "/" + freeze::kPageFileName) no_pages_ = true;
  file_->abandon();
  file_.reset();
}

void LinkServer::handle(const wire::Frame& frame) {
  const auto* text = reinterpret_cast<const char*>(frame.payload.data());
  switch (frame.type) {
    case kReady:
      ready_ = true;
      break;
    case kHello:
      hello_ = true;
      break;
    case kAppend:
      append(frame.payload);
      break;
    case kBegin:
      begin(std::string(text, frame.payload.size()));
      break;
    case kData:
      if (!file_) break;
      if (const auto appended = file_->append(frame.payload); !appended) give_up(appended.error());
      break;
    case kCommit:
      commit();
      break;
    case kAbandon:
      if (file_) file_->abandon();
      file_.reset();
      break;
    case kStdout:
      folder_.print(RunFolder::Stream::kOut, frame.payload);
      break;
    case kStderr:
      folder_.print(RunFolder::Stream::kErr, frame.payload);
      break;
    case kAnswer: {
      wire::Reader reader(frame.payload);
      const auto asked = asked_->find(reader.u32());
      std::string answer = reader.string(ControlServer::kMostLine);
      if (reader.ok() && asked != asked_->end()) asked->second->post(std::move(answer));
      break;
    }
    case kVerdict: {
      wire::Reader reader(frame.payload);
      Verdict verdict;
      verdict.code = static_cast<Exit>(reader.u32());
      verdict.reason = reader.string(65535);
      if (reader.ok()) verdict_ = std::move(verdict);
      // The other end may be gone already, and does not wait for long.
      std::vector<std::byte> taken;
      if (verdict_ && encoder_.encode(kVerdictTaken, {}, taken)) (void)::send(fd_, taken.data(), taken.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      break;
    }
    default:
      break;
  }
}

}  // namespace floe::cli::link
