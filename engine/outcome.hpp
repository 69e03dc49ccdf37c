// What an awaited thing gives back: a value, an error, or the news that it was cancelled.
//
// Cancellation is a third outcome, not an error: nobody has to tell a real ECANCELED from their own shutdown, and nothing gets logged
// as a failure because somebody pressed Ctrl-C. An outcome is move-only; an error costs one allocation, the two other states none.
//
//   const auto got = co_await read(fd, buffer);
//   if (!got) co_return got.failure();        // hands error or cancellation on, whatever the caller's own T is
//   use(*got);
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/result.hpp"

namespace floe::engine {

struct cancelled_t {};
inline constexpr cancelled_t cancelled{};

// Success of an outcome<void>: `co_return ok;`. (A coroutine that can also return errors cannot just fall off its end.)
struct ok_t {};
inline constexpr ok_t ok{};

// What is left of an outcome that has no value: an error, or cancelled. Converts into an outcome of any type.
class [[nodiscard]] failure_t {
 public:
  failure_t() = default;  // cancelled
  explicit failure_t(cancelled_t) {}
  explicit failure_t(Error error) : state_(reinterpret_cast<std::uintptr_t>(new Error(std::move(error)))) {}
  failure_t(failure_t&& other) noexcept : state_(std::exchange(other.state_, kCancelled)) {}
  failure_t& operator=(failure_t&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~failure_t() {
    if (state_ > kCancelled) [[unlikely]]
      forget(pointer());
  }

  bool is_cancelled() const { return state_ == kCancelled; }
  bool is_error() const { return state_ > kCancelled; }
  const Error& error() const { return *pointer(); }
  Error& error() { return *pointer(); }
  failure_t clone() const { return is_error() ? failure_t(*pointer()) : failure_t(); }

 private:
  template <class>
  friend class outcome;
  static constexpr std::uintptr_t kNone = 0;  // an outcome with a value
  static constexpr std::uintptr_t kCancelled = 1;

  struct none_t {};
  explicit failure_t(none_t, std::uintptr_t state = kNone) : state_(state) {}
  std::uintptr_t release() { return std::exchange(state_, kCancelled); }
  [[gnu::cold]] static void forget(Error* error);  // out of line: it is in the way of every frame that holds an outcome
  Error* pointer() const { return reinterpret_cast<Error*>(state_); }

  std::uintptr_t state_ = kCancelled;
};

template <class T = void>
class [[nodiscard]] outcome {
  static constexpr bool kVoid = std::is_void_v<T>;

 public:
  using value_type = T;
  using stored = std::conditional_t<kVoid, ok_t, T>;

  // Success for void, cancelled otherwise: what a slot holds before anything was put into it.
  outcome() : failure_(initial()) {}
  outcome(cancelled_t) : failure_(cancelled) {}
  outcome(Error error) : failure_(std::move(error)) {}
  outcome(tl::unexpected<Error> error) : failure_(std::move(error.value())) {}
  outcome(failure_t failure) : failure_(std::move(failure)) {}
  outcome(Result<T> result) : failure_(failure_t::none_t()) {
    if (!result) {
      failure_.state_ = failure_t(std::move(result.error())).release();
    } else if constexpr (!kVoid) {
      std::construct_at(&value_, std::move(*result));
    }
  }
  template <class U>
    requires(std::is_constructible_v<stored, U &&> && std::is_convertible_v<U &&, stored> &&
             !std::is_same_v<std::remove_cvref_t<U>, outcome> && !std::is_same_v<std::remove_cvref_t<U>, cancelled_t> &&
             !std::is_same_v<std::remove_cvref_t<U>, failure_t> && !std::is_same_v<std::remove_cvref_t<U>, Error> &&
             !std::is_same_v<std::remove_cvref_t<U>, tl::unexpected<Error>> && !std::is_same_v<std::remove_cvref_t<U>, Result<T>>)
  outcome(U&& value) : failure_(failure_t::none_t()) {
    std::construct_at(&value_, std::forward<U>(value));
  }
  outcome(outcome&& other) noexcept : failure_(failure_t::none_t(), other.failure_.state_) { take_rest(std::move(other)); }
  outcome& operator=(outcome&& other) noexcept {
    if (this == &other) return *this;
    drop();
    take(std::move(other));
    return *this;
  }
  ~outcome() { drop(); }

  // What the constructor would make of it, in place of the nothing that an outcome just made holds (cancelled, or ok for void).
  template <class U>
  void put(U&& what) {
    if constexpr (std::is_same_v<std::remove_cvref_t<U>, stored>) {
      std::construct_at(&value_, std::forward<U>(what));
      failure_.state_ = failure_t::kNone;
    } else {
      *this = outcome(std::forward<U>(what));
    }
  }

  bool has_value() const { return failure_.state_ == failure_t::kNone; }
  explicit operator bool() const { return has_value(); }
  bool is_error() const { return failure_.is_error(); }
  bool is_cancelled() const { return failure_.is_cancelled(); }

  // Valid only when is_error().
  const Error& error() const { return failure_.error(); }
  Error& error() { return failure_.error(); }
  // The rest without the value; from a const outcome a copy. Valid only when !has_value().
  failure_t failure() const& { return failure_.clone(); }
  failure_t failure() && { return std::move(failure_); }

  stored& operator*() & { return value_; }
  const stored& operator*() const& { return value_; }
  stored&& operator*() && { return std::move(value_); }
  stored* operator->() { return &value_; }
  const stored* operator->() const { return &value_; }

  // For code that knows errors only: cancelled becomes ECANCELED.
  Result<T> to_result() && {
    if (is_error()) return fail(std::move(failure_.error()));
    if (is_cancelled()) return fail(Error(ECANCELED, "cancelled"));
    if constexpr (kVoid) {
      return {};
    } else {
      return std::move(value_);
    }
  }
  // An error gets the context prepended, as Error::within does; other states pass unchanged.
  outcome within(std::string_view what) && {
    if (is_error()) return outcome(std::move(failure_.error()).within(what));
    return std::move(*this);
  }

 private:
  static failure_t initial() { return kVoid ? failure_t(failure_t::none_t()) : failure_t(); }
  void drop() {
    if constexpr (!std::is_trivially_destructible_v<stored>) {
      if (has_value()) std::destroy_at(&value_);
    }
    if (failure_.is_error()) [[unlikely]]
      failure_t::forget(failure_.pointer());
    failure_.state_ = failure_t::kCancelled;
  }
  // Into an outcome that holds nothing. What was moved from keeps its state; of an error nothing remains.
  void take(outcome&& other) {
    failure_.state_ = other.failure_.state_;
    take_rest(std::move(other));
  }
  void take_rest(outcome&& other) {
    if (other.has_value()) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      other.failure_.state_ = failure_t::kCancelled;
    }
  }

  failure_t failure_;
  union {
    stored value_;
  };
};

}  // namespace floe::engine
