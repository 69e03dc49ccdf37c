#include "vmm/guest_plan.hpp"

namespace floe::vmm {
namespace {

constexpr std::uint32_t kPlanVersion = 1;

Result<> check_list(const std::vector<std::string>& list, const char* name) {
  if (list.size() > GuestPlan::kMaxStrings) {
    return fail(std::string(name) + ": " + std::to_string(list.size()) + " words, at most " + std::to_string(GuestPlan::kMaxStrings) +
                " can be passed to the guest");
  }
  for (const auto& word : list) {
    if (word.size() > GuestPlan::kMaxString) {
      return fail(std::string(name) + ": a word of " + std::to_string(word.size()) + " bytes, at most " +
                  std::to_string(GuestPlan::kMaxString) + " can be passed to the guest: put it into a file and --add that");
    }
    if (word.find('\0') != std::string::npos) return fail(std::string(name) + ": a word contains a NUL byte");
  }
  return {};
}

Result<> check_program(const std::vector<std::string>& list, const char* name) {
  if (!list.empty() && list.front().empty()) return fail(std::string(name) + ": the program's name is empty");
  return check_list(list, name);
}

// What holds for a plan on both sides.
Result<> check(const GuestPlan& plan) {
  if (auto r = check_program(plan.scheduler, "scheduler"); !r) return r;
  if (auto r = check_program(plan.command, "command"); !r) return r;
  if (auto r = check_list(plan.environment, "environment"); !r) return r;
  for (const auto& entry : plan.environment) {
    const auto equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) return fail("environment: '" + entry.substr(0, 80) + "' is not NAME=value");
  }
  if (plan.hostname &&
      (plan.hostname->empty() || plan.hostname->size() > GuestPlan::kMaxHostname || plan.hostname->find('\0') != std::string::npos)) {
    return fail("hostname: not 1 to " + std::to_string(GuestPlan::kMaxHostname) + " bytes without NUL");
  }
  return {};
}

void write_list(wire::Writer& writer, const std::vector<std::string>& list) {
  writer.u16(static_cast<std::uint16_t>(list.size()));
  for (const auto& word : list) writer.string(word);
}

// Memory follows the bytes there are: a count without its words ends at the first that is missing.
std::vector<std::string> read_list(wire::Reader& reader) {
  std::vector<std::string> list;
  const std::size_t count = reader.u16();
  for (std::size_t i = 0; i < count && reader.ok(); ++i) list.push_back(reader.string(GuestPlan::kMaxString));
  return list;
}

}  // namespace

Result<std::vector<std::byte>> encode(const GuestPlan& plan) {
  if (auto r = check(plan); !r) return fail(std::move(r.error()));
  std::vector<std::byte> out;
  wire::Writer writer(out);
  writer.u32(kPlanVersion);
  write_list(writer, plan.scheduler);
  write_list(writer, plan.command);
  write_list(writer, plan.environment);
  writer.u8(plan.hostname ? 1 : 0);
  if (plan.hostname) writer.string(*plan.hostname);
  if (out.size() > GuestPlan::kMaxBytes) {
    return fail("scheduler, command and environment have " + std::to_string(out.size()) + " bytes together, at most " +
                std::to_string(GuestPlan::kMaxBytes) + " can be passed to the guest");
  }
  return out;
}

Result<GuestPlan> decode_guest_plan(std::span<const std::byte> bytes) {
  if (bytes.size() > GuestPlan::kMaxBytes) return fail(std::string(GuestPlan::kPath) + ": longer than a plan may be");
  wire::Reader reader(bytes);
  const std::uint32_t version = reader.u32();
  if (reader.ok() && version != kPlanVersion) {
    return fail(std::string(GuestPlan::kPath) + ": version " + std::to_string(version) + ", not " + std::to_string(kPlanVersion));
  }
  GuestPlan plan;
  plan.scheduler = read_list(reader);
  plan.command = read_list(reader);
  plan.environment = read_list(reader);
  const std::uint8_t named = reader.u8();
  if (named == 1) plan.hostname = reader.string(GuestPlan::kMaxHostname);
  if (!reader.complete() || named > 1) return fail(std::string(GuestPlan::kPath) + ": malformed");
  if (auto r = check(plan); !r) return fail(std::move(r.error()).within(GuestPlan::kPath));
  return plan;
}

}  // namespace floe::vmm
