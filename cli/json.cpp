#include "cli/json.hpp"

#include <boost/json.hpp>

namespace floe::cli {
namespace {

namespace json = boost::json;

// Bytes of the well-formed UTF-8 sequence at the start of `s`, 0 when there is none (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if ((first & 0xf0) == 0xe0) {
    const unsigned least = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned most = first == 0xed ? 0x9f : 0xbf;
    return byte(1) >= least && byte(1) <= most && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned least = first == 0xf0 ? 0x90 : 0x80;
    const unsigned most = first == 0xf4 ? 0x8f : 0xbf;
    return byte(1) >= least && byte(1) <= most && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

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
    text += length ? bytes.substr(0, length) : "\xef\xbf\xbd";
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
