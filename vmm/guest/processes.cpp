#include "vmm/guest/processes.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "vmm/guest/console.hpp"

namespace floe::vmm::guest {
namespace {

constexpr const char* kDefaults[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=linux"};

}  // namespace

std::string describe(const wire::Outcome& outcome) {
  switch (outcome.kind) {
    case wire::Outcome::Kind::kExited:
      return "exited with code " + std::to_string(outcome.code);
    case wire::Outcome::Kind::kSignalled:
      return "was killed by signal " + std::to_string(outcome.code);
    case wire::Outcome::Kind::kNotStarted:
      return with_errno("could not be started", outcome.code);
  }
  return {};
}

std::vector<std::string> merge_environment(std::vector<std::string> base, const std::vector<std::string>& given) {
  for (const auto& entry : given) {
    const std::string name = entry.substr(0, entry.find('=') + 1);
    const auto same = std::find_if(base.begin(), base.end(), [&name](const std::string& old) { return old.starts_with(name); });
    if (same != base.end())
      *same = entry;
    else
      base.push_back(entry);
  }
  return base;
}

std::vector<std::string> merge_environment(const std::vector<std::string>& given) {
  return merge_environment({std::begin(kDefaults), std::end(kDefaults)}, given);
}

Child& Processes::add(std::uint32_t process, const char* name, std::uint32_t out_type, std::uint32_t err_type, std::uint32_t end_type) {
  return *entries_.emplace_back(Entry{std::make_unique<Child>(process, name, out_type, err_type, end_type), true}).child;
}

Child* Processes::find(std::uint32_t process) const {
  for (const auto& entry : entries_) {
    if (entry.child->process() == process && !entry.child->reported()) return entry.child.get();
  }
  return nullptr;
}

Result<std::uint32_t> Processes::start(const wire::StartProcess& request, const std::vector<std::string>& environment) {
  if (find(request.process) != nullptr) return fail(Error(EEXIST, "process " + std::to_string(request.process) + " runs already"));
  if (entries_.size() >= kMost) return fail(Error(EAGAIN, "there are " + std::to_string(kMost) + " processes already"));
  const bool scheduler = request.role == wire::StartProcess::Role::kScheduler;
  const std::string name = "process " + std::to_string(request.process) + " (" + request.argv.front() + ")";
  auto child = std::make_unique<Child>(request.process, name, scheduler ? wire::kSchedulerOut : wire::kWorkloadOut,
                                       scheduler ? wire::kSchedulerErr : wire::kWorkloadErr, wire::kProcessEnd);
  Placement placement{request.cgroup, {}, request.nice};
  if (!request.cpus.empty()) placement.cpus = wire::parse_cpu_list(request.cpus);
  child->start(request.argv, merge_environment(environment, request.environment), placement);
  if (child->ended()) return fail_errno(child->outcome()->code, child->problem());
  const auto pid = static_cast<std::uint32_t>(child->pid());
  entries_.push_back({std::move(child), false});
  return pid;
}

Result<> Processes::signal(const wire::SignalProcess& request) {
  Child* child = find(request.process);
  if (child == nullptr || !child->started()) return fail(Error(ESRCH, "there is no process " + std::to_string(request.process)));
  child->signal_group(request.signal);
  return {};
}

void Processes::signal_all(int signal) {
  for (const auto& entry : entries_) entry.child->signal_group(signal);
}

void Processes::add_fds(std::vector<pollfd>& fds, bool listen) const {
  for (const auto& entry : entries_) {
    for (int stream = 0; stream < 2; ++stream) fds.push_back({listen ? entry.child->stream_fd(stream) : -1, POLLIN, 0});
  }
}

void Processes::serve(const pollfd* fds) {
  for (const auto& entry : entries_) {
    for (int stream = 0; stream < 2; ++stream, ++fds) {
      if (fds->revents != 0) entry.child->forward(stream, port_);
    }
  }
}

std::vector<std::string> Processes::reap() {
  std::vector<std::string> lines;
  int status = 0;
  for (;;) {
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return lines;
    for (const auto& entry : entries_) {
      Child& child = *entry.child;
      if (child.pid() != pid || child.ended()) continue;
      child.note_end(status);
      lines.push_back(child.name() + " " + describe(*child.outcome()));
    }
  }
}

void Processes::report() {
  for (const auto& entry : entries_) entry.child->report_when_drained(port_);
  std::erase_if(entries_, [](const Entry& entry) { return !entry.kept && entry.child->reported() && entry.child->silent(); });
}

std::vector<std::string> Processes::report_last() {
  std::vector<std::string> lines;
  for (const auto& entry : entries_) {
    if (entry.child->running()) lines.push_back(entry.child->name() + " survived SIGKILL");
    entry.child->report(port_);
  }
  return lines;
}

bool Processes::all_quiet() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return !entry.child->running() && entry.child->silent(); });
}

}  // namespace floe::vmm::guest
