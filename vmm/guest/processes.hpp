// The programs that init runs: the scheduler and the command of the run, and those that the host asks for.
#pragma once

#include <poll.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vmm/guest/child.hpp"
#include "vmm/guest/port.hpp"
#include "vmm/requests.hpp"

namespace floe::vmm::guest {

// "exited with code 3"
std::string describe(const wire::Outcome& outcome);

// The given entries over init's defaults, or over those of `base`: a later one for a name replaces the earlier.
std::vector<std::string> merge_environment(const std::vector<std::string>& given);
std::vector<std::string> merge_environment(std::vector<std::string> base, const std::vector<std::string>& given);

class Processes {
 public:
  static constexpr std::size_t kMost = 512;  // that have not been told to have ended

  explicit Processes(Port& port) : port_(port) {}

  // Lives as long as this; whoever owns the run starts it.
  Child& add(std::uint32_t process, const char* name, std::uint32_t out_type, std::uint32_t err_type, std::uint32_t end_type);

  // `environment`: of the run. The guest's number of the process.
  Result<std::uint32_t> start(const wire::StartProcess& request, const std::vector<std::string>& environment);
  Result<> signal(const wire::SignalProcess& request);
  void signal_all(int signal);

  // The pipes, for poll(2), and what it said of them: `fds` begins with those that add_fds() added. A full port takes them out of the loop:
  // their writers wait.
  void add_fds(std::vector<pollfd>& fds, bool listen) const;
  void serve(const pollfd* fds);
  // Takes the ends of processes from the kernel. Each line is for the log.
  std::vector<std::string> reap();
  // Tells the ends of those whose output is told, and forgets them once nobody can write to their pipes.
  void report();
  // Tells what is left, whatever is left. Each line is for the log.
  std::vector<std::string> report_last();

  // Nothing runs, and nobody is left who could write.
  bool all_quiet() const;

 private:
  struct Entry {
    std::unique_ptr<Child> child;
    bool kept = false;
  };
  Child* find(std::uint32_t process) const;

  Port& port_;
  std::vector<Entry> entries_;
};

}  // namespace floe::vmm::guest
