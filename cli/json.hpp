// The little that floe adds to Boost.JSON.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

namespace floe::cli {

// Guest bytes as JSON text: what is not UTF-8 becomes U+FFFD, so that the document stays valid.
std::string json_text(std::string_view bytes);

// The same for a terminal: control bytes become '?', so that a guest cannot steer it.
std::string printable(std::string_view bytes);

// Two-space indentation, one member a line, a final newline.
std::string pretty_json(const boost::json::value& value);

}  // namespace floe::cli
