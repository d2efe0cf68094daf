#!/usr/bin/env python3
"""metadata_gen build --reuse: what did not change is taken over from an older image, and nothing else.

The law: with --reuse or without, the image is the same. Arguments and needs: as test_metadata_gen.py, and mkfifo and tmpfs.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import unittest

import test_metadata_gen as base
from test_metadata_gen import contents, lines, noise, payload_of, read, text, write

BIG = 17 << 20  # more than is held in memory
MAKE_CERTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../certs/make-dev-certs")


class Reuse(base.Case):
    def setUp(self):
        super().setUp()
        self.old = self.path("old")

    def tree(self):
        root = super().tree()
        write(root + "/var/big", text(BIG))
        write(root + "/var/noise-2", noise(30000, "b"))
        return root

    def build_old(self, *args, root=None):
        root = root or self.tree()
        self.built("--rootfs", root, *args, output=self.old)
        return root

    def reusing(self, root, *args, **more):
        return self.built("--rootfs", root, "--reuse", self.old, *args, **more)

    def assert_like_fresh(self, root, *args):
        """All but the signature is what a build without --reuse makes."""
        fresh = self.path("fresh")
        self.built("--rootfs", root, *args, output=fresh)
        one, two = contents(self.image), contents(fresh)
        self.assertEqual(payload_of(self.image), payload_of(fresh))
        del one["metadata.jwt"], two["metadata.jwt"]  # signatures are random
        self.assertEqual(one, two)
        self.good(self.verify())

    def blobs(self, image=None):
        return {name: os.stat(os.path.join(image or self.image, "data.zst", name)).st_ino
                for name in os.listdir(os.path.join(image or self.image, "data.zst"))}

    def blob_of(self, path, image=None):
        row = [r for r in lines(image or self.old, "regulars.txt") if f"'{path}'" in r]
        return os.path.join(image or self.old, "data.zst", row[0].split(",")[4] + ".zst")


class Unchanged(Reuse):
    def test_an_equal_tree_compresses_nothing_and_needs_no_room(self):
        root = self.build_old()
        before = base.fingerprint(self.old)
        for jobs in ("1", "4"):
            done = self.reusing(root, "--jobs", jobs)
            self.assertIn(b"; 0 contents compressed, 2 taken over\n", done.stdout)
            self.assertEqual(done.stderr, b"")
            self.assertEqual(self.blobs(), self.blobs(self.old))
            self.assertTrue(os.path.samefile(self.image + "/data/usr/lib/noise", self.old + "/data/usr/lib/noise"))
            self.assert_like_fresh(root)
            shutil.rmtree(self.image)
        after = base.fingerprint(self.old)
        for key, (mode, size, mtime, *_) in before.items():  # links come and go
            self.assertEqual(after[key][:3], (mode, size, mtime))

    def test_only_what_changed_is_compressed(self):
        root = self.build_old()
        write(root + "/usr/lib/text", text(50000))
        write(root + "/usr/lib/more", text(60000) + b"!")
        write(root + "/usr/lib/noise", noise(40000, "c"))
        write(root + "/var/big-2", text(BIG + 1))
        os.unlink(root + "/var/noise-2")
        done = self.reusing(root)
        self.assertIn(b"; 3 contents compressed, 2 taken over\n", done.stdout)
        self.assert_like_fresh(root)

    def test_a_stream_reuses_as_a_folder_does(self):
        root = self.build_old()
        tar = subprocess.run(["tar", "-C", root, "--format=pax", "--xattrs", "--xattrs-include=*", "-c", "."], check=True,
                             capture_output=True).stdout
        done = self.built("--tar", "-", "--reuse", self.old, input=tar)
        self.assertIn(b"; 0 contents compressed, 2 taken over\n", done.stdout)
        self.assert_like_fresh(root)

    def test_an_image_of_the_older_tool_is_reused(self):
        shutil.copytree(os.path.join(base.SAMPLE, "image"), self.old)
        os.mkdir(self.old + "/data")
        n = len(os.listdir(self.old + "/data.zst"))
        done = self.built("--tar", self.sample_tar(), *self.sample_options(), "--reuse", self.old)
        self.assertIn(f"; 0 contents compressed, {n} taken over\n".encode(), done.stdout)
        self.good(self.verify())

    def test_the_image_that_is_replaced_can_be_the_one_to_reuse(self):
        root = self.build_old()
        os.rename(self.old, self.image)
        inodes = self.blobs()
        os.symlink(self.image, self.path("latest"))
        for reuse in (self.image, self.path("latest")):
            done = self.built("--rootfs", root, "--reuse", reuse)
            self.assertIn(b"; 0 contents compressed, 2 taken over\n", done.stdout)
            self.assertEqual(self.blobs(), inodes)
        self.assert_like_fresh(root)

    def test_with_plain_all_the_plain_ones_are_right_too(self):
        root = self.build_old("--plain-all")
        self.reusing(root, "--plain-all")
        for name in ("text", "noise"):
            self.assertTrue(os.path.samefile(f"{self.image}/data/usr/lib/{name}", f"{self.old}/data/usr/lib/{name}"))
        self.assert_like_fresh(root, "--plain-all")


class Settings(Reuse):
    def test_metadata_says_how_contents_are_compressed(self):
        root = self.build_old("--compress-level", "3")
        self.assertIn({"x_compression": "zstd level=3 min_bytes=16384 min_ratio=1.25"}, payload_of(self.old))
        self.built("--rootfs", root, "--no-compress")
        self.assertIn({"x_compression": "none level=10"}, payload_of(self.image))

    def test_contents_of_another_level_are_made_anew(self):
        root = self.build_old("--compress-level", "3")
        done = self.reusing(root)
        self.assertIn(b"; 2 contents compressed, 0 taken over\n", done.stdout)
        self.assertIn(f"warning: compressed contents of the image to reuse, {self.old}, are made anew: its compression is "
                      "\"zstd level=3 min_bytes=16384 min_ratio=1.25\", not "
                      "\"zstd level=10 min_bytes=16384 min_ratio=1.25\"\n", done.stderr.decode())
        self.assertTrue(os.path.samefile(self.image + "/data/usr/lib/noise", self.old + "/data/usr/lib/noise"))
        self.assert_like_fresh(root)
        # The image in the place of the output is no different.
        done = self.built("--rootfs", root, "--compress-level", "4")
        self.assertIn(b"; 2 contents compressed, 0 taken over\n", done.stdout)
        self.assert_like_fresh(root, "--compress-level", "4")

    def test_an_image_without_compression_does_not_say_that_nothing_pays(self):
        root = self.build_old("--no-compress")
        self.assertIn(b"; 2 contents compressed, 0 taken over\n", self.reusing(root).stdout)
        self.assert_like_fresh(root)
        shutil.rmtree(self.image)
        self.assertEqual(self.reusing(root, "--no-compress").stderr, b"")
        self.assert_like_fresh(root, "--no-compress")


class Damage(Reuse):
    """Whatever has become of the older image's contents, the new one is right."""

    def damaged(self, n, root):
        done = self.reusing(root)
        self.assertIn(f"{n} compressed content", done.stderr.decode())
        self.assertIn(f" of the image to reuse {'was' if n == 1 else 'were'} damaged and made anew\n", done.stderr.decode())
        self.assertIn(f"; {n} content{'' if n == 1 else 's'} compressed, {2 - n} taken over\n", done.stdout.decode())
        self.assert_like_fresh(root)

    def replace(self, path, data):
        os.unlink(path)
        write(path, data)

    def test_wrong_bytes_never_come_into_the_new_image(self):
        root = self.build_old()
        for path in ("/usr/lib/text", "/var/big"):
            blob = self.blob_of(path)
            good = read(blob)
            other = read(self.blob_of("/var/big" if path == "/usr/lib/text" else "/usr/lib/text"))
            flipped = bytearray(good)
            flipped[len(good) // 2] ^= 4
            recompressed = subprocess.run(["zstd", "-q", "-c"], input=text(40000)[:-1] + b"?", capture_output=True,
                                          check=True).stdout
            for data in (bytes(flipped), good[:-1], good[:20], good + b"x", good + good, b"x" * 100, other, recompressed):
                self.replace(blob, data)
                self.damaged(1, root)
                shutil.rmtree(self.image)
            self.replace(blob, good)

    def test_what_is_no_file_in_the_place_of_a_blob_is_not_followed(self):
        root = self.build_old()
        blob = self.blob_of("/usr/lib/text")
        os.rename(blob, self.path("blob"))
        for make in (lambda: os.symlink(self.path("blob"), blob), lambda: os.mkfifo(blob), lambda: os.mkdir(blob),
                     lambda: None):
            make()
            self.damaged(1, root)
            self.assertFalse(os.path.islink(self.image + "/data.zst/" + os.path.basename(blob)))
            shutil.rmtree(self.image)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(blob) if os.path.isdir(blob) else os.unlink(blob)

    def test_a_blob_that_does_not_pay_is_made_anew(self):
        root = self.build_old()
        blob = self.blob_of("/usr/lib/text")
        stored = read(blob)[:4] + bytes([0xa0]) + (40000).to_bytes(4, "little")  # one frame, its size, one raw block
        self.replace(blob, stored + (40000 << 3 | 1).to_bytes(3, "little") + text(40000))
        subprocess.run(["zstd", "-qt", blob], check=True)
        done = self.reusing(root)
        self.assertIn(b"; 1 content compressed, 1 taken over\n", done.stdout)
        self.assert_like_fresh(root)

    def test_plain_files_that_are_not_the_content_are_written_anew(self):
        root = self.build_old()
        plain, kept = self.old + "/data/usr/lib/noise", self.path("kept")
        good = read(plain)
        for data in (good[:-1] + bytes([good[-1] ^ 1]), good[:-1], good + b"x", b""):
            self.replace(plain, data)
            self.reusing(root)
            self.assertFalse(os.path.samefile(self.image + "/data/usr/lib/noise", plain))
            self.assert_like_fresh(root)
        os.rename(self.old + "/data/usr/lib", kept)
        self.replace(kept + "/noise", good)
        os.symlink(kept, self.old + "/data/usr/lib")  # right bytes, but behind a link
        self.reusing(root)
        self.assertFalse(os.path.samefile(self.image + "/data/usr/lib/noise", kept + "/noise"))
        self.assert_like_fresh(root)

    def test_what_others_may_change_is_copied_and_not_linked(self):
        root = self.build_old()
        blob, plain = self.blob_of("/usr/lib/text"), self.old + "/data/usr/lib/noise"
        for change in (lambda p: os.chmod(p, 0o664), lambda p: os.chmod(p, 0o646), lambda p: os.chown(p, 1000, 0),
                       lambda p: os.chmod(p, 0o600)):
            for path in (blob, plain):
                change(path)
            done = self.reusing(root)
            self.assertIn(b"; 0 contents compressed, 2 taken over\n", done.stdout)
            new = self.image + "/data.zst/" + os.path.basename(blob)
            self.assertFalse(os.path.samefile(new, blob))
            self.assertFalse(os.path.samefile(self.image + "/data/usr/lib/noise", plain))
            for path in (new, self.image + "/data/usr/lib/noise"):
                self.assertEqual((os.stat(path).st_mode & 0o7777, os.stat(path).st_uid), (0o644, 0))
            self.assert_like_fresh(root)
            for path in (blob, plain):
                os.chmod(path, 0o644)
                os.chown(path, 0, 0)

    def test_an_image_on_another_file_system_is_copied_from(self):
        other = self.path("other")
        os.mkdir(other)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", other], check=True)
        self.addCleanup(subprocess.run, ["umount", other], check=True)
        self.old = other + "/old"
        root = self.build_old()
        self.assertIn(b"; 0 contents compressed, 2 taken over\n", self.reusing(root).stdout)
        self.assert_like_fresh(root)


class Trust(Reuse):
    def refused(self, root, *words, args=()):
        done = self.build("--rootfs", root, "--reuse", self.old, *args)
        self.bad(done, f"metadata_gen: Cannot reuse the image {self.old}: ", *words)
        self.assert_no_output()

    def test_lists_that_were_not_signed_are_not_believed(self):
        root = self.build_old()
        for name in ("regulars.txt", "sign.pem"):
            good = read(self.old, name)
            write(f"{self.old}/{name}", good + b" ")
            self.refused(root, f"Its {name} has another digest than metadata.jwt says\n")
            os.unlink(f"{self.old}/{name}")
            self.refused(root, f"Its {name} cannot be read: No such file or directory\n")
            os.mkdir(f"{self.old}/{name}")
            self.refused(root, f"Its {name} cannot be read: it is not a regular file\n")
            os.rmdir(f"{self.old}/{name}")
            write(f"{self.old}/{name}", good)
        self.reusing(root)

    def test_a_signature_that_is_wrong_is_not_believed(self):
        root = self.build_old()
        self.built("--rootfs", root, "--no-compress")  # another image's signature
        head = read(self.old, "metadata.jwt").rsplit(b".", 1)[0]
        write(self.old + "/metadata.jwt", head + b"." + read(self.image, "metadata.jwt").rsplit(b".", 1)[1])
        shutil.rmtree(self.image)
        self.refused(root, "metadata.jwt cannot be trusted: ")

    def test_another_signer_is_believed_if_certificates_vouch_for_it(self):
        theirs = self.path("theirs")
        subprocess.run([MAKE_CERTS, theirs], check=True, capture_output=True)
        root = self.tree()
        self.good(self.run_gen("build", "--output", self.old, "--sign-key", theirs + "/sign.key", "--cert",
                               theirs + "/sign.pem", "--rootfs", root))
        self.refused(root, f"It is signed by another key than that of {os.path.join(base.SAMPLE, 'keys/sign.pem')}; --certs "
                           "names the certificates that may vouch for it\n")
        self.refused(root, "metadata.jwt cannot be trusted: ", args=("--certs", self.certs()))
        self.refused(root, "Cannot ", "none", args=("--certs", self.path("none")))
        done = self.reusing(root, "--certs", theirs)
        self.assertIn(b"; 0 contents compressed, 2 taken over\n", done.stdout)
        self.assert_like_fresh(root)

    def test_certs_alone_are_wrong_usage(self):
        self.bad(self.build("--rootfs", self.tree(), "--certs", self.certs()), "--certs is of use only with --reuse", status=2)

    def test_what_is_no_image_is_not_reused(self):
        root = self.build_old()
        good = self.old
        self.old = self.path("none")
        self.refused(root, "It cannot be opened: No such file or directory\n")
        self.old = good + "/regulars.txt"
        self.refused(root, "It cannot be opened: Not a directory\n")
        self.old = self.path("empty")
        os.mkdir(self.old)
        self.refused(root, "Its metadata.jwt cannot be read: No such file or directory\n")
        write(self.old + "/metadata.jwt", b"a.b")
        self.refused(root, "metadata.jwt is invalid: it has not three parts")
        self.old = good
        os.rename(good + "/data.zst", self.path("moved"))
        self.refused(root, "Cannot open its folder data.zst: No such file or directory\n")
        os.symlink(self.path("moved"), good + "/data.zst")
        self.refused(root, "Cannot open its folder data.zst: Not a directory\n")

    def test_it_may_not_lie_where_the_build_works(self):
        root = self.build_old()
        os.rename(self.old, self.image)
        shutil.copytree(self.image, self.image + "/inside")
        done = self.build("--rootfs", root, "--reuse", self.image + "/inside")
        self.bad(done, f"The image to reuse {self.image}/inside lies in the image {self.image}, which is going to be replaced\n")
        partial = self.image + ".partial"
        os.rename(self.image, partial)
        done = self.build("--rootfs", root, "--reuse", partial)
        self.bad(done, f"The image to reuse {partial} lies in {partial}, which every build begins by removing\n")
        self.assertTrue(os.path.exists(partial + "/metadata.jwt"))


class Patched(Reuse):
    def setUp(self):
        super().setUp()
        self.release = self.path("release")
        self.body = noise(300_000, "body")
        self.built("--rootfs", self.make_tree(1), output=self.release)
        self.root = self.make_tree(2)
        self.built("--rootfs", self.root, "--patch-from", self.release, output=self.old)

    def make_tree(self, version):
        root = self.path(f"root-{version}")
        word = f"version {version}".encode()
        write(f"{root}/usr/bin/tool", self.body[:1000] + word + self.body[1000:], 0o755)
        write(f"{root}/usr/bin/other", self.body[:100_000] + word)
        write(f"{root}/usr/lib/text", text(50_000) + word)
        return root

    def patch(self):
        return os.path.join(self.old, "patches", sorted(os.listdir(self.old + "/patches"))[0])

    def again(self, n):
        done = self.reusing(self.root, "--patch-from", self.release)
        total = len(lines(self.old, "patches.txt"))
        self.assertRegex(done.stdout.decode(), rf"(?m)^{total} patches with \d+ bytes, {n} taken over$")
        self.assert_like_fresh(self.root, "--patch-from", self.release)

    def test_patches_between_the_same_contents_are_taken_over(self):
        total = len(lines(self.old, "patches.txt"))
        self.assertGreater(total, 1)
        self.again(total)
        self.assertTrue(os.path.samefile(self.patch(), self.image + "/patches/" + os.path.basename(self.patch())))
        write(self.root + "/usr/bin/tool", self.body + b"version 3")
        self.again(total - 1)

    def test_patches_that_are_damaged_are_made_anew(self):
        total, patch = len(lines(self.old, "patches.txt")), self.patch()
        good = read(patch)
        for data in (good[:-1], good + b"x", bytes([good[0] ^ 1]) + good[1:], None):
            os.unlink(patch)
            if data is not None:
                write(patch, data)
            else:
                os.symlink(self.path("patch"), patch)
                write(self.path("patch"), good)
            self.again(total - 1)
        shutil.rmtree(self.old + "/patches")
        self.again(0)

    def test_patches_of_another_level_are_made_anew(self):
        done = self.reusing(self.root, "--patch-from", self.release, "--compress-level", "5")
        self.assertIn(b", 0 taken over\n", done.stdout.splitlines(keepends=True)[1])
        self.assert_like_fresh(self.root, "--patch-from", self.release, "--compress-level", "5")

    def test_a_list_of_patches_that_was_not_signed_is_not_believed(self):
        good = read(self.old, "patches.txt")
        write(self.old + "/patches.txt", good + b"\n")
        done = self.build("--rootfs", self.root, "--reuse", self.old)
        self.bad(done, f"Cannot reuse the image {self.old}: Its patches.txt has another digest than metadata.jwt says\n")
        self.assert_no_output()

    def test_inspect_and_verify_know_the_result(self):
        self.again(len(lines(self.old, "patches.txt")))
        figures = json.loads(self.good(self.run_gen("inspect", "--json", self.image)).stdout)
        self.assertEqual(figures["patches"], len(lines(self.old, "patches.txt")))


class Faults(Reuse):
    def hex(self, path):
        return hashlib.sha256(read(path)).hexdigest()

    def test_a_link_that_cannot_be_made_becomes_a_copy(self):
        root = self.build_old()
        name = os.path.basename(self.blob_of("/usr/lib/text"))
        done = self.reusing(root, "--jobs", "1", env=base.fault("linkat", name, 1, "EMLINK"))
        self.assertIn(b"; 0 contents compressed, 2 taken over\n", done.stdout)
        self.assertFalse(os.path.samefile(f"{self.image}/data.zst/{name}", f"{self.old}/data.zst/{name}"))
        self.assert_like_fresh(root)

    def test_a_copy_that_cannot_be_written_is_named(self):
        root = self.build_old()
        blob = self.blob_of("/usr/lib/text")
        os.chmod(blob, 0o664)
        where = "partial/data.zst/" + os.path.basename(blob)
        done = self.build("--rootfs", root, "--reuse", self.old, env=base.fault("openat", where, 1, "ENOSPC"))
        self.bad(done, f"Cannot take in /usr/lib/text: Cannot write {os.path.basename(blob)}: No space left on device\n")
        self.assert_no_output()

    def test_an_old_blob_that_cannot_be_read_is_made_anew(self):
        root = self.build_old()
        blob = self.blob_of("/usr/lib/text")
        done = self.reusing(root, env=base.fault("openat", "old/data.zst/" + os.path.basename(blob), 1, "EIO"))
        self.assertIn(b"; 1 content compressed, 1 taken over\n", done.stdout)
        self.assertIn(b"1 compressed content of the image to reuse was damaged", done.stderr)
        self.assert_like_fresh(root)

    def test_without_memory_an_image_is_whole_or_not_there(self):
        root = self.path("root")
        write(root + "/usr/lib/text", text(40000))
        write(root + "/usr/lib/noise", noise(40000, "a"))
        self.built("--rootfs", root, output=self.path("release"))
        write(root + "/usr/lib/noise", noise(40000, "a")[:-5] + b"12345")
        args = ("--rootfs", root, "--patch-from", self.path("release"), "--jobs", "1")
        self.built(*args, output=self.old)
        want = {name: read(self.old, name) for name in base.LISTS}

        def check(status):
            if status == 0:
                self.assertEqual({name: read(self.image, name) for name in base.LISTS}, want)
                self.good(self.verify("--jobs", "1"))
                shutil.rmtree(self.image)
            elif os.path.exists(self.image + ".partial"):  # it could not be seen that the folder is ours
                left = os.listdir(self.image + ".partial")
                self.assertTrue(not left or ".metadata_gen-unfinished" in left, left)
                shutil.rmtree(self.image + ".partial")
            self.assert_no_output()
        said = base.NoMemory.sweep(self, lambda env: self.build(*args, "--reuse", self.old, env=env), 10, check)
        self.assertRegex(said, f"Cannot reuse the image {self.old}: .*(No memory for |Cannot allocate memory)")
        self.assertIn("No memory for patches", said)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("test_metadata_gen_reuse: needs root")
    base.PROGRAM, base.SAMPLE, base.FAULTY_CALLS, base.FAILING_ALLOC = (os.path.abspath(a) for a in sys.argv[1:5])
    unittest.main(argv=sys.argv[:1] + sys.argv[5:])
