#include "engine/stream.hpp"

#include <liburing.h>
#include <sys/mman.h>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "engine/loop.hpp"
#include "engine/ops.hpp"
#include "engine/ring.hpp"

namespace floe::engine {
namespace detail {
namespace {

Error stream_error(const char* verb, file_ref file, int error) {
  return Error(error, std::string(verb) + " " + file.name() + ": " + std::generic_category().message(error));
}

struct mapping {
  explicit mapping(std::size_t length) : bytes(length) {
    start = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) start = nullptr;
  }
  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;
  ~mapping() {
    if (start != nullptr) munmap(start, bytes);
  }
  void* start;
  std::size_t bytes;
};

}  // namespace

// How the next submission reads: each is tried until the kernel refuses it.
enum class reading { multishot, single };

class byte_stream_state final : public stream_base {
 public:
  byte_stream_state(loop& owner, file_ref file, const byte_stream_options& options, std::uint16_t group)
      : stream_base(owner),
        file_(file),
        options_(options),
        group_(group),
        index_(std::size_t{options.buffers} * sizeof(io_uring_buf)),
        memory_(std::size_t{options.buffers} * options.buffer_bytes),
        filled_(options.buffers) {
    if (!options.socket && !owner.supports(static_cast<std::uint8_t>(opcode::read_multishot))) how_ = reading::single;
  }
  ~byte_stream_state() override {
    if (registered_) io_uring_unregister_buf_ring(owner().ring().native(), group_);
  }

  Result<> provide() {
    if (index_.start == nullptr || memory_.start == nullptr) return fail_errno(ENOMEM, "buffers of a byte stream");
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(index_.start);
    registration.ring_entries = options_.buffers;
    registration.bgid = group_;
    if (const int error = -io_uring_register_buf_ring(owner().ring().native(), &registration, 0); error != 0) {
      return fail_errno(error, "register the buffers of a byte stream (needs Linux 5.19)");
    }
    registered_ = true;
    for (std::uint16_t buffer = 0; buffer < options_.buffers; ++buffer) give_back(buffer);
    return {};
  }

  bool has_item() const override { return count_ != 0 || ended_ || error_ != 0; }

  outcome<chunk> take() {
    if (count_ != 0) {
      const item oldest = filled_[first_];
      first_ = (first_ + 1) % filled_.size();
      --count_;
      ++held_;
      return chunk(this, oldest.buffer, std::span<const std::byte>(bytes_of(oldest.buffer), oldest.length));
    }
    if (error_ != 0) return stream_error("read", file_, std::exchange(error_, 0));
    if (ended_) return chunk();
    return cancelled;
  }

  void recycle(std::uint16_t buffer) {
    --held_;
    give_back(buffer);
    free_if_done();
  }

  bool multishot() const { return how_ == reading::multishot; }
  std::uint64_t submissions = 0;

 private:
  struct item {
    std::uint16_t buffer;
    std::uint32_t length;
  };

  bool busy() const override { return held_ != 0; }
  std::byte* bytes_of(std::uint16_t buffer) const {
    return static_cast<std::byte*>(memory_.start) + std::size_t{buffer} * options_.buffer_bytes;
  }

  void give_back(std::uint16_t buffer) {
    auto* ring = static_cast<io_uring_buf_ring*>(index_.start);
    io_uring_buf_ring_add(ring, bytes_of(buffer), options_.buffer_bytes, buffer, io_uring_buf_ring_mask(options_.buffers), 0);
    io_uring_buf_ring_advance(ring, 1);
  }

  bool arm() override {
    if (held_ >= options_.buffers) {
      error_ = ENOBUFS;  // the consumer waits for bytes and holds every buffer they could come in
      return false;
    }
    const bool again = how_ == reading::multishot;
    const opcode op = options_.socket ? opcode::recv : again ? opcode::read_multishot : opcode::read;
    const std::size_t length = again ? 0 : options_.buffer_bytes;
    const std::uint16_t ioprio = again && options_.socket ? IORING_RECV_MULTISHOT : 0;
    const request what(op, file_, std::uint64_t{0}, length, options_.socket ? 0 : kCurrentPosition, 0, kSqeBufferSelect, ioprio, group_);
    ++submissions;
    submit(what);
    return true;
  }

  void take_completion(int result, unsigned flags) override {
    if (result > 0) {
      const std::size_t place = (first_ + count_) % filled_.size();
      filled_[place] = {static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT), static_cast<std::uint32_t>(result)};
      ++count_;
      return;
    }
    if ((flags & IORING_CQE_F_BUFFER) != 0) give_back(static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT));
    if (result == 0) {
      ended_ = true;
    } else if (result == -ENOBUFS) {
      // The consumer was slower than the source. It has buffers of ours to read now, and re-arms when it asks for more.
      if (count_ == 0 && held_ < options_.buffers) arm();
    } else if ((result == -EBADFD || result == -EINVAL || result == -EOPNOTSUPP) && how_ == reading::multishot) {
      how_ = reading::single;  // a file that cannot be polled, or a kernel without multishot
      arm();
    } else {
      error_ = -result;
    }
  }

  file_ref file_;
  byte_stream_options options_;
  std::uint16_t group_;
  mapping index_;
  mapping memory_;
  std::vector<item> filled_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::uint32_t held_ = 0;
  int error_ = 0;
  bool ended_ = false;
  bool registered_ = false;
  reading how_ = reading::multishot;
};

class poll_stream_state final : public stream_base {
 public:
  poll_stream_state(loop& owner, file_ref file, unsigned mask) : stream_base(owner), file_(file), mask_(mask) {}
  bool has_item() const override { return events_ != 0 || error_ != 0; }
  outcome<int> take();
  std::uint64_t submissions = 0;

 private:
  void take_completion(int result, unsigned flags) override;
  bool arm() override;

  file_ref file_;
  unsigned mask_;
  int events_ = 0;
  int error_ = 0;
};

outcome<int> poll_stream_state::take() {
  if (events_ != 0) return std::exchange(events_, 0);
  if (error_ != 0) return stream_error("poll", file_, std::exchange(error_, 0));
  return cancelled;
}

void poll_stream_state::take_completion(int result, unsigned) {
  if (result >= 0) {
    events_ |= result;
  } else {
    error_ = -result;
  }
}

bool poll_stream_state::arm() {
  const request what(opcode::poll_add, file_, nullptr, IORING_POLL_ADD_MULTI, 0, mask_);
  ++submissions;
  submit(what);
  return true;
}

bool wait_in(byte_stream_state& state, promise_base& task) {
  return state.wait(task);
}
bool wait_in(poll_stream_state& state, promise_base& task) {
  return state.wait(task);
}
void take_from(byte_stream_state& state, outcome<chunk>& into) {
  into = state.take();
}
void take_from(poll_stream_state& state, outcome<int>& into) {
  into = state.take();
}

}  // namespace detail

chunk::~chunk() {
  if (state_ != nullptr) state_->recycle(buffer_);
}

Result<byte_stream> byte_stream::open(file_ref file, byte_stream_options options) {
  const bool power_of_two = options.buffers != 0 && (options.buffers & (options.buffers - 1)) == 0;
  if (!power_of_two || options.buffers > 32768 || options.buffer_bytes == 0) {
    return fail(Error(EINVAL, "a byte stream needs a power of two of buffers, at most 32768, of at least one byte"));
  }
  loop& owner = loop::current();
  auto state = std::make_unique<detail::byte_stream_state>(owner, file, options, owner.take_buffer_group());
  if (auto provided = state->provide(); !provided) return fail(std::move(provided.error()));
  return byte_stream(state.release());
}

byte_stream::~byte_stream() {
  if (state_ != nullptr) state_->abandon();
}
bool byte_stream::multishot() const {
  return state_->multishot();
}
std::uint64_t byte_stream::submissions() const {
  return state_->submissions;
}

poll_stream poll_stream::open(file_ref file, unsigned mask) {
  return poll_stream(new detail::poll_stream_state(loop::current(), file, mask));
}
poll_stream::~poll_stream() {
  if (state_ != nullptr) state_->abandon();
}
std::uint64_t poll_stream::submissions() const {
  return state_->submissions;
}

}  // namespace floe::engine
