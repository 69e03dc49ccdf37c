// As standard.hpp, for the sources that write JSON by Boost: it takes longer to read than most of them.
#pragma once

#include <boost/json.hpp>

#include "cmake/headers/standard.hpp"
