"""What the tests of the scripts share: temporary folders, running a script, and a Debian archive small enough to make up."""
import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ScriptTest(unittest.TestCase):
    """A test with a folder of its own, which is also its HOME."""

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="floe-scripts-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def run_script(self, *command, env=None, cwd=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FLOE_") and k != "XDG_CACHE_HOME"}
        clean.update(HOME=str(self.dir), **(env or {}))
        words = [str(c) for c in command]
        return subprocess.run(words, env=clean, cwd=cwd, text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)

    def assert_exit(self, code, result):
        self.assertEqual(code, result.returncode, f"stdout:\n{result.stdout}\nstderr:\n{result.stderr}")

    def write(self, path, text, mode=0o644):
        path = self.dir / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


def skip(reason):
    """Ends this program as skipped (ctest's SKIP_RETURN_CODE), saying why."""
    print(f"skipped: {reason}")
    sys.exit(77)


class Archive:
    """A Debian archive under folder, signed by a key of its own (keyring), of packages that hold the files they are given."""

    def __init__(self, folder):
        self.folder = folder / "archive"
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700)
        self.keyring = folder / "archive-keyring.gpg"
        self.key = "archive@floe.test"
        self.gpg("--quick-gen-key", "--passphrase", "", self.key, "ed25519", "sign", "never")
        self.keyring.write_bytes(self.gpg("--export", self.key))
        self.records = {}

    def gpg(self, *words, data=None):
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", *words]
        return subprocess.run(command, input=data, check=True, capture_output=True).stdout

    def close(self):
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)

    def add(self, name, version, depends="", files=()):
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "DEBIAN").mkdir(parents=True)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: floe <floe@floe.test>\nDescription: test\n"
        if depends:
            control += f"Depends: {depends}\n"
        (tree / "DEBIAN/control").write_text(control)
        for path, content in dict(files).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        deb = self.folder / "pool" / f"{name}_{version}_amd64.deb"
        deb.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "-b", str(tree), str(deb)], check=True, capture_output=True)
        content = deb.read_bytes()
        self.records[name] = control + (
            f"Filename: pool/{deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
        return deb

    def publish(self, suite="sid", sign=True, date="", valid_until=""):
        packages = "\n".join(self.records.values()).encode()
        dist = self.folder / "dists" / suite
        index = dist / "main/binary-amd64/Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(packages)
        release = (
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: {date or formatdate(usegmt=True)}\n{valid_until}"
            "Architectures: amd64\nComponents: main\n"
            f"SHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n"
        ).encode()
        (dist / "Release").write_bytes(release)
        if sign:
            (dist / "InRelease").write_bytes(self.gpg("--local-user", self.key, "--clearsign", data=release))
        else:
            (dist / "InRelease").unlink(missing_ok=True)


def module(depends=""):
    """Bytes like those of a kernel module, as far as its needs can be read from them."""
    info = b"\x7fELF\0junk\0license=GPL\0depends=" + depends.encode() + b"\0retpoline=Y\0"
    return lzma.compress(info, format=lzma.FORMAT_XZ)
