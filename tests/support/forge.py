"""forge: images that are wrong in one exact place, signed with the development key."""

import base64
import hashlib
import json
import os
import shutil
import subprocess

LISTS = {"directory": "dirs.txt", "symboliclink": "symlinks.txt", "regular": "regulars.txt", "persistent": "persistents.txt",
         "x_attributes": "attributes.txt"}
OFFERS = {"x_patches": "patches.txt"}  # that an update can do without


def b64(data):
    return base64.urlsafe_b64encode(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    if os.path.exists(path):
        os.unlink(path)  # the copy shares its inode with the good image
    with open(path, "wb") as f:
        f.write(data)


def copy_image(src, dst):
    shutil.rmtree(dst, ignore_errors=True)
    subprocess.run(["cp", "-al", src, dst], check=True)


def payload_of(image):
    part = read(os.path.join(image, "metadata.jwt")).split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(part))


def sign(payload, key):
    """@payload: what JSON can say, or bytes."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = b64(b'{"alg": "ES256"}') + b"." + b64(text)
    sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed, check=True, capture_output=True).stdout
    return signed + b"." + b64(sig)


def forge(good, bad, key, lists=None, payload=None, cert=None, rehash=True, raw=None):
    """
    Copy the image @good to @bad, change some of its lists ({name: function of its bytes}) and its payload (function of
    the parsed JSON, in place; @raw: of its text, returning another), take another certificate, and sign. With rehash False the
    digests stay those of the good lists.
    """
    copy_image(good, bad)
    # A client that finds the good lists compressed would never see the bad ones, and patches would make the good ones.
    items = [item for item in payload_of(good) if not {"x_compressed_lists", "x_list_patches"} & set(item)]
    for name, change in (lists or {}).items():
        write(os.path.join(bad, name), change(read(os.path.join(good, name))))
    if cert:
        write(os.path.join(bad, "sign.pem"), read(cert))
    for item in items:
        for key_name in (*LISTS, *OFFERS, "certificate"):
            path = os.path.join(bad, str(item.get(key_name, "")))
            if rehash and key_name in item and os.path.isfile(path):
                item["hash"] = hashlib.sha256(read(path)).hexdigest()
    if payload:
        payload(items)
    write(os.path.join(bad, "metadata.jwt"), sign(raw(json.dumps(items).encode()) if raw else items, key))
    return bad


def add_line(line):
    """A change for forge(): one more line, in the place where sorting puts it."""
    def change(data):
        return b"\n".join(sorted(data.split(b"\n") + [line])).lstrip(b"\n")
    return change
