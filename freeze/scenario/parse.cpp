// JSON to steps. Each kind of step is one function that asks for its keys; what is left over then is a mistake.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <set>

#include "base/duration.hpp"
#include "base/file.hpp"
#include "freeze/scenario/fields.hpp"
#include "freeze/scenario/scenario.hpp"

namespace floe::freeze::scenario {
namespace {

namespace wire = vmm::wire;
using namespace std::chrono_literals;

constexpr std::uint64_t kMostFileBytes = 16u << 20;
constexpr auto kMostDeadline = std::chrono::hours(24);

constexpr std::array kActionNames = {std::string_view("start-scheduler"),
                                     std::string_view("attach-scheduler"),
                                     std::string_view("replace-scheduler"),
                                     std::string_view("stop-scheduler"),
                                     std::string_view("spawn"),
                                     std::string_view("run"),
                                     std::string_view("stop"),
                                     std::string_view("make-cgroup"),
                                     std::string_view("remove-cgroup"),
                                     std::string_view("wait"),
                                     std::string_view("wait-for"),
                                     std::string_view("capture"),
                                     std::string_view("watch"),
                                     std::string_view("read"),
                                     std::string_view("write"),
                                     std::string_view("procs"),
                                     std::string_view("assert")};
constexpr std::size_t kReadName = 13;  // what a KernelOp is called depends on its direction
constexpr std::array kKindNames = {std::string_view("spin"), std::string_view("sleep-wake"), std::string_view("yield"),
                                   std::string_view("pipe-ping-pong"), std::string_view("fork-storm")};
constexpr std::array kRelationNames = {std::string_view("=="), std::string_view("!="), std::string_view("<"),       std::string_view("<="),
                                       std::string_view(">"),  std::string_view(">="), std::string_view("contains")};

// What earlier steps have made, by name.
struct Made {
  std::set<std::string, std::less<>> captures, reads, procs, processes, ended;
};

class ScenarioReader {
 public:
  explicit ScenarioReader(const std::string& file) : reading_{file, {}} {}

  Result<Scenario> read(const Json& json) {
    Scenario scenario;
    scenario.file = reading_.file;
    Fields fields(reading_, json, "");
    const auto deadline = fields.duration("step-deadline", 30s, kMostDeadline);
    const Json* steps = fields.list("steps", 1, Scenario::kMaxSteps);
    fields.text("description", "");
    for (std::size_t i = 0; steps != nullptr && i < steps->items.size() && reading_.good(); ++i)
      scenario.steps.push_back(read_step(steps->items[i], fmt::format("steps[{}]", i), deadline));
    fields.end();
    if (reading_.error) return fail(std::move(*reading_.error));
    return scenario;
  }

 private:
  Step read_step(const Json& json, const std::string& path, std::chrono::nanoseconds deadline) {
    Fields fields(reading_, json, path);
    Step step;
    step.place = json.place;
    const std::size_t kind = fields.choice("do", kActionNames);
    if (reading_.good()) step.action = read_action(kActionNames[kind], fields);
    // A wait takes its time, and then still has its deadline to notice.
    if (const auto* wait = std::get_if<WaitTime>(&step.action)) deadline += wait->time;
    step.deadline = fields.duration("deadline", deadline, kMostDeadline);
    fields.end();
    return step;
  }

  Action read_action(std::string_view kind, Fields& fields) {
    if (kind == "start-scheduler") return StartScheduler{read_program(fields)};
    if (kind == "attach-scheduler") return AttachScheduler{fields.text("ops", "")};
    if (kind == "replace-scheduler") return ReplaceScheduler{read_program(fields)};
    if (kind == "stop-scheduler") return StopScheduler{};
    if (kind == "spawn") return read_spawn(fields);
    if (kind == "run") return read_run(fields);
    if (kind == "stop") return read_stop(fields);
    if (kind == "make-cgroup") return read_cgroup(fields);
    if (kind == "remove-cgroup") return RemoveCgroup{read_cgroup_path(fields, "path", true)};
    if (kind == "wait") return WaitTime{fields.duration("time", kMostDeadline)};
    if (kind == "wait-for") return read_wait_for(fields);
    if (kind == "capture") return read_capture(fields);
    if (kind == "watch") return read_watch(fields);
    if (kind == "read") return read_kernel_op(fields, wire::KernelOpRequest::Direction::kRead);
    if (kind == "write") return read_kernel_op(fields, wire::KernelOpRequest::Direction::kWrite);
    if (kind == "procs") return read_procs(fields);
    return read_assert(fields);
  }

  Program read_program(Fields& fields) {
    Program program;
    program.command = fields.words("command", 1);
    const std::string_view name = program.command.empty() ? std::string_view("-") : program.command.front();
    if (name.empty()) fields.wrong("command", "the program's name is empty");
    // It stands at the same place in the guest, whose current folder is another one.
    if (name.find('/') != name.npos && !name.starts_with('/'))
      fields.wrong("command", fmt::format("\"{}\" is neither an absolute path nor a name to be found in PATH", name));
    program.environment = fields.words("environment", 0);
    for (const auto& entry : program.environment) {
      if (const auto equals = entry.find('='); equals == 0 || equals == entry.npos)
        fields.wrong("environment", fmt::format("\"{}\" is not NAME=value", entry));
    }
    read_place(fields, program.cgroup, program.cpus, program.nice);
    return program;
  }

  void read_place(Fields& fields, std::string& cgroup, std::string& cpus, int& nice) {
    cgroup = read_cgroup_path(fields, "cgroup", false);
    cpus = fields.text("cpus", "");
    if (!cpus.empty() && !wire::parse_cpu_list(cpus)) fields.wrong("cpus", fmt::format("\"{}\" is no list of CPUs like 0-3,5", cpus));
    nice = static_cast<int>(fields.integer("nice", 0, -20, 19));
  }

  std::string read_cgroup_path(Fields& fields, std::string_view key, bool required) {
    std::string path = required ? fields.name(key, wire::ControlRequest::kMaxPath) : fields.text(key, "");
    if (!wire::is_cgroup_path(path)) fields.wrong(key, fmt::format("\"{}\" is no path like a/b, below the guest's cgroup root", path));
    return path;
  }

  Spawn read_spawn(Fields& fields) {
    Spawn spawn;
    const Json* list = fields.list("workers", 1, 256);
    for (std::size_t i = 0; list != nullptr && i < list->items.size() && reading_.good(); ++i) {
      Fields each(reading_, list->items[i], fmt::format("{}[{}]", fields.path("workers"), i));
      Workers workers;
      workers.name = each.name("name", Workers::kMaxName);
      workers.kind = static_cast<Workers::Kind>(each.choice("kind", kKindNames));
      workers.count = static_cast<unsigned>(each.integer("count", 1, 1, Workers::kMaxCount));
      workers.period = each.duration("period", 0s, 1h);
      read_place(each, workers.cgroup, workers.cpus, workers.nice);
      make(each, "name", workers.name, made_.processes, "a process");
      each.end();
      spawn.workers.push_back(std::move(workers));
    }
    return spawn;
  }

  RunProgram read_run(Fields& fields) {
    RunProgram run;
    run.name = fields.name("name", 64);
    run.program = read_program(fields);
    make(fields, "name", run.name, made_.processes, "a process");
    return run;
  }

  StopProcess read_stop(Fields& fields) {
    const StopProcess stop{fields.name("name", 64)};
    need(fields, "name", stop.name, made_.processes, "spawns workers or runs a program");
    made_.ended.insert(stop.name);
    return stop;
  }

  WaitProcess read_wait_for(Fields& fields) {
    const WaitProcess wait{fields.name("name", 64)};
    need(fields, "name", wait.name, made_.processes, "spawns workers or runs a program");
    made_.ended.insert(wait.name);
    return wait;
  }

  MakeCgroup read_cgroup(Fields& fields) {
    MakeCgroup cgroup;
    cgroup.path = read_cgroup_path(fields, "path", true);
    if (fields.has("weight")) cgroup.files.emplace_back("cpu.weight", std::to_string(fields.integer("weight", 100, 1, 10'000)));
    for (const auto& [key, file] : {std::pair("cpus", "cpuset.cpus"), std::pair("mems", "cpuset.mems")}) {
      const std::string list = fields.text(key, "");
      if (list.empty()) continue;
      if (!wire::parse_cpu_list(list)) fields.wrong(key, fmt::format("\"{}\" is no list like 0-3,5", list));
      cgroup.files.emplace_back(file, list);
    }
    for (auto& [file, content] : fields.texts("files")) {
      if (file.empty() || file.find('/') != file.npos || file == "." || file == "..")
        fields.wrong("files", fmt::format("\"{}\" is no name of a file in a cgroup", file));
      cgroup.files.emplace_back(std::move(file), std::move(content));
    }
    return cgroup;
  }

  Capture read_capture(Fields& fields) {
    Capture capture{fields.name("name", wire::SnapshotRequest::kMaxTag)};
    made_.captures.insert(capture.name);
    return capture;
  }

  Watch read_watch(Fields& fields) {
    Watch watch{fields.name("symbol", wire::SnapshotRequest::kMaxTag)};
    made_.captures.insert(watch.symbol);  // what its report will be called
    return watch;
  }

  CaptureProcs read_procs(Fields& fields) {
    CaptureProcs procs;
    procs.name = fields.name("as", 64);
    procs.cgroup = read_cgroup_path(fields, "cgroup", false);
    make(fields, "as", procs.name, made_.procs, "a list of processes");
    return procs;
  }

  KernelOp read_kernel_op(Fields& fields, wire::KernelOpRequest::Direction direction) {
    const bool reads = direction == wire::KernelOpRequest::Direction::kRead;
    KernelOp op;
    op.request.id = 1;
    op.request.direction = direction;
    op.request.mode =
        static_cast<wire::KernelOpRequest::Mode>(fields.choice("mode", std::array{std::string_view("hot"), std::string_view("cold")}, 0));
    wire::KernelOpEntry entry{read_target(fields, op.task), reads ? read_width(fields) : read_value(fields)};
    op.request.entries.push_back(std::move(entry));
    if (reads) {
      op.name = fields.name("as", wire::KernelOpRequest::kMaxTag);
      op.request.tag = op.name;
      make(fields, "as", op.name, made_.reads, "a value");
    }
    return op;
  }

  wire::KernelTarget read_target(Fields& fields, std::string& task_name) {
    constexpr std::array kTargets = {std::string_view("symbol"), std::string_view("direct"), std::string_view("address"),
                                     std::string_view("per-cpu"), std::string_view("task")};
    constexpr std::size_t kMaxName = wire::KernelOpRequest::kMaxName;
    const std::string_view key = fields.one_of(kTargets);
    if (key == "symbol") return wire::SymbolTarget{fields.name(key, kMaxName)};
    if (key == "direct") return wire::DirectTarget{fields.number(key)};
    if (key == "address") return wire::KvaTarget{fields.number(key)};
    const Json* object = fields.object(key);
    if (object == nullptr) return wire::SymbolTarget{};
    Fields inner(reading_, *object, fields.path(key));
    if (key == "per-cpu") {
      wire::PerCpuTarget target;
      target.symbol = inner.name("symbol", kMaxName);
      target.field = inner.name("field", kMaxName);
      target.cpu = static_cast<std::uint32_t>(inner.integer("cpu", std::nullopt, 0, 4095));
      inner.end();
      return target;
    }
    wire::TaskTarget target;
    if (inner.has("name")) {
      task_name = inner.name("name", Workers::kMaxName);
    } else {
      target.pid = static_cast<std::int32_t>(inner.integer("pid", std::nullopt, 1, std::numeric_limits<std::int32_t>::max()));
      target.start_time_ns = inner.number("start-time-ns");
    }
    target.field = inner.name("field", kMaxName);
    inner.end();
    return target;
  }

  // Of a read: how wide it is.
  wire::KernelValue read_width(Fields& fields) {
    const auto bytes = static_cast<std::size_t>(fields.integer("bytes", 8, 1, wire::KernelOpRequest::kMaxValue));
    if (bytes == 4) return wire::KernelValue(std::in_place_type<std::uint32_t>, 0);
    if (bytes == 8) return wire::KernelValue(std::in_place_type<std::uint64_t>, 0);
    return std::vector<std::byte>(bytes);
  }

  wire::KernelValue read_value(Fields& fields) {
    constexpr std::array kValues = {std::string_view("u32"), std::string_view("u64"), std::string_view("or-u32"), std::string_view("hex")};
    const std::string_view key = fields.one_of(kValues);
    if (key == "hex") return fields.hex(key, wire::KernelOpRequest::kMaxValue);
    const std::uint64_t value = fields.number(key);
    if (key == "u64") return value;
    if (value > std::numeric_limits<std::uint32_t>::max()) fields.wrong(key, "is above 32 bits");
    if (key == "or-u32") return wire::OrU32{static_cast<std::uint32_t>(value)};
    return static_cast<std::uint32_t>(value);
  }

  Assert read_assert(Fields& fields) {
    Assert assertion;
    assertion.left = read_operand(fields, "value", false);
    assertion.relation = static_cast<Assert::Relation>(fields.choice("is", kRelationNames));
    assertion.right = read_operand(fields, "to", true);
    return assertion;
  }

  Operand read_operand(Fields& fields, std::string_view key, bool may_be_constant) {
    const Json* json = fields.value(key);
    if (json == nullptr) return Constant{};
    if (json->kind != Json::Kind::kObject) {
      const bool constant = json->kind == Json::Kind::kText || json->kind == Json::Kind::kNumber || json->kind == Json::Kind::kBool;
      if (!constant || !may_be_constant)
        fields.wrong(key, fmt::format("is {}, not {}an object with read, report, process or procs", describe(*json),
                                      may_be_constant ? "a text, a number, true, false or " : ""));
      return Constant{json->kind == Json::Kind::kBool ? describe(*json) : json->text};
    }
    constexpr std::array kSources = {std::string_view("read"), std::string_view("report"), std::string_view("process"),
                                     std::string_view("procs")};
    Fields inner(reading_, *json, fields.path(key));
    const std::string_view source = inner.one_of(kSources);
    Operand operand = Constant{};
    const std::string name = inner.name(source, 256);
    if (source == "read") {
      need(inner, source, name, made_.reads, "reads a value");
      operand = OfRead{name};
    } else if (source == "report") {
      need(inner, source, name, made_.captures, "captures or watches");
      operand = OfReport{name, inner.name("path", 4096)};
    } else if (source == "process") {
      need(inner, source, name, made_.ended, "waits for a process or stops it");
      operand = OfProcess{name};
    } else if (source == "procs") {
      need(inner, source, name, made_.procs, "captures cgroup.procs");
      operand = OfProcs{name, inner.truth("count", false)};
    }
    inner.end();
    return operand;
  }

  void make(Fields& fields, std::string_view key, const std::string& name, std::set<std::string, std::less<>>& names, const char* what) {
    if (reading_.good() && !names.insert(name).second)
      fields.wrong(key, fmt::format("an earlier step calls {} \"{}\" already", what, name));
  }
  void need(Fields& fields, std::string_view key, const std::string& name, const std::set<std::string, std::less<>>& names,
            const char* what) {
    if (!reading_.good() || names.contains(name)) return;
    std::string known;
    for (const auto& each : names) known += fmt::format("{}\"{}\"", known.empty() ? "; there are " : ", ", each);
    fields.wrong(key, fmt::format("no earlier step {} as \"{}\"{}", what, name, known));
  }

  Reading reading_;
  Made made_;
};

// What a step starts, or null.
const Program* program_of(const Action& action) {
  if (const auto* start = std::get_if<StartScheduler>(&action)) return &start->program;
  if (const auto* replace = std::get_if<ReplaceScheduler>(&action)) return &replace->program;
  if (const auto* run = std::get_if<RunProgram>(&action)) return &run->program;
  return nullptr;
}

}  // namespace

std::string_view name_of(const Action& action) {
  std::size_t index = action.index();
  if (const auto* op = std::get_if<KernelOp>(&action))
    index = op->request.direction == wire::KernelOpRequest::Direction::kRead ? kReadName : kReadName + 1;
  else if (index > kReadName)
    ++index;
  return kActionNames[index];
}

std::string_view name_of(Workers::Kind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

std::string_view name_of(Assert::Relation relation) {
  return kRelationNames[static_cast<std::size_t>(relation)];
}

std::vector<std::string> programs_of(const Scenario& scenario) {
  std::vector<std::string> programs;
  for (const Step& step : scenario.steps) {
    const Program* program = program_of(step.action);
    if (program == nullptr) continue;
    const std::string& name = program->command.front();
    if (std::find(programs.begin(), programs.end(), name) == programs.end()) programs.push_back(name);
  }
  return programs;
}

Result<Scenario> parse_scenario(std::string_view text, const std::string& file) {
  auto json = read_json(text);
  if (!json) return fail(Error(file + ":" + json.error().message));
  return ScenarioReader(file).read(*json);
}

Result<Scenario> read_scenario(const std::string& path) {
  auto text = read_text(path, kMostFileBytes);
  if (!text) return fail(std::move(text.error()));
  return parse_scenario(*text, path);
}

}  // namespace floe::freeze::scenario
