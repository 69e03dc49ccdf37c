// The way of any program in the guest to the host: a unix socket on which init takes snapshot requests and kernel operations, in frames of
// vmm/wire.hpp as on the port, and hands them on under ids of its own. floe-guest (floe_guest.hpp) is the program that speaks it.
//
// A request is answered, always: by the host, or after 30 s by init. The host's own limit is shorter, so such a silence means that
// nobody serves requests there, or that the port is dead. From then on requests are refused at once instead of costing 30 s each, until the
// host says anything at all, or a program asks to open the port anew (REOP).
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "vmm/guest/clock.hpp"
#include "vmm/guest/port.hpp"
#include "vmm/requests.hpp"

namespace floe::vmm::guest {

inline constexpr const char* kSocketPath = "/run/floe.sock";

class Relay {
 public:
  static constexpr std::size_t kMostClients = 64;  // more wait to be accepted
  static constexpr std::int64_t kAnswerMs = std::chrono::milliseconds(wire::kAnswerAwaited).count();
  static constexpr std::int64_t kIdleMs = 30'000;  // a client that asks for nothing
  // Requests go behind what the children print, also when that fills the port, until this much waits.
  static constexpr std::size_t kMostQueued = 4U << 20;

  using Clock = std::int64_t (*)();
  explicit Relay(Port& port, Clock clock = now_ms) : port_(port), clock_(clock) {}

  Result<> listen(const std::string& path = kSocketPath);

  // As in Processes. serve() looks at as many descriptors as add_fds() added.
  void add_fds(std::vector<pollfd>& fds) const;
  void serve(const pollfd* fds);
  // A frame from the host; whether it was one for here.
  bool take(const wire::Frame& frame);
  void expire();
  std::int64_t next_deadline() const;

 private:
  struct Client {
    Client(int socket, std::int64_t until) : fd(socket), decoder(kMostRequest), deadline(until) {}
    UniqueFd fd;
    wire::Decoder decoder;
    wire::Encoder encoder;
    std::vector<std::byte> out;  // from `written` on
    std::size_t written = 0;
    std::int64_t deadline;
    // The request that waits for its answer; 0: none.
    std::uint32_t type = 0;
    std::uint32_t own_id = 0;   // the client's
    std::uint32_t wire_id = 0;  // init's
    bool gone = false;
  };
  static constexpr std::size_t kMostRequest = wire::KernelOpRequest::kMaxPayload;

  void accept();
  void read(Client& client);
  void flush(Client& client);
  void handle(Client& client, const wire::Frame& frame);
  void hand_on(Client& client, const wire::Frame& frame);
  void reopen(Client& client);
  void reply(Client& client, std::uint32_t type, std::span<const std::byte> payload);
  void refuse(Client& client, std::uint32_t type, std::uint32_t id, const std::string& reason);
  void forget();

  Port& port_;
  Clock clock_;
  UniqueFd listener_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::uint32_t last_id_ = 0;
  bool dead_ = false;  // the host left a request without an answer
};

}  // namespace floe::vmm::guest
