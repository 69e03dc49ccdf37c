#include "vmm/guest/relay.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

namespace floe::vmm::guest {
namespace {

constexpr std::size_t kIdBytes = 4;

std::uint32_t id_of(std::span<const std::byte> payload) {
  return wire::Reader(payload).u32();
}

// The same message under another id: they all begin with it.
std::vector<std::byte> renumbered(std::span<const std::byte> payload, std::uint32_t id) {
  std::vector<std::byte> out;
  wire::Writer(out).u32(id);
  out.insert(out.end(), payload.begin() + kIdBytes, payload.end());
  return out;
}

}  // namespace

Result<> Relay::listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(Error(ENAMETOOLONG, path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_) return fail_errno(errno, "socket");
  ::unlink(path.c_str());
  const int socket = listener_.get();
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && ::chmod(path.c_str(), 0666) == 0 &&
      ::listen(socket, static_cast<int>(kMostClients)) == 0)
    return {};
  const int error = errno;
  listener_.reset();
  return fail_errno(error, path);
}

void Relay::add_fds(std::vector<pollfd>& fds) const {
  fds.push_back({clients_.size() < kMostClients ? listener_.get() : -1, POLLIN, 0});
  for (const auto& client : clients_) {
    // One request at a time: what follows stays in the socket.
    const bool reads = client->type == 0 && client->out.empty();
    fds.push_back({client->fd.get(), static_cast<short>((reads ? POLLIN : 0) | (client->out.empty() ? 0 : POLLOUT)), 0});
  }
}

void Relay::serve(const pollfd* fds) {
  const std::size_t known = clients_.size();
  if (fds[0].revents != 0) accept();
  for (std::size_t i = 0; i < known; ++i) {
    Client& client = *clients_[i];
    const short events = fds[i + 1].revents;
    if ((events & POLLIN) != 0) read(client);
    if ((events & POLLOUT) != 0) flush(client);
    if ((events & (POLLERR | POLLHUP)) != 0 && (events & POLLIN) == 0) client.gone = true;
  }
  forget();
}

void Relay::accept() {
  while (clients_.size() < kMostClients) {
    const int socket = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0 && errno == EINTR) continue;
    if (socket < 0) return;
    clients_.push_back(std::make_unique<Client>(socket, clock_() + kIdleMs));
  }
}

void Relay::read(Client& client) {
  std::byte buffer[16 << 10];
  while (client.type == 0 && !client.gone) {
    if (const auto frame = client.decoder.next()) {
      handle(client, *frame);
      continue;
    }
    const auto length = ::read(client.fd.get(), buffer, sizeof buffer);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
      client.gone = true;
      return;
    }
    client.decoder.feed({buffer, static_cast<std::size_t>(length)});
  }
}

void Relay::handle(Client& client, const wire::Frame& frame) {
  client.deadline = clock_() + kIdleMs;
  const std::uint32_t id = id_of(frame.payload);
  if (frame.type == wire::kReopen) return reopen(client);
  const bool snapshot = frame.type == wire::kSnapshotRequest;
  const bool sound = snapshot ? wire::decode_snapshot_request(frame.payload).has_value()
                              : frame.type == wire::kKernelOpRequest && wire::decode_kernel_op_request(frame.payload).has_value();
  if (!sound) {
    client.gone = true;  // it speaks another language
  } else if (dead_) {
    refuse(client, frame.type, id,
           "floe left an earlier request without an answer: is it still there? `floe-guest reopen` tries the port anew");
  } else if (port_.away()) {
    refuse(client, frame.type, id, "floe's end of the port is closed");
  } else if (port_.pending() > kMostQueued) {
    refuse(client, frame.type, id, "floe takes nothing from the port at the moment: try again");
  } else {
    hand_on(client, frame);
  }
}

void Relay::hand_on(Client& client, const wire::Frame& frame) {
  client.type = frame.type;
  client.own_id = id_of(frame.payload);
  client.wire_id = wire::next_id(last_id_);
  client.deadline = clock_() + kAnswerMs;
  port_.send(frame.type, renumbered(frame.payload, client.wire_id));
}

void Relay::reopen(Client& client) {
  wire::SnapshotReply answer;
  answer.id = 1;
  if (auto opened = port_.reopen(); !opened) {
    answer.status = wire::SnapshotReply::kNoAnswer;
    answer.reason = opened.error().message;
  } else {
    dead_ = false;
  }
  reply(client, wire::kSnapshotReply, wire::encode(answer));
}

bool Relay::take(const wire::Frame& frame) {
  dead_ = false;
  const std::uint32_t type = frame.type == wire::kSnapshotReply   ? wire::kSnapshotRequest
                             : frame.type == wire::kKernelOpReply ? wire::kKernelOpRequest
                                                                  : 0;
  if (type == 0) return false;
  if (frame.payload.size() < kIdBytes) return true;
  const auto asked = std::find_if(clients_.begin(), clients_.end(),
                                  [&](const auto& client) { return client->type == type && client->wire_id == id_of(frame.payload); });
  if (asked == clients_.end()) return true;  // late: it has been answered by expire(), or the client went away
  Client& client = **asked;
  client.type = 0;
  reply(client, frame.type, renumbered(frame.payload, client.own_id));
  forget();
  return true;
}

void Relay::refuse(Client& client, std::uint32_t type, std::uint32_t id, const std::string& reason) {
  client.type = 0;
  if (type == wire::kSnapshotRequest)
    reply(client, wire::kSnapshotReply, wire::encode(wire::SnapshotReply{id, wire::SnapshotReply::kNoAnswer, reason}));
  else
    reply(client, wire::kKernelOpReply, wire::encode(wire::KernelOpReply{id, false, reason, {}}));
}

void Relay::reply(Client& client, std::uint32_t type, std::span<const std::byte> payload) {
  client.deadline = clock_() + kIdleMs;
  if (!client.encoder.encode(type, payload, client.out)) client.gone = true;
  flush(client);
}

void Relay::flush(Client& client) {
  while (client.written < client.out.size()) {
    const auto sent = ::send(client.fd.get(), client.out.data() + client.written, client.out.size() - client.written, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) {
      client.gone = true;
      return;
    }
    client.written += static_cast<std::size_t>(sent);
  }
  client.out.clear();
  client.written = 0;
}

void Relay::expire() {
  const std::int64_t now = clock_();
  for (const auto& client : clients_) {
    if (now < client->deadline) continue;
    if (client->type == 0) {
      client->gone = true;
      continue;
    }
    dead_ = true;
    refuse(*client, client->type, client->own_id, "no answer from floe within " + std::to_string(kAnswerMs / 1000) + " s");
  }
  forget();
}

std::int64_t Relay::next_deadline() const {
  std::int64_t next = kNever;
  for (const auto& client : clients_) next = earlier(next, client->deadline);
  return next;
}

void Relay::forget() {
  std::erase_if(clients_, [](const auto& client) { return client->gone; });
}

}  // namespace floe::vmm::guest
