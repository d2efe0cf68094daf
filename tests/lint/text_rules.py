#!/usr/bin/python3
"""What every file of the tree must have, and what no file may say.

Argument: the root of the source tree. One line per offence, exit status 1 if there is any.
"""
import os
import re
import sys

SOURCE = (".c", ".h")
TEXT = SOURCE + (".py", ".sh", ".md", ".build", ".txt", ".proto", ".service", ".example", ".yaml")
# Test data is other people's by nature; licences are quoted.
SKIP_FOLDERS = ("tests/data", "tests/fuzz/corpus")
LINE_MAX = 120  # clang-format wraps code at 100; this is for what it leaves alone

# (pattern, why, files it is looked for in, also in tests?)
FORBIDDEN = [
    (r"\b(TODO|FIXME|XXX)\b", "an open end: a test, an assertion or an issue says it better", TEXT, True),
    (r"[CI]\xa7", "cite docs/formats.md or docs/api.md", TEXT, True),
    (r"[\s\"'`=(]/(work|farm)/\w", "a path of one machine", TEXT, True),
    (r"(?i)\b(upstream'?s? (bug|defect|weak|broken)\w*)", "the product's files speak of the product", TEXT, True),
    (r"\b(sprintf|strcpy|strcat|gets|tmpnam|mktemp|system|popen)\(", "use the bounded or shell-less one", SOURCE, False),
    (r"^\s*//", "comments are /* */", SOURCE, True),
    (r"[ \t]+$", "spaces at the end of the line", TEXT, True),
]


def files(root):
    for folder, folders, names in os.walk(root):
        rel = os.path.relpath(folder, root)
        folders[:] = sorted(d for d in folders if not d.startswith((".", "build", "__pycache__")) and
                            os.path.normpath(os.path.join(rel, d)) not in SKIP_FOLDERS)
        for name in sorted(names):
            yield os.path.normpath(os.path.join(rel, name))


def top_comment(path, text):
    """A source says first what it is for: "<name>: …"; a test in any form."""
    if path.startswith("tests/"):
        return None if text.startswith("/*") else "does not begin with a comment that says what it is for"
    stem = os.path.splitext(os.path.basename(path))[0]
    names = {"otaclient", "otaproxy", "metadata_gen", "otactl"} if stem == "main" else {stem}
    m = re.match(r"/\*\n \* ([\w-]+)[:,. ]", text)
    if not m:
        return "does not begin with a comment \"/* %s: what it is for\"" % stem
    if m.group(1) not in names:
        return "its top comment is about %s, not %s" % (m.group(1), stem)
    return None


def script_comment(text):
    lines = text.splitlines()
    if len(lines) > 1 and lines[1].startswith(("# ", '"""')):
        return None
    return "does not say in its second line what it is for"


def offences(path, text):
    if path.endswith(SOURCE):
        wrong = top_comment(path, text)
        if wrong:
            yield 1, wrong
        if path.endswith(".h") and "\n#pragma once\n" not in text:
            yield 1, "a header without #pragma once"
    elif text.startswith("#!"):
        wrong = script_comment(text)
        if wrong:
            yield 2, wrong
    elif not path.endswith(TEXT):
        return
    if not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end"
    in_tests = path.startswith("tests/")
    for number, line in enumerate(text.split("\n"), 1):
        if path.endswith(SOURCE) and not in_tests and len(line.expandtabs(8)) > LINE_MAX:
            yield number, "longer than %d columns" % LINE_MAX
        for pattern, why, where, tests_too in FORBIDDEN:
            m = re.search(pattern, line) if path.endswith(where) and (tests_too or not in_tests) else None
            if m:
                yield number, "%r: %s" % (m.group(0), why)


def main():
    root = sys.argv[1]
    bad = n = 0
    for path in files(root):
        if os.path.islink(os.path.join(root, path)):
            continue
        try:
            with open(os.path.join(root, path), encoding="utf-8") as f:
                text = f.read()
        except UnicodeDecodeError:
            continue
        n += 1
        if path.startswith("tests/lint/"):  # these name what they forbid
            continue
        for number, wrong in offences(path, text):
            bad += 1
            print("%s:%d: %s" % (path, number, wrong))
    print("text_rules: %d files, %d offences" % (n, bad))
    sys.exit(1 if bad or not n else 0)


if __name__ == "__main__":
    main()
