// Whether bytes that somebody else wrote are text.
#pragma once

#include <cstddef>
#include <string_view>

namespace floe {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";  // U+FFFD, for a byte that belongs to no character

// Bytes of the well-formed UTF-8 sequence at the start of `text` (Unicode 15, table 3-7); 0 when there is none.
std::size_t utf8_length(std::string_view text);

}  // namespace floe
