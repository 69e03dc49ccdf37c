#include "bpf/schedulers/loader.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace floe::schedulers {
namespace {

constexpr std::uint32_t kErrorClass = 1024;  // SCX_EXIT_ERROR
constexpr long kLookNs = 20'000'000;

volatile std::sig_atomic_t stopped = 0;

double now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// Warnings only: what libbpf finds out about old kernels is no news.
int print_warnings(libbpf_print_level level, const char* format, va_list arguments) {
  return level == LIBBPF_WARN ? std::vfprintf(stderr, format, arguments) : 0;
}

std::string error_text(int code) {
  return std::strerror(code < 0 ? -code : code);
}

}  // namespace

void die(const std::string& text) {
  std::fflush(stdout);
  std::fprintf(stderr, "floe_sched: %s\n", text.c_str());
  std::exit(1);
}

void stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { stopped = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool told_to_stop() {
  return stopped != 0;
}

Scheduler::Scheduler(const std::string& name) : name_(name) {
  ::libbpf_set_print(print_warnings);
  const auto bytes = object_named(name);
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  const std::string object_name = "floe_" + name;
  options.object_name = object_name.c_str();
  object_ = ::bpf_object__open_mem(bytes.data(), bytes.size(), &options);
  if (object_ == nullptr) die("the object of " + name + " cannot be opened: " + error_text(errno));
}

Scheduler::~Scheduler() {
  if (link_ != nullptr) ::bpf_link__destroy(link_);
  ::bpf_object__close(object_);
}

bpf_map* Scheduler::map(const std::string& name) {
  bpf_map* found = ::bpf_object__find_map_by_name(object_, name.c_str());
  if (found == nullptr) die("floe_" + name_ + " has no map " + name);
  return found;
}

void Scheduler::set_ops(const std::string& member, std::uint32_t value) {
  std::size_t length = 0;
  auto* const bytes = static_cast<char*>(::bpf_map__initial_value(map(name_ + "_ops"), &length));
  const btf* types = ::bpf_object__btf(object_);
  const int id = ::btf__find_by_name_kind(types, "sched_ext_ops", BTF_KIND_STRUCT);
  if (bytes == nullptr || id < 0) die("floe_" + name_ + " has no sched_ext_ops");
  const btf_type* type = ::btf__type_by_id(types, static_cast<__u32>(id));
  for (int i = 0; i < ::btf_vlen(type); ++i) {
    if (member != ::btf__name_by_offset(types, ::btf_members(type)[i].name_off)) continue;
    std::memcpy(bytes + ::btf_member_bit_offset(type, static_cast<__u32>(i)) / 8, &value, sizeof value);
    return;
  }
  die("sched_ext_ops has no " + member);
}

// libbpf maps the sections of skeletons alone.
char* Scheduler::section_bytes(const std::string& section, std::size_t& length) {
  bpf_map* const found = map(section);
  auto* const initial = static_cast<char*>(::bpf_map__initial_value(found, &length));
  if (initial == nullptr || !loaded_) return initial;
  char*& bytes = mapped_[section];
  if (bytes == nullptr) {
    void* const address = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, ::bpf_map__fd(found), 0);
    if (address == MAP_FAILED) die("the section " + section + " of floe_" + name_ + " cannot be mapped: " + error_text(errno));
    bytes = static_cast<char*>(address);
  }
  return bytes;
}

void* Scheduler::variable(const std::string& section, const std::string& name, std::size_t size) {
  std::size_t length = 0;
  char* const bytes = section_bytes(section, length);
  const btf* types = ::bpf_object__btf(object_);
  const int id = ::btf__find_by_name_kind(types, section.c_str(), BTF_KIND_DATASEC);
  if (bytes == nullptr || id < 0) die("floe_" + name_ + " has no section " + section);
  const btf_type* entries = ::btf__type_by_id(types, static_cast<__u32>(id));
  const btf_var_secinfo* entry = ::btf_var_secinfos(entries);
  for (int i = 0; i < ::btf_vlen(entries); ++i, ++entry) {
    const btf_type* type = ::btf__type_by_id(types, entry->type);
    if (name != ::btf__name_by_offset(types, type->name_off)) continue;
    if (entry->size != size || entry->offset + size > length) break;
    return bytes + entry->offset;
  }
  die("floe_" + name_ + " has no variable " + name + " of " + std::to_string(size) + " bytes in " + section);
}

void Scheduler::load() {
  if (const int failed = ::bpf_object__load(object_); failed != 0) die("floe_" + name_ + " cannot be loaded: " + error_text(failed));
  loaded_ = true;
}

void Scheduler::run_once(const std::string& program) {
  const bpf_program* found = ::bpf_object__find_program_by_name(object_, program.c_str());
  if (found == nullptr) die("floe_" + name_ + " has no program " + program);
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  const int failed = ::bpf_prog_test_run_opts(::bpf_program__fd(found), &options);
  if (failed != 0) die(program + " cannot be run: " + error_text(failed));
  if (options.retval != 0) die(program + " says " + std::to_string(options.retval));
}

void Scheduler::attach() {
  link_ = ::bpf_map__attach_struct_ops(map(name_ + "_ops"));
  if (link_ == nullptr) {
    const int failed = errno;
    print_exit();
    die("floe_" + name_ + " cannot be attached: " + error_text(failed));
  }
  std::printf("floe_%s: attached\n", name_.c_str());
  std::fflush(stdout);
}

int Scheduler::wait(double seconds, long report_ms, const std::function<void()>& report) {
  const double until = seconds > 0 ? now() + seconds : 0;
  auto* const kind = static_cast<volatile std::uint32_t*>(variable(".bss", "floe_exit_kind_snap", sizeof(std::uint32_t)));
  const timespec look = {0, kLookNs};
  double next_report = now();
  double told = 0;
  const auto stays = [&] {
    if (!told_to_stop()) return true;
    if (told == 0) told = now();
    return now() < told + linger_;
  };
  while (*kind == 0 && stays() && (until == 0 || now() < until)) {
    if (report && report_ms > 0 && now() >= next_report) {
      report();
      next_report = now() + static_cast<double>(report_ms) / 1000;
    }
    ::nanosleep(&look, nullptr);
  }
  ::bpf_link__destroy(link_);  // waits for the end of the kernel's own tidying
  link_ = nullptr;
  const double patience = now() + 5;
  while (*kind == 0 && now() < patience) ::nanosleep(&look, nullptr);
  return print_exit();
}

int Scheduler::print_exit() {
  const auto kind = variable<std::uint32_t>(".bss", "floe_exit_kind_snap");
  if (kind == 0) return 0;
  const auto text = [this](const std::string& section, const char* name, std::size_t size) {
    const char* bytes = static_cast<const char*>(variable(section, name, size));
    return std::string(bytes, ::strnlen(bytes, size));
  };
  const auto code = variable<std::int64_t>(".bss", "floe_exit_code");
  std::printf("floe_%s: exit kind=%u code=%lld reason=\"%s\" msg=\"%s\"\n", name_.c_str(), kind, static_cast<long long>(code),
              text(".bss", "floe_exit_reason", 128).c_str(), text(".bss", "floe_exit_msg", 1024).c_str());
  const std::string dump = text(".data.exit_dump", "floe_exit_dump", 65536);
  if (!dump.empty())
    std::printf("floe_%s: the kernel's dump begins\n%s\nfloe_%s: the kernel's dump ends\n", name_.c_str(), dump.c_str(), name_.c_str());
  std::fflush(stdout);
  return kind >= kErrorClass ? 1 : 0;
}

}  // namespace floe::schedulers
