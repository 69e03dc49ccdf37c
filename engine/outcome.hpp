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
#include <memory>
#include <optional>
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
  explicit failure_t(Error error) : error_(std::make_unique<Error>(std::move(error))) {}

  bool is_cancelled() const { return error_ == nullptr; }
  bool is_error() const { return error_ != nullptr; }
  const Error& error() const { return *error_; }
  Error& error() { return *error_; }
  failure_t clone() const { return error_ ? failure_t(*error_) : failure_t(); }

 private:
  std::unique_ptr<Error> error_;
};

template <class T = void>
class [[nodiscard]] outcome {
  static constexpr bool kVoid = std::is_void_v<T>;

 public:
  using value_type = T;
  using stored = std::conditional_t<kVoid, ok_t, T>;

  outcome() {  // success for void, cancelled otherwise: what a slot holds before anything was put into it
    if constexpr (kVoid) value_.emplace();
  }
  outcome(cancelled_t) {}
  outcome(Error error) : failure_(std::move(error)) {}
  outcome(tl::unexpected<Error> error) : failure_(std::move(error.value())) {}
  outcome(failure_t failure) : failure_(std::move(failure)) {}
  outcome(Result<T> result) {
    if (!result) {
      failure_ = failure_t(std::move(result.error()));
    } else if constexpr (kVoid) {
      value_.emplace();
    } else {
      value_.emplace(std::move(*result));
    }
  }
  template <class U>
    requires(std::is_constructible_v<stored, U &&> && std::is_convertible_v<U &&, stored> &&
             !std::is_same_v<std::remove_cvref_t<U>, outcome> && !std::is_same_v<std::remove_cvref_t<U>, cancelled_t> &&
             !std::is_same_v<std::remove_cvref_t<U>, failure_t> && !std::is_same_v<std::remove_cvref_t<U>, Error> &&
             !std::is_same_v<std::remove_cvref_t<U>, tl::unexpected<Error>> && !std::is_same_v<std::remove_cvref_t<U>, Result<T>>)
  outcome(U&& value) : value_(std::in_place, std::forward<U>(value)) {}

  // What the constructor would make of it, put in place: for a slot that holds nothing yet.
  template <class U>
  void assign(U&& what) {
    using plain = std::remove_cvref_t<U>;
    if constexpr (!kVoid && std::is_same_v<plain, stored>) {
      value_.emplace(std::forward<U>(what));
    } else {
      *this = outcome(std::forward<U>(what));
    }
  }

  bool has_value() const { return value_.has_value(); }
  explicit operator bool() const { return value_.has_value(); }
  bool is_error() const { return !value_ && failure_.is_error(); }
  bool is_cancelled() const { return !value_ && failure_.is_cancelled(); }

  // Valid only when is_error().
  const Error& error() const { return failure_.error(); }
  Error& error() { return failure_.error(); }
  // The rest without the value; from a const outcome a copy. Valid only when !has_value().
  failure_t failure() const& { return failure_.clone(); }
  failure_t failure() && { return std::move(failure_); }

  stored& operator*() & { return *value_; }
  const stored& operator*() const& { return *value_; }
  stored&& operator*() && { return std::move(*value_); }
  stored* operator->() { return &*value_; }
  const stored* operator->() const { return &*value_; }

  // For code that knows errors only: cancelled becomes ECANCELED.
  Result<T> to_result() && {
    if (is_error()) return fail(std::move(failure_.error()));
    if (is_cancelled()) return fail(Error(ECANCELED, "cancelled"));
    if constexpr (kVoid) {
      return {};
    } else {
      return std::move(*value_);
    }
  }
  // An error gets the context prepended, as Error::within does; other states pass unchanged.
  outcome within(std::string_view what) && {
    if (is_error()) return outcome(std::move(failure_.error()).within(what));
    return std::move(*this);
  }

 private:
  std::optional<stored> value_;
  failure_t failure_;
};

}  // namespace floe::engine
