#include "engine/doctor.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>

using floe::engine::explain_missing_ring;

BOOST_AUTO_TEST_SUITE(doctor)

BOOST_AUTO_TEST_CASE(each_cause_has_its_remedy) {
  const auto says = [](int error, const char* sysctl, const char* what) {
    return explain_missing_ring(error, sysctl).find(what) != std::string::npos;
  };
  BOOST_TEST(says(ENOSYS, "", "CONFIG_IO_URING"));
  BOOST_TEST(says(EPERM, "2", "sysctl -w kernel.io_uring_disabled=0"));
  BOOST_TEST(says(EPERM, "1", "kernel.io_uring_group"));
  BOOST_TEST(says(EPERM, "0", "seccomp"));
  BOOST_TEST(says(ENOMEM, "0", "ulimit -l"));
  BOOST_TEST(says(EMFILE, "0", "ulimit -n"));
  BOOST_TEST(says(EINVAL, "0", "Invalid argument"));
}

BOOST_AUTO_TEST_SUITE_END()
