// Little-endian fields in and out of byte buffers, for the kept files. The decoder is for hostile input: past the end everything
// reads as 0 and ok() stays false; a count is believed only as far as the bytes for it can be there. Private to freeze/.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace floe::freeze {

static_assert(std::endian::native == std::endian::little, "the kept files are little-endian");

class Encoder {
 public:
  template <class T>
    requires std::is_unsigned_v<T>
  void put(T value) {
    append(std::as_bytes(std::span(&value, 1)));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    put(static_cast<std::uint32_t>(bytes.size()));
    append(bytes);
  }
  void put_text(std::string_view text) { put_bytes(std::as_bytes(std::span(text))); }
  void append(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }

  std::span<const std::byte> bytes() const { return bytes_; }
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : left_(bytes) {}

  template <class T>
    requires std::is_unsigned_v<T>
  T get() {
    T value = 0;
    const auto bytes = take(sizeof value);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  // A count of things that take at least `least` bytes each.
  std::uint32_t get_count(std::size_t least) {
    const auto count = get<std::uint32_t>();
    if (count <= left_.size() / least) return count;
    fail();
    return 0;
  }
  std::span<const std::byte> get_bytes() { return take(get_count(1)); }
  std::string get_text() {
    const auto bytes = get_bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::span<const std::byte> take(std::size_t size) {
    if (size > left_.size()) {
      fail();
      return {};
    }
    const auto bytes = left_.first(size);
    left_ = left_.subspan(size);
    return bytes;
  }

  bool ok() const { return ok_; }
  std::size_t left() const { return left_.size(); }

 private:
  void fail() {
    ok_ = false;
    left_ = {};
  }
  std::span<const std::byte> left_;
  bool ok_ = true;
};

}  // namespace floe::freeze
