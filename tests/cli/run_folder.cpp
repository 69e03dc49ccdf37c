// A run's folder when writing it goes wrong: floe is killed at every system call that touches a file, the disk is full at every size, the
// folder vanishes between any two steps. What stands under its own name is whole, and nothing half-written outlives the next run.
#include "cli/run_folder.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>
#include <csignal>
#include <filesystem>
#include <map>

#include "base/atomic_file.hpp"
#include "base/file.hpp"
#include "freeze/dump/failure_dump.hpp"
#include "freeze/dump/json.hpp"
#include "freeze/kept_writer.hpp"
#include "tests/freeze/kept_files.hpp"

using namespace floe;
using namespace floe::cli;
using freeze::test::page_of;
namespace dump = freeze::dump;
namespace fs = std::filesystem;

namespace {

constexpr int kSkipped = 77;

// What a failed run writes at its end, by the code that does it: dumps, the kept ring, the manifest.
class Results {
 public:
  static constexpr std::uint32_t kPages = 200;
  static constexpr std::uint64_t kSnapshots = 3;

  Results() {
    for (std::uint64_t sequence = 1; sequence <= kSnapshots; ++sequence) {
      std::vector<freeze::PageChange> changes;
      for (std::uint32_t page = 0; page < kPages; page += sequence == 1 ? 2 : 20)
        changes.push_back({page, ring_.put(page_of(sequence * 1000 + page / 2)).value()});
      BOOST_REQUIRE(ring_.push({.sequence = sequence}, {}, changes));
    }
    dump::DualReport dual;
    dual.late.active_obj_name = "mine_bpf";
    dual.early.emplace();
    dual.early->active_map_kvas = std::vector<std::uint64_t>(2000, 0xffff888000001000);
    files_.push_back({dump::kMainName, std::move(dual)});
    files_.push_back({dump::sibling_name("before"), dump::Report()});
    files_.push_back({dump::sibling_name("usr1-1"), dump::DegradedReport()});
  }

  // The first error; the rest is written all the same.
  Result<> write(RunFolder& folder, freeze::FileSink& snapshots) const {
    Result<> done;
    const auto note = [&done](const Result<>& one) {
      if (done) done = one;
    };
    for (const auto& file : files_) note(folder.write_whole(file.name, as_bytes(dump::to_json(file.report) + "\n")));
    freeze::KeptWriter writer(ring_, layout_, snapshots);
    note(writer.run());
    for (const std::string& failed : writer.summary().failed) note(fail(Error(failed)));
    note(folder.write_whole(artefact::kManifest, as_bytes(R"({"exit": {"code": 5}})")));
    return done;
  }
  Result<> write(const std::string& path) const {
    const auto loop = engine::loop::create();  // a folder belongs to one, for its logs
    const auto folder = LocalFolder::create(path);
    if (!folder) return fail(Error(folder.error()));
    return write(**folder, *(*folder)->sink(artefact::kSnapshots));
  }

 private:
  std::shared_ptr<freeze::PageStore> store_ = freeze::PageStore::create({.byte_limit = 64 << 20}).value();
  freeze::SnapshotRing ring_{store_, {.pages = kPages, .depth = 6, .byte_limit = 64 << 20}};
  freeze::RamLayout layout_ = freeze::RamLayout::create({{Gpa(0), kPages* kPageBytes, 0}}).value();
  std::vector<dump::DumpFile> files_;
};

using Files = std::map<std::string, std::string>;  // by the path in the folder

Files files_of(const std::string& path) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) files[fs::relative(entry.path(), path).string()] = read_text(entry.path().string(), 1 << 26).value();
  return files;
}

bool is_part(const std::string& name) {
  return name.ends_with(kPartSuffix);
}

// As whoever finds the file reads it.
std::string problem_of(const std::string& path) {
  if (path.ends_with(".json")) {
    const std::string text = read_text(path, 1 << 26).value();
    boost::system::error_code error;
    if (path.ends_with(artefact::kManifest)) return boost::json::parse(text, error), error ? error.message() : "";
    const auto report = dump::parse_report(text);
    return report ? "" : report.error().message;
  }
  if (path.ends_with(freeze::kPageFileName)) {
    const auto pages = freeze::PageFile::open(path);
    const auto verified = pages ? (*pages)->verify() : Result<>(fail(Error(pages.error())));
    return verified ? "" : verified.error().message;
  }
  const auto snapshot = freeze::SnapshotFile::open(path);
  if (!snapshot) return snapshot.error().message;
  freeze::test::Page page;
  for (std::uint32_t n = 0; n < Results::kPages; ++n)
    if (!(*snapshot)->read_page(n, 0, page)) return "page " + std::to_string(n) + " is missing";
  return "";
}

// Every file with a name of its own can be read, and is what an undisturbed run writes. Empty: so it is.
std::string broken(const std::string& path, const Files& whole) {
  for (const auto& [name, bytes] : files_of(path)) {
    if (is_part(name)) continue;
    const auto expected = whole.find(name);
    if (expected == whole.end()) return "a file that nobody wrote: " + name;
    if (bytes != expected->second) return name + " is not whole";
    if (const std::string problem = problem_of(path + "/" + name); !problem.empty()) return name + ": " + problem;
  }
  return "";
}

std::size_t parts(const std::string& path) {
  std::size_t count = 0;
  for (const auto& [name, bytes] : files_of(path)) count += is_part(name);
  return count;
}

struct Scene {
  Results results;
  test::Folder folder;
  Files whole;

  Scene() {
    BOOST_REQUIRE(results.write(out("whole")).has_value());
    whole = files_of(out("whole"));
    BOOST_REQUIRE(whole.size() == 3 + 1 + Results::kSnapshots + 1);
    BOOST_REQUIRE(broken(out("whole"), whole) == "");
  }
  std::string out(const std::string& name) const { return folder.file(name); }
};

// Writing without these changes nothing that anybody else can see.
bool touches_files(std::uint64_t call) {
  constexpr std::uint64_t kCalls[] = {SYS_open,     SYS_openat,    SYS_mkdir,  SYS_mkdirat,  SYS_write,    SYS_pwrite64,
                                      SYS_fsync,    SYS_fdatasync, SYS_rename, SYS_unlink,   SYS_renameat, SYS_renameat2,
                                      SYS_unlinkat, SYS_flock,     SYS_close,  SYS_ftruncate};
  return std::find(std::begin(kCalls), std::end(kCalls), call) != std::end(kCalls);
}

enum class Ending { kKilled, kSurvived, kCannotTrace, kFailed };

// Runs `work` in a process of its own, which gets SIGKILL when it enters its n-th system call on files, before that is carried out.
Ending killed_at(unsigned n, const std::function<bool()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(kSkipped);
    ::raise(SIGSTOP);
    ::_exit(work() ? 0 : 1);
  }
  int status = 0;
  bool options = false, entering = true;
  for (unsigned calls = 0; ::waitpid(child, &status, 0) == child && WIFSTOPPED(status);) {
    if (!std::exchange(options, true)) {
      ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
    } else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
      __ptrace_syscall_info info{};
      ::ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), child, sizeof info, &info);
      entering = info.op == PTRACE_SYSCALL_INFO_ENTRY;
      if (entering && touches_files(info.entry.nr) && ++calls == n) ::kill(child, SIGKILL);
    }
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
  }
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL ? Ending::kKilled : Ending::kFailed;
  if (WEXITSTATUS(status) == kSkipped) return Ending::kCannotTrace;
  return WEXITSTATUS(status) == 0 ? Ending::kSurvived : Ending::kFailed;
}

// Runs `work` in a process of its own; gives what it says, which is empty when all is well.
std::string in_process(const std::function<std::string()>& work) {
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string said = work();
    (void)write_fully(ends[1], as_bytes(said), "the pipe");
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char part[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], part, sizeof part)) > 0;) said.append(part, static_cast<std::size_t>(got));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? said : "it ended with status " + std::to_string(status);
}

// Between any two calls the folder is removed by somebody else.
class Vanishing final : public freeze::FileSink {
 public:
  Vanishing(freeze::FileSink& sink, std::string path, unsigned at) : sink_(sink), path_(std::move(path)), at_(at) {}
  Result<> begin(std::string_view name) override { return step(), sink_.begin(name); }
  Result<> append(std::span<const std::byte> bytes) override { return step(), sink_.append(bytes); }
  Result<> commit() override { return step(), sink_.commit(); }
  void abandon() override { sink_.abandon(); }
  bool vanished() const { return steps_ >= at_; }

 private:
  void step() {
    if (++steps_ == at_) fs::remove_all(path_);
  }
  freeze::FileSink& sink_;
  std::string path_;
  unsigned at_, steps_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(run_folder)

BOOST_AUTO_TEST_CASE(killed_at_any_step_it_leaves_whole_files_and_the_next_run_removes_the_rest) {
  const Scene scene;
  unsigned kills = 0, with_part = 0, some_files = 0;
  for (unsigned n = 1;; ++n) {
    const std::string path = scene.out("killed");
    const Ending ending = killed_at(n, [&] { return scene.results.write(path).has_value(); });
    if (ending == Ending::kCannotTrace) {
      BOOST_TEST_MESSAGE("skipped: this process may not trace another");
      return;
    }
    BOOST_REQUIRE((ending == Ending::kKilled || ending == Ending::kSurvived));
    if (!fs::exists(path)) continue;
    BOOST_REQUIRE_MESSAGE(broken(path, scene.whole).empty(), "killed at " << n << ": " << broken(path, scene.whole));
    BOOST_REQUIRE(parts(path) <= 1u);
    if (ending == Ending::kSurvived) {
      BOOST_TEST(files_of(path).size() == scene.whole.size());
      BOOST_TEST(parts(path) == 0u);
      break;
    }
    ++kills;
    with_part += parts(path) == 1;
    const std::size_t files = files_of(path).size() - parts(path);
    some_files += files > 0;
    // The next run there: it can take the folder when nothing whole is in it, and in any case removes what is not.
    const auto loop = engine::loop::create();
    BOOST_TEST(LocalFolder::create(path).has_value() == (files == 0 && !fs::exists(path + "/snapshots")));
    BOOST_REQUIRE(parts(path) == 0u);
    BOOST_REQUIRE(files_of(path).size() == files);
    fs::remove_all(path);
  }
  BOOST_TEST(kills > 60u);
  BOOST_TEST(with_part > 30u);
  BOOST_TEST(some_files > 30u);
  BOOST_TEST_MESSAGE(kills << " kills, " << with_part << " of them with a file half-written");
}

// A tmpfs of 4 KiB, 8 KiB, ... until all fits.
BOOST_AUTO_TEST_CASE(on_a_full_disk_what_fits_is_whole_and_the_rest_is_absent_and_told) {
  const Scene scene;
  const std::string mount = scene.out("disk");
  fs::create_directory(mount);
  const std::string said = in_process([&]() -> std::string {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "skipped: no mounts here";
    unsigned full = 0, partly = 0;
    for (unsigned kib = 4; kib <= 4096; kib += 4) {
      if (::mount("floe-test", mount.c_str(), "tmpfs", 0, ("size=" + std::to_string(kib) + "k").c_str()) != 0)
        return "skipped: no tmpfs here";
      const auto written = scene.results.write(mount + "/out");
      std::string wrong = broken(mount + "/out", scene.whole);
      const std::size_t files = files_of(mount + "/out").size();
      if (parts(mount + "/out") != 0) wrong = "a part is left";
      if (written.has_value() != (files == scene.whole.size())) wrong = "nobody was told";
      if (!written && written.error().code != ENOSPC && written.error().message.find("No space left") == std::string::npos)
        wrong = "not the reason: " + written.error().message;
      ::umount2(mount.c_str(), MNT_DETACH);
      if (!wrong.empty()) return "with " + std::to_string(kib) + " KiB: " + wrong;
      if (written) return full > 20 && partly > 20 ? "" : "the disk was hardly ever full";
      ++full;
      partly += files > 0;
    }
    return "it never fitted";
  });
  if (said.starts_with("skipped"))
    BOOST_TEST_MESSAGE(said);
  else
    BOOST_TEST(said == "");
}

// The same by a limit on the size of each file, which needs no privileges: small files are there, large ones are not.
BOOST_AUTO_TEST_CASE(a_file_beyond_the_limit_is_absent_and_the_others_are_there) {
  const Scene scene;
  for (const auto& [limited, bytes] : scene.whole) {
    const std::string path = scene.out("limited");
    const std::string said = in_process([&, limit = bytes.size() - 1]() -> std::string {
      ::signal(SIGXFSZ, SIG_IGN);
      const struct rlimit most{limit, limit};
      if (::setrlimit(RLIMIT_FSIZE, &most) != 0) return "no limit can be set";
      return scene.results.write(path) ? "nobody was told" : "";
    });
    BOOST_TEST(said == "");
    BOOST_TEST(broken(path, scene.whole) == "");
    BOOST_TEST(parts(path) == 0u);
    const bool no_pages = scene.whole.at("snapshots/pages.floepages").size() >= bytes.size();
    for (const auto& [name, content] : scene.whole)
      BOOST_TEST(fs::exists(path + "/" + name) == (content.size() < bytes.size() && !(no_pages && name.starts_with("snapshots/"))));
    fs::remove_all(path);
  }
}

// The kept ring belongs together: what is left of it does not come back without its pages.
BOOST_AUTO_TEST_CASE(a_folder_that_vanishes_takes_its_files_with_it_and_the_rest_is_written) {
  const Scene scene;
  unsigned at = 1;
  for (bool vanished = true; vanished; ++at) {
    const std::string path = scene.out("vanishing");
    const auto loop = engine::loop::create();
    const auto folder = LocalFolder::create(path).value();
    const auto sink = folder->sink(artefact::kSnapshots);
    Vanishing snapshots(*sink, path, at);
    const auto written = scene.results.write(*folder, snapshots);
    vanished = snapshots.vanished();
    BOOST_REQUIRE_MESSAGE(broken(path, scene.whole).empty(), "at " << at << ": " << broken(path, scene.whole));
    BOOST_REQUIRE(parts(path) == 0u);
    BOOST_TEST(fs::exists(path + "/manifest.json"));
    const std::size_t files = files_of(path).size();
    BOOST_TEST(files == (vanished ? 1u + (at == 1 ? 1 + Results::kSnapshots : 0u) : scene.whole.size()));
    BOOST_TEST(written.has_value() == (!vanished || at == 1));
    fs::remove_all(path);
  }
  BOOST_TEST(at > 12u);
}

BOOST_AUTO_TEST_SUITE_END()
