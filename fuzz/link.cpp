// A hostile floe inside the outer machine: link frames of any type and content, in any order, over a socket. The outer side must end, name
// no file outside of its folder, and leave no file behind that was not committed.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cli/link.hpp"
#include "fuzz/input.hpp"

using namespace floe;
using namespace floe::cli;
namespace wire = floe::vmm::wire;

namespace {

constexpr std::size_t kMostStream = 64 << 10;  // fits into a socket's buffer, so that one thread can do both ends

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "link: %s\n", what);
  std::abort();
}

void check_name(std::string_view name) {
  require(!name.empty() && name.front() != '/' && name.front() != '.' && name.size() <= 256, "a file's name begins wrongly or is too long");
  require(name.find("..") == std::string_view::npos && name.find("//") == std::string_view::npos, "a file's name leaves the folder");
  for (const char c : name) require(c > ' ' && c < 0x7f, "a file's name has odd characters");
}

// A folder that is nowhere.
class Folder final : public RunFolder {
 public:
  std::unique_ptr<freeze::FileSink> sink(const std::string& subfolder) override {
    require(subfolder.empty(), "a subfolder was asked for by itself");
    return std::make_unique<Sink>(*this);
  }
  const std::string& path() const override { return path_; }
  std::uint64_t written() const { return written_; }

 private:
  class Sink final : public freeze::FileSink {
   public:
    explicit Sink(Folder& folder) : folder_(folder) {}
    Result<> begin(std::string_view name) override {
      check_name(name);
      require(!open_, "a second file begins before the first ended");
      if (name.size() % 16 == 7) return fail("no room");  // as a disk may say at any time
      open_ = true;
      return {};
    }
    Result<> append(std::span<const std::byte> bytes) override {
      require(open_, "bytes of a file that never began");
      folder_.written_ += bytes.size();
      if (bytes.size() % 16 == 7) return fail("no room");
      return {};
    }
    Result<> commit() override {
      require(open_, "the end of a file that never began");
      open_ = false;
      return {};
    }
    void abandon() override { open_ = false; }

   private:
    Folder& folder_;
    bool open_ = false;
  };

  engine::task<> write(Item item) override {
    if (item.kind == Item::Kind::kFile) check_name(item.file);
    written_ += item.bytes.size();
    co_return engine::ok;
  }

  std::string path_ = "nowhere";
  std::uint64_t written_ = 0;
};

constexpr std::array<std::uint32_t, 11> kTypes = {link::kReady,   link::kHello,  link::kAppend, link::kBegin,   link::kData, link::kCommit,
                                                  link::kAbandon, link::kStdout, link::kStderr, link::kVerdict, 0x41424344};

// The input is a script: a byte for the type and one for the length of each frame, then its payload. 'A' to 'C' behind the types give a
// well-formed append, begin or verdict around it; anything higher is that many raw bytes of the stream.
std::vector<std::byte> grow(fuzz::Input& input) {
  std::vector<std::byte> stream;
  wire::Encoder encoder;
  while (!input.empty() && stream.size() < kMostStream / 2) {
    const auto verb = input.take<std::uint8_t>();
    const auto body = std::as_bytes(input.take_bytes(input.take<std::uint8_t>()));
    if (verb < kTypes.size()) {
      require(encoder.encode(kTypes[verb], body, stream), "a short payload was refused");
    } else if (verb == 'A' || verb == 'C') {
      std::vector<std::byte> payload;
      wire::Writer writer(payload);
      if (verb == 'C') writer.u32(6);
      writer.string({reinterpret_cast<const char*>(body.data()), std::min<std::size_t>(body.size(), 12)});
      if (verb == 'A' && body.size() > 12) payload.insert(payload.end(), body.begin() + 12, body.end());
      require(encoder.encode(verb == 'A' ? link::kAppend : link::kVerdict, payload, stream), "a short payload was refused");
    } else {
      stream.insert(stream.end(), body.begin(), body.end());
    }
  }
  return stream;
}

engine::task<> serve(link::LinkServer& server, Folder& folder) {
  const auto served = co_await server.serve();
  folder.close();
  const auto written = co_await folder.serve();
  if (!served) co_return served.failure();
  if (!written) co_return written.failure();
  co_return engine::ok;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto loop = engine::loop::create().value();
  fuzz::Input input(data, size);
  const std::vector<std::byte> stream = grow(input);
  int pair[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "no socket");
  const UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  const int room = 4 * kMostStream;
  ::setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  require(::write(theirs.get(), stream.data(), stream.size()) == static_cast<ssize_t>(stream.size()), "the socket is too small");
  theirs.reset();

  Folder folder;
  link::LinkServer server(ours.get(), folder);
  require(loop->run(serve(server, folder)).has_value(), "the server failed");
  const auto& seen = server.stats();
  require(folder.written() <= seen.payload_bytes, "more was written than came");
  require(seen.garbage_bytes + seen.frames * wire::kHeaderBytes + seen.payload_bytes <= stream.size(), "bytes came from nowhere");
  return 0;
}
