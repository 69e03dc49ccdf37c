#include "cli/flags.hpp"

// Together: App alone leaves the virtual functions of its formatter and config undefined.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cctype>
#include <iostream>

namespace floe::cli {
namespace {

// FLOE_RING_DEPTH for --ring-depth.
std::string environment_name(const CLI::Option& option) {
  std::string name = "FLOE_" + option.get_name(false, false).substr(2);
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

const Flag& Flag::required() const {
  option_->required();
  return *this;
}
const Flag& Flag::repeatable() const {
  option_->expected(1)->take_all();
  return *this;
}
const Flag& Flag::hidden() const {
  option_->group("");
  return *this;
}
const Flag& Flag::excludes(const Flag& other) const {
  option_->excludes(other.option_);
  return *this;
}
const Flag& Flag::one_of(std::vector<std::string> words) const {
  option_->check(CLI::IsMember(std::move(words)));
  return *this;
}
const Flag& Flag::between(unsigned least, unsigned most) const {
  option_->check(CLI::Range(least, most));
  return *this;
}
const Flag& Flag::value_name(const std::string& name) const {
  option_->type_name(name);
  return *this;
}
const Flag& Flag::value_text(const std::string& text) const {
  option_->option_text(text);
  return *this;
}
const Flag& Flag::shows_default() const {
  option_->capture_default_str();
  return *this;
}
const Flag& Flag::shows_default(const std::string& text) const {
  option_->default_str(text);
  return *this;
}

Flags::Flags(const std::string& description, const std::string& name) : app_(std::make_unique<CLI::App>(description, name)) {}
Flags::~Flags() = default;

Flag Flags::add(const std::string& name, std::string& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, std::vector<std::string>& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, unsigned& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, std::uint64_t& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, double& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, std::optional<std::int32_t>& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, std::optional<std::uint64_t>& into, const std::string& text) {
  return Flag(app_->add_option(name, into, text));
}
Flag Flags::add(const std::string& name, bool& into, const std::string& text) {
  return Flag(app_->add_flag(name, into, text));
}
Flag Flags::add_read(const std::string& name, Take take, const std::string& text) {
  const auto read = [take = std::move(take)](const std::string& value) {
    if (const auto taken = take(value); !taken) throw CLI::ValidationError(taken.error().message);
  };
  return Flag(app_->add_option_function<std::string>(name, read, text));
}
Flag Flags::add_told(const std::string& name, const std::string& text) {
  return Flag(app_->add_option(name, text));
}

void Flags::add_environment(std::string_view except) {
  for (CLI::Option* option : app_->get_options())
    if (option->get_name() != "--help" && option->get_name() != except && !option->get_positional())
      option->envname(environment_name(*option));
}

void Flags::footer(const std::string& text) {
  app_->footer(text);
}

std::optional<Verdict> Flags::parse(std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    app_->parse(words);
  } catch (const CLI::CallForHelp&) {
    std::cout << app_->help();
    return Verdict{};
  } catch (const CLI::ParseError& error) {
    return Verdict{Exit::kUsage, std::string(error.what()) + " (see " + app_->get_name() + " --help)"};
  }
  return {};
}

bool Flags::given(const std::string& name) const {
  return app_->get_option(name)->count() != 0;
}

}  // namespace floe::cli
