// The main of every Boost.Test program of floe.
#define BOOST_TEST_MODULE floe
#include <boost/test/unit_test.hpp>
