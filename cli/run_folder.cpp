#include "cli/run_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <optional>

#include "base/atomic_file.hpp"
#include "base/file.hpp"

namespace floe::cli {
namespace {

// Files of the run's folder, whole or absent.
class LocalSink final : public freeze::FileSink {
 public:
  explicit LocalSink(std::string folder) : folder_(std::move(folder)) {}

  Result<> begin(std::string_view name) override {
    const std::filesystem::path path = std::filesystem::path(folder_) / name;
    // Made once: a folder that vanishes takes what belongs together with it, and half of it does not come back.
    if (const auto parent = path.parent_path(); parent != made_) {
      std::error_code error;
      std::filesystem::create_directories(parent, error);
      if (error) return fail_errno(error.value(), "creating " + parent.string());
      made_ = parent;
    }
    auto file = AtomicFile::create(path.string());
    if (!file) return fail(std::move(file.error()));
    file_.emplace(std::move(*file));
    return {};
  }
  Result<> append(std::span<const std::byte> bytes) override { return file_->append(bytes); }
  Result<> commit() override {
    const auto committed = file_->commit();
    file_.reset();
    return committed;
  }
  void abandon() override { file_.reset(); }

 private:
  std::string folder_;
  std::filesystem::path made_;
  std::optional<AtomicFile> file_;
};

}  // namespace

void RunFolder::post(Item item) {
  queued_bytes_.fetch_add(item.bytes.size(), std::memory_order_relaxed);
  queue_.post(std::move(item));
}

void RunFolder::append(std::string_view file, std::span<const std::byte> bytes) {
  if (!bytes.empty()) post({Item::Kind::kFile, std::string(file), Bytes(bytes.begin(), bytes.end())});
}

void RunFolder::append(std::string_view file, std::string_view text) {
  append(file, as_bytes(text));
}

void RunFolder::print(Stream stream, std::span<const std::byte> bytes) {
  const auto kind = stream == Stream::kOut ? Item::Kind::kOut : Item::Kind::kErr;
  if (!bytes.empty()) post({kind, {}, Bytes(bytes.begin(), bytes.end())});
}

void RunFolder::print(Stream stream, std::string_view text) {
  print(stream, as_bytes(text));
}

void RunFolder::close() {
  queue_.close();
}

engine::task<> RunFolder::serve() {
  for (;;) {
    auto item = co_await queue_.receive();
    if (!item) break;  // closed and empty
    const std::size_t size = item->bytes.size();
    const auto written = co_await write(std::move(*item));
    queued_bytes_.fetch_sub(size, std::memory_order_relaxed);
    if (written.is_error()) note_error(written.error().message);
  }
  co_return engine::ok;
}

engine::task<> RunFolder::start_over() {
  while (queued_bytes() > 0) {
    const auto slept = co_await engine::sleep_for(std::chrono::milliseconds(5));
    if (!slept) co_return slept.failure();
  }
  co_return set_aside("first-try");
}

Result<> RunFolder::set_aside(const std::string&) {
  return fail("this folder cannot be set aside");
}

void RunFolder::note_error(std::string text) {
  constexpr std::size_t kMostErrors = 64;
  const std::lock_guard lock(mutex_);
  if (errors_.size() < kMostErrors) errors_.push_back(std::move(text));
}

std::vector<std::string> RunFolder::errors() const {
  const std::lock_guard lock(mutex_);
  return errors_;
}

Result<> RunFolder::write_whole(const std::string& file, std::span<const std::byte> bytes) {
  const auto to = sink("");
  auto done = to->begin(file);
  if (done) done = to->append(bytes);
  if (done) done = to->commit();
  if (!done) {
    to->abandon();
    note_error(done.error().message);
  }
  return done;
}

Result<std::unique_ptr<LocalFolder>> LocalFolder::create(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(Error(error.value(), "--out " + path + ": " + error.message()));
  remove_leftovers(path);
  if (!std::filesystem::is_empty(path, error) || error)
    return fail(Error(EEXIST, "--out " + path + (error ? ": " + error.message() : ": the folder is not empty; give a new one")));
  const auto absolute = std::filesystem::absolute(path, error);
  return std::unique_ptr<LocalFolder>(new LocalFolder(error ? path : absolute.lexically_normal().string()));
}

std::unique_ptr<freeze::FileSink> LocalFolder::sink(const std::string& subfolder) {
  return std::make_unique<LocalSink>(path_ + "/" + subfolder);
}

Result<int> LocalFolder::log_fd(const std::string& file) {
  UniqueFd& fd = logs_[file];
  if (!fd) fd.reset(::open((path_ + "/" + file).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!fd) return fail_errno(errno, path_ + "/" + file);
  return fd.get();
}

Result<> LocalFolder::set_aside(const std::string& subfolder) {
  namespace fs = std::filesystem;
  logs_.clear();  // opened again by their names when something comes
  std::error_code error;
  const fs::path aside = fs::path(path_) / subfolder;
  fs::create_directory(aside, error);
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(path_, error))
    if (entry.path() != aside) entries.push_back(entry.path());
  for (const fs::path& entry : entries) fs::rename(entry, aside / entry.filename(), error);
  if (error) return fail_errno(error.value(), "moving the first try to " + aside.string());
  return {};
}

engine::task<> LocalFolder::write(Item item) {
  int fd = item.kind == Item::Kind::kOut ? STDOUT_FILENO : STDERR_FILENO;
  if (item.kind == Item::Kind::kFile) {
    const auto log = log_fd(item.file);
    if (!log) co_return log.error();
    fd = *log;
  }
  const auto written = co_await engine::write_all(fd, item.bytes);
  // A reader of our output that has gone away is its own affair.
  if (written.is_error() && item.kind != Item::Kind::kFile && written.error().code == EPIPE) co_return engine::ok;
  if (!written) co_return written.failure();
  co_return engine::ok;
}

std::string default_out_path() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "run/%Y-%m-%d-%H%M%S", &local);
  std::string path = stamp;
  remove_leftovers("run");
  std::error_code error;
  for (int n = 2; std::filesystem::exists(path, error) && n < 1000; ++n) path = std::string(stamp) + "-" + std::to_string(n);
  return path;
}

}  // namespace floe::cli
