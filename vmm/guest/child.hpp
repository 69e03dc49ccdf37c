// A program that init runs, with its output on pipes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "vmm/guest/port.hpp"
#include "vmm/wire.hpp"

namespace floe::vmm::guest {

// Where and how a program runs.
struct Placement {
  std::string cgroup;                              // below kCgroups, empty: init's own
  std::optional<std::vector<std::uint32_t>> cpus;  // absent: all
  int nice = 0;
};
inline constexpr const char* kCgroups = "/sys/fs/cgroup";

class Child {
 public:
  // `process`: its number on the wire. `name` for log lines; the frames its output and its end travel in: kProcessEnd, or a type of its
  // own that holds the outcome alone.
  Child(std::uint32_t process, std::string name, std::uint32_t out_type, std::uint32_t err_type, std::uint32_t end_type);

  // Starts argv[0] (searched in PATH when it has no slash) in a session of its own, stdin from /dev/null. A program that cannot be
  // executed, or not where it shall be, has ended at once, with Outcome::kNotStarted and the errno.
  void start(const std::vector<std::string>& argv, const std::vector<std::string>& environment, const Placement& placement = {});
  // What could not be done, when it was not started: "cannot join cgroup a".
  const std::string& problem() const { return problem_; }

  bool started() const { return started_; }
  bool ended() const { return outcome_.has_value(); }
  bool reported() const { return reported_; }
  bool running() const { return started_ && !ended(); }
  const std::optional<wire::Outcome>& outcome() const { return outcome_; }
  bool succeeded() const { return outcome_ && *outcome_ == wire::Outcome{}; }
  pid_t pid() const { return pid_; }
  std::uint32_t process() const { return process_; }
  const std::string& name() const { return name_; }
  // Both pipes at their end: nobody is left who could write to them.
  bool silent() const { return !streams_[0].fd && !streams_[1].fd; }

  // The pipes' descriptors, or -1.
  int stream_fd(int stream) const { return streams_[stream].fd.get(); }
  // Moves what is in the pipe to the port, until it is empty or the port is full.
  void forward(int stream, Port& port);

  // As waitpid(2) reported it.
  void note_end(int status);
  // Sends the outcome once the child has ended and all it wrote is sent. What its own children write later follows behind.
  void report_when_drained(Port& port);
  // Sends the outcome whatever is left.
  void report(Port& port);

  // To the child's process group, if it was ever started.
  void signal_group(int signal) const;

 private:
  struct Stream {
    UniqueFd fd;
    std::uint32_t type = 0;
    std::size_t owed = 0;  // bytes that were in the pipe when the child ended, and are not sent yet
  };
  void fail_to_start(int errno_value, std::string problem);

  std::uint32_t process_;
  std::string name_;
  std::string problem_;
  std::uint32_t end_type_;
  Stream streams_[2];
  pid_t pid_ = -1;
  bool started_ = false;
  bool reported_ = false;
  std::optional<wire::Outcome> outcome_;
};

}  // namespace floe::vmm::guest
