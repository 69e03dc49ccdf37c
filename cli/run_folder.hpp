// The folder a run leaves behind, seen by the run as a few operations, so that it does not matter where the folder is: on this
// machine (LocalFolder), or, when floe runs inside an outer machine, on the host outside (LinkFolder, cli/link.hpp), where it grows
// while the run goes on.
//
// Logs grow by append(), which never blocks: a task of the loop, serve(), does the writing. Everything else is written whole or
// not at all, by blocking calls on a worker thread. A write that fails is kept in errors() and stops nothing else.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"
#include "freeze/kept_writer.hpp"

namespace floe::cli {

namespace artefact {
inline constexpr const char* kManifest = "manifest.json";
inline constexpr const char* kMetrics = "metrics.jsonl";
inline constexpr const char* kConsole = "console.log";
inline constexpr const char* kWorkload = "workload.log";
inline constexpr const char* kScheduler = "scheduler.log";
inline constexpr const char* kHostConsole = "host-console.log";  // of the outer machine of --host tcg
inline constexpr const char* kSnapshots = "snapshots";
}  // namespace artefact

using Bytes = std::vector<std::byte>;

class RunFolder {
 public:
  // Where bytes go besides files: floe's own stdout and stderr.
  enum class Stream { kOut, kErr };

  virtual ~RunFolder() = default;

  // Any thread; never block.
  void append(std::string_view file, std::span<const std::byte> bytes);
  void append(std::string_view file, std::string_view text);
  void print(Stream stream, std::span<const std::byte> bytes);
  void print(Stream stream, std::string_view text);

  // Writes what was appended until close() has been called and all is out. Cancelling it loses what is still queued, so it runs
  // shielded to its end.
  engine::task<> serve();
  void close();

  // Appended or printed, and not yet written. Whoever feeds the folder from a guest looks at this first.
  std::size_t queued_bytes() const { return queued_bytes_.load(std::memory_order_relaxed); }

  // Moves what there is into first-try/, once all of it is written.
  engine::task<> start_over();

  // Whole files in `subfolder` ("": the run's folder itself), for a worker thread. A sink is used by one thread at a time.
  virtual std::unique_ptr<freeze::FileSink> sink(const std::string& subfolder) = 0;
  Result<> write_whole(const std::string& file, std::span<const std::byte> bytes);

  // The guest said hello: for a floe outside that must know whether a dead machine got that far.
  virtual void guest_said_hello() {}

  virtual const std::string& path() const = 0;  // as the user knows it
  std::vector<std::string> errors() const;
  void note_error(std::string text);

 protected:
  struct Item {
    enum class Kind { kFile, kOut, kErr } kind = Kind::kFile;
    std::string file;
    Bytes bytes;
  };
  virtual engine::task<> write(Item item) = 0;
  virtual Result<> set_aside(const std::string& subfolder);

 private:
  void post(Item item);

  engine::mailbox<Item> queue_;
  std::atomic<std::size_t> queued_bytes_{0};
  mutable std::mutex mutex_;
  std::vector<std::string> errors_;
};

class LocalFolder final : public RunFolder {
 public:
  // Makes the folder, or takes an empty one; what a killed run left in it half-written is removed first. Errors: it exists and is not
  // empty, or cannot be made.
  static Result<std::unique_ptr<LocalFolder>> create(const std::string& path);

  std::unique_ptr<freeze::FileSink> sink(const std::string& subfolder) override;
  const std::string& path() const override { return path_; }

 private:
  explicit LocalFolder(std::string path) : path_(std::move(path)) {}
  engine::task<> write(Item item) override;
  Result<> set_aside(const std::string& subfolder) override;
  Result<int> log_fd(const std::string& file);

  std::string path_;
  std::map<std::string, UniqueFd> logs_;
};

// run/2026-11-21-142233, made unique by a number where taken. Removes what killed runs left half-written in run/.
std::string default_out_path();

}  // namespace floe::cli
