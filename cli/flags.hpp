// What a subcommand takes from its command line.
//
//   Flags flags("Prints one value of a failure dump.", "floe get");
//   flags.add("DUMP", file, "the failure dump").required();
//   flags.add("--json", as_json, "as it stands in the dump");
//   if (const auto ended = flags.parse(std::move(words))) return *ended;
//
// CLI11 does the work. It is all headers, seconds of each source that includes them: flags.cpp is the only one of floe's that does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "cli/exit.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace floe::cli {

// One that was added: what else there is to say of it. Lives as long as its Flags.
class Flag {
 public:
  explicit Flag(CLI::Option* option) : option_(option) {}
  const Flag& required() const;
  const Flag& repeatable() const;
  const Flag& hidden() const;  // not in the help
  const Flag& excludes(const Flag& other) const;
  const Flag& one_of(std::vector<std::string> words) const;
  const Flag& between(unsigned least, unsigned most) const;
  const Flag& value_name(const std::string& name) const;  // in the help, in place of its type
  const Flag& value_text(const std::string& text) const;  // in the help, in place of type, default and environment
  const Flag& shows_default() const;                      // the value as it is now
  const Flag& shows_default(const std::string& text) const;

 private:
  CLI::Option* option_;
};

class Flags {
 public:
  Flags(const std::string& description, const std::string& name);
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  // Named --so, -s or both ("-s,--so"), or SO for a word without a flag; the value goes where `into` is.
  Flag add(const std::string& name, std::string& into, const std::string& text = "");
  Flag add(const std::string& name, std::vector<std::string>& into, const std::string& text = "");
  Flag add(const std::string& name, unsigned& into, const std::string& text = "");
  Flag add(const std::string& name, std::uint64_t& into, const std::string& text = "");
  Flag add(const std::string& name, double& into, const std::string& text = "");
  Flag add(const std::string& name, std::optional<std::int32_t>& into, const std::string& text = "");
  Flag add(const std::string& name, std::optional<std::uint64_t>& into, const std::string& text = "");
  Flag add(const std::string& name, bool& into, const std::string& text = "");  // takes no value
  // Whose value `take` reads; when it fails, that is what the user is told.
  using Take = std::function<Result<>(const std::string& value)>;
  Flag add_read(const std::string& name, Take take, const std::string& text = "");
  // Of which the help tells, and which somebody else takes from the words before they are parsed.
  Flag add_told(const std::string& name, const std::string& text);

  // Gives every flag that was added up to now, but for --help and `except`, its twin: FLOE_RING_DEPTH for --ring-depth.
  void add_environment(std::string_view except);
  void footer(const std::string& text);

  // A verdict when the command ends here: help was printed, or the words are wrong.
  std::optional<Verdict> parse(std::vector<std::string> words);
  bool given(const std::string& name) const;

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace floe::cli
