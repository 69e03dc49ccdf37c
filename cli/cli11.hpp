// CLI11's parts that floe uses, always together: App alone leaves the virtual functions of its formatter and config undefined.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
