#!/usr/bin/env python3
"""Bad input: each is refused with its code and sentence, and the machine stays as it was.

An update that fails before it has taken the right to destroy leaves the standby slot as it is, to the byte; the active slot's
status says FAILURE. One that fails later leaves a standby slot that the next update completes.
"""

import hashlib
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
from forge import LISTS, add_line, forge, read, write  # noqa: E402
from trees import make_v1, make_v2  # noqa: E402
from update_lab import UpdateLab, enter_private_mounts, run  # noqa: E402

lab = None
ZERO = b"0" * 64
SAMPLE_KEYS = os.path.join(os.path.dirname(__file__), "../data/sample-image/keys")


def slot_digest():
    subprocess.run(["blockdev", "--flushbufs", lab.device], check=True)
    with open(lab.device, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def image(name):
    return lab.path("images", name)


def key():
    return lab.path("certs", "sign.key")


def bad(**how):
    return forge(image("v2"), image("bad"), key(), **how)


def expect(code, *words, name="bad", untouched=True, **more):
    """The update fails with the code and all the words in its sentence; the standby slot is untouched."""
    before = slot_digest()
    e = lab.fail(name, **more)
    assert e.code == code, f"{e.code} instead of {code}: {e.sentence}"
    for word in words:
        assert word in e.sentence, f"\"{word}\" is not in: {e.sentence}"
    assert lab.status("a") == "FAILURE", lab.status("a")
    if untouched:
        assert slot_digest() == before, "the standby slot was touched"
    return e


# ---- who signed

def self_signed_signer_is_refused():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                    "/CN=me", "-keyout", lab.path("own.key"), "-out", lab.path("own.pem")], check=True, capture_output=True)
    forge(image("v2"), image("bad"), lab.path("own.key"), cert=lab.path("own.pem"))
    expect("E309", "CN=me")


def signer_of_a_foreign_chain_is_refused():
    for name in os.listdir(os.path.join(SAMPLE_KEYS, "negative")):
        if not name.endswith(".pem"):
            continue
        forge(image("v2"), image("bad"), os.path.join(SAMPLE_KEYS, "negative/leaf.key"),
              cert=os.path.join(SAMPLE_KEYS, "negative", name))
        expect("E309")


def make_leaf(name, start, end):
    """A signer with other dates (YYYYMMDDHHMMSSZ), below a root of its own that is installed."""
    root, root_key = lab.path("certs/own.root.pem"), lab.path("ca/root.key")
    if not os.path.exists(root):
        os.makedirs(lab.path("ca"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9000",
                        "-subj", "/CN=own root", "-keyout", root_key, "-out", root], check=True, capture_output=True)
        write(lab.path("ca/serial"), b"77\n")
        write(lab.path("ca/ca.cnf"), (
            "[ca]\ndefault_ca=c\n[c]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n"
            "[p]\ncommonName=supplied\n" % (lab.path("ca/index.txt"), lab.path("ca/serial"), lab.path("ca"))).encode())
    write(lab.path("ca/index.txt"), b"")
    subprocess.run(["openssl", "req", "-new", "-key", key(), "-subj", "/CN=" + name, "-out", lab.path("ca/leaf.csr")], check=True,
                   capture_output=True)
    subprocess.run(["openssl", "ca", "-batch", "-config", lab.path("ca/ca.cnf"), "-cert", root, "-keyfile", root_key, "-startdate", start,
                    "-enddate", end, "-in", lab.path("ca/leaf.csr"), "-out", lab.path("ca/leaf.pem"), "-notext"], check=True,
                   capture_output=True)
    return lab.path("ca/leaf.pem")


def expired_and_future_signers_are_refused():
    bad(cert=make_leaf("old", "20200101000000Z", "20210101000000Z"))
    expect("E309", "2021")
    bad(cert=make_leaf("young", "20400101000000Z", "20410101000000Z"))
    expect("E309", "2040")
    bad(cert=make_leaf("now", "20260101000000Z", "20400101000000Z"))
    lab.update("bad")
    lab.check("v2")
    lab.update("v1")


def certificate_name_that_leaves_the_folder_is_refused():
    for name in ("/etc/cron.d/x", "../sign.pem", "..", ".", "", "a/b", "a\0b"):
        def change(items, name=name):
            next(i for i in items if "certificate" in i)["certificate"] = name
        bad(payload=change)
        expect("E203")
    assert not os.path.exists("/etc/cron.d/x")


def changed_payload_breaks_the_signature():
    good = read(os.path.join(image("v2"), "metadata.jwt")).split(b".")
    other = read(os.path.join(image("v1"), "metadata.jwt")).split(b".")
    bad()
    write(os.path.join(image("bad"), "metadata.jwt"), good[0] + b"." + good[1] + b"." + other[2])
    expect("E309", "signature")


def no_certificates_installed_refuses_every_image():
    os.makedirs(lab.path("no-certs"), exist_ok=True)
    expect("E309", name="v2", certs=lab.path("no-certs"))


def certificate_that_is_another_file_is_refused():
    bad()
    write(os.path.join(image("bad"), "sign.pem"), read(lab.path("certs/dev.root.pem")))
    expect("E203", "sign.pem")


# ---- the payload

def payloads_of_a_wrong_form_are_refused():
    def drop(name):
        return lambda items: items.remove(next(i for i in items if name in i))

    def put(name, value):
        def change(items):
            next(i for i in items if name in i)[name] = value
        return change
    for change in (drop("version"), drop("regular"), drop("certificate"), drop("rootfs_directory"), put("version", 2),
                   put("rootfs_directory", "../data"), put("regular", "a/b.txt"), put("directory", 7), lambda items: items.clear()):
        bad(payload=change)
        expect("E203")


def jwt_that_is_none_is_refused():
    for text in (b"", b"a.b", b"....", b"not a token at all", b"\xff\xfe.\x00.\x00", b"e30=.W10=.e30="):
        bad()
        write(os.path.join(image("bad"), "metadata.jwt"), text)
        expect("E203")


def oversized_jwt_is_refused_early():
    bad()
    write(os.path.join(image("bad"), "metadata.jwt"), b"A" * (300 * 1024))
    e = expect("E203", "metadata.jwt")
    assert e


# ---- the lists

def wrong_digest_of_each_list_is_named():
    for name in LISTS.values():
        bad(lists={name: lambda data: data + b"\n\n"}, rehash=False)
        expect("E203", name)


def truncated_lists_are_refused():
    for name in ("dirs.txt", "symlinks.txt", "regulars.txt", "attributes.txt"):
        bad(lists={name: lambda data: data[:len(data) * 2 // 3 - 7]}, rehash=False)
        expect("E203", name)
        # and if somebody signed the torn list, it is told where it breaks off
        bad(lists={name: lambda data: data[:len(data) - 5]})
        expect("E203", "Line", name)


def lines_that_break_the_grammar_are_named():
    for name, line, words in (
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/x',1,,,,extra", ("regulars.txt", "Line")),
            ("regulars.txt", b"0644,0,0,1,nothex,'/x',1,,", ("regulars.txt",)),
            ("regulars.txt", b"0888,0,0,1," + ZERO + b",'/x',1,,", ("regulars.txt",)),
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/x,1,,", ("regulars.txt",)),
            ("regulars.txt", b"0644,99999999999,0,1," + ZERO + b",'/x',1,,", ("regulars.txt",)),
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/\xff\xfe',1,,", ("UTF-8",)),
            ("dirs.txt", b"0755,0,0,'/x',7", ("dirs.txt",)),
            ("dirs.txt", b"0755,0,0,/x", ("dirs.txt",)),
            ("symlinks.txt", b"0777,0,0,'/x'", ("symlinks.txt",)),
            ("symlinks.txt", b"0777,0,0,'/x','t',more", ("symlinks.txt",)),
            ("attributes.txt", b"'/etc/hosts',mtime,12", ("attributes.txt",)),
            ("attributes.txt", b"'/etc/hosts',color,00", ("attributes.txt",)),
            ("attributes.txt", b"'/not/there',mtime," + b"0" * 24, ("/not/there",))):
        bad(lists={name: add_line(line)})
        expect("E203", *words)


def paths_that_lead_astray_are_refused():
    for name, line, words in (
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/../x',1,,", ("/../x",)),
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/a/../../x',1,,", ("..",)),
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'x',1,,", ()),
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/a//b',1,,", ("/a//b",)),
            ("dirs.txt", b"0755,0,0,'/..'", ("/..",)),
            ("dirs.txt", b"0755,0,0,'/.ota-resources'", ("/.ota-resources",)),
            ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/.ota-meta/x',1,,", ("/.ota-meta",)),
            ("symlinks.txt", b"0777,0,0,'/../x','t'", ("/../x",))):
        bad(lists={name: add_line(line)})
        expect("E203", *words)


def one_path_twice_is_refused():
    for name, line in (("dirs.txt", b"0700,0,0,'/etc'"), ("regulars.txt", b"0644,0,0,1," + ZERO + b",'/etc/hosts',1,,"),
                       ("symlinks.txt", b"0777,0,0,'/etc/hosts','t'"), ("dirs.txt", b"0755,0,0,'/etc/hosts'")):
        bad(lists={name: add_line(line)})
        expect("E203", "/etc")


def file_or_link_as_a_parent_is_refused():
    for line in (b"0644,0,0,1," + ZERO + b",'/etc/hosts/x',1,,", b"0644,0,0,1," + ZERO + b",'/etc/resolv.conf/x',1,,"):
        bad(lists={"regulars.txt": add_line(line)})
        expect("E203", "/etc/")


def one_digest_with_two_sizes_is_refused():
    bad(lists={"regulars.txt": lambda d: add_line(b"0644,0,0,1," + ZERO + b",'/y',7,,")(
        add_line(b"0644,0,0,1," + ZERO + b",'/x',1,,")(d))})
    expect("E203")


def size_that_the_digest_cannot_have_is_refused():
    for line in (b"0644,0,0,1," + b"ab" * 32 + b",'/x',0,,", b"0644,0,0,1," + hashlib.sha256().hexdigest().encode() + b",'/x',7,,"):
        bad(lists={"regulars.txt": add_line(line)})
        expect("E203", "/x has", "digest")


# ---- contents

def fetch_only():
    """An empty active slot, so that every content must come from the server."""
    empty = lab.path("empty-active")
    os.makedirs(empty, exist_ok=True)
    return empty


def blobs_with_wrong_bytes_are_refused():
    blobs = sorted(os.listdir(os.path.join(image("v2"), "data.zst")))
    for wrong in (b"not zstd at all", read(os.path.join(image("v2"), "data.zst", blobs[0]))[:-9],
                  read(os.path.join(image("v2"), "data.zst", blobs[1])),
                  read(os.path.join(image("v2"), "data.zst", blobs[0])) + b"trailing"):
        bad()
        write(os.path.join(image("bad"), "data.zst", blobs[0]), wrong)
        lab.active = fetch_only()
        lab.wipe_slot()
        expect("E203", blobs[0][:8], untouched=False)
    lab.active = lab.trees["v1"]
    lab.update("v2")
    lab.check("v2")


def plain_files_with_wrong_bytes_are_refused():
    bad()
    write(os.path.join(image("bad"), "data/usr/bin/suid"), b"#!/bin/rm\n")
    lab.active = fetch_only()
    lab.wipe_slot()
    expect("E203", "/usr/bin/suid", untouched=False)
    lab.active = lab.trees["v1"]


# ---- the server

def scripted(script, **more):
    """The v2 image from a server that answers some paths as told."""
    import contextlib
    import tempfile
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=lab.work, delete=False) as f:
        json.dump({"/v2" + p if p != "*" else p: a for p, a in script.items()}, f)

    @contextlib.contextmanager
    def origin():
        p = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__), "../support/http_origin.py"), "--script", f.name,
                              "--root", lab.path("images")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield f"http://127.0.0.1:{int(p.stdout.readline())}/v2"
        finally:
            p.stdin.close()
            p.wait(timeout=10)
    return origin()


def statuses_are_told_apart():
    for status, code in ((401, "E204"), (403, "E204"), (404, "E203"), (410, "E203")):
        for path in ("/metadata.jwt", "/sign.pem", "/regulars.txt"):
            with scripted({path: [{"status": status}], path + ".zst": [{"status": status}]}) as url:
                expect(code, str(status), name="v2", url=url)
    for status in (401, 403, 404, 410, 500):
        with scripted({"/regulars.txt.zst": [{"status": status}]}) as url:
            lab.update("v2", url=url)
            lab.check("v2")
            lab.wipe_slot()


def content_statuses_keep_their_true_cause():
    lab.active = fetch_only()
    for status, code in ((401, "E204"), (403, "E204"), (404, "E203")):
        lab.wipe_slot()
        with scripted({"/data/usr/bin/suid": [{"status": status}]}) as url:
            expect(code, str(status), name="v2", url=url, untouched=False)
    lab.active = lab.trees["v1"]


def server_errors_are_retried_and_then_blamed_on_the_network():
    with scripted({"/metadata.jwt": [{"status": 500}]}) as url:
        expect("E101", "500", name="v2", url=url)
    with scripted({"/metadata.jwt": [{"status": 503}, {"hang_up": True}, {"status": 200, "file": os.path.join(image("v2"), "metadata.jwt")}],
                   "/regulars.txt.zst": [{"status": 404}],
                   "/regulars.txt": [{"file": os.path.join(image("v2"), "regulars.txt"), "cut_after": 100},
                                     {"file": os.path.join(image("v2"), "regulars.txt"), "ranges": True}]}) as url:
        lab.update("v2", url=url)
        lab.check("v2")


def stalled_server_is_given_up():
    with scripted({"/metadata.jwt": [{"body": "abc", "content_length": 1000, "stall_after": 3, "stall_ms": 20000}]}) as url:
        e = lab.fail("v2", "--inactivity-ms", "1500", url=url)
        assert e.code == "E101", (e.code, e.sentence)


def server_that_sends_too_much_is_cut_off():
    with scripted({"/metadata.jwt": [{"endless": True}]}) as url:
        expect("E203", "metadata.jwt", name="v2", url=url)
    with scripted({"/sign.pem": [{"endless": True}]}) as url:
        expect("E203", "sign.pem", name="v2", url=url)


def server_that_has_everything_is_refused():
    with scripted({"/oci-layout": [{"status": 200, "body": "<html>welcome</html>"}]}) as url:
        expect("E203", "oci-layout", name="v2", url=url)


def image_of_format_v1_is_refused():
    with scripted({"/oci-layout": [{"status": 200, "body": '{"imageLayoutVersion": "1.0.0"}'}]}) as url:
        expect("E203", "v1", name="v2", url=url)


def content_that_is_cut_is_resumed_and_content_that_stays_wrong_is_not_retried_for_ever():
    lab.active = fetch_only()
    big = hashlib.sha256(read(os.path.join(lab.trees["v2"], "usr/lib/big"))).hexdigest()
    path = "/data/usr/lib/big" if os.path.exists(os.path.join(image("v2"), "data/usr/lib/big")) else f"/data.zst/{big}.zst"
    full = image("v2") + path
    with scripted({path: [{"file": full, "cut_after": 100_000, "ranges": True, "etag": "\"x\""},
                          {"file": full, "cut_after": 3_000_000, "ranges": True, "etag": "\"x\""},
                          {"file": full, "ranges": True, "etag": "\"x\""}]}) as url:
        lab.update("v2", url=url)
        lab.check("v2")
    with lab.mounted(writable=True) as root:
        os.unlink(os.path.join(root, "usr/lib/big"))
    with scripted({path: [{"size": os.path.getsize(full)}]}) as url:
        e = expect("E203", name="v2", url=url, untouched=False)
        assert big[:8] in e.sentence or "usr/lib/big" in e.sentence, e.sentence
    lab.active = lab.trees["v1"]


def nobody_listens():
    expect("E101", name="v2", url="http://127.0.0.1:1/v2")


# ---- the request

def cookies_that_are_no_object_are_refused():
    for cookies in ("not json", "[1]", '"x"', '{"a": 1}', '{"a": "x\\r\\nSet: y"}'):
        p = lab.driver("v2", "--cookies", cookies)
        assert p.returncode == 1 and "E308" in p.stderr, p.stderr


def url_that_is_none_is_refused():
    for url in ("", "ftp://x/y", "file:///etc", "http://", "nonsense"):
        e = lab.fail("v2", url=url or " ")
        assert e.code == "E308", (url, e.code, e.sentence)


# ---- the machine

def full_slot_is_named_with_both_figures():
    small = UpdateLab(slot_mib=6)
    with small:
        small.build("v2", make_v2)
        e = small.fail("v2")
        assert e.code == "E307" and "does not fit" in e.sentence, (e.code, e.sentence)


def slot_in_use_is_refused_with_the_place():
    point = lab.path("held")
    os.makedirs(point, exist_ok=True)
    holder = subprocess.Popen([os.path.join(os.path.dirname(__file__), "../support/private-mounts"), "sh", "-c",
                               f"mount {lab.device} {point} && echo ready && read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"ready\n"
        e = lab.fail("v2")
        assert e.code == "E303" and point in e.sentence, (e.code, e.sentence)
    finally:
        holder.communicate(b"\n")


def main():
    global lab
    with UpdateLab() as lab:
        lab.build("v1", make_v1)
        lab.build("v2", make_v2)
        lab.active = lab.trees["v1"]
        lab.update("v1")
        run([
            self_signed_signer_is_refused,
            signer_of_a_foreign_chain_is_refused,
            expired_and_future_signers_are_refused,
            certificate_name_that_leaves_the_folder_is_refused,
            changed_payload_breaks_the_signature,
            no_certificates_installed_refuses_every_image,
            certificate_that_is_another_file_is_refused,
            payloads_of_a_wrong_form_are_refused,
            jwt_that_is_none_is_refused,
            oversized_jwt_is_refused_early,
            wrong_digest_of_each_list_is_named,
            truncated_lists_are_refused,
            lines_that_break_the_grammar_are_named,
            paths_that_lead_astray_are_refused,
            one_path_twice_is_refused,
            file_or_link_as_a_parent_is_refused,
            one_digest_with_two_sizes_is_refused,
            size_that_the_digest_cannot_have_is_refused,
            statuses_are_told_apart,
            server_errors_are_retried_and_then_blamed_on_the_network,
            stalled_server_is_given_up,
            server_that_sends_too_much_is_cut_off,
            server_that_has_everything_is_refused,
            image_of_format_v1_is_refused,
            nobody_listens,
            cookies_that_are_no_object_are_refused,
            url_that_is_none_is_refused,
            slot_in_use_is_refused_with_the_place,
            full_slot_is_named_with_both_figures,
            blobs_with_wrong_bytes_are_refused,
            plain_files_with_wrong_bytes_are_refused,
            content_statuses_keep_their_true_cause,
            content_that_is_cut_is_resumed_and_content_that_stays_wrong_is_not_retried_for_ever,
        ])


if __name__ == "__main__":
    enter_private_mounts()
    UpdateLab.patience = ["--retry-ms", "5"]  # what is wrong here is so at the eighth try, too
    main()
