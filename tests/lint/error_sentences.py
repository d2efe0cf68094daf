#!/usr/bin/python3
"""Every error sentence of the product is named by a test.

Arguments: the root of the source tree, and how many sentences may be without a test, outside the finished rooms: a number that
is only ever made smaller. A sentence is the format of ota_err_set() or ota_err_wrap(), or of a function of the same file that
makes such sentences for it. A test names it if one of its texts fits the format, with anything in the place of a conversion,
and no other format better; or if it is so much of it that it can be no other. One line for each sentence that no test names;
exit status 1 if there is one in a finished room, or more of them elsewhere than that.
"""
import ast
import os
import re
import sys

# function: which argument is the sentence
CALLS = {"ota_err_set": 3, "ota_err_wrap": 2}
PRODUCT = ("common", "otaclient", "otaproxy", "boot-controllers", "metadata-gen")
FINISHED = ("common", "metadata-gen", "otaproxy", "otaclient", "boot-controllers")  # rooms of which no sentence may be without a test
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


def helpers(stream):
    """Functions of a C source that say a sentence of the caller's: which argument is the format."""
    found = {}
    for at, (_, t) in enumerate(stream):
        if t != "format" or [x for _, x in stream[at + 1:at + 4]] != ["(", "printf", ","]:
            continue
        name = declared_at(stream, at)
        if name and not name.startswith("note") and says_sentence(stream, name):  # a note is no error
            found[name] = int(stream[at + 4][1]) - 1
    return found


def declared_at(stream, at):
    """The function whose declaration the attribute at @at stands in: before its parameters or behind them."""
    while at > 0 and stream[at][1] != "__attribute__":
        at -= 1
    depth = 0
    if stream[at - 1][1] == ")":
        for at in range(at - 1, -1, -1):
            depth += (stream[at][1] == ")") - (stream[at][1] == "(")
            if depth == 0:
                return stream[at - 1][1]
    for at in range(at + 1, len(stream) - 1):
        depth += (stream[at][1] == "(") - (stream[at][1] == ")")
        if depth == 0 and re.match(r"[A-Za-z_]", stream[at][1]) and stream[at + 1][1] == "(":
            return stream[at][1]
    return None


def says_sentence(stream, name):
    """Does the body of the function make an error, or what its file calls a sentence?"""
    depth = 0
    for at, (_, t) in enumerate(stream):
        if depth == 0 and t == "{" and stream[at - 1][1] == ")" and opened_by(stream, at - 1) == name:
            depth = 1
        elif depth > 0:
            depth += (t == "{") - (t == "}")
            if t in CALLS or t == "sentence" or t == "msg":
                return True
            if depth == 0:
                return False
    return False


def opened_by(stream, at):
    """The word before the "(" that the ")" at @at closes."""
    depth = 0
    for k in range(at, 0, -1):
        depth += (stream[k][1] == ")") - (stream[k][1] == "(")
        if depth == 0:
            return stream[k - 1][1]
    return None


def sentences(text):
    """(line, format) of each error sentence in a C source."""
    stream = list(tokens(text))
    calls = {**CALLS, **helpers(stream)}
    for at, (line, t) in enumerate(stream[:-1]):
        if t in calls and stream[at + 1][1] == "(":
            rows = list(arguments(stream, at + 1))
            if len(rows) > calls[t]:
                for fmt in c_texts(rows[calls[t]]):
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
        self.texts = sorted(every | {plain(t) for t in every if "\\" in t or ".*" in t or ".+" in t})
        self.whole = "\n\n".join(self.texts)
        parts = [p.strip() for t in self.texts for p in t.split(ANY)]
        self.parts = {p for p in parts if len(p) >= PART_MIN and " " in p}

    def fits(self, fmt):
        """(text, where) of all that look like the sentence."""
        if max(fixed_parts(fmt), key=len) not in self.whole:
            return
        pattern, longest = pattern_of(fmt), max(fixed_parts(fmt), key=len).strip()
        for n, text in enumerate(self.texts):
            if longest in text:
                for m in pattern.finditer(text):
                    yield n, m.start()

    def unnamed(self, formats):
        """Those of the formats that no text names."""
        formats = {f for f in formats if any(re.search(r"\w", p) for p in fixed_parts(f))}  # not mere chains of others
        weight = {f: sum(map(len, fixed_parts(f))) for f in formats}
        best, fits = {}, {f: set(self.fits(f)) for f in formats}
        for f in formats:
            for place in fits[f]:
                best[place] = max(best.get(place, 0), weight[f])
        named = {f for f in formats if any(weight[f] == best[place] for place in fits[f])}
        for part in self.parts:
            holders = {f for f in formats if any(part in p for p in fixed_parts(f))}
            if len(holders) == 1 or any(2 * len(part) >= weight[f] for f in holders):
                named |= {f for f in holders if len(holders) == 1 or 2 * len(part) >= weight[f]}
        return formats - named


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
    all_of_them = [(path, line, fmt) for path, text in files(root, PRODUCT, ".c") for line, fmt in sentences(text)]
    unnamed = Tests(texts).unnamed({fmt for _, _, fmt in all_of_them})
    bad = [s for s in all_of_them if s[2] in unnamed]
    for path, line, fmt in bad:
        print("%s:%d: no test names \"%s\"" % (path, line, fmt))
    finished = [path for path, _, _ in bad if path.split(os.sep)[0] in FINISHED]
    print("error_sentences: %d sentences, %d that no test names" % (len(all_of_them), len(bad)))
    if finished:
        print("error_sentences: %d of them in rooms that are finished" % len(finished))
    if len(bad) - len(finished) < allowed:
        print("error_sentences: the number in tests/lint/meson.build, %d, can be made smaller" % allowed)
    return 1 if finished or len(bad) - len(finished) > allowed or not all_of_them else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
