#!/usr/bin/python3
"""Every error sentence of the product is named by a test.

Arguments: the root of the source tree, and how many sentences may be without a test: a number that is only ever made smaller.
A sentence is the format of ota_err_set() or ota_err_wrap(). A test names it if one of its texts fits the format, with anything
in the place of a conversion, or is a good part of it. One line for each sentence that no test names; exit status 1 if there
are more of them than that.
"""
import ast
import os
import re
import sys

# function: which argument is the sentence
CALLS = {"ota_err_set": 3, "ota_err_wrap": 2}
PRODUCT = ("common", "otaclient", "otaproxy", "boot-controllers", "metadata-gen")
PART_MIN = 12  # characters of a part that is worth something
ANY = "\0"     # in a text: something that only the run of the test knows

TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[A-Za-z_]\w*|\s+|.', re.S)
CONVERSION = re.compile(r"%(?:%|[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|h|ll|l|z|j|t)?[a-zA-Z])")


def tokens(text):
    """(line, token) of a C source, without blanks and comments."""
    line = 1
    for m in TOKEN.finditer(text):
        t = m.group()
        if not t.isspace() and not t.startswith(("/*", "//")):
            yield line, t
        line += t.count("\n")


def unquoted(literal):
    return ast.literal_eval(literal)


def c_texts(stream):
    """The texts in a row of tokens: neighbours are one; a macro between them (PRIu64) is a conversion, and goes with its %."""
    text = None
    for _, t in stream:
        if t.startswith('"'):
            text = (text or "") + unquoted(t)
        elif text is not None and re.match(r"PRI[a-zX0-9]+$", t):
            text += "s"
        elif text is not None:
            yield text
            text = None
    if text is not None:
        yield text


def arguments(stream, begin):
    """The arguments of the call whose "(" is at @begin, as rows of tokens."""
    row, depth = [], 0
    for at in range(begin, len(stream)):
        t = stream[at][1]
        depth += (t in "([{") - (t in ")]}")
        if depth == 0:
            yield row
            return
        if depth == 1 and t == ",":
            yield row
            row = []
        elif at > begin:
            row.append(stream[at])


def sentences(text):
    """(line, format) of each error sentence in a C source."""
    stream = list(tokens(text))
    for at, (line, t) in enumerate(stream[:-1]):
        if t in CALLS and stream[at + 1][1] == "(":
            rows = list(arguments(stream, at + 1))
            if len(rows) > CALLS[t]:
                for fmt in c_texts(rows[CALLS[t]]):
                    yield line, fmt


def python_texts(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(v.value if isinstance(v, ast.Constant) else ANY for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def plain(text):
    """A pattern of a test as the text that it looks for."""
    text = re.sub(r"\((?:\?:)?((?:[^()\\]|\\.)*)\)", r"\1", text)
    text = re.sub(r"(?:\\[dwSs]|\.|\[[^\]]+\])[*+]\??", ANY, text)
    return re.sub(r"\\(.)", r"\1", text)


def fixed_parts(fmt):
    return [p for p in re.split(CONVERSION, fmt.replace("%%", "\1")) if p]


def pattern_of(fmt):
    """What a text must look like to be such a sentence; conversions at its ends need not be there."""
    parts = [re.escape(p.replace("\1", "%")) for p in re.split(CONVERSION, fmt.replace("%%", "\1"))]
    while parts and not parts[-1].strip():
        parts.pop()
    while parts and not parts[0].strip():
        parts.pop(0)
    return re.compile(".+?".join(parts), re.S)


class Tests:
    """All texts of the tests."""

    def __init__(self, texts):
        every = set(texts)
        self.texts = every | {plain(t) for t in every if "\\" in t or ".*" in t or ".+" in t}
        self.whole = "\n\n".join(self.texts)
        self.parts = [p.strip() for t in self.texts for p in t.split(ANY)]
        self.parts = {p for p in self.parts if len(p) >= PART_MIN and " " in p}

    def name(self, fmt):
        fixed = fixed_parts(fmt)
        if not any(re.search(r"\w", p) for p in fixed):
            return True  # only a chain of other sentences
        if max(fixed, key=len) in self.whole and any(pattern_of(fmt).search(t) for t in self.texts):
            return True
        return any(part in p for p in fixed if len(p) >= PART_MIN for part in self.parts)


def files(root, folders, suffix):
    for top in folders:
        for folder, below, names in os.walk(os.path.join(root, top)):
            below[:] = sorted(d for d in below if d not in ("corpus", "data", "__pycache__"))
            for name in sorted(names):
                if name.endswith(suffix):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as f:
                        yield os.path.relpath(path, root), f.read()


def main(root, allowed):
    texts = [t for _, text in files(root, ["tests"], (".c", ".h")) for t in c_texts(tokens(text))]
    texts += [t for path, text in files(root, ["tests"], ".py") if "lint" not in path for t in python_texts(text)]
    tests = Tests(texts)
    all_of_them = [(path, line, fmt) for path, text in files(root, PRODUCT, ".c") for line, fmt in sentences(text)]
    unnamed = [s for s in all_of_them if not tests.name(s[2])]
    for path, line, fmt in unnamed:
        print("%s:%d: no test names \"%s\"" % (path, line, fmt))
    print("error_sentences: %d sentences, %d that no test names" % (len(all_of_them), len(unnamed)))
    if len(unnamed) < allowed:
        print("error_sentences: the number in tests/lint/meson.build, %d, can be made smaller" % allowed)
    return 1 if len(unnamed) > allowed or not all_of_them else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
