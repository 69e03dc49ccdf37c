#include "vmm/requests.hpp"

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <limits>
#include <random>

namespace floe::vmm::wire {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

KernelOpRequest kernel_op() {
  KernelOpRequest request;
  request.id = 7;
  request.mode = KernelOpRequest::Mode::kCold;
  request.direction = KernelOpRequest::Direction::kWrite;
  request.tag = "boost";
  request.entries = {{SymbolTarget{"jiffies"}, std::uint64_t{1} << 63},
                     {DirectTarget{0xffff888000001000}, std::uint32_t{5}},
                     {KvaTarget{0xffffffff81000000}, bytes_of("abc")},
                     {PerCpuTarget{"runqueues", "scx.flags", 3}, OrU32{0x80}},
                     {TaskTarget{-1, 12345, "scx.dsq_vtime"}, std::uint64_t{0}}};
  return request;
}

std::vector<ControlRequest> control_requests() {
  StartProcess start;
  start.process = kFirstProcess;
  start.role = StartProcess::Role::kScheduler;
  start.argv = {"/bin/scx", "-v", ""};
  start.environment = {"A=", "B=x=y"};
  start.cgroup = "a/b.slice";
  start.cpus = "0-3,7";
  start.nice = -20;
  return {{1, start},
          {2, SignalProcess{3, 15}},
          {3, MakeFolder{"/sys/fs/cgroup/a"}},
          {4, RemoveFolder{"/sys/fs/cgroup/a"}},
          {5, WriteFile{"/sys/fs/cgroup/a/cpu.weight", bytes_of("200")}},
          {6, ReadFile{"/sys/kernel/sched_ext/state", 64}},
          {std::numeric_limits<std::uint32_t>::max(), AwaitFile{"/sys/kernel/sched_ext/state", "enabled", 30'000}}};
}

// Every cut and every tail of a sound payload is refused.
template <class Decode>
void exact(Bytes bytes, Decode decode) {
  for (std::size_t length = 0; length < bytes.size(); ++length)
    BOOST_TEST(!decode(std::span<const std::byte>(bytes).first(length)).has_value(), "cut to " << length);
  bytes.push_back(std::byte{0});
  BOOST_TEST(!decode(std::span<const std::byte>(bytes)).has_value());
}

std::string refusal(const ControlAction& action) {
  const auto bytes = encode(ControlRequest{1, action});
  return bytes ? std::string() : bytes.error().message;
}

std::string refusal(const KernelOpRequest& request) {
  const auto bytes = encode(request);
  return bytes ? std::string() : bytes.error().message;
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != text.npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(requests)

BOOST_AUTO_TEST_CASE(ids_are_never_0) {
  std::uint32_t counter = 0;
  BOOST_TEST(next_id(counter) == 1u);
  counter = std::numeric_limits<std::uint32_t>::max();
  BOOST_TEST(next_id(counter) == 1u);
}

BOOST_AUTO_TEST_CASE(a_snapshot_request_has_72_bytes_and_comes_back) {
  const SnapshotRequest request{9, SnapshotRequest::kWatch, "scx_root"};
  const Bytes bytes = encode(request).value();
  BOOST_TEST(bytes.size() == 72u);
  BOOST_TEST((decode_snapshot_request(bytes) == request));
  exact(bytes, decode_snapshot_request);
  const SnapshotRequest longest{1, SnapshotRequest::kCapture, std::string(64, 'x')};
  BOOST_TEST((decode_snapshot_request(encode(longest).value()) == longest));
}

BOOST_AUTO_TEST_CASE(a_name_that_would_be_cut_is_refused_by_the_sender) {
  const auto refused = encode(SnapshotRequest{1, SnapshotRequest::kCapture, std::string(65, 'x')});
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(contains(refused.error().message, "1 to 64 bytes"));
  BOOST_TEST(!encode(SnapshotRequest{1, SnapshotRequest::kCapture, ""}).has_value());
  BOOST_TEST(!encode(SnapshotRequest{0, SnapshotRequest::kCapture, "x"}).has_value());
}

BOOST_AUTO_TEST_CASE(id_0_and_kind_0_are_no_requests_but_an_unknown_kind_is) {
  Bytes bytes = encode(SnapshotRequest{1, 3, "x"}).value();
  BOOST_TEST(decode_snapshot_request(bytes)->kind == 3u);
  bytes[4] = std::byte{0};
  BOOST_TEST(!decode_snapshot_request(bytes).has_value());
  bytes[4] = std::byte{1};
  bytes[0] = std::byte{0};
  BOOST_TEST(!decode_snapshot_request(bytes).has_value());
}

BOOST_AUTO_TEST_CASE(a_tag_cut_inside_a_character_decodes_lossily) {
  Bytes bytes = encode(SnapshotRequest{1, 1, std::string(63, 'x')}).value();
  bytes[8 + 63] = std::byte{0xc3};  // the first half of a letter
  BOOST_TEST(decode_snapshot_request(bytes)->tag == std::string(63, 'x') + "\xef\xbf\xbd");
}

BOOST_AUTO_TEST_CASE(a_snapshot_reply_has_520_bytes_and_its_reason_is_cut_between_characters) {
  const SnapshotReply reply{4, SnapshotReply::kError, "no such symbol"};
  const Bytes bytes = encode(reply);
  BOOST_TEST(bytes.size() == 520u);
  BOOST_TEST((decode_snapshot_reply(bytes) == reply));
  exact(bytes, decode_snapshot_reply);
  std::string reason(511, 'r');
  reason += "\xc3\xa4";  // would be split at 512
  BOOST_TEST(decode_snapshot_reply(encode(SnapshotReply{4, SnapshotReply::kError, reason}))->reason == std::string(511, 'r'));
}

BOOST_AUTO_TEST_CASE(text_is_cut_between_characters) {
  BOOST_TEST(cut_text("abc", 3) == "abc");
  BOOST_TEST(cut_text("abcd", 3) == "abc");
  BOOST_TEST(cut_text("a\xe2\x82\xac", 3) == "a");
  BOOST_TEST(cut_text("a\xe2\x82\xac", 4) == "a\xe2\x82\xac");
  BOOST_TEST(cut_text("\x80\x80\x80\x80\x80\x80", 5).size() == 5u);  // no text at all
}

BOOST_AUTO_TEST_CASE(kernel_operations_come_back) {
  const auto request = kernel_op();
  const Bytes bytes = encode(request).value();
  BOOST_TEST((decode_kernel_op_request(bytes) == request));
  exact(bytes, decode_kernel_op_request);

  const KernelOpReply reply{7, true, "", {std::uint64_t{1} << 40, std::uint32_t{2}, bytes_of("xyz")}};
  BOOST_TEST((decode_kernel_op_reply(encode(reply)) == reply));
  exact(encode(reply), decode_kernel_op_reply);
  const KernelOpReply failed{7, false, "entry 2: no such symbol", {}};
  BOOST_TEST((decode_kernel_op_reply(encode(failed)) == failed));
}

BOOST_AUTO_TEST_CASE(a_kernel_operation_out_of_bounds_is_named) {
  const auto with = [](auto change) {
    auto request = kernel_op();
    change(request);
    return refusal(request);
  };
  BOOST_TEST(contains(with([](auto& r) { r.id = 0; }), "id 0"));
  BOOST_TEST(contains(with([](auto& r) { r.tag.assign(257, 't'); }), "a tag of 257 bytes"));
  BOOST_TEST(contains(with([](auto& r) { r.entries.clear(); }), "0 entries"));
  BOOST_TEST(contains(with([](auto& r) { r.entries.resize(1025, r.entries[0]); }), "1025 entries"));
  BOOST_TEST(contains(with([](auto& r) { r.entries[0].target = SymbolTarget{std::string(513, 's')}; }), "entry 0: the symbol has 513"));
  BOOST_TEST(
      contains(with([](auto& r) { r.entries[3].target = PerCpuTarget{"runqueues", "", 0}; }), "entry 3: the per-CPU field is empty"));
  BOOST_TEST(contains(with([](auto& r) { r.entries[2].value = Bytes(); }), "entry 2: a value of 0 bytes"));
  BOOST_TEST(contains(with([](auto& r) { r.direction = KernelOpRequest::Direction::kRead; }), "entry 3: bits are set by a write"));
  BOOST_TEST(contains(with([](auto& r) { r.entries.assign(17, {SymbolTarget{"x"}, Bytes(64 << 10)}); }), "pass the wire at once"));
}

BOOST_AUTO_TEST_CASE(values_too_long_for_one_answer_become_a_failure) {
  KernelOpReply reply{3, true, "", {}};
  for (int i = 0; i < 17; ++i) reply.values.emplace_back(Bytes(64 << 10));
  const auto back = decode_kernel_op_reply(encode(reply));
  BOOST_REQUIRE(back.has_value());
  BOOST_TEST(back->id == 3u);
  BOOST_TEST(!back->success);
  BOOST_TEST(contains(back->reason, "all that one answer holds"));
}

BOOST_AUTO_TEST_CASE(control_requests_come_back) {
  for (const auto& request : control_requests()) {
    const Bytes bytes = encode(request).value();
    BOOST_TEST((decode_control_request(bytes) == request), "action " << request.action.index());
    exact(bytes, decode_control_request);
  }
  const ControlReply reply{5, ENOENT, "no such cgroup", 42, bytes_of("1\n2\n")};
  BOOST_TEST((decode_control_reply(encode(reply)) == reply));
  exact(encode(reply), decode_control_reply);
  const ProcessEnd end{5, {Outcome::Kind::kSignalled, 9}};
  BOOST_TEST((decode_process_end(encode(end)) == end));
  exact(encode(end), decode_process_end);
}

BOOST_AUTO_TEST_CASE(a_control_request_out_of_bounds_is_named) {
  const auto start = [](auto change) {
    auto action = std::get<StartProcess>(control_requests()[0].action);
    change(action);
    return refusal(action);
  };
  BOOST_TEST(start([](auto&) {}).empty());
  BOOST_TEST(contains(start([](auto& a) { a.process = kRunCommand; }), "process 2 is reserved"));
  BOOST_TEST(contains(start([](auto& a) { a.argv.clear(); }), "no program is named"));
  BOOST_TEST(contains(start([](auto& a) { a.environment = {"=x"}; }), "'=x' is not NAME=value"));
  BOOST_TEST(contains(start([](auto& a) { a.nice = 20; }), "nice 20"));
  BOOST_TEST(contains(start([](auto& a) { a.cpus = "0-"; }), "'0-' is no list of CPUs"));
  BOOST_TEST(contains(start([](auto& a) { a.argv.resize(1025); }), "1025 words"));
  BOOST_TEST(contains(start([](auto& a) { a.argv.push_back(std::string(65'500, 'x')); }), "pass the wire at once"));
  for (const char* cgroup : {"/a", "a/", "a//b", "..", "a/../b", "."})
    BOOST_TEST(contains(start([cgroup](auto& a) { a.cgroup = cgroup; }), "below the guest's cgroup root"), cgroup);
  BOOST_TEST(contains(refusal(SignalProcess{1, 65}), "65 is no signal"));
  BOOST_TEST(contains(refusal(SignalProcess{0, 9}), "process 0"));
  BOOST_TEST(contains(refusal(ReadFile{"etc", 1}), "'etc' is no absolute path"));
  BOOST_TEST(contains(refusal(ReadFile{"/etc", 0}), "0 bytes to read"));
  BOOST_TEST(contains(refusal(AwaitFile{"/etc", "x", 3'600'001}), "more than an hour"));
}

BOOST_AUTO_TEST_CASE(lists_of_cpus) {
  using List = std::vector<std::uint32_t>;
  BOOST_TEST((parse_cpu_list("0") == List{0}));
  BOOST_TEST((parse_cpu_list("3,0-1,1") == List{0, 1, 3}));
  BOOST_TEST(parse_cpu_list("0-4095")->size() == 4096u);
  for (const char* bad : {"", ",", "1,", "-1", "1-", "2-1", "4096", "0 ", "0-1-2", "99999999999"})
    BOOST_TEST(!parse_cpu_list(bad).has_value(), bad);
}

BOOST_AUTO_TEST_CASE(hostile_bytes_give_a_request_that_encodes_or_nothing) {
  std::mt19937 random(11);
  std::vector<Bytes> sound = {encode(kernel_op()).value()};
  for (const auto& request : control_requests()) sound.push_back(encode(request).value());
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = sound[random() % sound.size()];
    for (int flips = 0; flips < 3; ++flips) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (const auto request = decode_control_request(bytes)) BOOST_TEST((encode(*request).value() == bytes));
    if (const auto request = decode_kernel_op_request(bytes)) BOOST_TEST((encode(*request).value() == bytes));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace floe::vmm::wire
