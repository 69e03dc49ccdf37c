// The same for tests.
#pragma once

#include <boost/test/unit_test.hpp>

#include "cmake/headers/standard.hpp"
