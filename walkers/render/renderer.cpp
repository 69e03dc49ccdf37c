#include "walkers/render/renderer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "walkers/render/bits.hpp"
#include "walkers/render/cpu_mask.hpp"
#include "walkers/render/plan.hpp"
#include "walkers/render/shape.hpp"
#include "walkers/render/tree.hpp"

namespace floe::walkers::render {
namespace {

constexpr std::uint64_t kBaseAllowance = 64 << 10;                 // for the smallest value
constexpr std::uint64_t kAllowancePerByte = 1024;                  // a bit-field of one bit is a value too
constexpr std::uint64_t kMaxAllowance = std::uint64_t{1} << 30;    // for the largest
constexpr std::uint64_t kClockInterval = std::uint64_t{64} << 10;  // of cost between two looks at the clock

bool is_scalar(Op op) {
  return op != Op::kStruct && op != Op::kArray && op != Op::kFlexArray && op != Op::kCpuMask && op != Op::kUnsupported &&
         op != Op::kPending;
}

}  // namespace

Renderer::Renderer(std::shared_ptr<const TypeTable> types, RenderOptions options) : options_(options), since_clock_(kClockInterval) {
  plans_.push_back(std::make_unique<Plans>(std::move(types), options_.casts));
}

Renderer::~Renderer() = default;

const TypeTable& Renderer::types() const {
  return plans_.front()->types();
}

void Renderer::render(std::uint32_t type_id, std::span<const std::byte> bytes, Sink& sink, std::uint64_t address) {
  sink_ = &sink;
  json_ = sink.json();
  current_ = plans_.front().get();
  since_clock_ += spent_;
  spent_ = 0;
  allowance_ = std::min(kBaseAllowance + bytes.size() * kAllowancePerByte, kMaxAllowance);
  stop_at_ = std::min(allowance_, kClockInterval);
  derefs_ = 0;
  path_.clear();
  if (address != 0) path_.push_back(address);
  if (options_.deadline && since_clock_ >= kClockInterval) {
    since_clock_ = 0;
    late_ = late_ || WalkBudget::Clock::now() >= *options_.deadline;
  }
  if (late_) return limit_reached();
  run(current_->node(type_id), bytes, 0, nullptr);
}

Value Renderer::value(std::uint32_t type_id, std::span<const std::byte> bytes, std::uint64_t address) {
  TreeSink sink;
  render(type_id, bytes, sink, address);
  return sink.take();
}

bool Renderer::may_go_on() {
  if (options_.deadline && WalkBudget::Clock::now() >= *options_.deadline) late_ = true;
  stop_at_ = std::min(allowance_, spent_ + kClockInterval);
  return !late_ && spent_ <= allowance_;
}

void Renderer::limit_reached() {
  ++limited_;
  sink_->unsupported(late_ ? "deadline reached" : "more values than the bytes account for");
}

void Renderer::run(Node& node, std::span<const std::byte> bytes, int depth, const Cast* cast) {
  current_->prepare(node);
  if (json_ != nullptr && cast == nullptr && write_shape(node, bytes, depth)) return;
  if (!spend(kValueCost)) return limit_reached();
  if (depth >= kMaxDepth && (node.op == Op::kStruct || node.op == Op::kArray))
    return sink_->unsupported(fmt::format("render depth {} exceeded", kMaxDepth));
  switch (node.op) {
    case Op::kStruct:
      if (bytes.size() >= node.bytes) return structure(node, bytes, depth);
      sink_->begin_truncated(node.bytes, bytes.size());
      structure(node, bytes, depth);
      return sink_->end_truncated();
    case Op::kArray:
      if (bytes.size() >= node.bytes) return array(node, bytes, depth, cast);
      sink_->begin_truncated(node.bytes, bytes.size());
      array(node, bytes, depth, cast);
      return sink_->end_truncated();
    case Op::kFlexArray:
      if (!bytes.empty()) return sink_->unsupported(fmt::format("flex array: BTF length 0, {} bytes are there", bytes.size()));
      sink_->begin_array(0);
      return sink_->end_array();
    case Op::kCpuMask:
      if (bytes.size() >= node.bytes) return cpu_mask(node, bytes.first(node.bytes));
      sink_->begin_truncated(node.bytes, bytes.size());
      cpu_mask(node, bytes);
      return sink_->end_truncated();
    case Op::kPointer:
      if (bytes.size() < node.bytes) return short_scalar(node, bytes);
      return pointer(node, load(bytes.data(), 8), depth);
    case Op::kUint:
      if (cast != nullptr && bytes.size() >= 8) return cast_pointer(load(bytes.data(), 8), *cast, depth);
      return scalar(node, bytes);
    case Op::kPending:
    case Op::kUnsupported:
      return sink_->unsupported(node.reason);
    default:
      return scalar(node, bytes);
  }
}

// Only where no bound is met on the way; what one cuts off is written value by value.
bool Renderer::write_shape(Node& node, std::span<const std::byte> bytes, int depth) {
  const Shape* shape = current_->shape(node, options_.max_elements);
  if (shape == nullptr || bytes.size() < shape->bytes() || depth + shape->height() > kMaxDepth || shape->cost() > stop_at_ - spent_ ||
      spent_ > stop_at_)
    return false;
  spent_ += shape->cost();
  shape->write(bytes.data(), *json_);
  return true;
}

void Renderer::short_scalar(const Node& node, std::span<const std::byte> bytes) {
  sink_->begin_truncated(node.bytes, bytes.size());
  sink_->bytes(bytes);
  sink_->end_truncated();
}

void Renderer::scalar(const Node& node, std::span<const std::byte> bytes) {
  if (bytes.size() < node.bytes) return short_scalar(node, bytes);
  const std::byte* at = bytes.data();
  switch (node.op) {
    case Op::kUint:
      return sink_->unsigned_integer(node.bits, load_bits(at, node.bytes, node.shift, node.bits));
    case Op::kInt:
      return sink_->integer(node.bits, sign_extend(load_bits(at, node.bytes, node.shift, node.bits), node.bits));
    case Op::kBool:
      return sink_->boolean(std::any_of(at, at + node.bytes, [](std::byte b) { return b != std::byte{0}; }));
    case Op::kChar:
      return sink_->character(std::to_integer<std::uint8_t>(*at));
    case Op::kEnum:
      return enumerator(node, load(at, node.bytes));
    case Op::kFloat: {
      if (node.bytes == 8) {
        double value;
        std::memcpy(&value, at, sizeof value);
        return sink_->floating(64, value);
      }
      float value;
      std::memcpy(&value, at, sizeof value);
      return sink_->floating(32, static_cast<double>(value));
    }
    default:
      return sink_->bytes(bytes.first(node.bytes));
  }
}

void Renderer::enumerator(const Node& node, std::uint64_t value) {
  const std::size_t found = find_enumerator(node.enumerators, value);
  Sink::Text name;
  if (found < node.enumerators.size()) name = node.enumerators[found].name;
  sink_->enumerator(node.bits, node.is_signed ? sign_extend(value, node.bits) : static_cast<std::int64_t>(value), name, node.is_signed);
}

void Renderer::structure(const Node& node, std::span<const std::byte> bytes, int depth) {
  const bool cut = bytes.size() < node.bytes;
  sink_->begin_struct(node.name.empty() ? Sink::Text{} : Sink::Text{node.name});
  for (const MemberPlan& member : node.members) {
    if (cut && member.offset >= bytes.size()) continue;
    if (!spend(kValueCost + member.name.size())) {
      sink_->member(member.name);
      limit_reached();
      break;
    }
    const auto rest = bytes.subspan(std::min<std::size_t>(member.offset, bytes.size()));
    const auto own = rest.first(std::min<std::uint64_t>(member.room, rest.size()));
    sink_->member(member.name);
    current_->prepare(*member.node);
    if (member.cast == nullptr && is_scalar(member.node->op) && member.node->op != Op::kPointer) {
      scalar(*member.node, own);
    } else {
      run(*member.node, own, depth + 1, member.cast);
    }
  }
  sink_->end_struct();
}

void Renderer::array(const Node& node, std::span<const std::byte> bytes, int depth, const Cast* cast) {
  const std::uint64_t each = node.len == 0 ? 0 : node.bytes / node.len;
  std::uint64_t shown = options_.max_elements == 0 ? node.len : std::min(node.len, options_.max_elements);
  if (each != 0) shown = std::min<std::uint64_t>(shown, (bytes.size() + each - 1) / each);
  current_->prepare(*node.element);
  const bool plain = cast == nullptr && is_scalar(node.element->op) && node.element->op != Op::kPointer;
  sink_->begin_array(node.len);
  for (std::uint64_t i = 0; i < shown; ++i) {
    const auto own = bytes.subspan(i * each, std::min<std::size_t>(each, bytes.size() - i * each));
    if (!spend(kValueCost)) {
      limit_reached();
      break;
    }
    if (plain) {
      scalar(*node.element, own);
    } else {
      run(*node.element, own, depth + 1, cast);
    }
  }
  sink_->end_array();
}

void Renderer::cpu_mask(const Node& node, std::span<const std::byte> bytes) {
  const std::uint64_t first = cpu_mask_shape(node.name)->first_byte;
  format_cpus(bytes.subspan(std::min<std::size_t>(first, bytes.size())), options_.cpus, text_);
  sink_->cpu_list(text_);
}

Plans& Renderer::plans_of(const std::shared_ptr<const TypeTable>& types) {
  for (const auto& plans : plans_)
    if (plans->shared_types() == types) return *plans;
  return *plans_.emplace_back(std::make_unique<Plans>(types, nullptr));
}

std::vector<std::byte>& Renderer::buffer(int depth) {
  while (buffers_.size() <= static_cast<std::size_t>(depth)) buffers_.push_back(std::make_unique<std::vector<std::byte>>());
  return *buffers_[static_cast<std::size_t>(depth)];
}

}  // namespace floe::walkers::render
