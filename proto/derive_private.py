#!/usr/bin/env python3
"""Derive the copy of the API definition that protoc-c can read: derive_private.py INPUT OUTPUT

protobuf-c knows no proto3 `optional`, cuts strings at NUL and takes any bytes for text. So in the copy
`optional T f = n;` is `oneof _f { T f = n; }`, `string` is `bytes`, and the one message that is imported stands
in the file itself. All three are the same on the wire; lengths are then known, and wire.c checks the text.
"""

import re
import sys

DURATION = """
message Duration {
  int64 seconds = 1;
  int32 nanos = 2;
}
"""


def derive(text):
    text = re.sub(r"//[^\n]*", "", text)
    text, n = re.subn(r'\bimport "google/protobuf/duration\.proto";\n', "", text)
    if n != 1:
        sys.exit("derive_private.py: expected one import, of duration.proto")
    text = text.replace("google.protobuf.Duration", "Duration")
    text = re.sub(r"\bstring(?=\s+\w+\s*=)", "bytes", text)
    text = re.sub(r"\boptional\s+(\w+)\s+(\w+)(\s*=\s*\d+\s*;)", r"oneof _\2 { \1 \2\3 }", text)
    for word in ("import", "optional", "string"):
        if re.search(rf"\b{word}\b", text):
            sys.exit(f"derive_private.py: '{word}' is used in a way this script does not know")
    return text + DURATION


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        derived = derive(f.read())
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(derived)
