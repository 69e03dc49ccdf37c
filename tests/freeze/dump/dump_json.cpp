#include <boost/pfr.hpp>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "freeze/dump/json.hpp"
#include "freeze/dump/schema.hpp"

using namespace floe;
using namespace floe::freeze::dump;
using walkers::render::Value;
namespace render = walkers::render;
namespace bpf = walkers::bpf;

namespace {

// Sets every member of a record, each to something else, so that one that is forgotten or swapped shows.
class Filler {
 public:
  template <class T>
  T make() {
    T value{};
    fill(value);
    return value;
  }

 private:
  void fill(bool& value) { value = true; }
  void fill(double& value) { value = 0.5 + static_cast<double>(++next_); }
  template <std::integral T>
  void fill(T& value) {
    value = static_cast<T>(++next_);
    if constexpr (sizeof(T) == 8) value = std::numeric_limits<T>::max() - value;
  }
  void fill(std::string& text) { text = "text " + std::to_string(++next_); }
  void fill(std::byte& byte) { byte = static_cast<std::byte>(++next_); }
  template <class T>
  void fill(std::optional<T>& value) {
    fill(value.emplace());
  }
  template <class T>
  void fill(std::vector<T>& list) {
    list.resize(2);
    for (T& element : list) fill(element);
  }
  template <class T, std::size_t n>
  void fill(std::array<T, n>& list) {
    for (T& element : list) fill(element);
  }
  void fill(std::unique_ptr<Value>& value) { fill(*(value = std::make_unique<Value>())); }
  void fill(Value& value) { value.v = render::Uint{64, ++next_}; }
  template <schema::Described Record>
  void fill(Record& record) {
    schema::for_each_field<Record>([&](const auto& field) { fill(record.*field.member); });
  }

  std::uint64_t next_ = 0;
};

// Every member of a record has a key. (Records that hold values cannot be copied, and their members not be counted.)
template <class... Records>
constexpr bool all_have_keys() {
  return ((std::tuple_size_v<decltype(schema::Fields<Records>::list)> == boost::pfr::tuple_size_v<Records>) && ...);
}
namespace scx = walkers::scx;
static_assert(all_have_keys<walkers::TaskDetails, walkers::PerCpuTime, walkers::CgroupPsi, walkers::NodeNuma, walkers::Pressure>());
static_assert(all_have_keys<scx::RqState, scx::DsqState, scx::QueuedTask, scx::SchedState, scx::ExitInfo, scx::SchedNode,
                            scx::EventCounters, scx::OldestRunnable>());
static_assert(all_have_keys<VcpuRegs, VcpuPerf, ProbeCounters, KernelId, Capture, LogLine, KernelLog, Backtrace, Reason, DegradedReport>());
static_assert(all_have_keys<bpf::Ringbuf, bpf::StackTraceEntry, bpf::StackTrace, bpf::FdArray, bpf::ArenaPage, bpf::ArenaSnapshot,
                            bpf::ScxStaticRange, bpf::ScxStatic, bpf::ProgRuntimeStats>());

template <class T>
Value value_of(T alternative) {
  Value value;
  value.v = std::move(alternative);
  return value;
}

std::string again(const std::string& json) {
  const auto parsed = parse_report(json);
  BOOST_REQUIRE_MESSAGE(parsed.has_value(), (parsed ? "" : parsed.error().message));
  return to_json(*parsed);
}

std::string error_of(std::string_view json) {
  const auto parsed = parse_report(json);
  return parsed ? "" : parsed.error().message;
}

std::string same_value(std::string_view json) {
  const auto parsed = parse_value(json);
  return parsed ? to_json(*parsed) : parsed.error().message;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(dump_json)

BOOST_AUTO_TEST_CASE(an_empty_report_has_its_mandatory_keys_alone) {
  BOOST_TEST(to_json(Report{}) == R"({"schema":"single","maps":[]})");
  BOOST_TEST(to_json(DegradedReport{}) == R"({"schema":"degraded","reason":"","watchpoint_hit":false,"bss_latch_state":""})");
  BOOST_TEST(to_json(DualReport{}) == R"({"schema":"dual","late":{"schema":"single","maps":[]}})");
}

BOOST_AUTO_TEST_CASE(a_placeholder_says_everywhere_why) {
  BOOST_TEST(to_json(placeholder("R")) ==
             R"({"schema":"single","maps":[],"sdt_alloc_unavailable":"R","prog_runtime_stats_unavailable":"R",)"
             R"("per_node_numa_unavailable":"R","task_enrichments_unavailable":"R","scx_walker_unavailable":"R","is_placeholder":true})");
}

BOOST_AUTO_TEST_CASE(a_hash_entry_is_written_as_specified) {
  bpf::Map map;
  map.name = "cpu_ctx";
  map.map_kva = 18446612686293106688u;
  map.map_type = 1;
  map.value_size = 8;
  map.max_entries = 16;
  render::Struct context{.type_name = "cpu_ctx", .members = {}};
  context.members.push_back({"util", value_of(render::Uint{64, 512})});
  bpf::MapEntry entry;
  entry.key = value_of(render::Uint{32, 3});
  entry.key_bytes = {std::byte{3}, std::byte{0}, std::byte{0}, std::byte{0}};
  entry.value = value_of(std::move(context));
  entry.value_bytes = {std::byte{0}, std::byte{2}};
  map.entries.push_back(std::move(entry));
  BOOST_TEST(to_json(map) ==
             R"({"name":"cpu_ctx","map_kva":18446612686293106688,"map_type":1,"value_size":8,"max_entries":16,)"
             R"("entries":[{"key":{"kind":"uint","bits":32,"value":3},"key_hex":"03 00 00 00","value":{"kind":"struct",)"
             R"("type_name":"cpu_ctx","members":[{"name":"util","value":{"kind":"uint","bits":64,"value":512}}]},"value_hex":"00 02"}]})");
}

BOOST_AUTO_TEST_CASE(every_kind_of_value_comes_back) {
  for (const std::string_view json : {
           R"({"kind":"int","bits":64,"value":-9223372036854775808})",
           R"({"kind":"uint","bits":64,"value":18446744073709551615})",
           R"({"kind":"bool","value":true})",
           R"({"kind":"char","value":255})",
           R"({"kind":"float","bits":64,"value":0.1})",
           R"({"kind":"float","bits":32,"value":null})",
           R"({"kind":"enum","bits":32,"value":-1,"variant":null,"is_signed":true})",
           R"({"kind":"enum","bits":8,"value":2,"variant":"TWO","is_signed":false})",
           R"({"kind":"struct","type_name":null,"members":[]})",
           R"({"kind":"struct","type_name":"s","members":[{"name":"a","value":{"kind":"bool","value":false}}]})",
           R"({"kind":"array","len":9,"elements":[{"kind":"char","value":65}]})",
           R"({"kind":"cpu_list","cpus":"0-3,8"})",
           R"({"kind":"ptr","value":0})",
           R"({"kind":"ptr","value":17592186044416,"deref":{"kind":"uint","bits":32,"value":7},"cast_annotation":"cast→arena"})",
           R"({"kind":"ptr","value":17592186048512,"deref_skipped_reason":"already rendered in sdt_allocations"})",
           R"({"kind":"bytes","hex":""})",
           R"({"kind":"bytes","hex":"00 ff 1a"})",
           R"({"kind":"truncated","needed":8,"had":4,"partial":{"kind":"bytes","hex":"01 02 03 04"}})",
           R"({"kind":"unsupported","reason":"why"})",
       })
    BOOST_TEST(same_value(json) == json);
}

BOOST_AUTO_TEST_CASE(shapes_with_every_key_set_come_back_the_same) {
  Filler filler;
  Report single = filler.make<Report>();
  single.schema = "single";
  BOOST_TEST(again(to_json(single)) == to_json(single));
  DualReport dual = filler.make<DualReport>();
  dual.schema = "dual";
  BOOST_TEST(again(to_json(dual)) == to_json(dual));
  DegradedReport degraded = filler.make<DegradedReport>();
  degraded.schema = "degraded";
  BOOST_TEST(again(to_json(degraded)) == to_json(degraded));
}

BOOST_AUTO_TEST_CASE(absent_vcpus_keep_their_places) {
  Report report;
  report.vcpu_regs.resize(3);
  report.vcpu_regs[1] = VcpuRegs{1, 2, 3, {}, {}, {}};
  const std::string json =
      R"({"schema":"single","maps":[],"vcpu_regs":[null,{"instruction_pointer":1,"stack_pointer":2,"page_table_root":3},null]})";
  BOOST_TEST(to_json(report) == json);
  BOOST_TEST(again(json) == json);
}

BOOST_AUTO_TEST_CASE(guest_bytes_become_valid_text) {
  Report report;
  report.active_obj_name = "a\xff\x01\"b\\\n";
  const auto parsed = parse_report(to_json(report));
  BOOST_REQUIRE(parsed.has_value());
  BOOST_TEST(*std::get<Report>(*parsed).active_obj_name == "a\xef\xbf\xbd\x01\"b\\\n");
}

BOOST_AUTO_TEST_CASE(an_arena_page_is_an_array_of_numbers) {
  Report report;
  bpf::Map& map = report.maps.emplace_back();
  map.arena.emplace().pages.push_back({.user_addr = 4096, .bytes = {std::byte{0}, std::byte{255}}});
  const std::string json = to_json(report);
  BOOST_TEST(json.find(R"("arena":{"pages":[{"user_addr":4096,"bytes":[0,255]}],"declared_pages":0,)") != std::string::npos);
  BOOST_TEST(again(json) == json);
}

BOOST_AUTO_TEST_CASE(the_shape_is_never_guessed) {
  BOOST_TEST(error_of("{}").find("no \"schema\"") != std::string::npos);
  BOOST_TEST(error_of(R"({"schema":1,"maps":[]})").find("no \"schema\"") != std::string::npos);
  BOOST_TEST(error_of(R"({"schema":"triple","maps":[]})").find("\"triple\"") != std::string::npos);
  BOOST_TEST(error_of("[]").find("no \"schema\"") != std::string::npos);
  BOOST_TEST(error_of(R"({"schema":"single")").find("no JSON") == 0u);
  BOOST_TEST(error_of("").find("no JSON") == 0u);
}

BOOST_AUTO_TEST_CASE(an_error_names_the_path) {
  BOOST_TEST(error_of(R"({"schema":"single"})") == "maps is missing");
  BOOST_TEST(error_of(R"({"schema":"single","maps":[{"name":"a","map_type":1,"value_size":1,"max_entries":1},{}]})") ==
             "maps[1].name is missing");
  BOOST_TEST(error_of(R"({"schema":"single","maps":[{"name":"a","map_type":4294967296,"value_size":1,"max_entries":1}]})") ==
             "maps[0].map_type is out of range: 4294967296");
  BOOST_TEST(error_of(R"({"schema":"dual"})") == "late is missing");
  BOOST_TEST(error_of(R"({"schema":"dual","late":{"schema":"single"}})") == "late.maps is missing");
  BOOST_TEST(error_of(R"({"schema":"single","maps":[],"per_cpu_time":[{"cpu":"0"}]})") ==
             "per_cpu_time[0].cpu is no unsigned 64-bit integer");
}

BOOST_AUTO_TEST_CASE(files_of_others_are_read) {
  BOOST_TEST(again(R"({"unknown":{"a":[1,2]},"maps":[],"schema":"single"})") == R"({"schema":"single","maps":[]})");
  // Counters that an older kernel did not have, and times that older files do not.
  const auto parsed = parse_report(
      R"({"schema":"single","maps":[],"event_counter_timeline":[{"elapsed_ms":5,"bypass_dispatch":7}],"task_enrichments":[{"pid":1,)"
      R"("tgid":1,"comm":"a","weight":100,"prio":120,"static_prio":120,"normal_prio":120,"rt_priority":0,)"
      R"("pi_boosted_out_of_scx":false,"nvcsw":3,"nivcsw":4}]})");
  BOOST_REQUIRE_MESSAGE(parsed.has_value(), (parsed ? "" : parsed.error().message));
  const Report& report = std::get<Report>(*parsed);
  BOOST_TEST(report.event_counter_timeline[0].bypass_dispatch == 7);
  BOOST_TEST(report.event_counter_timeline[0].reenq_immed == 0);
  BOOST_TEST(report.task_enrichments[0].utime == 0u);
  BOOST_TEST(!report.task_enrichments[0].sched_class.has_value());
  BOOST_TEST(same_value(R"({"kind":"enum","bits":32,"value":1,"variant":"A"})") ==
             R"({"kind":"enum","bits":32,"value":1,"variant":"A","is_signed":false})");
}

BOOST_AUTO_TEST_CASE(nesting_is_bounded) {
  const auto nested = [](int depth) {
    std::string json;
    for (int i = 0; i < depth; ++i) json += R"({"kind":"ptr","value":1,"deref":)";
    json += R"({"kind":"bool","value":true})";
    return json + std::string(static_cast<std::size_t>(depth), '}');
  };
  BOOST_TEST(same_value(nested(kMaxValueDepth - 1)) == nested(kMaxValueDepth - 1));
  BOOST_TEST(same_value(nested(kMaxValueDepth)).find("nested more than 256 deep") != std::string::npos);
  BOOST_TEST(same_value(nested(100'000)).find("no JSON") == 0u);
}

BOOST_AUTO_TEST_CASE(malformed_values_are_errors) {
  BOOST_TEST(same_value(R"({"bits":1})") == "the document has no \"kind\"");
  BOOST_TEST(same_value(R"({"kind":"nonsense"})") == "the document is of an unknown kind");
  BOOST_TEST(same_value(R"({"kind":"bytes","hex":"0"})") == "hex is no hex text");
  BOOST_TEST(same_value(R"({"kind":"bytes","hex":"0g"})") == "hex is no hex text");
  BOOST_TEST(same_value(R"({"kind":"bytes","hex":"00-11"})") == "hex is no hex text");
  BOOST_TEST(same_value(R"({"kind":"char","value":256})") == "value is out of range: 256");
  BOOST_TEST(same_value(R"({"kind":"int","bits":64,"value":9223372036854775808})") == "value is no 64-bit integer");
  BOOST_TEST(same_value(R"({"kind":"truncated","needed":8,"had":4})") == "partial is missing");
}

BOOST_AUTO_TEST_SUITE_END()
