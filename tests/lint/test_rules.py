#!/usr/bin/python3
"""The lints must be able to fail: each rule is given something that breaks it."""
import os
import sys
import unittest

ROOT = sys.argv.pop(1)
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests/lint"))
import error_sentences  # noqa: E402
import include_rules  # noqa: E402
import text_rules  # noqa: E402

with open(os.path.join(ROOT, "ARCHITECTURE.md"), encoding="utf-8") as f:
    TABLES = include_rules.Tables(f.read())


def include(path, header, kind='"'):
    return include_rules.check(path, kind, header, TABLES, lambda h: not h.startswith("nowhere"))


def text(path, content):
    return [wrong for _, wrong in text_rules.offences(path, content)]


class IncludeRules(unittest.TestCase):
    def test_own_room_and_lower_rooms_are_fine(self):
        self.assertIsNone(include("common/image/a.c", "common/image/a.h"))
        self.assertIsNone(include("common/image/a.c", "common/base/err.h"))
        self.assertIsNone(include("otaclient/api/a.c", "otaclient/status/status.h"))
        self.assertIsNone(include("otaclient/a.c", "boot-controllers/boot_controller.h"))
        self.assertIsNone(include("tests/unit/a.c", "otaproxy/a.h"))

    def test_sideways_and_up_are_refused(self):
        self.assertEqual(include("common/codec/a.c", "common/config/a.h"), "common/codec may not include common/config/a.h")
        self.assertEqual(include("common/base/a.c", "common/image/a.h"), "common/base may not include common/image/a.h")
        self.assertEqual(include("otaclient/a.c", "otaproxy/a.h"), "otaclient may not include otaproxy/a.h")
        self.assertEqual(include("otaclient/a.c", "boot-controllers/grub/a.h"),
                         "otaclient may not include boot-controllers/grub/a.h")

    def test_a_library_is_included_behind_its_door_only(self):
        self.assertIsNone(include("common/net/http.c", "curl/curl.h", "<"))
        self.assertIsNone(include("tests/support/a.c", "microhttpd.h", "<"))
        self.assertEqual(include("otaclient/a.c", "curl/curl.h", "<"), "curl/curl.h belongs behind common/net")
        self.assertEqual(include("otaproxy/other.c", "microhttpd.h", "<"),
                         "microhttpd.h belongs behind otaproxy/proxy_server.c")

    def test_an_unknown_library_or_path_is_refused(self):
        self.assertEqual(include("common/base/a.c", "glib.h", "<"), "glib.h has no door in ARCHITECTURE.md")
        self.assertEqual(include("tests/unit/a.c", "glib.h", "<"), "glib.h has no door in ARCHITECTURE.md")
        self.assertEqual(include("common/base/a.c", "nowhere.h"), "nowhere.h is not a path from the root of the tree")
        self.assertEqual(include("newroom/a.c", "common/base/err.h"),
                         "its folder is not in the include table of ARCHITECTURE.md")


class TextRules(unittest.TestCase):
    GOOD = "/*\n * plan: what to do.\n */\n"

    def test_a_good_file_passes(self):
        self.assertEqual(text("otaclient/inventory/plan.c", self.GOOD), [])
        self.assertEqual(text("tests/unit/test_plan.c", self.GOOD), [])

    def test_a_source_begins_with_what_it_is_for(self):
        self.assertEqual(len(text("otaclient/inventory/plan.c", "#include <errno.h>\n")), 1)
        self.assertEqual(text("otaclient/other.c", self.GOOD), ["its top comment is about plan, not other"])
        self.assertEqual(len(text("tests/unit/test_plan.c", "#include <errno.h>\n")), 1)
        self.assertEqual(text("otaclient/inventory/plan.h", self.GOOD), ["a header without #pragma once"])
        self.assertEqual(len(text("scripts/x", "#!/bin/bash\nset -e\n")), 1)

    def test_what_is_forbidden_is_found(self):
        for line in ("/* TODO: later */", "/* as in C\xa73.1 */", "/* see /" + "work/x */", "\tsprintf(a, b);",
                     "\t// no", "int a; ", "/* " + 120 * "x" + " */"):
            self.assertEqual(len(text("otaclient/inventory/plan.c", self.GOOD + line + "\n")), 1, line)
        self.assertEqual(text("README.md", "no end"), ["no newline at the end"])


class ErrorSentences(unittest.TestCase):
    SOURCE = """int f(struct ota_err *err)
{
	/* ota_err_set(err, -1, 0, "a comment"); */
	if (a)
		return ota_err_set(err, -EIO, OTA_E_NETWORK, "Cannot read %s: "
			"%" PRIu64 " bytes are missing", name(a, b), n);
	return ota_err_wrap(err, r, a ? "One way" : "The other way");
}
"""

    def test_formats_are_found(self):
        self.assertEqual([(5, "Cannot read %s: %s bytes are missing"), (7, "One way"), (7, "The other way")],
                         list(error_sentences.sentences(self.SOURCE)))

    def test_formats_of_a_files_own_helpers_are_found(self):
        declared = 'static int %s(struct x *x, const char *fmt, ...)%s;\n'
        attribute = ' __attribute__((format(printf, 2, 3)))'
        body = 'static int %s(struct x *x, const char *fmt, ...)\n{\n%s;\n}\n'
        use = 'int f(void)\n{\n\treturn %s(x, "It has %%d bytes", 3);\n}\n'
        said = "\tvsnprintf(why, n, fmt, ap);\n\treturn ota_err_set(x->err, -EBADMSG, 0, \"x is invalid: %s\", why)"

        def found(name, end):
            source = declared % (name, attribute) + body % (name, end) + use % name
            return [fmt for _, fmt in error_sentences.sentences(source)]
        self.assertEqual(found("invalid", said), ["x is invalid: %s", "It has %d bytes"])
        self.assertEqual(found("invalid", "\tprint(x, fmt)"), [])
        self.assertEqual(found("note", said), ["x is invalid: %s"])
        before = attribute[1:] + " " + body % ("invalid", said) + use % "invalid"
        self.assertIn("It has %d bytes", [fmt for _, fmt in error_sentences.sentences(before)])

    def named(self, fmt, *texts, others=()):
        return fmt not in error_sentences.Tests(texts).unnamed({fmt, *others})

    def test_a_text_that_fits_names_a_sentence(self):
        fmt = "Cannot read %s: %s bytes are missing"
        self.assertTrue(self.named(fmt, "E100: Cannot read /a: 7 bytes are missing"))
        self.assertTrue(self.named(fmt, r"Cannot read \S+: \d+ bytes are missing$"))
        self.assertTrue(self.named(fmt, "bytes are missing"))
        self.assertTrue(self.named("%s: %s"))

    def test_another_text_does_not(self):
        fmt = "Cannot read %s: %s bytes are missing"
        self.assertFalse(self.named(fmt))
        self.assertFalse(self.named(fmt, "Cannot read", "missing", "Cannot write /a: 7 bytes are left"))

    def test_a_text_names_the_format_that_fits_best(self):
        fmt = "Cannot write %s"
        self.assertTrue(self.named(fmt, "Cannot write to the log: full"))
        self.assertFalse(self.named(fmt, "Cannot write to the log: full", others=["Cannot write to the log: %s"]))
        self.assertTrue(self.named(fmt, "Cannot write /a: Cannot write to the log: full",
                                   others=["Cannot write to the log: %s"]))

    def test_a_part_of_several_sentences_names_those_of_which_it_is_most(self):
        part, others = "is no folder", ["The tar stream %s has the link %s, but %s is no folder"]
        self.assertTrue(self.named("%s is no folder", part, others=others))
        self.assertFalse(self.named(others[0], part, others=["%s is no folder"]))
        self.assertTrue(self.named(others[0], part))

    def test_texts_of_tests_in_python_are_found(self):
        texts = list(error_sentences.python_texts('f("one " "two", f"three {x} four")'))
        self.assertIn("one two", texts)
        self.assertIn("three \0 four", texts)


unittest.main()
