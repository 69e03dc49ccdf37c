// Reports for programs. Written here rather than by Boost.JSON: a line per contender, and numbers of six digits, keep the results that
// are kept in git readable.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>
#include <system_error>

#include "bench/report/report.hpp"

namespace floe::bench {
namespace {

namespace json = boost::json;

std::string quoted(std::string_view text) {
  return json::serialize(json::string(text));
}

std::string number(std::optional<double> value) {
  return value && std::isfinite(*value) ? fmt::format("{:.6g}", *value) : "null";
}

template <class Each, class Print>
std::string list(const Each& items, std::string_view separator, Print print) {
  std::string text;
  for (const auto& item : items) {
    if (&item != &*items.begin()) text += separator;
    text += print(item);
  }
  return text;
}

std::string contender_json(const Row& row, const Contender& one) {
  if (one.rounds.empty()) return fmt::format(R"(    {{"name":{},"absent":{}}})", quoted(one.name), quoted(one.absent));
  const Spread of = spread(one.rounds);
  std::string text = fmt::format(R"(    {{"name":{},"median":{},"best":{},"worst":{},"p10":{},"p90":{})", quoted(one.name),
                                 number(of.median), number(of.best), number(of.worst), number(of.p10), number(of.p90));
  const auto compared = one.name == row.baseline ? std::nullopt : ratio(row, one.name);
  if (compared) {
    text += fmt::format(R"(,"ratio":{{"median":{},"low":{},"high":{}}})", number(compared->median), number(compared->p10),
                        number(compared->p90));
  }
  const auto member = [](const auto& figure) { return quoted(figure.first) + ":" + number(figure.second); };
  if (!one.figures.empty()) text += ",\"figures\":{" + list(one.figures, ",", member) + "}";
  return text + ",\"rounds\":[" + list(one.rounds, ",", [](double value) { return number(value); }) + "]}";
}

std::string promise_json(const Promise& one) {
  const auto holds = one.holds();
  return fmt::format(R"(    {{"text":{},"bound":{},"value":{},"holds":{}}})", quoted(one.text), number(one.bound), number(one.value),
                     holds ? *holds ? "true" : "false" : "null");
}

std::string row_json(const Row& row) {
  std::string text =
      fmt::format("  {{\"name\":{},\"unit\":{},\"baseline\":{},\"ratio_of\":\"{}\",\n   \"contenders\":[\n", quoted(row.name),
                  quoted(row.unit), quoted(row.baseline), row.ratio_of == Ratio::throughput ? "throughput" : "cost");
  text += list(row.contenders, ",\n", [&row](const Contender& one) { return contender_json(row, one); }) + "],\n   \"promises\":[";
  if (!row.promises.empty()) text += "\n" + list(row.promises, ",\n", promise_json);
  return text + "]}";
}

// What an old file holds is read leniently in what a comparison does not need; what it needs and lacks throws system_error.
Contender read_contender(const json::object& from) {
  Contender one{json::value_to<std::string>(from.at("name"))};
  if (const auto* reason = from.if_contains("absent")) {
    one.absent = json::value_to<std::string>(*reason);
  } else {
    one.rounds = json::value_to<std::vector<double>>(from.at("rounds"));
    if (const auto* figures = from.if_contains("figures")) {
      for (const auto& [name, value] : figures->as_object()) one.figures.emplace_back(name, value.to_number<double>());
    }
  }
  return one;
}

Row read_row(const json::object& from) {
  const auto text = [&from](const char* member) { return json::value_to<std::string>(from.at(member)); };
  Row row{text("name"), text("unit"), text("baseline"), text("ratio_of") == "throughput" ? Ratio::throughput : Ratio::cost};
  for (const auto& one : from.at("contenders").as_array()) row.contenders.push_back(read_contender(one.as_object()));
  return row;
}

Report read_report(const json::object& from) {
  const auto text = [&from](const char* member) {
    const auto* value = from.if_contains(member);
    return value != nullptr && value->is_string() ? json::value_to<std::string>(*value) : std::string("unknown");
  };
  Report report{text("bench"), {text("compiler"), text("flags"), text("kernel"), text("cpu"), text("time")}};
  if (const auto* cores = from.if_contains("cores")) report.conditions.cores = cores->to_number<unsigned>();
  for (const auto& row : from.at("rows").as_array()) report.rows.push_back(read_row(row.as_object()));
  return report;
}

// Of several runs the one of the same bench, and among these the one by the same compiler.
const json::object* choose(const json::object& file, const Report& like) {
  const auto* const runs = file.if_contains("runs");
  if (runs == nullptr) return &file;
  const json::object* chosen = nullptr;
  for (const auto& run : runs->as_array()) {
    const json::object& one = run.as_object();
    const auto is = [&one](const char* member, const std::string& text) {
      const auto* const value = one.if_contains(member);
      return value != nullptr && value->is_string() && value->as_string() == text;
    };
    if (is("bench", like.bench) && (chosen == nullptr || is("compiler", like.conditions.compiler))) chosen = &one;
  }
  return chosen;
}

}  // namespace

std::string to_json(const Report& report) {
  const Conditions& here = report.conditions;
  const auto member = [](const auto& note) { return quoted(note.first) + ":" + quoted(note.second); };
  return fmt::format("{{\"schema\":1,\"bench\":{},\n \"compiler\":{},\"flags\":{},\n \"kernel\":{},\"cpu\":{},\"cores\":{},\"time\":{},\n",
                     quoted(report.bench), quoted(here.compiler), quoted(here.flags), quoted(here.kernel), quoted(here.cpu), here.cores,
                     quoted(here.time)) +
         " \"notes\":{" + list(here.notes, ",", member) + "},\n \"rows\":[\n" + list(report.rows, ",\n", row_json) + "]}\n";
}

Result<Report> parse_report(std::string_view text, const Report& like) {
  try {
    const json::value parsed = json::parse(text);
    const json::object* const chosen = choose(parsed.as_object(), like);
    if (chosen == nullptr) return fail("the file holds no run of bench '" + like.bench + "'");
    return read_report(*chosen);
  } catch (const std::exception& wrong) {
    return fail(std::string("no report of a bench: ") + wrong.what());
  }
}

}  // namespace floe::bench
