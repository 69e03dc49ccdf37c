"""scripts/fetch-kernel against a small archive made up here: both package layouts, every way it can fail, and doing nothing twice."""
import shutil
import subprocess
import time
import unittest
from email.utils import formatdate

from support import ROOT, Archive, ScriptTest, module, skip

FETCH = ROOT / "scripts/fetch-kernel"
NEW = "7.9.1+deb14-cloud-amd64"
OLD = "6.1.5-3-cloud-amd64"


class FetchKernel(ScriptTest):
    def setUp(self):
        super().setUp()
        self.archive = Archive(self.dir)
        self.addCleanup(self.archive.close)
        self.to = self.dir / ".cache/floe/kernels"

    def add_split_kernel(self, revision="7.9.1-1", image=b"image", config=b"CONFIG_SCHED_CLASS_EXT=y\nCONFIG_KVM_AMD=m\n"):
        """Since 7.x: a package each for image, modules and the rest."""
        under = f"usr/lib/modules/{NEW}"
        only = f"(= {revision})"
        parts = ", ".join(f"linux-{part}-{NEW} {only}" for part in ("base", "binary", "modules"))
        self.archive.add("linux-image-cloud-amd64", revision, f"linux-base-cloud-amd64 {only}, linux-image-{NEW} {only}")
        self.archive.add("linux-base-cloud-amd64", revision, f"linux-base-{NEW} {only}")
        self.archive.add(f"linux-image-{NEW}", revision, f"dracut | initramfs-tools (>= 0.120), linux-base (>= 4), {parts}")
        self.archive.add(f"linux-binary-{NEW}", revision, "", {f"{under}/vmlinuz": image})
        self.archive.add(f"linux-base-{NEW}", revision, "linux-base", {f"{under}/config": config})
        modules = {
            f"{under}/kernel/arch/x86/kvm/kvm-amd.ko.xz": module("kvm,ccp"),
            f"{under}/kernel/arch/x86/kvm/kvm.ko.xz": module("irqbypass"),
            f"{under}/kernel/virt/lib/irqbypass.ko.xz": module(),
            f"{under}/kernel/drivers/crypto/ccp.ko.xz": module(),
            f"{under}/kernel/drivers/net/other.ko.xz": module(),
        }
        self.archive.add(f"linux-modules-{NEW}", revision, "", modules)
        self.archive.publish()

    def fetch(self, *words, keyring=None):
        mirror = f"file:{self.archive.folder}"
        return self.run_script(FETCH, "--mirror", mirror, "--keyring", keyring or self.archive.keyring, *words)

    def assert_no_leftovers(self):
        left = [p.name for p in self.to.glob(".*") if p.name not in (".apt", ".lock")]
        self.assertEqual([], left)

    def test_split_packages(self):
        self.add_split_kernel()
        result = self.fetch()
        self.assert_exit(0, result)
        folder = self.to / NEW
        self.assertEqual(f"{folder}\n", result.stdout)
        self.assertEqual(b"image", (folder / "vmlinuz").read_bytes())
        self.assertIn("SCHED_CLASS_EXT", (folder / "config").read_text())
        self.assertEqual(module(), (folder / "modules/irqbypass.ko.xz").read_bytes())
        order = (folder / "modules/order").read_text().split()
        self.assertEqual(["ccp.ko.xz", "irqbypass.ko.xz", "kvm-amd.ko.xz", "kvm.ko.xz"], sorted(order))
        self.assertLess(order.index("irqbypass.ko.xz"), order.index("kvm.ko.xz"))
        self.assertEqual("kvm-amd.ko.xz", order[-1])
        self.assertEqual(sorted([*order, "order"]), sorted(p.name for p in (folder / "modules").iterdir()))
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
        self.assert_no_leftovers()

    def test_one_package_with_the_image_under_boot(self):
        files = {
            f"boot/vmlinuz-{OLD}": b"old image",
            f"boot/config-{OLD}": b"CONFIG_KVM_AMD=m\n",
            f"lib/modules/{OLD}/kernel/arch/x86/kvm/kvm-amd.ko.xz": module("kvm"),
            f"lib/modules/{OLD}/kernel/arch/x86/kvm/kvm.ko.xz": module(),
        }
        self.archive.add("linux-image-cloud-amd64", "6.1.5-1", f"linux-image-{OLD} (= 6.1.5-1)")
        self.archive.add(f"linux-image-{OLD}", "6.1.5-1", "kmod, linux-base (>= 4.3~), initramfs-tools", files)
        self.archive.publish("bookworm")
        result = self.fetch("--suite", "bookworm", "--to", self.dir / "there")
        self.assert_exit(0, result)
        self.assertEqual(b"old image", (self.dir / "there" / OLD / "vmlinuz").read_bytes())
        self.assertIn("no sched_ext", result.stderr)

    def test_nothing_is_done_twice(self):
        self.add_split_kernel()
        self.assert_exit(0, self.fetch())
        before = (self.to / NEW).stat().st_ino
        again = self.fetch()
        self.assert_exit(0, again)
        self.assertIn("is the newest, and it is there", again.stderr)
        self.assertEqual(f"{self.to / NEW}\n", again.stdout)
        self.assertEqual(before, (self.to / NEW).stat().st_ino)

    def test_if_none_asks_nobody(self):
        self.add_split_kernel()
        self.assert_exit(0, self.fetch())
        shutil.rmtree(self.archive.folder)
        again = self.fetch("--if-none")
        self.assert_exit(0, again)
        self.assertEqual((f"{self.to / NEW}\n", ""), (again.stdout, again.stderr))

    def test_a_new_revision_or_a_damaged_file_is_fetched_again(self):
        self.add_split_kernel()
        self.assert_exit(0, self.fetch())
        self.add_split_kernel(revision="7.9.1-2", image=b"rebuilt")
        self.assert_exit(0, self.fetch())
        self.assertEqual(b"rebuilt", (self.to / NEW / "vmlinuz").read_bytes())
        (self.to / NEW / "vmlinuz").write_bytes(b"damaged")
        self.assert_exit(0, self.fetch("--if-none"))
        self.assertEqual(b"rebuilt", (self.to / NEW / "vmlinuz").read_bytes())
        self.assert_no_leftovers()

    def test_remains_of_a_killed_run_go(self):
        self.add_split_kernel()
        (self.to / ".fetch.killed").mkdir(parents=True)
        self.assert_exit(0, self.fetch())
        self.assert_no_leftovers()

    def assert_fails(self, code, words, result):
        self.assert_exit(code, result)
        self.assertIn(words, result.stderr)
        self.assertEqual("", result.stdout)
        self.assertFalse((self.to / NEW).exists())
        if self.to.exists():
            self.assert_no_leftovers()

    def test_failures_are_told_apart(self):
        self.add_split_kernel()
        self.assert_fails(2, "unknown argument", self.fetch("--nonsense"))
        self.assert_fails(2, "needs a value", self.fetch("--suite"))
        self.assert_fails(2, "no name of a Debian suite", self.fetch("--suite", "si d"))
        self.assert_fails(3, "no network", self.fetch("--mirror", "http://127.0.0.1:9/debian"))
        self.assert_fails(4, "no suite 'nowhere'", self.fetch("--suite", "nowhere"))
        self.assert_fails(5, "no package 'linux-image-none'", self.fetch("--package", "linux-image-none"))
        self.assert_fails(71, "no Debian keys at", self.fetch(keyring=self.dir / "none.gpg"))
        self.write("file", "")
        self.assert_fails(7, "cannot write", self.fetch("--to", self.dir / "file/kernels"))

    def test_packages_that_are_not_what_the_signed_index_says(self):
        self.add_split_kernel()
        deb = next((self.archive.folder / "pool").glob("linux-binary-*"))
        content = bytearray(deb.read_bytes())
        content[-1] ^= 1
        deb.write_bytes(content)
        self.assert_fails(6, "not what the signed index says", self.fetch())

    def test_an_unsigned_archive(self):
        self.add_split_kernel()
        self.archive.publish(sign=False)
        self.assert_fails(6, "not verified", self.fetch())

    def test_an_index_whose_date_does_not_fit_is_taken_with_a_warning(self):
        self.add_split_kernel()
        ahead = formatdate(time.time() + 40 * 86400, usegmt=True)
        for wrong in ({"valid_until": "Valid-Until: Fri, 06 Nov 2020 08:08:01 UTC\n"}, {"date": ahead}):
            with self.subTest(wrong):
                shutil.rmtree(self.to, ignore_errors=True)
                self.archive.publish(**wrong)
                result = self.fetch()
                self.assert_exit(0, result)
                self.assertIn("does not fit this machine's clock (invalid ", result.stderr)
                self.assertTrue((self.to / NEW / "vmlinuz").exists())

    def test_an_archive_signed_by_somebody_else(self):
        self.add_split_kernel()
        other = self.dir / "other"
        other.mkdir()
        stranger = Archive(other)
        self.addCleanup(stranger.close)
        self.assert_fails(6, "no verified suite brings a keyring", self.fetch(keyring=stranger.keyring))

    def test_a_newer_key_comes_through_a_suite_that_the_older_one_verifies(self):
        self.add_split_kernel()
        new_keyring = self.archive.keyring.read_bytes()
        keyring_files = {"usr/share/keyrings/debian-archive-keyring.gpg": new_keyring}
        self.archive.add("debian-archive-keyring", "2030.1", "", keyring_files)
        other = self.dir / "older"
        other.mkdir()
        older = Archive(other)
        self.addCleanup(older.close)
        older.folder, older.records = self.archive.folder, self.archive.records
        older.publish("stable")
        result = self.fetch(keyring=older.keyring)
        self.assert_exit(0, result)
        self.assertIn("taking the newer keyring package", result.stderr)
        self.assertTrue((self.to / NEW / "vmlinuz").exists())

    def test_kernels_that_floe_cannot_lay_out(self):
        self.add_split_kernel(config=b"CONFIG_KVM_AMD=y\n")
        self.assert_fails(8, "built in", self.fetch())
        self.add_split_kernel(revision="7.9.1-2")
        self.archive.add(f"linux-modules-{NEW}", "7.9.1-2", "", {"usr/share/doc/nothing": b""})
        self.archive.publish()
        self.assert_fails(8, "module kvm-amd is not among", self.fetch())
        self.archive.add("linux-image-cloud-amd64", "7.9.1-2", "bash")
        self.archive.publish()
        self.assert_fails(8, "leads to no linux-image-VERSION", self.fetch())


if __name__ == "__main__":
    for tool in ("apt-get", "dpkg-deb", "gpg", "gpg-agent", "gpgv"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    unittest.main(verbosity=2)
