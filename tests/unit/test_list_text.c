/*
 * test_list_text: every line that can be written is read back, lines of other builders are read as
 * they were meant, and for anything else the sentence names line, list and what was expected.
 *
 * Argument: the folder of the sample image.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/image/list_text.h"

#define SHA  "0dd0eed717ffeaf2a95fd774108263053c866c40a82e34e58ca796eea42b7727"
#define SHA2 "ffd0eed717ffeaf2a95fd774108263053c866c40a82e34e58ca796eea42b7727"

static const char *sample_dir;

typedef int read_fn(const char *text, size_t len_bytes, const char *name, struct file_table *t,
	struct ota_err *err);

/* The columns of the three lists in the order of enum entry_kind. */
static const struct {
	const char *name;
	read_fn *read;
} lists[] = {
	{"dirs.txt",     list_text_read_dirs    },
	{"symlinks.txt", list_text_read_symlinks},
	{"regulars.txt", list_text_read_regulars},
};

static struct text text_of(const char *s)
{
	return (struct text){s, (uint32_t)strlen(s)};
}

static void text_equals(struct text a, const char *s)
{
	if (a.len != strlen(s) || memcmp(a.at, s, a.len) != 0)
		fail_msg("\"%.*s\" is not \"%s\"", (int)a.len, a.at, s);
}

static void load(const char *name, struct buf *b)
{
	AUTO_BUF struct buf path = {0};

	assert_int_equal(buf_printf(&path, "%s/%s", sample_dir, name), 0);
	assert_int_equal(file_read(AT_FDCWD, buf_str(&path), 1 << 20, b), 0);
}

static struct file_table *read_list(enum entry_kind kind, const char *text)
{
	struct file_table *t = file_table_new();
	struct ota_err err = {0};

	assert_int_equal(lists[kind].read(text, strlen(text), lists[kind].name, t, &err), 0);
	assert_string_equal(err.msg, "");
	return t;
}

/* @sentence comes after "Line 1 of …: ". */
static void refuses(enum entry_kind kind, const char *line, const char *sentence)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	AUTO_BUF struct buf whole = {0};
	struct ota_err err = {0};

	buf_printf(&whole, "Line 1 of %s: %s", lists[kind].name, sentence);
	assert_int_equal(lists[kind].read(line, strlen(line), lists[kind].name, t, &err), -EBADMSG);
	assert_string_equal(err.msg, buf_str(&whole));
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
}

/* ---- lines of other builders ---- */

/* Lines that some readers take for something else and we do not take at all. */
static const char *const refused_for_good_reason[] = {
	"12,,zst,extra",                /* a column that we do not know may mean anything */
	"'/a/b'junk", "'/a'b", ",0,/a", /* no quotes */
	"0755,0,0,", "'/a",             /* no closing quote */
};

static bool ends_with(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static bool is_refused_for_good_reason(const char *line)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused_for_good_reason); i++)
		if (ends_with(line, refused_for_good_reason[i]))
			return true;
	return false;
}

static const char *string_in(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	assert_non_null(s);
	return s;
}

static void number_is(const json_t *o, const char *key, uint64_t value)
{
	assert_true(json_is_integer(json_object_get(o, key)));
	assert_int_equal(json_integer_value(json_object_get(o, key)), value);
}

static void mode_is(const json_t *o, unsigned mode)
{
	assert_int_equal(strtoul(string_in(o, "mode"), NULL, 8), mode);
}

static void dir_is(const struct file_table *t, const json_t *want)
{
	assert_int_equal(t->n_dirs, 1);
	text_equals(t->dirs[0].path, string_in(want, "path"));
	mode_is(want, t->dirs[0].mode);
	number_is(want, "uid", t->dirs[0].uid);
	number_is(want, "gid", t->dirs[0].gid);
}

static void regular_is(const struct file_table *t, const json_t *want)
{
	const struct content *c = &t->contents[0];
	const char *alg = json_string_value(json_object_get(want, "alg"));
	char hex[DIGEST_HEX_MAX];

	assert_int_equal(t->n_files, 1);
	text_equals(t->files[0].path, string_in(want, "path"));
	mode_is(want, t->files[0].mode);
	number_is(want, "uid", t->files[0].uid);
	number_is(want, "gid", t->files[0].gid);
	digest_to_hex(&c->digest, hex);
	assert_string_equal(hex, string_in(want, "sha256"));
	if (alg) /* null: the size is missing, which the peer takes for 0 */
		number_is(want, "size", c->size_bytes);
	else
		assert_int_equal(c->size_bytes, CONTENT_SIZE_UNKNOWN);
	assert_int_equal(c->has_zst, alg && (strcmp(alg, "zst") == 0 || strcmp(alg, "zstd") == 0));
}

static void symlink_is(const struct file_table *t, const json_t *vector)
{
	const json_t *meant = json_object_get(vector, "meant"),
		     *peer = json_object_get(vector, "peer");
	bool peer_is_right =
		json_equal(json_object_get(peer, "path"), json_object_get(meant, "path")) &&
		json_equal(json_object_get(peer, "target"), json_object_get(meant, "target"));

	assert_int_equal(t->n_symlinks, 1);
	text_equals(t->symlinks[0].path, string_in(meant, "path"));
	text_equals(t->symlinks[0].target, string_in(meant, "target"));
	assert_int_equal(t->symlinks[0].uid, 0);
	assert_int_equal(t->symlinks[0].gid, 0);
	assert_int_equal(list_text_symlink_is_portable(t->symlinks[0].path, t->symlinks[0].target),
		peer_is_right);
}

static enum entry_kind kind_of(const char *list)
{
	return strcmp(list, "dirs") == 0       ? ENTRY_DIR
	       : strcmp(list, "symlinks") == 0 ? ENTRY_SYMLINK
					       : ENTRY_FILE;
}

static void check_vector(const json_t *v)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	const json_t *want = json_object_get(v, "peer");
	enum entry_kind kind = kind_of(string_in(v, "file"));
	const char *line = string_in(v, "line");
	struct ota_err err = {0};
	int r = lists[kind].read(line, strlen(line), lists[kind].name, t, &err);

	if (r == 0)
		r = file_table_seal(t, &err);
	if (kind != ENTRY_SYMLINK &&
		(json_object_get(want, "error") || is_refused_for_good_reason(line))) {
		assert_int_equal(r, -EBADMSG);
		assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
		return;
	}
	if (r < 0)
		fail_msg("%s: %s", line, err.msg);
	if (kind == ENTRY_SYMLINK)
		symlink_is(t, v);
	else if (kind == ENTRY_DIR)
		dir_is(t, want);
	else
		regular_is(t, want);
}

static void lines_of_other_builders_are_read_as_they_were_meant(void **state)
{
	AUTO_BUF struct buf b = {0};
	char *save = NULL;
	int n = 0;

	load("parser-vectors.jsonl", &b);
	for (char *l = strtok_r(b.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save), n++) {
		json_t *v = json_loads(l, 0, NULL);

		assert_non_null(v);
		check_vector(v);
		json_decref(v);
	}
	assert_int_equal(n, 51);
}

/* ---- the sample image's lists, read and written ---- */

/* Columns that a table does not keep: the number of names at build time, and the group's number. */
static void write_like(struct buf *b, const struct file_table *t, uint32_t i, const char *line)
{
	const struct file_entry *f = &t->files[i];
	struct regular_line l = {
		.path = f->path,
		.uid = f->uid,
		.gid = f->gid,
		.mode = f->mode,
		.digest = t->contents[f->content].digest,
		.size_bytes = t->contents[f->content].size_bytes,
		.has_zst = t->contents[f->content].has_zst,
	};

	assert_int_equal(sscanf(line, "%*[^,],%*[^,],%*[^,],%" SCNu32, &l.n_links), 1);
	if (l.n_links > 1)
		assert_int_equal(
			sscanf(strrchr(line, '\'') + 1, ",%*[0-9],%" SCNu64, &l.group_no), 1);
	assert_int_equal(list_text_write_regular(b, &l), 0);
}

static void what_was_read_is_written_the_same(void **state)
{
	static const char *const files[] = {
		"image/dirs.txt", "image/symlinks.txt", "image/regulars.txt"};

	for (enum entry_kind kind = ENTRY_DIR; kind <= ENTRY_FILE; kind++) {
		AUTO_BUF struct buf text = {0};
		AUTO_FILE_TABLE struct file_table *t = NULL;
		char *save = NULL, *line;
		uint32_t i = 0;

		load(files[kind], &text);
		t = read_list(kind, buf_str(&text)); /* not sealed: still in the list's order */
		/* strtok writes NULs where the LFs were, which the slices of the table do not touch
		 */
		for (line = strtok_r(text.data, "\n", &save); line;
			line = strtok_r(NULL, "\n", &save), i++) {
			AUTO_BUF struct buf b = {0};

			if (kind == ENTRY_DIR)
				list_text_write_dir(&b, &t->dirs[i]);
			else if (kind == ENTRY_SYMLINK)
				list_text_write_symlink(&b, &t->symlinks[i]);
			else
				write_like(&b, t, i, line);
			assert_string_equal(buf_str(&b), line);
		}
		assert_int_equal(i, t->n_dirs + t->n_symlinks + t->n_files);
		assert_true(i > 10);
	}
}

static void every_name_that_can_be_written_is_read_back(void **state)
{
	static const char *const parts[] = {"'", "\\", ",", "a", "'\\''", "','", "\"", " ", "\t",
		"\v", "\xc2\x85", "\xe2\x80\xa8", ",0,", "zst"};
	const size_t n = ARRAY_SIZE(parts);

	for (size_t i = 0; i < n * n * n; i++) {
		AUTO_FILE_TABLE struct file_table *t = NULL;
		AUTO_BUF struct buf path = {0}, target = {0}, line = {0};
		struct symlink_entry s = {0};

		buf_printf(&path, "/%s%s%s", parts[i % n], parts[i / n % n], parts[i / n / n]);
		buf_printf(&target, "%s%s%s", parts[i / n / n], parts[i / n % n], parts[i % n]);
		s.path = text_of(buf_str(&path));
		s.target = text_of(buf_str(&target));
		assert_int_equal(list_text_write_symlink(&line, &s), 0);
		t = read_list(ENTRY_SYMLINK, buf_str(&line));
		assert_int_equal(t->n_symlinks, 1);
		text_equals(t->symlinks[0].path, buf_str(&path));
		text_equals(t->symlinks[0].target, buf_str(&target));
	}
}

/* ---- lines ---- */

static void a_list_may_be_empty_and_may_end_in_a_line_feed(void **state)
{
	AUTO_FILE_TABLE struct file_table *empty = read_list(ENTRY_DIR, "");
	AUTO_FILE_TABLE struct file_table *lf =
		read_list(ENTRY_DIR, "0755,0,0,'/a'\n0755,0,0,'/b'\n");
	AUTO_FILE_TABLE struct file_table *crlf =
		read_list(ENTRY_DIR, "0755,0,0,'/a'\r\n  0755,0,0,'/b'\t");

	assert_int_equal(empty->n_dirs, 0);
	assert_int_equal(lf->n_dirs, 2);
	assert_int_equal(crlf->n_dirs, 2);
	text_equals(crlf->dirs[1].path, "/b");
}

static void only_a_line_feed_ends_a_line(void **state)
{
	AUTO_FILE_TABLE struct file_table *t =
		read_list(ENTRY_FILE, "0644,0,0,1," SHA ",'/cr\rcr',1,,\n0644,0,0,1," SHA
				      ",'/vt\v\f\x1c\xc2\x85\xe2\x80\xa8 ',1,,");

	assert_int_equal(t->n_files, 2);
	text_equals(t->files[0].path, "/cr\rcr");
	text_equals(t->files[1].path, "/vt\v\f\x1c\xc2\x85\xe2\x80\xa8 ");
}

static void an_empty_line_in_between_is_refused(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	static const char text[] = "0755,0,0,'/a'\n\n0755,0,0,'/b'";
	struct ota_err err = {0};

	assert_int_equal(list_text_read_dirs(text, strlen(text), "dirs.txt", t, &err), -EBADMSG);
	assert_string_equal(
		err.msg, "Line 2 of dirs.txt: expected an octal mode, found the end of the line");
}

static void a_name_broken_by_a_line_feed_is_refused(void **state)
{
	refuses(ENTRY_DIR, "0755,0,0,'/new\nline'",
		"expected a closing quote, found the end of the line");
}

static void a_list_beyond_the_limit_is_refused_unread(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct ota_err err = {0};

	assert_int_equal(
		list_text_read_dirs("", (size_t)LIST_TEXT_MAX_BYTES + 1, "dirs.txt", t, &err),
		-E2BIG);
	assert_string_equal(
		err.msg, "dirs.txt has 1073741825 bytes; at most 1073741824 are allowed");
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
}

static void more_than_the_table_holds_is_refused_with_its_line(void **state)
{
	static const char dirs[] = "0755,0,0,'/a'\n0755,0,0,'/b'";
	static const char links[] = "0777,0,0,'/c','t'";
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	struct ota_err err = {0};

	t->entries_max = 1;
	assert_int_equal(list_text_read_dirs(dirs, strlen(dirs), "dirs.txt", t, &err), -E2BIG);
	assert_string_equal(err.msg, "Line 2 of dirs.txt is too much: at most 1 entries, and sizes "
				     "with a 64-bit sum");
	assert_int_equal(
		list_text_read_symlinks(links, strlen(links), "symlinks.txt", t, &err), -E2BIG);
	assert_string_equal(err.msg, "Line 1 of symlinks.txt is too much: at most 1 entries, and "
				     "sizes with a 64-bit sum");
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
}

/* ---- columns ---- */

static void sentences_say_what_was_expected_and_what_is_there(void **state)
{
	static const struct {
		enum entry_kind kind;
		const char *line, *sentence;
	} rows[] = {
		{ENTRY_DIR,     "rwx,0,0,'/a'",                                    "expected an octal mode, found \"rwx,0,0,'/a'\""   },
		{ENTRY_DIR,     "0888,0,0,'/a'",                                   "expected an octal mode, found \"0888,0,0,'/a'\""  },
		{ENTRY_DIR,     "200000,0,0,'/a'",                                 "expected an octal mode, found \"200000,0,0,'/a'\""},
		{ENTRY_DIR,     "0755;0,0,'/a'",
                 "expected a comma after the mode, found \";0,0,'/a'\""                                                               },
		{ENTRY_DIR,     "0755,-1,0,'/a'",                                  "expected a user id, found \"-1,0,'/a'\""          },
		{ENTRY_DIR,     "0755,4294967295,0,'/a'",
                 "expected a user id, found \"4294967295,0,'/a'\""                                                                    },
		{ENTRY_DIR,     "0755,0,,'/a'",                                    "expected a group id, found \",'/a'\""             },
		{ENTRY_DIR,     "0755,0,4294967296,'/a'",
                 "expected a group id, found \"4294967296,'/a'\""                                                                     },
		{ENTRY_DIR,     "0755,0,0,/a",                                     "expected a quoted path, found \"/a\""             },
		{ENTRY_DIR,     "0755,0,0,'/a'b",                                  "expected nothing more on the line, found \"b\""   },
		{ENTRY_DIR,     "0755,0,0,'/a',new",
                 "expected nothing more on the line, found \",new\""                                                                  },
		{ENTRY_SYMLINK, "0777,0,0,'/a'",
                 "expected a comma after the path, found the end of the line"                                                         },
		{ENTRY_SYMLINK, "0777,0,0,'/a',b",                                 "expected a quoted target, found \"b\""            },
		{ENTRY_SYMLINK, "0777,0,0,'/a','b',",
                 "expected nothing more on the line, found \",\""                                                                     },
		{ENTRY_FILE,    "0644,0,0,," SHA ",'/a',1,,",
                 "expected a number of links, found \","
			"0dd0eed717ffeaf2a95fd774108263053c866c4"
			"...\""												       },
		{ENTRY_FILE,    "0644,0,0,1,zz,'/a',1,,",
                 "expected a digest of 64 hexadecimal digits, found \"zz,'/a',1,,\""                                                  },
		{ENTRY_FILE,    "0644,0,0,1," SHA "0,'/a',1,,",
                 "expected a comma after the digest, found \"0,'/a',1,,\""                                                            },
		{ENTRY_FILE,    "0644,0,0,1," SHA ",'/a',x",                       "expected a size in bytes, found \"x\""            },
		{ENTRY_FILE,    "0644,0,0,1," SHA ",'/a',9223372036854775808,,",
                 "expected a size in bytes, found \"9223372036854775808,,\""                                                          },
		{ENTRY_FILE,    "0644,0,0,1," SHA ",'/a',1,18446744073709551616,",
                 "expected an inode number, found \"18446744073709551616,\""                                                          },
		{ENTRY_FILE,    "0644,0,0,1," SHA ",'/a',1 ,,",                    "expected a comma, found \" ,,\""                  },
		{ENTRY_FILE,    "0644,0,0,1," SHA ",'/a',1,,z st",
                 "expected nothing more on the line, found \" st\""                                                                   },
		{ENTRY_FILE,    "0644,0,0,1," SHA ",'/a',1,,zst,x",
                 "expected nothing more on the line, found \",x\""                                                                    },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		refuses(rows[i].kind, rows[i].line, rows[i].sentence);
}

static void the_largest_numbers_are_read(void **state)
{
	AUTO_FILE_TABLE struct file_table *t =
		read_list(ENTRY_FILE, "107777,4294967294,4294967294,99999999999999999999999," SHA
				      ",'/a',9223372036854775807,18446744073709551615,");

	assert_int_equal(t->files[0].mode, 07777);
	assert_int_equal(t->files[0].uid, UINT32_MAX - 1);
	assert_int_equal(t->files[0].gid, UINT32_MAX - 1);
	assert_int_equal(t->contents[0].size_bytes, INT64_MAX);
}

static void a_missing_size_is_unknown_and_never_nothing(void **state)
{
	AUTO_FILE_TABLE struct file_table *t =
		read_list(ENTRY_FILE, "0644,0,0,1," SHA ",'/a'\n0644,0,0,1," SHA2
				      ",'/b',,5,zst\n0644,0,0,1," SHA2 ",'/c',,5,zst");

	assert_int_equal(t->contents[0].size_bytes, CONTENT_SIZE_UNKNOWN);
	assert_int_equal(t->contents[1].size_bytes, CONTENT_SIZE_UNKNOWN);
	assert_false(t->contents[1].has_zst);
	assert_int_equal(t->files[2].group, 2);
	assert_int_equal(t->total_size_bytes, 0);
}

static void equal_inode_numbers_make_a_group_and_zero_does_not(void **state)
{
	AUTO_FILE_TABLE struct file_table *t =
		read_list(ENTRY_FILE, "0644,0,0,2," SHA ",'/a',1,0,\n0644,0,0,2," SHA ",'/b',1,0,\n"
				      "0644,0,0,1," SHA ",'/c',1,7,\n0644,0,0,9," SHA
				      ",'/d',1,,\n0644,0,0,2," SHA ",'/e',1,7,");

	assert_int_equal(t->files[1].group, 1);
	assert_int_equal(t->files[2].group, 2);
	assert_int_equal(t->files[3].group, 3);
	assert_int_equal(t->files[4].group, 2);
}

static void one_digest_with_two_sizes_is_refused_with_both(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	static const char text[] = "0644,0,0,1," SHA ",'/a',12,,\n0644,0,0,1," SHA ",'/b',13,,";
	struct ota_err err = {0};

	assert_int_equal(
		list_text_read_regulars(text, strlen(text), "regulars.txt", t, &err), -EBADMSG);
	assert_string_equal(err.msg,
		"Line 2 of regulars.txt: /b has 13 bytes, but /a with the same digest has 12");
}

/* ---- persistents.txt ---- */

static int collect(void *ctx, const char *path, struct ota_err *err)
{
	struct buf *b = ctx;

	if (strcmp(path, "/stop") == 0)
		return ota_err_set(err, -ECANCELED, OTA_E_ABORTED, "Stopped");
	return buf_printf(b, "<%s>", path);
}

static int read_persistents(const char *text, struct buf *b, struct ota_err *err)
{
	return list_text_read_persistents(text, strlen(text), "persistents.txt", collect, b, err);
}

static void persistent_paths_are_unquoted(void **state)
{
	AUTO_BUF struct buf text = {0}, b = {0};
	struct ota_err err = {0};

	load("image/persistents.txt", &text);
	assert_int_equal(read_persistents(buf_str(&text), &b, &err), 0);
	assert_string_equal(buf_str(&b),
		"</etc/hosts></etc/hostname></var/persist dir></home/user name/it's a quote.txt>"
		"</no/such/file></swapfile>");
}

static void a_persistent_list_written_by_hand_may_have_empty_lines(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};

	assert_int_equal(read_persistents("\r\n'/a/'\r\n\n  '/b' \n\n", &b, &err), 0);
	assert_string_equal(buf_str(&b), "</a/></b>");
}

static void bad_persistent_lines_are_refused(void **state)
{
	AUTO_BUF struct buf b = {0}, long_path = {0};
	struct ota_err err = {0};

	assert_int_equal(read_persistents("'/a'\n/b", &b, &err), -EBADMSG);
	assert_string_equal(
		err.msg, "Line 2 of persistents.txt: expected a quoted path, found \"/b\"");
	assert_int_equal(read_persistents("'/a' '/b'", &b, &err), -EBADMSG);
	assert_string_equal(err.msg,
		"Line 1 of persistents.txt: expected nothing more on the line, found \" '/b'\"");
	assert_int_equal(read_persistents("'/\xff'", &b, &err), -EBADMSG);
	assert_string_equal(err.msg, "Line 1 of persistents.txt: /\\xFF is not UTF-8");
	assert_int_equal(
		list_text_read_persistents("'/a\0b'", 6, "persistents.txt", collect, &b, &err),
		-EBADMSG);
	assert_string_equal(err.msg, "Line 1 of persistents.txt: /a\\x00b has a NUL in it");
	buf_printf(&long_path, "'%04096d'", 0);
	assert_int_equal(read_persistents(buf_str(&long_path), &b, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "is longer than a path can be"));
	assert_string_equal(buf_str(&b), "</a>");
	buf_done(&long_path);
	buf_printf(&long_path, "'%04095d'", 0);
	assert_int_equal(read_persistents(buf_str(&long_path), &b, &err), 0);
}

static void the_callers_failure_ends_the_reading(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};

	assert_int_equal(read_persistents("'/a'\n'/stop'\n'/b'", &b, &err), -ECANCELED);
	assert_string_equal(err.msg, "Stopped");
	assert_string_equal(buf_str(&b), "</a>");
}

/* ---- attributes.txt ---- */

#define CAP_V2 "0100000200200000000000000000000000000000"
#define CAP_V3 "010000030020000000000000000000000000000000000000"

static struct file_table *table_with_attributes(void)
{
	struct file_table *t =
		read_list(ENTRY_FILE, "0644,0,0,2," SHA ",'/d/b',1,7,\n0644,0,0,2," SHA
				      ",'/d/a',1,7,\n0755,0,0,1," SHA2 ",'/d/it'\\''s',2,,");
	struct ota_err err = {0};

	assert_int_equal(file_table_seal(t, &err), 0);
	return t;
}

static int read_attributes(struct file_table *t, const char *text, struct ota_err *err)
{
	return list_text_read_attributes(text, strlen(text), "attributes.txt", t, err);
}

static void attributes_are_written_and_read(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = table_with_attributes();
	const struct entry_xattr *x = NULL;
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};
	static const char acl[] = {2, 0, 0, 0, (char)0xff};
	static const uint8_t cap[] = {
		1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

	list_text_write_xattr(&b, text_of("/"), "user.empty", "", 0);
	buf_puts(&b, "\n");
	list_text_write_mtime(&b, text_of("/d"), -1, 999999999);
	buf_puts(&b, "\n");
	list_text_write_xattr(&b, text_of("/d"), "system.posix_acl_default", acl, sizeof(acl));
	buf_puts(&b, "\n");
	list_text_write_mtime(&b, text_of("/d/b"), 1700000000, 5);
	buf_puts(&b, "\n");
	list_text_write_xattr(&b, text_of("/d/it's"), "security.capability", cap, sizeof(cap));
	buf_puts(&b, "\n");
	list_text_write_xattr(&b, text_of("/d/it's"), "user.com,ma", "x", 1);
	assert_string_equal(buf_str(&b), "'/',xattr:user.empty,\n"
					 "'/d',mtime,ffffffffffffffff3b9ac9ff\n"
					 "'/d',xattr:system.posix_acl_default,02000000ff\n"
					 "'/d/b',mtime,000000006553f10000000005\n"
					 "'/d/it'\\''s',xattr:security.capability," CAP_V2 "\n"
					 "'/d/it'\\''s',xattr:user.com,ma,78");
	assert_int_equal(read_attributes(t, buf_str(&b), &err), 0);
	assert_true(t->has_attributes);

	assert_int_equal(file_table_xattrs_of(t, ENTRY_DIR, FILE_TABLE_NONE, &x), 1);
	text_equals(x->name, "user.empty");
	text_equals(x->value_hex, "");
	assert_int_equal(file_table_xattrs_of(t, ENTRY_FILE, 2, &x), 2);
	text_equals(x[0].name, "security.capability");
	text_equals(x[0].value_hex, CAP_V2);
	text_equals(x[1].name, "user.com,ma");
	assert_int_equal(t->mtimes[ENTRY_DIR][0].sec, -1);
	assert_int_equal(t->mtimes[ENTRY_DIR][0].nsec, 999999999);
	assert_int_equal(t->mtimes[ENTRY_FILE][0].sec, 1700000000);
	assert_int_equal(t->mtimes[ENTRY_FILE][1].sec, 1700000000);
	assert_int_equal(t->mtimes[ENTRY_FILE][1].nsec, 5);
}

/* The reader looks at the next entry first; where lists have another order, that is somebody else's. */
static void attributes_find_their_entries_whatever_the_order_of_the_other_lists(void **state)
{
	static const char *const orders[] = {"abcd", "dcba", "bdac", "cabd"};

	for (size_t k = 0; k < ARRAY_SIZE(orders); k++) {
		AUTO_BUF struct buf files = {0};
		AUTO_FILE_TABLE struct file_table *t = NULL;
		struct ota_err err = {0};

		for (uint32_t i = 0; i < 4; i++) {
			char path[] = {'/', 'x', '/', orders[k][i], '\0'};
			struct regular_line l = {
				.path = text_of(path), .mode = 0644, .size_bytes = 1, .n_links = 1};

			digest_of(path, sizeof(path), &l.digest);
			assert_int_equal(list_text_write_regular(&files, &l), 0);
			assert_int_equal(buf_puts(&files, "\n"), 0);
		}
		t = read_list(ENTRY_FILE, buf_str(&files));
		assert_int_equal(file_table_seal(t, &err), 0);
		assert_int_equal(read_attributes(t,
					 "'/x',mtime,000000000000000000000001\n"
					 "'/x/a',mtime,00000000000000000000000a\n"
					 "'/x/b',mtime,00000000000000000000000b\n"
					 "'/x/d',mtime,00000000000000000000000d",
					 &err),
			0);
		assert_int_equal(t->mtimes[ENTRY_DIR][0].nsec, 1);
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(t->mtimes[ENTRY_FILE][i].nsec,
				orders[k][i] == 'c' ? MTIME_UNKNOWN
						    : (uint32_t)(orders[k][i] - 'a' + 10));
	}
}

static void an_empty_attribute_list_says_that_there_are_none(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = table_with_attributes();
	const struct entry_xattr *x = NULL;
	struct ota_err err = {0};

	assert_int_equal(read_attributes(t, "", &err), 0);
	assert_true(t->has_attributes);
	assert_int_equal(file_table_xattrs_of(t, ENTRY_FILE, 0, &x), 0);
	assert_int_equal(t->mtimes[ENTRY_FILE][0].nsec, MTIME_UNKNOWN);
}

static void bad_attribute_lines_are_refused(void **state)
{
	static const struct {
		const char *text, *sentence;
	} rows[] = {
		{"/d,mtime,00",
                 "Line 1 of attributes.txt: expected a quoted path, found \"/d,mtime,00\""                            },
		{"'/d'mtime",				"Line 1 of attributes.txt: expected a comma after the path, found "
			      "\"mtime\""						},
		{"'/d',mtime",			       "Line 1 of attributes.txt: expected a key, a comma and a value, "
			       "found \"mtime\""                                        },
		{"'/x',mtime,000000000000000000000000",
                 "Line 1 of attributes.txt: /x is not in the image"                                                   },
		{"'/d/',mtime,000000000000000000000000",
                 "Line 1 of attributes.txt: /d/ is not in the image"                                                  },
		{"'/d/a',mtime,000000000000000000000000",
                 "Line 1 of attributes.txt: /d/a is a further name of a file; attributes "
			"stand under the "
			"first one"										   },
		{"'/d',mtime,00",                            "Line 1 of attributes.txt: expected a time of 24 hexadecimal "
				  "digits, found \"00\""                             },
		{"'/d',mtime,00000000000000000000000g",
                 "Line 1 of attributes.txt: expected a time of 24 hexadecimal digits, found "
			"\"00000000000000000000000g\""								},
		{"'/d',mtime,00000000000000003b9aca00",
                 "Line 1 of attributes.txt: expected a time with less than 1000000000 "
			"nanoseconds, found "
			"\"00000000000000003b9aca00\""								},
		{"'/d',ctime,00",                            "Line 1 of attributes.txt: ctime is no kind of attribute"},
		{"'/d',,00",				 "Line 1 of attributes.txt:  is no kind of attribute"     },
		{"'/d',xattr:,00",
                 "Line 1 of attributes.txt: xattr: does not name an extended attribute"                               },
		{"'/d',xattr:user.\xff,00",                  "Line 1 of attributes.txt: xattr:user.\\xFF does not "
					    "name an extended attribute"   },
		{"'/d',xattr:user.a,0",
                 "Line 1 of attributes.txt: expected a value of pairs of hexadecimal "
			"digits, found \"0\""									 },
		{"'/d',xattr:user.a,0x",
                 "Line 1 of attributes.txt: expected a value of pairs of hexadecimal "
			"digits, found \"0x\""									},
		{"'/d/b',xattr:security.capability," CAP_V3,
                 "Line 1 of attributes.txt: security.capability has a value that is no "
			"capability set of "
			"revision 2"										  },
		{"'/d',xattr:user.b,\n'/d',xattr:user.a,",
                 "Line 2 of attributes.txt: /d is out of order; lines are sorted by path "
			"and key, each once"									  },
		{"'/d',xattr:user.a,\n'/d',xattr:user.a,",
                 "Line 2 of attributes.txt: /d is out of order; lines are sorted by path "
			"and key, each once"									  },
		{"'/d/b',xattr:user.a,\n'/d',xattr:user.a,",
                 "Line 2 of attributes.txt: /d is out of order; lines are sorted by path "
			"and key, each once"									  },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FILE_TABLE struct file_table *t = table_with_attributes();
		struct ota_err err = {0};

		assert_int_equal(read_attributes(t, rows[i].text, &err), -EBADMSG);
		assert_string_equal(err.msg, rows[i].sentence);
		assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	}
}

static void an_attribute_has_the_sizes_that_linux_can_store(void **state)
{
	static const struct {
		int name_len, value_len, r;
	} rows[] = {
		{255, 65536, 0       },
		{256, 1,     -EBADMSG},
		{1,   65537, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FILE_TABLE struct file_table *t = table_with_attributes();
		AUTO_BUF struct buf name = {0}, value = {0}, line = {0};
		struct ota_err err = {0};

		buf_printf(&name, "%0*d", rows[i].name_len, 0);
		buf_printf(&value, "%0*d", rows[i].value_len, 0);
		list_text_write_xattr(
			&line, text_of("/d"), buf_str(&name), buf_str(&value), value.len_bytes);
		assert_int_equal(read_attributes(t, buf_str(&line), &err), rows[i].r);
	}
}

/* ---- the rest ---- */

static void what_the_format_cannot_carry_has_a_reason(void **state)
{
	static const struct {
		const char *s;
		size_t len;
		const char *reason;
	} rows[] = {
		{"/a b',\"\\\t\v",    9,  NULL                            },
                {"/\xe6\x97\xa5",     4,  NULL                            },
		{"/\xf0\x9f\x98\x80", 5,  NULL                            },
                {"",                  0,  "it is empty"                   },
		{"a\nb",              3,  "it has a line feed in it"      },
		{"a\r",               2,  "it has a carriage return in it"},
                {"a\0b",              3,  "it has a NUL in it"            },
		{"caf\xe9",           4,  "it is not UTF-8"               },
		{"\xc0\xaf",          2,  "it is not UTF-8"               }, /* "/", overlong */
		{"\xe0\x80\xaf",      3,  "it is not UTF-8"               },
		{"\xed\xa0\x80",      3,  "it is not UTF-8"               }, /* a surrogate */
		{"\xf4\x90\x80\x80",  4,  "it is not UTF-8"               }, /* beyond the last character */
		{"12345678\xe6\x97",  10, "it is not UTF-8"               }, /* cut off */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *reason = list_text_cannot_carry(rows[i].s, rows[i].len);

		if (rows[i].reason)
			assert_string_equal(reason, rows[i].reason);
		else
			assert_null(reason);
	}
}

#if defined(__SANITIZE_ADDRESS__)
#define MALLOC_IS_COUNTED 0
#elif defined(__has_feature)
#define MALLOC_IS_COUNTED !__has_feature(address_sanitizer)
#else
#define MALLOC_IS_COUNTED 1
#endif

static size_t malloced_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* Every hundredth name has an apostrophe, every tenth file is a further name of the one before. */
static void a_size_and_a_digest_that_exclude_each_other_are_refused(void **state)
{
	char nothing[DIGEST_HEX_MAX], line[256];
	struct file_table *t = file_table_new();
	struct ota_err err = {0};

	digest_to_hex(&digest_of_nothing, nothing);
	snprintf(line, sizeof(line), "0644,0,0,1,%s,'/e',7,,", nothing);
	assert_int_equal(list_text_read_regulars(line, strlen(line), "files", t, &err), -EBADMSG);
	assert_string_equal(
		err.msg, "Line 1 of files: /e has 7 bytes, which its digest cannot be of");
	nothing[0] = nothing[0] == 'a' ? 'b' : 'a';
	snprintf(line, sizeof(line), "0644,0,0,1,%s,'/e',0,,", nothing);
	assert_int_equal(list_text_read_regulars(line, strlen(line), "files", t, &err), -EBADMSG);
	/* An old list says no size, and this one goes without saying. */
	digest_to_hex(&digest_of_nothing, nothing);
	snprintf(line, sizeof(line), "0644,0,0,1,%s,'/e'", nothing);
	assert_int_equal(list_text_read_regulars(line, strlen(line), "files", t, &err), 0);
	assert_int_equal(t->contents[0].size_bytes, 0);
	file_table_free(t);
}

static void make_lines(struct buf *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		AUTO_BUF struct buf name = {0};
		bool linked = i % 10 == 9;
		uint32_t content = linked ? i - 1 : i;
		struct regular_line l = {
			.mode = 0644, .size_bytes = content + 1, .has_zst = true, .n_links = 1};

		buf_printf(&name, "/usr/share/doc/package-%u/file%s-%u.txt", i / 20,
			i % 100 ? "" : "'", i);
		l.path = text_of(buf_str(&name));
		digest_of(&content, sizeof(content), &l.digest);
		if (linked || i % 10 == 8) {
			l.n_links = 2;
			l.group_no = content + 1;
		}
		assert_int_equal(list_text_write_regular(b, &l), 0);
		assert_int_equal(buf_puts(b, "\n"), 0);
	}
}

static void a_hundred_thousand_files_cost_less_than_120_bytes_each(void **state)
{
	enum {
		N = 100000,
	};
	AUTO_FILE_TABLE struct file_table *t = NULL;
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};
	size_t before, used;

	make_lines(&b, N);
	before = malloced_bytes();
	t = read_list(ENTRY_FILE, buf_str(&b));
	assert_int_equal(file_table_seal(t, &err), 0);
	used = malloced_bytes() - before;
	assert_int_equal(t->n_files, N);
	assert_int_equal(t->n_contents, N / 10 * 9);
	assert_int_equal(t->n_dirs, N / 20 + 3);
	if (MALLOC_IS_COUNTED) {
		assert_in_range(used / (N + t->n_dirs), 50, 119);
		print_message("%zu bytes per entry\n", used / (N + t->n_dirs));
	}
	for (uint32_t i = 0; i < N; i++) {
		enum entry_kind kind;
		uint32_t index;

		assert_true(file_table_find(
			t, t->files[i].path.at, t->files[i].path.len, &kind, &index));
		assert_int_equal(index, i);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_other_builders_are_read_as_they_were_meant),
		cmocka_unit_test(what_was_read_is_written_the_same),
		cmocka_unit_test(every_name_that_can_be_written_is_read_back),
		cmocka_unit_test(a_list_may_be_empty_and_may_end_in_a_line_feed),
		cmocka_unit_test(only_a_line_feed_ends_a_line),
		cmocka_unit_test(an_empty_line_in_between_is_refused),
		cmocka_unit_test(a_name_broken_by_a_line_feed_is_refused),
		cmocka_unit_test(a_list_beyond_the_limit_is_refused_unread),
		cmocka_unit_test(more_than_the_table_holds_is_refused_with_its_line),
		cmocka_unit_test(sentences_say_what_was_expected_and_what_is_there),
		cmocka_unit_test(the_largest_numbers_are_read),
		cmocka_unit_test(a_missing_size_is_unknown_and_never_nothing),
		cmocka_unit_test(equal_inode_numbers_make_a_group_and_zero_does_not),
		cmocka_unit_test(one_digest_with_two_sizes_is_refused_with_both),
		cmocka_unit_test(persistent_paths_are_unquoted),
		cmocka_unit_test(a_persistent_list_written_by_hand_may_have_empty_lines),
		cmocka_unit_test(bad_persistent_lines_are_refused),
		cmocka_unit_test(the_callers_failure_ends_the_reading),
		cmocka_unit_test(attributes_are_written_and_read),
		cmocka_unit_test(
			attributes_find_their_entries_whatever_the_order_of_the_other_lists),
		cmocka_unit_test(an_empty_attribute_list_says_that_there_are_none),
		cmocka_unit_test(bad_attribute_lines_are_refused),
		cmocka_unit_test(an_attribute_has_the_sizes_that_linux_can_store),
		cmocka_unit_test(what_the_format_cannot_carry_has_a_reason),
		cmocka_unit_test(a_size_and_a_digest_that_exclude_each_other_are_refused),
		cmocka_unit_test(a_hundred_thousand_files_cost_less_than_120_bytes_each),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s <folder of the sample image>\n", argv[0]);
		return 2;
	}
	sample_dir = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
