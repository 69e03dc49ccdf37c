#include "bench/engine/measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <new>

#include "engine/frame_pool.hpp"

namespace {
std::atomic<std::uint64_t> allocation_count{0};

void* counted(std::size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes);
}
void* operator new[](std::size_t bytes) {
  return counted(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace floe::bench {

double thread_cpu_nanos() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

std::uint64_t allocations() {
  return allocation_count.load(std::memory_order_relaxed);
}

sample charge(std::uint64_t operations, const std::function<void()>& body) {
  const auto count = static_cast<double>(operations);
  const std::uint64_t misses = engine::frame_pool::counters().misses;
  const std::uint64_t allocated = allocations();
  const double began = thread_cpu_nanos();
  body();
  const double ended = thread_cpu_nanos();
  sample taken;
  taken.nanos_per_operation = (ended - began) / count;
  taken.allocations_per_operation = static_cast<double>(allocations() - allocated) / count;
  taken.pool_misses_per_operation = static_cast<double>(engine::frame_pool::counters().misses - misses) / count;
  return taken;
}

summary summarise(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

result evaluate(const row& measured) {
  result all;
  all.name = measured.name;
  std::vector<double> baseline, ours, ratios;
  for (std::size_t round = 1; round < measured.engine.size(); ++round) {
    baseline.push_back(measured.baseline[round].nanos_per_operation);
    ours.push_back(measured.engine[round].nanos_per_operation);
    ratios.push_back(baseline.back() / ours.back());
    all.allocations = std::max(all.allocations, measured.engine[round].allocations_per_operation);
    all.pool_misses = std::max(all.pool_misses, measured.engine[round].pool_misses_per_operation);
  }
  all.baseline_nanos = summarise(baseline);
  all.engine_nanos = summarise(ours);
  all.ratio = summarise(ratios);
  return all;
}

std::string to_text(const std::vector<result>& results) {
  std::string text = fmt::format("{:<34} {:>24} {:>24} {:>18} {:>9} {:>11}\n", "", "baseline ns (range)", "engine ns (range)",
                                 "ratio (range)", "alloc/op", "pool miss/op");
  for (const result& one : results) {
    text += fmt::format("{:<34} {:>9.1f} ({:>5.1f}-{:>6.1f}) {:>9.1f} ({:>5.1f}-{:>6.1f}) {:>6.2f} ({:.2f}-{:.2f}) {:>9.4f} {:>11.4f}\n",
                        one.name, one.baseline_nanos.median, one.baseline_nanos.low, one.baseline_nanos.high, one.engine_nanos.median,
                        one.engine_nanos.low, one.engine_nanos.high, one.ratio.median, one.ratio.low, one.ratio.high, one.allocations,
                        one.pool_misses);
  }
  return text;
}

std::string to_json(const std::vector<result>& results, const std::string& features) {
  const auto three = [](const summary& what) {
    return fmt::format(R"({{"median":{:.4f},"low":{:.4f},"high":{:.4f}}})", what.median, what.low, what.high);
  };
  std::string text = fmt::format(R"({{"bench":"engine","ring":"{}","rows":[)", features);
  for (const result& one : results) {
    if (&one != &results.front()) text += ",";
    text +=
        fmt::format(R"({{"name":"{}","baseline_ns":{},"engine_ns":{},"ratio":{},"allocations_per_op":{:.6f},"pool_misses_per_op":{:.6f}}})",
                    one.name, three(one.baseline_nanos), three(one.engine_nanos), three(one.ratio), one.allocations, one.pool_misses);
  }
  return text + "]}\n";
}

}  // namespace floe::bench
