#include "bench/report/report.hpp"

#include <boost/test/unit_test.hpp>

using namespace floe::bench;

namespace {

Row made_row(std::vector<double> raw, std::vector<double> floe) {
  return {"nop, depth 32", "ns/op", "raw", Ratio::throughput, {{"raw", std::move(raw)}, {"floe", std::move(floe)}}};
}

Report made_report(Row row, std::string compiler = "g++ 12.2.0") {
  return {"engine", {std::move(compiler), "-O2", "6.18", "a \"fast\" CPU", "2026-01-31T12:00:00Z", 2}, {std::move(row)}};
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(report)

BOOST_AUTO_TEST_CASE(a_spread_is_of_sorted_values) {
  const Spread of = spread({5, 1, 4, 2, 3, 11, 6, 7, 8, 9, 10});
  BOOST_TEST(of.median == 6);
  BOOST_TEST(of.best == 1);
  BOOST_TEST(of.worst == 11);
  BOOST_TEST(of.p10 == 2);
  BOOST_TEST(of.p90 == 10);
  BOOST_TEST(spread({1, 2}).median == 1.5);
}

// A ratio of medians would be 1 here; the machine was slow in one round, and both contenders paid.
BOOST_AUTO_TEST_CASE(ratios_are_of_the_same_round) {
  Row row = made_row({100, 200, 300}, {200, 400, 600});
  BOOST_TEST(ratio(row, "floe")->median == 0.5);
  BOOST_TEST(ratio(row, "floe")->p90 == 0.5);
  BOOST_TEST(difference(row, "floe")->median == 200);
  row.ratio_of = Ratio::cost;
  BOOST_TEST(ratio(row, "floe")->median == 2);
}

BOOST_AUTO_TEST_CASE(promises_hold_or_do_not_or_were_not_measured) {
  Row row = made_row({100, 100, 100}, {101, 102, 103});
  row.contenders[1].figures = {{"allocations/op", 0.5}};
  row.contenders.push_back({.name = "asio", .absent = "no headers"});
  BOOST_TEST(*ratio_at_least(row, "floe", 0.98).holds());
  BOOST_TEST(!*ratio_at_least(row, "floe", 0.99).holds());
  BOOST_TEST(*difference_at_most(row, "floe", 2).holds());
  BOOST_TEST(!*ahead_of(row, "floe", "raw").holds());
  BOOST_TEST(*ahead_of(row, "raw", "floe").holds());
  BOOST_TEST(!*median_at_most(row, "floe", 101).holds());
  BOOST_TEST(!*figure_at_most(row, "floe", "allocations/op", 0).holds());
  BOOST_TEST(!figure_at_most(row, "floe", "enters", 0).holds().has_value());
  BOOST_TEST(!ratio_at_least(row, "asio", 0.5).holds().has_value());
  const Promise any = either(median_at_most(row, "floe", 1), difference_at_most(row, "floe", 2));
  BOOST_TEST(*any.holds());
  BOOST_TEST(any.value.value() == 2);
  row.promises = {ratio_at_least(row, "floe", 0.99), ratio_at_least(row, "asio", 0.5), any};
  const std::string text = promises_text(made_report(row));
  BOOST_TEST(contains(text, "MISSED  floe at least 0.99 of raw: 0.9804"));
  BOOST_TEST(contains(text, "absent  asio at least 0.5 of raw: not measured"));
  BOOST_TEST(contains(text, "1 of 3 promises hold"));
}

BOOST_AUTO_TEST_CASE(json_comes_back_as_it_was) {
  Row row = made_row({100, 100.5}, {101, 102});
  row.contenders[1].figures = {{"allocations/op", 0}, {"enters/op", 0.25}};
  row.contenders.push_back({.name = "asio", .absent = "no headers"});
  row.promises = {ratio_at_least(row, "asio", 0.5)};
  const Report before = made_report(row);
  const auto read = parse_report(to_json(before), before);
  BOOST_TEST_REQUIRE(read.has_value());
  BOOST_TEST(read->conditions.cpu == before.conditions.cpu);
  BOOST_TEST(read->conditions.cores == 2u);
  BOOST_TEST_REQUIRE(read->rows.size() == 1u);
  BOOST_TEST(read->rows[0].find("raw")->rounds == row.contenders[0].rounds);
  BOOST_TEST((read->rows[0].find("floe")->figures == row.contenders[1].figures));
  BOOST_TEST((read->rows[0].find("asio") == nullptr));
  BOOST_TEST(read->rows[0].contenders[2].absent == "no headers");
  BOOST_TEST(contains(to_json(before), R"("value":null,"holds":null)"));
}

BOOST_AUTO_TEST_CASE(of_several_runs_the_one_of_the_same_bench_and_compiler_is_taken) {
  const Report gcc = made_report(made_row({1}, {1})), clang = made_report(made_row({2}, {2}), "clang++ 19.1.7");
  const std::string file = "{\"schema\":1,\"runs\":[" + to_json(gcc) + "," + to_json(clang) + "]}";
  BOOST_TEST(parse_report(file, clang)->rows[0].find("raw")->rounds[0] == 2);
  BOOST_TEST(parse_report(file, gcc)->rows[0].find("raw")->rounds[0] == 1);
  Report other = gcc;
  other.bench = "freeze";
  BOOST_TEST(contains(parse_report(file, other).error().message, "no run of bench 'freeze'"));
}

BOOST_AUTO_TEST_CASE(what_is_no_report_is_an_error) {
  const Report like = made_report(made_row({1}, {1}));
  for (const char* text :
       {"", "{", "[]", "{}", R"({"rows":[1]})", R"({"rows":[{"name":"x"}]})", R"({"runs":3})",
        R"({"rows":[{"name":"x","unit":"","baseline":"","ratio_of":"cost","contenders":[{"name":"a","rounds":["b"]}]}]})"}) {
    BOOST_TEST(!parse_report(text, like).has_value(), text);
  }
}

// The machine is twice as slow, floe keeps up: no change. Then floe loses against its baseline, beyond both spreads.
BOOST_AUTO_TEST_CASE(a_comparison_goes_by_the_ratio) {
  const Report before = made_report(made_row({100, 100, 100}, {100, 101, 102}));
  const std::string same = compare(before, made_report(made_row({200, 200, 200}, {201, 202, 203})));
  BOOST_TEST(!contains(same, "WORSE"));
  BOOST_TEST(!contains(same, "BETTER"));
  BOOST_TEST(contains(same, "0.990 (0.980-1.000) -> 0.990"));
  BOOST_TEST(contains(compare(before, made_report(made_row({100, 100, 100}, {120, 121, 122}))), "WORSE"));
  BOOST_TEST(contains(compare(before, made_report(made_row({100, 100, 100}, {90, 91, 92}))), "BETTER"));
  Row renamed = made_row({1}, {1});
  renamed.name = "nop, depth 1";
  const std::string apart = compare(before, made_report(renamed));
  BOOST_TEST(contains(apart, "nop, depth 1  not in the old run"));
  BOOST_TEST(contains(apart, "nop, depth 32  only in the old run"));
}

BOOST_AUTO_TEST_SUITE_END()
