// JSON as it is written, value after value, with no tree behind it: a dump has tens of megabytes of it.
//
// The writer owns its text, puts commas where they belong and escapes strings. What a caller must do itself is close what it opens and
// give every value of an object its key. Strings may hold any bytes: what is not UTF-8 becomes U+FFFD, so that the text is valid
// whatever a guest wrote. Integers keep all 64 bits; a number that is not finite is null.
//
// A text that need not be in memory as a whole is handed on in pieces: JsonWriter json(drain), and flush() at the end.
//
//   JsonWriter json;
//   json.begin_object().key("name").string(comm).key("cpus").begin_array().number(0u).number(1u).end_array().end_object();
//   write(std::move(json).take());
#pragma once

#include <algorithm>
#include <cassert>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/decimal.hpp"

namespace floe {

class JsonWriter {
 public:
  // Gets the text piece by piece, in order. A writer knows of no errors: one that the drain meets is the drain's to keep.
  using Drain = std::function<void(std::string_view)>;
  static constexpr std::size_t kPieceBytes = std::size_t{128} << 10;  // about; a longer value comes as a longer piece

  JsonWriter() = default;
  explicit JsonWriter(Drain drain) : drain_(std::move(drain)) {}

  // Hands on what is left.
  void flush() {
    if (!drain_ || size_ == 0) return;
    drain_(view());
    drained_ += std::exchange(size_, 0);
  }

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }

  JsonWriter& key(std::string_view name);

  JsonWriter& string(std::string_view bytes);
  JsonWriter& boolean(bool value) { return value ? raw("true") : raw("false"); }
  JsonWriter& null() { return raw("null"); }
  JsonWriter& number(double value);

  template <std::integral T>
  JsonWriter& number(T value) {
    begin_value(kMaxInteger);
    add_integer(value);
    return end_value();
  }

  // "0a ff": two lowercase digits a byte, one space between.
  JsonWriter& hex(std::span<const std::byte> bytes);

  // A whole value that is JSON already.
  JsonWriter& raw(std::string_view json);

  std::string_view view() const { return {text_.get(), size_}; }  // what was not handed on
  std::size_t size() const { return drained_ + size_; }

  // A copy of the text, which for one of many megabytes view() saves; leaves the writer empty.
  std::string take() &&;

  // For writers of many small values of one shape (walkers/render/json_sink.cpp): a value as a run of pieces. begin_value() puts the
  // comma and makes room for `bytes` of the add_*() calls up to end_value(); of them add_string() alone makes its own, keeping `bytes`
  // of room behind it.
  static constexpr std::size_t kMaxInteger = 20;

  void begin_value(std::size_t bytes) {
    reserve(bytes + 1);
    if (comma_) text_[size_++] = ',';
  }
  JsonWriter& end_value(bool comma = true) {
    comma_ = comma;
    return *this;
  }
  void add(std::string_view piece) {
    assert(room_ - size_ >= piece.size());
    if (!piece.empty()) std::memcpy(text_.get() + size_, piece.data(), piece.size());
    size_ += piece.size();
  }
  template <std::integral T>
  void add_integer(T value) {
    if constexpr (std::signed_integral<T>)
      set_end(write_decimal(end(), static_cast<std::int64_t>(value)));
    else
      set_end(write_decimal(end(), static_cast<std::uint64_t>(value)));
  }
  // Where the next byte goes, for who writes into that room himself; and where he stopped.
  char* end() { return text_.get() + size_; }
  void set_end(const char* end) { size_ = static_cast<std::size_t>(end - text_.get()); }
  void add_string(std::string_view bytes, std::size_t room_behind);

  void reserve(std::size_t more) {
    if (room_ - size_ < more) grow(more);
  }

 private:
  JsonWriter& open(char bracket) {
    begin_value(1);
    text_[size_++] = bracket;
    return end_value(false);
  }
  JsonWriter& close(char bracket) {
    reserve(1);
    text_[size_++] = bracket;
    return end_value();
  }
  void grow(std::size_t more);
  void add_escaped(std::string_view bytes, std::size_t room_behind);

  struct Free {
    void operator()(char* text) const { std::free(text); }
  };

  // realloc() moves tens of megabytes without copying them, and without touching what is not written yet.
  std::unique_ptr<char[], Free> text_;
  std::size_t room_ = 0;
  std::size_t size_ = 0;
  std::size_t drained_ = 0;
  Drain drain_;
  bool comma_ = false;  // a comma precedes what comes next
};

}  // namespace floe
