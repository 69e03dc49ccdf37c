#include "walkers/cpu_time.hpp"

#include <fmt/format.h>

#include <utility>

#include "walkers/per_cpu.hpp"

namespace floe::walkers {
namespace {

constexpr std::uint64_t kIdleActive = 1u << 2;  // TS_FLAG_IDLE_ACTIVE in kernel/time/tick-sched.h, a macro; 6.9 and later

struct Fields {
  std::array<Field, 8> cpustat;  // in the order of the record
  std::optional<Field> irqs_sum, softirqs;
  std::optional<Field> iowait_sleeptime, idle_sleeptime, idle_entrytime, tick_flags;  // of tick_sched
  std::optional<Member> idle_active;                                                  // its bit-field before 6.9
  std::optional<Field> idle_elapse, idle_entry;                                       // of kernel_cpustat, 7.x
};

Result<Fields> resolve(const Types& types) {
  constexpr std::array<const char*, 8> kNames = {"USER", "NICE", "SYSTEM", "SOFTIRQ", "IRQ", "IDLE", "IOWAIT", "STEAL"};
  Fields fields;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const auto index = types.enumerator("cpu_usage_stat", fmt::format("CPUTIME_{}", kNames[i])).value_or(static_cast<std::int64_t>(i));
    const auto found = types.field(fmt::format("kernel_cpustat.cpustat[{}]", index));
    if (!found) return fail(found.error());
    fields.cpustat[i] = *found;
  }
  fields.irqs_sum = types.maybe_field("kernel_stat.irqs_sum");
  fields.softirqs = types.maybe_field("kernel_stat.softirqs");
  fields.iowait_sleeptime = types.maybe_field("tick_sched.iowait_sleeptime");
  fields.idle_sleeptime = types.maybe_field("tick_sched.idle_sleeptime");
  fields.idle_entrytime = types.maybe_field("tick_sched.idle_entrytime");
  fields.tick_flags = types.maybe_field("tick_sched.flags");
  if (const auto bit = types.member("tick_sched.idle_active")) fields.idle_active = *bit;
  fields.idle_elapse = types.maybe_field("kernel_cpustat.idle_elapse");
  fields.idle_entry = types.maybe_field("kernel_cpustat.idle_entrytime");
  return fields;
}

class CpuReader {
 public:
  CpuReader(const KernelMemory& memory, const Fields& fields, const Symbols& symbols)
      : memory_(memory),
        fields_(fields),
        cpustat_(symbols.find("kernel_cpustat")),
        kstat_(symbols.find("kstat")),
        tick_(stops_its_tick(memory, symbols) ? symbols.find("tick_cpu_sched") : std::nullopt) {}

  bool usable() const { return cpustat_.has_value(); }

  std::optional<PerCpuTime> read(const CpuArea& area) const {
    PerCpuTime time;
    time.cpu = area.cpu;
    const Kva stat = area.of(*cpustat_);
    const std::array<std::uint64_t*, 8> values = {&time.cpustat_user_ns,    &time.cpustat_nice_ns, &time.cpustat_system_ns,
                                                  &time.cpustat_softirq_ns, &time.cpustat_irq_ns,  &time.cpustat_idle_ns,
                                                  &time.cpustat_iowait_ns,  &time.cpustat_steal_ns};
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto value = memory_.get_number(stat, fields_.cpustat[i]);
      if (!value) return std::nullopt;
      *values[i] = *value;
    }
    if (fields_.idle_elapse && memory_.get_number(stat, *fields_.idle_elapse).value_or(0) != 0)
      time.idle_entrytime_ns = number(stat, fields_.idle_entry);
    if (kstat_ && fields_.softirqs && fields_.irqs_sum && !read_counts(area.of(*kstat_), time)) return std::nullopt;
    if (tick_) read_tick(area.of(*tick_), time);
    return time;
  }

 private:
  // tick_nohz_active: 1 from the first CPU on that may stop its tick, never in a kernel that was told not to (nohz=off) or is built
  // without. An int, later an unsigned long.
  static bool stops_its_tick(const KernelMemory& memory, const Symbols& symbols) {
    const auto active = symbols.find("tick_nohz_active");
    return active && memory.get<std::uint8_t>(*active).value_or(0) != 0;
  }

  std::optional<std::uint64_t> number(Kva object, const std::optional<Field>& field) const {
    return field ? memory_.get_number(object, *field) : std::nullopt;
  }

  bool read_counts(Kva kstat, PerCpuTime& time) const {
    const auto sum = memory_.get_number(kstat, *fields_.irqs_sum);
    if (!sum) return false;
    time.irqs_sum = *sum;
    for (std::size_t i = 0; i < time.softirqs.size() && (i + 1) * 4 <= fields_.softirqs->bytes; ++i) {
      const auto count = memory_.get<std::uint32_t>(kstat + fields_.softirqs->offset + 4 * i);
      if (!count) return false;
      time.softirqs[i] = *count;
    }
    return true;
  }

  void read_tick(Kva tick, PerCpuTime& time) const {
    time.iowait_sleeptime_ns = number(tick, fields_.iowait_sleeptime);
    time.idle_sleeptime_ns = number(tick, fields_.idle_sleeptime);
    if (!fields_.idle_sleeptime) return;  // idle_entrytime is there for other reasons then
    bool idles = false;
    if (fields_.idle_active && fields_.idle_active->bits == 1) {
      const auto byte = memory_.get<std::uint8_t>(tick + fields_.idle_active->bit_offset / 8);
      idles = byte && (*byte >> (fields_.idle_active->bit_offset % 8) & 1) != 0;
    } else {
      idles = (number(tick, fields_.tick_flags).value_or(0) & kIdleActive) != 0;
    }
    if (idles) time.idle_entrytime_ns = number(tick, fields_.idle_entrytime);
  }

  const KernelMemory& memory_;
  const Fields& fields_;
  std::optional<Kva> cpustat_, kstat_, tick_;
};

}  // namespace

Result<std::vector<PerCpuTime>> cpu_times(const Kernel& kernel) {
  const auto fields = resolve(kernel.types());
  if (!fields) return fail(fields.error());
  const CpuReader reader(kernel.memory(), *fields, kernel.symbols());
  if (!reader.usable()) return fail("the kernel has no symbol kernel_cpustat");
  const auto areas = per_cpu_areas(kernel);
  if (!areas) return fail(areas.error());
  std::vector<PerCpuTime> times;
  for (const auto& area : *areas)
    if (auto time = reader.read(area)) times.push_back(std::move(*time));
  return times;
}

}  // namespace floe::walkers
