/*
 * conf_tree: what a configuration file may hold, and which files are turned away.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/config/conf_tree.h"

static struct conf_tree *parse(const char *text)
{
	struct conf_tree *tree = NULL;
	struct ota_err err = {0};
	int r = conf_tree_parse(text, strlen(text), "x.yaml", &tree, &err);

	if (r < 0)
		fail_msg("%s", err.msg);
	return tree;
}

static void refuses(const char *text, const char *sentence)
{
	struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	assert_int_equal(conf_tree_parse(text, strlen(text), "x.yaml", &tree, &err), -EBADMSG);
	assert_null(tree);
	assert_string_equal(err.msg, sentence);
}

static void maps_lists_and_lines_are_kept(void **state)
{
	AUTO_CONF_TREE struct conf_tree *tree = parse("# a comment\n"
						      "a: one\n"
						      "b:\n"
						      "  - {c: two, d: \"3\"}\n"
						      "  - four\n");
	const struct conf_node *root = conf_tree_root(tree), *b, *c;

	assert_int_equal(root->kind, CONF_MAP);
	assert_string_equal(conf_node_find(root, "a")->text, "one");
	assert_int_equal(conf_node_find(root, "a")->line, 2);
	b = conf_node_find(root, "b");
	assert_int_equal(b->kind, CONF_LIST);
	assert_int_equal(b->child->kind, CONF_MAP);
	assert_int_equal(b->child->line, 4);
	c = conf_node_find(b->child, "d");
	assert_int_equal(c->kind, CONF_STRING);
	assert_string_equal(c->text, "3");
	assert_string_equal(b->child->next->text, "four");
	assert_null(b->child->next->next);
	assert_null(conf_node_find(root, "c"));
}

static void plain_words_have_the_types_of_yaml_1_1(void **state)
{
	static const struct {
		const char *text;
		enum conf_kind kind;
	} cases[] = {
		{"",              CONF_NULL        },
		{"~",             CONF_NULL        },
		{"null",          CONF_NULL        },
		{"nULL",          CONF_STRING      },
		{"true",          CONF_BOOL        },
		{"Off",           CONF_BOOL        },
		{"tRUE",          CONF_STRING      },
		{"y",             CONF_STRING      },
		{"7",             CONF_INT         },
		{"-7",            CONF_INT         },
		{"0x1f",          CONF_INT         },
		{"0b101",         CONF_INT         },
		{"1_000",         CONF_INT         },
		{"08",            CONF_STRING      },
		{"1e3",           CONF_STRING      },
		{"1.5",           CONF_OTHER_SCALAR},
		{".inf",          CONF_OTHER_SCALAR},
		{"12:30",         CONF_OTHER_SCALAR},
		{"2024-01-31",    CONF_OTHER_SCALAR},
		{"0",             CONF_INT         },
		{"+0_7",          CONF_INT         },
		{"0b",            CONF_STRING      },
		{"0xg",           CONF_STRING      },
		{"+-7",           CONF_STRING      },
		{"_7",            CONF_STRING      },
		{"1.",            CONF_OTHER_SCALAR},
		{"-.5",           CONF_OTHER_SCALAR},
		{".",             CONF_STRING      },
		{"._5",           CONF_STRING      },
		{"1.5e+10",       CONF_OTHER_SCALAR},
		{"1.5e10",        CONF_STRING      },
		{"1.5e+",         CONF_STRING      },
		{"1.5x",          CONF_STRING      },
		{"-.INF",         CONF_OTHER_SCALAR},
		{".NaN",          CONF_OTHER_SCALAR},
		{"-.nan",         CONF_STRING      },
		{"12:3",          CONF_OTHER_SCALAR},
		{"190:20:30.15",  CONF_OTHER_SCALAR},
		{"12:60",         CONF_STRING      },
		{"012:30",        CONF_STRING      },
		{"2024-1-3",      CONF_OTHER_SCALAR},
		{"2024-01-31T1",  CONF_OTHER_SCALAR},
		{"2024-01-31x",   CONF_STRING      },
		{"2024-001-31",   CONF_STRING      },
		{"24-01-31",      CONF_STRING      },
		{"192.168.20.11", CONF_STRING      },
		{"fe80::1",       CONF_STRING      },
		{"\"7\"",         CONF_STRING      },
		{"'true'",        CONF_STRING      },
		{"''",            CONF_STRING      },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_BUF struct buf text = {0};
		AUTO_CONF_TREE struct conf_tree *tree = NULL;

		assert_int_equal(buf_printf(&text, "k: %s\n", cases[i].text), 0);
		tree = parse(buf_str(&text));
		if (conf_tree_root(tree)->child->kind != cases[i].kind)
			fail_msg("'%s' has kind %d", cases[i].text,
				conf_tree_root(tree)->child->kind);
	}
}

static void numbers_are_read_in_every_base(void **state)
{
	AUTO_CONF_TREE struct conf_tree *tree =
		parse("[0, +12, 0x1F, 0b101, 010, 1_000, 18446744073709551615, -1, "
		      "18446744073709551616]");
	static const uint64_t want[] = {0, 12, 31, 5, 8, 1000, UINT64_MAX};
	const struct conf_node *n = conf_tree_root(tree)->child;
	uint64_t v = 99;

	for (size_t i = 0; i < ARRAY_SIZE(want); i++, n = n->next) {
		assert_int_equal(conf_node_uint(n, &v), 0);
		assert_int_equal(v, want[i]);
	}
	for (v = 99; n; n = n->next) {
		assert_int_equal(conf_node_uint(n, &v), -ERANGE);
		assert_int_equal(v, 99);
	}
}

static void booleans_have_six_spellings(void **state)
{
	AUTO_CONF_TREE struct conf_tree *tree = parse("[yes, True, ON, no, false, OFF]");
	const struct conf_node *n = conf_tree_root(tree)->child;

	for (int i = 0; i < 6; i++, n = n->next)
		assert_int_equal(conf_node_is_true(n), i < 3);
}

static void the_last_of_two_equal_keys_counts(void **state)
{
	AUTO_CONF_TREE struct conf_tree *tree = parse("a: 1\na: 2\n");

	assert_string_equal(conf_node_find(conf_tree_root(tree), "a")->text, "2");
}

static void an_empty_file_is_nothing(void **state)
{
	AUTO_CONF_TREE struct conf_tree *tree = parse("");
	AUTO_CONF_TREE struct conf_tree *comment = parse("# nothing\n");

	assert_int_equal(conf_tree_root(tree)->kind, CONF_NULL);
	assert_int_equal(conf_tree_root(comment)->kind, CONF_NULL);
}

static void what_is_no_yaml_is_refused_with_its_line(void **state)
{
	refuses("a: 1\nb: [1, 2\n",
		"x.yaml, line 3: this is no YAML: did not find expected ',' or ']'");
	refuses("a: 1\n\tb: 2\n",
		"x.yaml, line 2: this is no YAML: found a tab character that violates indentation");
	refuses("a: \xff\xfe\n", "x.yaml, line 1: this is no YAML: invalid leading UTF-8 octet");
	refuses("a: \"x\\0y\"\n", "x.yaml, line 1: a text has a NUL character in it");
}

static void aliases_tags_and_second_documents_are_refused(void **state)
{
	refuses("a: &x 1\nb: *x\n", "x.yaml, line 2: aliases (\"*…\") are not understood");
	refuses("a: !!str 1\n", "x.yaml, line 1: tags (\"!…\") are not understood");
	refuses("a: !!map {}\n", "x.yaml, line 1: tags (\"!…\") are not understood");
	refuses("a: !x []\n", "x.yaml, line 1: tags (\"!…\") are not understood");
	refuses("a: 1\n---\nb: 2\n",
		"x.yaml, line 2: a second document begins, only one is allowed");
	refuses("? [a, b]\n: 1\n", "x.yaml, line 1: the name of a key must be a plain word");
	refuses("? {a: b}\n: 1\n", "x.yaml, line 1: the name of a key must be a plain word");
}

static void depth_entries_and_size_are_limited(void **state)
{
	AUTO_BUF struct buf many = {0};
	AUTO_BUF struct buf large = {0};
	AUTO_CONF_TREE struct conf_tree *deepest = parse("[[[[[[[[]]]]]]]]");

	assert_int_equal(conf_tree_root(deepest)->kind, CONF_LIST);
	refuses("[[[[[[[[[]]]]]]]]]", "x.yaml, line 1: lists and maps are nested too deep");
	for (int i = 0; i < CONF_NODES_MAX; i++)
		assert_int_equal(buf_puts(&many, "- 1\n"), 0);
	refuses(buf_str(&many), "x.yaml, line 4096: the file has too many entries");
	for (int i = 0; i <= CONF_SIZE_MAX_BYTES; i++)
		assert_int_equal(buf_puts(&large, "#"), 0);
	refuses(buf_str(&large), "x.yaml is larger than 64 kB");
}

static void only_a_regular_file_is_read(void **state)
{
	struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	assert_int_equal(conf_tree_read("/nowhere/x.yaml", &tree, &err), -ENOENT);
	assert_string_equal(err.msg, "Cannot read /nowhere/x.yaml: No such file or directory");
	assert_int_equal(conf_tree_read("/dev/zero", &tree, &err), -EINVAL);
	assert_string_equal(err.msg, "Cannot read /dev/zero: it is not a regular file");
	assert_null(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_lists_and_lines_are_kept),
		cmocka_unit_test(plain_words_have_the_types_of_yaml_1_1),
		cmocka_unit_test(numbers_are_read_in_every_base),
		cmocka_unit_test(booleans_have_six_spellings),
		cmocka_unit_test(the_last_of_two_equal_keys_counts),
		cmocka_unit_test(an_empty_file_is_nothing),
		cmocka_unit_test(what_is_no_yaml_is_refused_with_its_line),
		cmocka_unit_test(aliases_tags_and_second_documents_are_refused),
		cmocka_unit_test(depth_entries_and_size_are_limited),
		cmocka_unit_test(only_a_regular_file_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
