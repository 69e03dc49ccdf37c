// Loads one of the schedulers, waits until it ends, and says how: what the four of them have in common on their user's side.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace floe::schedulers {

std::span<const char> object_named(const std::string& name);  // "fair", "maps", "stall", "error"

// One loaded and attached scheduler. Every failure ends the program with a line on stderr and code 1.
class Scheduler {
 public:
  explicit Scheduler(const std::string& name);  // opened, not yet loaded
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  bpf_map* map(const std::string& name);
  // A member of the struct_ops map's sched_ext_ops, before load().
  void set_ops(const std::string& member, std::uint32_t value);
  // The initial bytes of a variable of .rodata, .data or .bss before load(); its live bytes in the mapped section after it.
  void* variable(const std::string& section, const std::string& name, std::size_t size);
  template <class T>
  T& variable(const std::string& section, const std::string& name) {
    return *static_cast<T*>(variable(section, name, sizeof(T)));
  }

  void load();
  // Runs a program once in the kernel, with what `bpf_prog_test_run` needs.
  void run_once(const std::string& program);
  void attach();
  // Until the scheduler ended by itself, a signal says stop, or `seconds` are over (0: no limit). Detaches, prints how it ended.
  // 0 for an end that nobody need worry about, 1 for the error class. While it waits, `report` is called every `report_ms`.
  int wait(double seconds, long report_ms = 0, const std::function<void()>& report = {});
  // After a signal says stop, it stays so long nonetheless, for the kernel to throw it out first.
  void linger(double seconds) { linger_ = seconds; }

 private:
  int print_exit();

  char* section_bytes(const std::string& section, std::size_t& length);

  std::string name_;
  std::map<std::string, char*> mapped_;  // sections, since load()
  bool loaded_ = false;
  bpf_object* object_ = nullptr;
  bpf_link* link_ = nullptr;
  double linger_ = 0;
};

[[noreturn]] void die(const std::string& text);
void stop_on_signals();  // SIGINT, SIGTERM
bool told_to_stop();

}  // namespace floe::schedulers
