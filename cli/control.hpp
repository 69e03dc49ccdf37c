// How a run is spoken to while it runs: a unix socket in its folder, one request a line and one answer a line, both JSON.
//
//   {"snapshot":"NAME"}  ->  {"ok":true,"file":"run.snapshot.NAME.json","sequence":12,"pause_us":180}
//                            {"ok":false,"error":"..."}
//
// The folder's owner alone may open the socket. In a run of --host tcg the socket belongs to the floe outside, which passes the lines on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"

namespace floe::cli {

// Answers a line. Several may be under way at once.
using RequestHandler = std::function<engine::task<std::string>(std::string request)>;

std::string request_for_snapshot(const std::string& name);
std::string refusal(const std::string& error);

class ControlServer {
 public:
  static constexpr const char* kName = "control.sock";
  static constexpr std::size_t kMostLine = 4096;
  static constexpr std::size_t kMostConnections = 32;

  // A socket's address holds 107 bytes; a folder with a longer path is reached by its descriptor, so any is.
  static Result<std::unique_ptr<ControlServer>> listen(const std::string& folder);
  ~ControlServer();  // removes the socket

  // Until stopped. What is asked is answered before it ends.
  engine::task<> serve(RequestHandler handler);

 private:
  ControlServer(UniqueFd folder, UniqueFd socket) : folder_(std::move(folder)), socket_(std::move(socket)) {}

  UniqueFd folder_, socket_;
};

// One request to the run of that folder, without a loop. Errors: nobody listens there (any more), or no answer in time.
Result<std::string> ask_run(const std::string& folder, const std::string& request, std::chrono::seconds limit);

}  // namespace floe::cli
