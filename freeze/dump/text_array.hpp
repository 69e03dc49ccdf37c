// An array as text: characters as a string, numbers without the zeros among them, structs by what tells them apart.
#pragma once

#include <string>

#include "walkers/render/value.hpp"

namespace floe::freeze::dump {

std::string array_text(const walkers::render::Array& array, int depth);

// Characters, the first of them no NUL, all of them printable, newlines or NUL.
bool is_text(const walkers::render::Array& array);

// Elements that are no plain numbers or text, not all of them zero: each then takes a line or more.
bool has_compounds(const walkers::render::Array& array);

}  // namespace floe::freeze::dump
