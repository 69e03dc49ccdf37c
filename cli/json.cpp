#include "cli/json.hpp"

#include <boost/json.hpp>

#include "base/utf8.hpp"

namespace floe::cli {
namespace {

namespace json = boost::json;

void print(const json::value& value, std::string& out, std::string indent);

template <class Each>
void print_block(char open, char close, std::size_t size, std::string& out, const std::string& indent, Each each) {
  out += open;
  for (std::size_t i = 0; i < size; ++i) {
    out += i ? ",\n" : "\n";
    out += indent + "  ";
    each(i);
  }
  if (size) out += "\n" + indent;
  out += close;
}

void print(const json::value& value, std::string& out, std::string indent) {
  if (const auto* object = value.if_object()) {
    auto it = object->begin();
    print_block('{', '}', object->size(), out, indent, [&](std::size_t) {
      out += json::serialize(json::string(it->key())) + ": ";
      print(it->value(), out, indent + "  ");
      ++it;
    });
  } else if (const auto* array = value.if_array()) {
    print_block('[', ']', array->size(), out, indent, [&](std::size_t i) { print((*array)[i], out, indent + "  "); });
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string json_text(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t length = utf8_length(bytes);
    text += length ? bytes.substr(0, length) : kReplacementCharacter;
    bytes.remove_prefix(length ? length : 1);
  }
  return text;
}

std::string printable(std::string_view bytes) {
  std::string text = json_text(bytes);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

std::string pretty_json(const json::value& value) {
  std::string out;
  print(value, out, "");
  out += '\n';
  return out;
}

}  // namespace floe::cli
