#include "walkers/printk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace floe::walkers {
namespace {

// kernel/printk/printk_ringbuffer.h. Descriptor ids are the low 62 bits of the state word.
constexpr unsigned kStateShift = 62;
constexpr std::uint64_t kIdMask = (std::uint64_t{1} << kStateShift) - 1;
enum State : std::uint64_t { kReserved = 0, kCommitted = 1, kFinalized = 2, kReusable = 3 };
constexpr std::uint64_t kDataless = 1;       // bit 0 of a position: no block
constexpr std::uint64_t kEmptyLine = 3;      // EMPTY_LINE_LPOS
constexpr std::uint64_t kBlockIdBytes = 8;   // prb_data_block.id
constexpr std::uint64_t kMaxCountBits = 26;  // log_buf_len is at most 2 GiB (LOG_BUF_LEN_MAX), 32 bytes of it for each descriptor
constexpr std::uint64_t kMaxSizeBits = 31;
constexpr std::uint32_t kCallerIsCpu = 0x80000000;

struct Fields {
  Field count_bits, descs, infos, head_id, tail_id, size_bits, data, fail_count;
  Field state, begin, next, seq, ts_nsec, text_len, facility, caller_id;
  std::uint64_t flags_bit = 0, level_bit = 0;
  std::uint64_t desc_bytes = 0, info_bytes = 0;
  std::optional<Field> comm, subsystem, device;

  static Result<Fields> resolve(const Types& types);
};

Result<Fields> Fields::resolve(const Types& types) {
  Fields fields;
  const auto filled = types.fill({{"printk_ringbuffer.desc_ring.count_bits", &fields.count_bits},
                                  {"printk_ringbuffer.desc_ring.descs", &fields.descs},
                                  {"printk_ringbuffer.desc_ring.infos", &fields.infos},
                                  {"printk_ringbuffer.desc_ring.head_id.counter", &fields.head_id},
                                  {"printk_ringbuffer.desc_ring.tail_id.counter", &fields.tail_id},
                                  {"printk_ringbuffer.text_data_ring.size_bits", &fields.size_bits},
                                  {"printk_ringbuffer.text_data_ring.data", &fields.data},
                                  {"printk_ringbuffer.fail.counter", &fields.fail_count},
                                  {"prb_desc.state_var.counter", &fields.state},
                                  {"prb_desc.text_blk_lpos.begin", &fields.begin},
                                  {"prb_desc.text_blk_lpos.next", &fields.next},
                                  {"printk_info.seq", &fields.seq},
                                  {"printk_info.ts_nsec", &fields.ts_nsec},
                                  {"printk_info.text_len", &fields.text_len},
                                  {"printk_info.facility", &fields.facility},
                                  {"printk_info.caller_id", &fields.caller_id}});
  if (!filled) return fail(filled.error());
  const auto flags = types.member("printk_info.flags");
  const auto level = types.member("printk_info.level");
  const auto desc = types.size("prb_desc");
  const auto info = types.size("printk_info");
  if (!flags || !level) return fail("the kernel's BTF has no printk_info.flags and .level");
  if (!desc) return fail(desc.error());
  if (!info) return fail(info.error());
  fields.flags_bit = flags->bit_offset;
  fields.level_bit = level->bit_offset;
  fields.desc_bytes = *desc;
  fields.info_bytes = *info;
  fields.comm = types.maybe_field("printk_info.comm");
  fields.subsystem = types.maybe_field("printk_info.dev_info.subsystem");
  fields.device = types.maybe_field("printk_info.dev_info.device");
  return fields;
}

// `prb` points at the ring in use: the boot's own one, or a larger one that log_buf_len asked for.
Result<Kva> ring_of(const Kernel& kernel) {
  const auto place = kernel.symbol("prb");
  if (!place) return fail(place.error());
  const auto ring = kernel.memory().load<std::uint64_t>(*place, "prb");
  if (!ring) return fail(ring.error());
  return Kva(*ring);
}

class LogWalk {
 public:
  LogWalk(const Kernel& kernel, const Fields& fields, WalkBudget budget) : memory_(kernel.memory()), fields_(fields), budget_(budget) {}

  Result<KernelLog> run(Kva ring) {
    if (auto found = read_ring(ring); !found) return fail(std::move(found.error()).within("the printk ring"));
    // Ids wrap at 62 bits, and are chosen to do so soon after boot.
    const std::uint64_t held = ((head_ - tail_) & kIdMask) + 1;
    const std::uint64_t count = descriptors();
    std::uint64_t first = tail_;
    if (held > count) {
      problem(fmt::format("its ids run from {:#x} to {:#x}, which are more than its {} descriptors", tail_, head_, count));
      first = (head_ - count + 1) & kIdMask;
    }
    const std::uint64_t here = std::min(held, count);
    const std::uint64_t wanted = std::min(here, kMostLogRecords);
    leave_out(here - wanted);
    first = (first + (here - wanted)) & kIdMask;
    for (std::uint64_t n = 0; n < wanted; ++n) {
      if (!budget_.step()) {
        leave_out(wanted - n);
        problem(fmt::format("stopped with {} records to go: {}", wanted - n, budget_.reason()));
        break;
      }
      read_record((first + n) & kIdMask);
    }
    return std::move(log_);
  }

 private:
  std::uint64_t descriptors() const { return std::uint64_t{1} << count_bits_; }

  void problem(std::string text) {
    log_.complete = false;
    if (log_.problems.size() < KernelLog::kMaxProblems) log_.problems.push_back(std::move(text));
  }
  void leave_out(std::uint64_t records) {
    log_.left_out += records;
    if (records > 0) log_.complete = false;
  }
  void damaged(std::uint64_t id, std::string_view what) {
    ++log_.damaged;
    problem(fmt::format("the record of descriptor {:#x} {}", id, what));
  }

  Result<void> read_ring(Kva ring) {
    std::uint64_t descs = 0, infos = 0, data = 0;
    const std::array<std::pair<const Field*, std::uint64_t*>, 7> wanted = {{{&fields_.count_bits, &count_bits_},
                                                                            {&fields_.size_bits, &size_bits_},
                                                                            {&fields_.head_id, &head_},
                                                                            {&fields_.tail_id, &tail_},
                                                                            {&fields_.descs, &descs},
                                                                            {&fields_.infos, &infos},
                                                                            {&fields_.data, &data}}};
    for (const auto& [field, value] : wanted) {
      const auto number = memory_.get_number(ring, *field);
      if (!number) return memory_.unreadable(ring + field->offset, 8, "printk_ringbuffer");
      *value = *number;
    }
    if (count_bits_ == 0 || count_bits_ > kMaxCountBits || size_bits_ < 4 || size_bits_ > kMaxSizeBits)
      return fail(fmt::format("2^{} descriptors and 2^{} bytes of text are no sizes it can have", count_bits_, size_bits_));
    head_ &= kIdMask;
    tail_ &= kIdMask;
    descs_ = Kva(descs);
    infos_ = Kva(infos);
    data_ = Kva(data);
    log_.failed = memory_.get_number(ring, fields_.fail_count).value_or(0);
    return {};
  }

  void read_record(std::uint64_t id) {
    const std::uint64_t index = id & (descriptors() - 1);
    const Kva desc = descs_ + index * fields_.desc_bytes;
    const Kva info = infos_ + index * fields_.info_bytes;
    const auto word = memory_.get_number(desc, fields_.state);
    if (!word) return damaged(id, fmt::format("is not readable: {}", memory_.explain(desc + fields_.state.offset)));
    const std::uint64_t state = *word >> kStateShift;
    if (const std::uint64_t held = *word & kIdMask; held != id) {
      // head_id moves before a descriptor gets its new id: a writer was seen between the two.
      const bool between = *word == 0 || (state == kReusable && held == ((id - descriptors()) & kIdMask));
      if (between) return void(++log_.reserved);
      return damaged(id, fmt::format("is not there: its place is taken by {:#x}", held));
    }
    if (state == kReserved) return void(++log_.reserved);
    if (state == kReusable) return void(++log_.reusable);
    const auto begin = memory_.get_number(desc, fields_.begin);
    const auto next = memory_.get_number(desc, fields_.next);
    auto record = read_info(info);
    if (!begin || !next || !record) return damaged(id, "is not readable");
    record->first.pending = state == kCommitted;
    if ((*begin & kDataless) != 0 && (*next & kDataless) != 0) {
      if (*begin != kEmptyLine || *next != kEmptyLine) return void(++log_.lost);
    } else if (auto text = read_text(id, *begin, *next, record->second)) {
      record->first.text = std::move(*text);
    } else {
      return damaged(id, text.error().message);
    }
    log_.records.push_back(std::move(record->first));
  }

  // With the length its text should have.
  std::optional<std::pair<LogRecord, std::uint64_t>> read_info(Kva info) const {
    LogRecord record;
    const auto seq = memory_.get_number(info, fields_.seq);
    const auto time = memory_.get_number(info, fields_.ts_nsec);
    const auto length = memory_.get_number(info, fields_.text_len);
    const auto facility = memory_.get_number(info, fields_.facility);
    const auto caller = memory_.get_number(info, fields_.caller_id);
    const auto flags = memory_.get<std::uint8_t>(info + fields_.flags_bit / 8);
    const auto level = memory_.get<std::uint8_t>(info + fields_.level_bit / 8);
    if (!seq || !time || !length || !facility || !caller || !flags || !level) return std::nullopt;
    record.seq = *seq;
    record.ts_nsec = *time;
    record.facility = static_cast<std::uint8_t>(*facility);
    record.caller_id = static_cast<std::uint32_t>(*caller);
    record.flags = *flags >> fields_.flags_bit % 8 & 0x1f;
    record.level = *level >> fields_.level_bit % 8 & 0x7;
    const auto text = [&](const std::optional<Field>& field) {
      return field ? memory_.get_string(info, *field).value_or("") : std::string();
    };
    record.comm = text(fields_.comm);
    record.subsystem = text(fields_.subsystem);
    record.device = text(fields_.device);
    return std::pair(std::move(record), *length);
  }

  // Error: what is wrong with the block, to follow "the record ...".
  Result<std::string> read_text(std::uint64_t id, std::uint64_t begin, std::uint64_t next, std::uint64_t length) {
    const std::uint64_t mask = (std::uint64_t{1} << size_bits_) - 1;
    const auto wrap = [&](std::uint64_t position) { return position & ~mask; };
    std::uint64_t at = begin & mask;
    std::uint64_t bytes = next - begin;
    if (begin % 8 != 0 || next % 8 != 0) return fail("has a text at an odd place");
    if (wrap(begin) != wrap(next - 1)) {
      // A block that does not fit before the end of its ring stands at the start, all of it.
      if (wrap(begin + mask + 1) != wrap(next)) return fail("has a text that spans more than its ring");
      at = 0;
      bytes = next & mask;
    }
    if (bytes <= kBlockIdBytes || bytes > mask + 1) return fail("has a text of an impossible size");
    const auto owner = memory_.get<std::uint64_t>(data_ + at);
    if (!owner) return fail(fmt::format("has an unreadable text: {}", memory_.explain(data_ + at)));
    if (*owner != id) return fail(fmt::format("has a text that belongs to {:#x}", *owner));
    // The writer may have used less than it had reserved, never more.
    const std::uint64_t used = std::min(length, bytes - kBlockIdBytes);
    if (used > kMostLogBytes - text_bytes_) return fail("is left without its text: the log is too long");
    text_bytes_ += used;
    std::string text(static_cast<std::size_t>(used), '\0');
    if (!memory_.read_all(data_ + at + kBlockIdBytes, std::as_writable_bytes(std::span(text)))) return fail("has an unreadable text");
    return text;
  }

  const KernelMemory& memory_;
  const Fields& fields_;
  WalkBudget budget_;
  KernelLog log_;
  std::uint64_t count_bits_ = 0, size_bits_ = 0, head_ = 0, tail_ = 0;
  std::uint64_t text_bytes_ = 0;
  Kva descs_, infos_, data_;
};

}  // namespace

std::string LogRecord::caller() const {
  return caller_id & kCallerIsCpu ? fmt::format("C{}", caller_id & ~kCallerIsCpu) : fmt::format("T{}", caller_id);
}

std::string LogRecord::line() const {
  const std::string stamp = fmt::format("[{:5}.{:06}] ", ts_nsec / 1'000'000'000, ts_nsec % 1'000'000'000 / 1000);
  std::string lines = stamp;
  for (const char c : text) {
    lines += c;
    if (c == '\n') lines += stamp;
  }
  return lines;
}

Result<KernelLog> kernel_log(const Kernel& kernel, WalkBudget budget) {
  const auto ring = ring_of(kernel);
  if (!ring) return fail(ring.error());
  const auto fields = Fields::resolve(kernel.types());
  if (!fields) return fail(fields.error());
  return LogWalk(kernel, *fields, budget).run(*ring);
}

Result<std::uint64_t> kernel_log_head(const Kernel& kernel) {
  const auto ring = ring_of(kernel);
  if (!ring) return fail(ring.error());
  const auto field = kernel.types().field("printk_ringbuffer.desc_ring.head_id.counter");
  if (!field) return fail(field.error());
  const auto head = kernel.memory().get_number(*ring, *field);
  if (!head) return kernel.memory().unreadable(*ring + field->offset, 8, "printk_ringbuffer");
  return *head & kIdMask;
}

}  // namespace floe::walkers
