// TLV frames from the tiny guest's ring 3 into a task of floe's engine, 64 bytes each, every one checked: how many a second, with a
// notification for each frame and with one for sixteen. The contenders are the two ways in which a notification can reach floe.
#pragma once

#include "base/result.hpp"
#include "bench/report/report.hpp"
#include "bench/report/settings.hpp"

namespace floe::bench {

// Rows tlv.notify_each and tlv.batched. Error: a frame was lost, damaged or out of order.
Result<> tlv_rows(const Settings& settings, Report& report);

}  // namespace floe::bench
