// The line between a floe inside an outer machine and the floe outside that started it: the TLV wire over a virtio-serial port.
//
// The inner floe does the work; its folder, its output and its end are outside. So the inner one sends each append, each whole file,
// each line for the terminal and at last its exit code, and the outer one carries them out as they come. Signals travel over a port of
// their own, a byte each, and are delivered as signals by the outer machine's init. Nothing is kept back until the end, and nothing but
// floe itself and its wire codec is needed on either side (see docs/design/0003-outer-machine.md).
//
// An inner floe that has nothing to say says so once a second, from a thread of its own: whatever the run is busy with, silence means that
// the machine around it stands still.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "cli/control.hpp"
#include "cli/exit.hpp"
#include "cli/run_folder.hpp"
#include "vmm/wire.hpp"

namespace floe::cli::link {

inline constexpr const char* kPortName = "floe-link";
inline constexpr const char* kSignalPortName = "floe-signals";

// Inner to outer.
inline constexpr std::uint32_t kReady = vmm::wire::tag("LRDY");    // the inner floe is up
inline constexpr std::uint32_t kHello = vmm::wire::tag("LHEL");    // its guest said hello
inline constexpr std::uint32_t kAppend = vmm::wire::tag("LAPP");   // file name, then bytes
inline constexpr std::uint32_t kBegin = vmm::wire::tag("LBEG");    // file name: a whole file begins
inline constexpr std::uint32_t kData = vmm::wire::tag("LDAT");     // bytes of it
inline constexpr std::uint32_t kCommit = vmm::wire::tag("LCOM");   // and it is complete
inline constexpr std::uint32_t kAbandon = vmm::wire::tag("LABN");  // or never will be
inline constexpr std::uint32_t kStdout = vmm::wire::tag("LOUT");
inline constexpr std::uint32_t kStderr = vmm::wire::tag("LERR");
inline constexpr std::uint32_t kVerdict = vmm::wire::tag("LEXI");  // u32 code, reason
inline constexpr std::uint32_t kAlive = vmm::wire::tag("LALV");    // nothing else to say
inline constexpr std::uint32_t kAnswer = vmm::wire::tag("LANS");   // u32 id, text: of a request
// Outer to inner.
inline constexpr std::uint32_t kVerdictTaken = vmm::wire::tag("LTAK");  // everything has arrived: the machine may go
inline constexpr std::uint32_t kRequest = vmm::wire::tag("LREQ");       // u32 id, text: a line of the control socket
inline constexpr std::uint32_t kNudge = vmm::wire::tag("LNUD");         // nothing: its interrupt is all that is wanted

// A file of a run's folder, as it may be named over the link: no way out of the folder.
bool valid_name(std::string_view name);

// The inner side. One per process.
class LinkFolder final : public RunFolder {
 public:
  // Opens the port named kPortName. `shown_path`: what the folder is called outside.
  static Result<std::unique_ptr<LinkFolder>> open(std::string shown_path);
  ~LinkFolder() override;

  std::unique_ptr<freeze::FileSink> sink(const std::string& subfolder) override;
  void guest_said_hello() override { (void)send(kHello, {}); }
  const std::string& path() const override { return path_; }

  // Requests from outside, until the port fails: `handler` answers them.
  engine::task<> receive(RequestHandler handler);

  // Any thread: blocks while the outer side is slow.
  Result<> send(std::uint32_t type, std::span<const std::byte> payload);
  // The last of all. Waits until it has arrived: what the outer machine still holds when it powers off is lost. Blocks, for a bounded time.
  Result<> send_verdict(const Verdict& verdict);

 private:
  LinkFolder(UniqueFd port, std::string path) : port_(std::move(port)), path_(std::move(path)) {}
  engine::task<> write(Item item) override;
  void say_alive();
  Result<> send_locked(std::uint32_t type, std::span<const std::byte> payload);
  engine::task<> answer(std::uint32_t id, std::string request, RequestHandler handler);

  UniqueFd port_;
  std::string path_;
  std::mutex mutex_;  // one frame at a time
  vmm::wire::Encoder encoder_;
  std::vector<std::byte> frame_;
  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread alive_;
};

// The outer side: carries out what comes over `fd`, a stream socket whose other end is the port.
class LinkServer {
 public:
  LinkServer(int fd, RunFolder& folder) : fd_(fd), folder_(folder) {}

  // Until the other end closes. Files are written into the folder as they come.
  engine::task<> serve();

  // Interrupts the outer machine, once its floe is up; dropped where it does not keep up.
  void nudge();
  // A line of the control socket, answered by the inner floe, or by a refusal when that takes too long.
  engine::task<std::string> ask(std::string request);

  std::uint64_t heard_bytes() const { return heard_bytes_; }  // of whatever kind
  bool ready() const { return ready_; }                       // the inner floe reported in
  bool hello() const { return hello_; }                       // and so did its guest
  // The guest's console showed an oops whose EFLAGS has bits above 21 (ID): no CPU can have had them.
  bool impossible_flags() const { return impossible_flags_; }
  const std::optional<Verdict>& verdict() const { return verdict_; }
  bool manifest_written() const { return manifest_written_; }
  const vmm::wire::Decoder::Stats& stats() const { return decoder_.stats(); }

 private:
  void handle(const vmm::wire::Frame& frame);
  void append(std::span<const std::byte> payload);
  void begin(std::string name);
  void commit();
  void give_up(const Error& error);
  engine::task<> send(std::uint32_t type, std::vector<std::byte> payload);

  int fd_;
  RunFolder& folder_;
  vmm::wire::Decoder decoder_;
  vmm::wire::Encoder encoder_;
  std::unique_ptr<freeze::FileSink> file_;
  std::string name_;
  bool no_pages_ = false;  // the page file could not be written
  bool manifest_written_ = false;
  std::uint64_t heard_bytes_ = 0;
  bool ready_ = false;
  bool hello_ = false;
  bool impossible_flags_ = false;
  std::optional<Verdict> verdict_;
  std::uint32_t last_request_ = 0;
  // Whose answers are awaited, by id. Those who await them may outlive the line.
  using Asked = std::map<std::uint32_t, std::shared_ptr<engine::mailbox<std::string>>>;
  std::shared_ptr<Asked> asked_ = std::make_shared<Asked>();
};

// Whether a console text holds "EFLAGS: " with a value whose bits above 21 are set.
bool has_impossible_flags(std::string_view console);

// The device node of a named virtio port (/dev/vportNpM), found in sysfs.
Result<std::string> find_port(const std::string& name);

}  // namespace floe::cli::link
