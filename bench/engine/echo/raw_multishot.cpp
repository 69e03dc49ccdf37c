#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/engine/echo/echo.hpp"
#include "bench/engine/echo/message.hpp"
#include "bench/engine/raw_ring.hpp"

namespace floe::bench {
namespace {

enum Kind : std::uint64_t { kReceived, kSent };

// Buffers of 4 KiB that the kernel takes from a ring in shared memory; one group for all sockets.
class Buffers {
 public:
  Buffers(RawRing& ring, unsigned count) : count_(count), memory_(count * kBytes) {
    ring_ = static_cast<io_uring_buf_ring*>(
        mmap(nullptr, count * sizeof(io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(ring_);
    registration.ring_entries = count;
    require(syscall(__NR_io_uring_register, ring.descriptor(), IORING_REGISTER_PBUF_RING, &registration, 1) == 0, "raw: no buffer ring");
    for (unsigned buffer = 0; buffer < count; ++buffer) give(static_cast<std::uint16_t>(buffer));
  }
  ~Buffers() { munmap(ring_, count_ * sizeof(io_uring_buf)); }

  std::byte* at(std::uint16_t buffer) { return memory_.data() + buffer * kBytes; }
  void give(std::uint16_t buffer) {
    io_uring_buf& place = reinterpret_cast<io_uring_buf*>(ring_)[tail_ & (count_ - 1)];  // C++ shifts the header's flexible array
    place.addr = reinterpret_cast<std::uint64_t>(at(buffer));
    place.len = kBytes;
    place.bid = buffer;
    __atomic_store_n(&ring_->tail, ++tail_, __ATOMIC_RELEASE);
  }

 private:
  static constexpr std::size_t kBytes = 4096;
  unsigned count_;
  std::vector<std::byte> memory_;
  io_uring_buf_ring* ring_;
  std::uint16_t tail_ = 0;
};

class MultishotEcho : public Echo {
 public:
  explicit MultishotEcho(EchoShape shape) : shape_(shape), sockets_(shape.pairs), buffers_(ring_, shape.pairs * 4) {
    for (unsigned pair = 0; pair < shape.pairs; ++pair) talks_.push_back({Message(shape.bytes)});
    require(syscall(__NR_io_uring_register, ring_.descriptor(), IORING_REGISTER_FILES, sockets_.all(), shape.pairs * 2) == 0,
            "raw: no fixed files");
    for (unsigned end = 0; end < shape.pairs * 2; ++end) arm(end);
  }

  Sample run(std::uint64_t trips) override {
    return charge(trips * shape_.pairs, [&] {
      for (unsigned pair = 0; pair < shape_.pairs; ++pair) {
        talks_[pair].left = trips;
        ask(pair);
      }
      open_ = shape_.pairs;
      while (open_ != 0) {
        ring_.enter(1);
        ring_.walk([this](const io_uring_cqe& done) { on_completion(done); });
      }
    });
  }

 private:
  struct Talk {
    Message message;
    std::uint64_t left = 0;
  };

  // user_data: the end (pair * 2, the server's + 1), the buffer that is sent and free afterwards, the kind.
  io_uring_sqe& entry(std::uint8_t opcode, unsigned end, Kind kind, std::uint16_t buffer = 0) {
    io_uring_sqe& fresh = ring_.entry();
    fresh.opcode = opcode;
    fresh.flags = IOSQE_FIXED_FILE;
    fresh.fd = static_cast<int>(end);
    fresh.user_data = std::uint64_t{end} << 17 | std::uint64_t{buffer} << 1 | kind;
    return fresh;
  }
  void arm(unsigned end) {
    io_uring_sqe& fresh = entry(IORING_OP_RECV, end, kReceived);
    fresh.flags |= IOSQE_BUFFER_SELECT;
    fresh.ioprio = IORING_RECV_MULTISHOT;
  }
  void send(unsigned end, const std::byte* from, std::size_t bytes, std::uint16_t buffer) {
    io_uring_sqe& fresh = entry(IORING_OP_SEND, end, kSent, buffer);
    fresh.addr = reinterpret_cast<std::uint64_t>(from);
    fresh.len = static_cast<std::uint32_t>(bytes);
  }
  void ask(unsigned pair) { send(pair * 2, talks_[pair].message.prepare(talks_[pair].left), shape_.bytes, 0); }

  void on_completion(const io_uring_cqe& done) {
    const auto end = static_cast<unsigned>(done.user_data >> 17);
    const bool server = (end & 1) != 0;
    require(done.res > 0, "raw multishot: a socket failed");
    if ((done.user_data & 1) == kSent) {
      if (server) buffers_.give(static_cast<std::uint16_t>(done.user_data >> 1));
      return;
    }
    const auto buffer = static_cast<std::uint16_t>(done.flags >> IORING_CQE_BUFFER_SHIFT);
    if ((done.flags & IORING_CQE_F_MORE) == 0) arm(end);
    if (server) return send(end, buffers_.at(buffer), static_cast<std::size_t>(done.res), buffer);
    Talk& talk = talks_[end / 2];
    require(talk.message.take(buffers_.at(buffer), static_cast<std::size_t>(done.res)), "raw multishot: a wrong answer");
    buffers_.give(buffer);
    if (!talk.message.complete()) return;
    if (--talk.left != 0) return ask(end / 2);
    --open_;
  }

  EchoShape shape_;
  Sockets sockets_;
  RawRing ring_;
  Buffers buffers_;
  std::vector<Talk> talks_;
  unsigned open_ = 0;
};

}  // namespace

std::unique_ptr<Echo> raw_multishot_echo(EchoShape shape) {
  return std::make_unique<MultishotEcho>(shape);
}

}  // namespace floe::bench
