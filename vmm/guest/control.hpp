// What the host asks of init (vmm/requests.hpp, CTRQ): each request gets one answer, at once but for a file that is awaited.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vmm/guest/clock.hpp"
#include "vmm/guest/port.hpp"
#include "vmm/guest/processes.hpp"
#include "vmm/requests.hpp"

namespace floe::vmm::guest {

class Control {
 public:
  static constexpr std::size_t kMostAwaited = 64;
  static constexpr std::int64_t kLookMs = 10;  // at a file that is awaited

  Control(Port& port, Processes& processes) : port_(port), processes_(processes) {}

  void set_environment(std::vector<std::string> environment) { environment_ = std::move(environment); }
  void handle(std::span<const std::byte> payload);
  // Looks at the files that are awaited.
  void look();
  // When look() has to be called next.
  std::int64_t next_look() const { return awaited_.empty() ? kNever : now_ms() + kLookMs; }

 private:
  struct Awaited {
    std::uint32_t id;
    wire::AwaitFile file;
    std::int64_t deadline;
  };
  void await(std::uint32_t id, const wire::AwaitFile& file);
  bool look_at(const Awaited& awaited);
  void answer(wire::ControlReply reply);

  Port& port_;
  Processes& processes_;
  std::vector<std::string> environment_;
  std::vector<Awaited> awaited_;
};

}  // namespace floe::vmm::guest
