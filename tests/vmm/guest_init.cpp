// The parts of the guest's init, on this machine: a socket pair in the place of the port, real processes, real files.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>

#include "tests/folder.hpp"
#include "vmm/guest/control.hpp"
#include "vmm/guest/relay.hpp"

using namespace floe;
using namespace floe::vmm;
using namespace floe::vmm::guest;

namespace {

using Bytes = std::vector<std::byte>;

struct Got {
  std::uint32_t type = 0;
  Bytes payload;
};

std::string text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Of the relays: as late as a test wants it to be.
std::int64_t ahead_ms = 0;
std::int64_t relay_clock() {
  return now_ms() + ahead_ms;
}

// What a port may be made of here. A terminal has a path, by which it is opened again.
enum class Wire { kSockets, kTerminal };

// Init's loop without its phases, and the host's end of the port.
class Guest {
 public:
  explicit Guest(Wire wire = Wire::kSockets) {
    ahead_ms = 0;
    if (wire == Wire::kTerminal) {
      open_terminal();
    } else {
      int ends[2];
      BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
      port = Port(UniqueFd(ends[0]));
      host_.reset(ends[1]);
    }
    const auto listening = relay.listen(socket_path());
    BOOST_REQUIRE_MESSAGE(listening.has_value(), (listening ? "" : listening.error().message));
  }

  std::string path(const char* name) const { return folder_.file(name); }
  std::string socket_path() const { return path("floe.sock"); }

  void send(std::uint32_t type, const Bytes& payload) {
    Bytes frame;
    BOOST_REQUIRE(encoder_.encode(type, payload, frame));
    write(frame);
  }
  void write(std::span<const std::byte> bytes) {
    BOOST_REQUIRE(::write(host_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  wire::ControlReply ask(const wire::ControlAction& action) {
    send(wire::kControlRequest, wire::encode(wire::ControlRequest{++last_id_, action}).value());
    const auto reply = wire::decode_control_reply(next(wire::kControlReply).payload);
    BOOST_REQUIRE(reply.has_value());
    BOOST_TEST(reply->id == last_id_);
    return *reply;
  }
  // The next frame of that type, with the loop going round until it is there. Others are kept.
  Got next(std::uint32_t type) {
    for (const std::int64_t until = now_ms() + 20'000; now_ms() < until; turn()) {
      for (auto got = kept.begin(); got != kept.end(); ++got) {
        if (got->type != type) continue;
        Got found = std::move(*got);
        kept.erase(got);
        return found;
      }
    }
    BOOST_FAIL("no " << wire::tag_name(type) << " within 20 s");
    return {};
  }
  void turn() {
    for (const auto& line : processes.reap()) log.push_back(line);
    processes.report();
    control.look();
    relay.expire();
    port.flush();
    std::vector<pollfd> fds = {{port.poll_fd(), POLLIN, 0}};
    processes.add_fds(fds, true);
    const std::size_t clients = fds.size();
    relay.add_fds(fds);
    ::poll(fds.data(), fds.size(), 5);
    processes.serve(fds.data() + 1);
    relay.serve(fds.data() + clients);
    port.receive();
    while (const auto frame = port.next()) {
      if (!relay.take(*frame) && frame->type == wire::kControlRequest) control.handle(frame->payload);
    }
    port.flush();
    std::byte buffer[4096];
    for (ssize_t length; (length = ::read(host_.get(), buffer, sizeof buffer)) > 0;)
      decoder_.feed({buffer, static_cast<std::size_t>(length)});
    while (const auto frame = decoder_.next()) kept.push_back({frame->type, Bytes(frame->payload.begin(), frame->payload.end())});
  }

  Port port;
  Processes processes{port};
  Control control{port, processes};
  Relay relay{port, relay_clock};
  std::vector<std::string> log;
  std::vector<Got> kept;

 private:
  void open_terminal() {
    host_.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    BOOST_REQUIRE(host_);
    BOOST_REQUIRE(::grantpt(host_.get()) == 0 && ::unlockpt(host_.get()) == 0);
    const std::string path = ::ptsname(host_.get());
    UniqueFd guest(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    termios as_it_is{};
    BOOST_REQUIRE(::tcgetattr(guest.get(), &as_it_is) == 0);
    ::cfmakeraw(&as_it_is);
    BOOST_REQUIRE(::tcsetattr(guest.get(), TCSANOW, &as_it_is) == 0);
    port = Port(std::move(guest), path);
  }

  test::Folder folder_;
  UniqueFd host_;
  wire::Encoder encoder_;
  wire::Decoder decoder_;
  std::uint32_t last_id_ = 0;
};

wire::StartProcess shell(std::uint32_t process, const std::string& script) {
  wire::StartProcess start;
  start.process = process;
  start.argv = {"sh", "-c", script};
  return start;
}

// A program that asks through the socket.
class Client {
 public:
  explicit Client(const Guest& guest) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    guest.socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    BOOST_REQUIRE(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  void send(std::uint32_t type, const Bytes& payload) {
    Bytes frame;
    BOOST_REQUIRE(encoder_.encode(type, payload, frame));
    BOOST_REQUIRE(::write(fd_.get(), frame.data(), frame.size()) == static_cast<ssize_t>(frame.size()));
  }
  void ask_for_snapshot(std::uint32_t id, const char* tag) {
    send(wire::kSnapshotRequest, wire::encode(wire::SnapshotRequest{id, wire::SnapshotRequest::kCapture, tag}).value());
  }
  Got answer(Guest& guest) {
    std::byte buffer[4096];
    for (const std::int64_t until = now_ms() + 20'000; now_ms() < until; guest.turn()) {
      const auto length = ::read(fd_.get(), buffer, sizeof buffer);
      if (length > 0) decoder_.feed({buffer, static_cast<std::size_t>(length)});
      if (const auto frame = decoder_.next()) return {frame->type, Bytes(frame->payload.begin(), frame->payload.end())};
      if (length == 0) return {};  // hung up
    }
    BOOST_FAIL("no answer within 20 s");
    return {};
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  wire::Encoder encoder_;
  wire::Decoder decoder_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(guest_init)

BOOST_AUTO_TEST_CASE(a_process_is_started_heard_and_its_end_is_told_once) {
  Guest guest;
  guest.control.set_environment({"PATH=/usr/bin:/bin", "A=run", "B=run"});
  auto start = shell(16, "echo $A $B; echo oops >&2; nice; exit 3");
  start.environment = {"B=own"};
  start.nice = 5;
  const auto reply = guest.ask(start);
  BOOST_TEST(reply.error == 0, reply.reason);
  BOOST_TEST(reply.pid > 1u);
  const auto end = wire::decode_process_end(guest.next(wire::kProcessEnd).payload);
  BOOST_REQUIRE(end.has_value());
  BOOST_TEST((*end == wire::ProcessEnd{16, {wire::Outcome::Kind::kExited, 3}}));
  // All it wrote came before.
  std::string out, err;
  for (const Got& got : guest.kept) {
    if (got.type == wire::kWorkloadOut) out += text_of(got.payload);
    if (got.type == wire::kWorkloadErr) err += text_of(got.payload);
  }
  BOOST_TEST(out == "run own\n5\n");
  BOOST_TEST(err == "oops\n");
  for (int i = 0; i < 5; ++i) guest.turn();
  for (const Got& got : guest.kept) BOOST_TEST(got.type != wire::kProcessEnd);
  BOOST_TEST(guest.ask(shell(16, "exit 0")).error == 0);  // the number is free again
  BOOST_TEST(guest.processes.all_quiet() == false);
}

BOOST_AUTO_TEST_CASE(what_a_scheduler_prints_is_told_apart) {
  Guest guest;
  auto start = shell(20, "echo loaded");
  start.role = wire::StartProcess::Role::kScheduler;
  BOOST_TEST(guest.ask(start).error == 0);
  BOOST_TEST(text_of(guest.next(wire::kSchedulerOut).payload) == "loaded\n");
}

BOOST_AUTO_TEST_CASE(processes_run_side_by_side_on_their_cpus_and_end_by_signals) {
  Guest guest;
  auto pinned = shell(30, "grep Cpus_allowed_list /proc/self/status; exec sleep 1000");
  pinned.cpus = "0";
  BOOST_TEST(guest.ask(pinned).error == 0);
  BOOST_TEST(guest.ask(shell(31, "exec sleep 1000")).error == 0);
  BOOST_TEST(text_of(guest.next(wire::kWorkloadOut).payload) == "Cpus_allowed_list:\t0\n");
  BOOST_TEST(guest.ask(shell(31, "exit 0")).error == EEXIST);
  BOOST_TEST(guest.ask(wire::SignalProcess{31, SIGKILL}).error == 0);
  const auto killed = wire::decode_process_end(guest.next(wire::kProcessEnd).payload);
  BOOST_TEST((killed == wire::ProcessEnd{31, {wire::Outcome::Kind::kSignalled, SIGKILL}}));
  BOOST_TEST(guest.ask(wire::SignalProcess{31, SIGKILL}).error == ESRCH);
  BOOST_TEST(guest.ask(wire::SignalProcess{30, SIGTERM}).error == 0);
  BOOST_TEST(wire::decode_process_end(guest.next(wire::kProcessEnd).payload)->process == 30u);
  guest.turn();
  BOOST_TEST(guest.processes.all_quiet());
  BOOST_TEST(guest.log.size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_start_that_fails_says_what_could_not_be_done_and_has_no_end) {
  Guest guest;
  auto start = shell(16, "exit 0");
  start.argv = {"/nonexistent/program"};
  auto reply = guest.ask(start);
  BOOST_TEST(reply.error == ENOENT);
  BOOST_TEST(reply.reason.find("cannot execute /nonexistent/program") != std::string::npos, reply.reason);
  start = shell(16, "exit 0");
  start.cgroup = "floe-test-that-is-not-there/x";
  reply = guest.ask(start);
  BOOST_TEST(reply.reason.find("cannot join cgroup floe-test-that-is-not-there/x") != std::string::npos, reply.reason);
  start = shell(16, "exit 0");
  start.cpus = "4095";
  BOOST_TEST(guest.ask(start).reason.find("cannot run on these CPUs") != std::string::npos);
  BOOST_TEST(guest.ask(shell(16, "exit 0")).error == 0);
  BOOST_TEST(wire::decode_process_end(guest.next(wire::kProcessEnd).payload)->outcome.code == 0);
}

BOOST_AUTO_TEST_CASE(small_files_are_made_written_read_and_removed) {
  Guest guest;
  const std::string folder = guest.path("a") + "/b/c";
  BOOST_TEST(guest.ask(wire::MakeFolder{folder}).error == 0);
  BOOST_TEST(guest.ask(wire::MakeFolder{folder}).error == 0);
  const std::string file = folder + "/f";
  const auto bytes = std::as_bytes(std::span(std::string_view("0123456789")));
  BOOST_TEST(guest.ask(wire::WriteFile{file, {bytes.begin(), bytes.end()}}).error == 0);
  BOOST_TEST(text_of(guest.ask(wire::ReadFile{file, 4}).data) == "0123");
  BOOST_TEST(text_of(guest.ask(wire::ReadFile{file, 4096}).data) == "0123456789");
  BOOST_TEST(guest.ask(wire::RemoveFolder{folder}).error == ENOTEMPTY);
  ::unlink(file.c_str());
  BOOST_TEST(guest.ask(wire::RemoveFolder{folder}).error == 0);
  BOOST_TEST(guest.ask(wire::RemoveFolder{folder}).error == 0);
  const auto missing = guest.ask(wire::ReadFile{file, 4});
  BOOST_TEST(missing.error == ENOENT);
  BOOST_TEST(missing.reason.find(file) != std::string::npos);
  const std::string fifo = guest.path("fifo");
  BOOST_REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  BOOST_TEST(guest.ask(wire::WriteFile{fifo, {}}).error == ENXIO);  // and init does not hang in open(2)
}

BOOST_AUTO_TEST_CASE(a_file_is_awaited_beside_everything_else) {
  Guest guest;
  const std::string file = guest.path("state");
  std::ofstream(file) << "enabling\n";
  guest.send(wire::kControlRequest, wire::encode(wire::ControlRequest{500, wire::AwaitFile{file, "enabled", 10'000}}).value());
  BOOST_TEST(guest.ask(wire::ReadFile{file, 64}).error == 0);
  std::ofstream(file) << "enabled\n";
  const auto reply = wire::decode_control_reply(guest.next(wire::kControlReply).payload);
  BOOST_REQUIRE(reply.has_value());
  BOOST_TEST(reply->id == 500u);
  BOOST_TEST(text_of(reply->data) == "enabled\n");
  const auto late = guest.ask(wire::AwaitFile{file, "disabled", 30});
  BOOST_TEST(late.error == ETIMEDOUT);
  BOOST_TEST(late.reason == file + " does not begin with 'disabled' after 30 ms: it holds 'enabled'");
  BOOST_TEST(guest.ask(wire::AwaitFile{guest.path("none"), "", 0}).error == ETIMEDOUT);
}

BOOST_AUTO_TEST_CASE(programs_reach_the_host_under_ids_of_init) {
  Guest guest;
  Client one(guest), two(guest);
  one.ask_for_snapshot(1, "a");
  two.ask_for_snapshot(1, "b");
  const auto first = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  const auto second = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  BOOST_TEST(first.id != second.id);
  const auto& of_a = first.tag == "a" ? first : second;
  const auto& of_b = first.tag == "a" ? second : first;
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{of_b.id, wire::SnapshotReply::kError, "no"}));
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{999, wire::SnapshotReply::kOk, ""}));  // nobody's
  guest.send(wire::kSnapshotReply, Bytes(3));                                                              // too short for an id
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{of_a.id, wire::SnapshotReply::kOk, ""}));
  BOOST_TEST((wire::decode_snapshot_reply(two.answer(guest).payload) == wire::SnapshotReply{1, wire::SnapshotReply::kError, "no"}));
  BOOST_TEST((wire::decode_snapshot_reply(one.answer(guest).payload) == wire::SnapshotReply{1, wire::SnapshotReply::kOk, ""}));

  wire::KernelOpRequest op;
  op.id = 77;
  op.entries = {{wire::SymbolTarget{"jiffies"}, std::uint64_t{0}}};
  one.send(wire::kKernelOpRequest, wire::encode(op).value());
  const auto request = wire::decode_kernel_op_request(guest.next(wire::kKernelOpRequest).payload).value();
  guest.send(wire::kKernelOpReply, wire::encode(wire::KernelOpReply{request.id, true, "", {std::uint64_t{42}}}));
  BOOST_TEST((wire::decode_kernel_op_reply(one.answer(guest).payload) == wire::KernelOpReply{77, true, "", {std::uint64_t{42}}}));
}

constexpr std::int64_t kTooLong = Relay::kAnswerMs + 1;

// Whoever waits longer than floe ever takes has a dead port before it; the next do not wait for that again. An error is no silence.
BOOST_AUTO_TEST_CASE(after_a_silence_requests_are_refused_at_once_until_the_host_says_anything) {
  Guest guest;
  Client refused(guest);
  refused.ask_for_snapshot(1, "a");
  const auto first = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{first.id, wire::SnapshotReply::kError, "no"}));
  BOOST_TEST(wire::decode_snapshot_reply(refused.answer(guest).payload)->reason == "no");
  refused.ask_for_snapshot(2, "b");  // goes out all the same
  const auto silent = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  ahead_ms = kTooLong;
  const auto none = wire::decode_snapshot_reply(refused.answer(guest).payload).value();
  BOOST_TEST(none.id == 2u);
  BOOST_TEST(none.status == wire::SnapshotReply::kNoAnswer);
  BOOST_TEST(none.reason == "no answer from floe within 30 s");

  Client next(guest);
  next.ask_for_snapshot(7, "c");
  const auto at_once = wire::decode_snapshot_reply(next.answer(guest).payload).value();
  BOOST_TEST(at_once.id == 7u);
  BOOST_TEST(at_once.reason.find("floe left an earlier request without an answer") == 0u, at_once.reason);
  wire::KernelOpRequest op;
  op.id = 8;
  op.entries = {{wire::SymbolTarget{"jiffies"}, std::uint64_t{0}}};
  next.send(wire::kKernelOpRequest, wire::encode(op).value());
  BOOST_TEST(!wire::decode_kernel_op_reply(next.answer(guest).payload)->success);
  for (const Got& got : guest.kept) BOOST_TEST_ERROR(wire::tag_name(got.type) << " went out");

  // Late, but there: it is nobody's answer any more, and the port is none that is dead.
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{silent.id, wire::SnapshotReply::kOk, ""}));
  for (int i = 0; i < 5; ++i) guest.turn();
  next.ask_for_snapshot(9, "d");
  const auto request = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  BOOST_TEST(request.id != silent.id);
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{silent.id, wire::SnapshotReply::kOk, ""}));
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{request.id, wire::SnapshotReply::kError, "its own"}));
  BOOST_TEST((wire::decode_snapshot_reply(next.answer(guest).payload) == wire::SnapshotReply{9, wire::SnapshotReply::kError, "its own"}));
}

// The port is opened anew, and what was on its way then does no harm.
BOOST_AUTO_TEST_CASE(a_dead_port_is_opened_again_when_a_program_asks_for_it) {
  Guest guest(Wire::kTerminal);
  Client client(guest);
  client.ask_for_snapshot(1, "a");
  guest.next(wire::kSnapshotRequest);
  guest.write(Bytes(20, std::byte{0x46}));  // the host died in the middle of a frame
  ahead_ms = kTooLong;
  BOOST_TEST(wire::decode_snapshot_reply(client.answer(guest).payload)->reason.find("no answer from floe") == 0u);
  client.ask_for_snapshot(2, "b");
  BOOST_TEST(wire::decode_snapshot_reply(client.answer(guest).payload)->status == wire::SnapshotReply::kNoAnswer);
  client.send(wire::kReopen, {});
  BOOST_TEST(wire::decode_snapshot_reply(client.answer(guest).payload)->status == wire::SnapshotReply::kOk);
  client.ask_for_snapshot(3, "c");
  const auto request = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  BOOST_TEST(request.tag == "c");
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{request.id, wire::SnapshotReply::kOk, ""}));
  BOOST_TEST((wire::decode_snapshot_reply(client.answer(guest).payload) == wire::SnapshotReply{3, wire::SnapshotReply::kOk, ""}));
}

BOOST_AUTO_TEST_CASE(a_port_that_cannot_be_opened_again_stays_dead_and_says_why) {
  Guest guest;  // a socket has no path
  Client client(guest);
  client.ask_for_snapshot(1, "a");
  guest.next(wire::kSnapshotRequest);
  ahead_ms = kTooLong;
  client.answer(guest);
  client.send(wire::kReopen, {});
  const auto refused = wire::decode_snapshot_reply(client.answer(guest).payload).value();
  BOOST_TEST(refused.status == wire::SnapshotReply::kNoAnswer);
  BOOST_TEST(!refused.reason.empty());
  client.ask_for_snapshot(2, "b");
  BOOST_TEST(wire::decode_snapshot_reply(client.answer(guest).payload)->reason.find("without an answer") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_client_that_leaves_or_talks_nonsense_costs_nobody_else) {
  Guest guest;
  Client leaver(guest), babbler(guest), other(guest);
  leaver.ask_for_snapshot(1, "left");
  const auto left = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  leaver.close();
  babbler.send(wire::kSnapshotRequest, Bytes(7));
  BOOST_TEST(babbler.answer(guest).type == 0u);  // hung up
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{left.id, wire::SnapshotReply::kOk, ""}));
  other.ask_for_snapshot(5, "x");
  const auto request = wire::decode_snapshot_request(guest.next(wire::kSnapshotRequest).payload).value();
  guest.send(wire::kSnapshotReply, wire::encode(wire::SnapshotReply{request.id, wire::SnapshotReply::kOk, ""}));
  BOOST_TEST(wire::decode_snapshot_reply(other.answer(guest).payload)->id == 5u);
}

BOOST_AUTO_TEST_SUITE_END()
