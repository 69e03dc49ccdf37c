#include "vmm/xz.hpp"

#include <lzma.h>

#include <boost/test/unit_test.hpp>

namespace checks {
namespace {

using Bytes = std::vector<std::byte>;

Bytes pack(std::span<const std::byte> data) {
  Bytes out(::lzma_stream_buffer_bound(data.size()));
  std::size_t used = 0;
  const auto code = ::lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const std::uint8_t*>(data.data()), data.size(),
                                              reinterpret_cast<std::uint8_t*>(out.data()), &used, out.size());
  BOOST_REQUIRE(code == LZMA_OK);
  out.resize(used);
  return out;
}

// Neither all the same nor random.
Bytes sample(std::size_t size) {
  Bytes data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(i * i >> 7);
  return data;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(xz)

BOOST_AUTO_TEST_CASE(unpacks_what_was_packed) {
  for (const std::size_t size : {0UL, 1UL, 4096UL, (1UL << 20), (1UL << 20) + 1, 5'000'000UL}) {
    const auto data = sample(size);
    const auto back = floe::vmm::unpack_xz(pack(data));
    BOOST_REQUIRE(back.has_value());
    BOOST_TEST((*back == data), size << " bytes");
  }
}

BOOST_AUTO_TEST_CASE(takes_all_streams) {
  auto two = pack(sample(1000));
  const auto second = pack(sample(500));
  two.insert(two.end(), second.begin(), second.end());
  BOOST_TEST(floe::vmm::unpack_xz(two).value().size() == 1500U);
}

BOOST_AUTO_TEST_CASE(says_what_is_wrong) {
  const auto message = [](std::span<const std::byte> bytes) { return floe::vmm::unpack_xz(bytes).error().message; };
  BOOST_TEST(message({}) == "not .xz data");
  BOOST_TEST(message(sample(100)) == "not .xz data");
  auto packed = pack(sample(10'000));
  BOOST_TEST(message(std::span(packed).first(packed.size() / 2)) == ".xz data that is cut short");
  packed[packed.size() / 2] ^= std::byte{1};
  BOOST_TEST(message(packed) == "corrupt .xz data");
}

BOOST_AUTO_TEST_CASE(every_cut_is_refused) {
  const auto packed = pack(sample(300));
  for (std::size_t length = 0; length < packed.size(); ++length) {
    BOOST_TEST(!floe::vmm::unpack_xz(std::span(packed).first(length)).has_value(), "cut to " << length);
  }
}

BOOST_AUTO_TEST_CASE(output_is_bounded) {
  const auto bomb = pack(Bytes(floe::vmm::kMaxXzOutput + 1));
  BOOST_TEST(bomb.size() < 1U << 20);
  const auto refused = floe::vmm::unpack_xz(bomb);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(refused.error().message.find("256 MiB") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace checks
