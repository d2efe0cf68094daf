/*
 * extlinux: read and rewrite extlinux.conf. Contract: extlinux.h.
 *
 * A line is a keyword and its value; an entry goes from its LABEL to the next one. Only words that stand alone count as
 * root=, so that nfsroot= and the like are left as they are.
 *
 * A line that seems to go on in the next one, and a default entry that is there twice, are refused: which root= then
 * counts is a matter of opinion, and CBoot's may be another one than ours.
 */
#include "boot-controllers/cboot/extlinux.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"

static const char root_word[] = "root=";

/* A piece of the file; not NUL-terminated. */
struct piece {
	const char *at;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* The next line without its end. */
static bool next_line(struct piece *rest, struct piece *ret_line)
{
	const char *nl;

	if (rest->len == 0)
		return false;
	nl = memchr(rest->at, '\n', rest->len);
	*ret_line = (struct piece){rest->at, nl ? (size_t)(nl - rest->at) : rest->len};
	rest->len -= ret_line->len + (nl ? 1 : 0);
	rest->at += ret_line->len + (nl ? 1 : 0);
	return true;
}

/* The next word of a line, cut off its front; the blanks ahead of it go, too. */
static bool next_word(struct piece *line, struct piece *ret_word)
{
	size_t begin = 0, end;

	while (begin < line->len && is_blank(line->at[begin]))
		begin++;
	for (end = begin; end < line->len && !is_blank(line->at[end]);)
		end++;
	*ret_word = (struct piece){line->at + begin, end - begin};
	line->at += end;
	line->len -= end;
	return ret_word->len > 0;
}

static bool word_is(struct piece word, const char *keyword)
{
	return word.len == strlen(keyword) && strncasecmp(word.at, keyword, word.len) == 0;
}

static bool word_is_root(struct piece word)
{
	return word.len >= strlen(root_word) && memcmp(word.at, root_word, strlen(root_word)) == 0;
}

/* No comment, with a backslash for its last character. */
static bool seems_to_go_on(struct piece line)
{
	struct piece words = line, word;

	if (!next_word(&words, &word) || word.at[0] == '#')
		return false;
	while (is_blank(line.at[line.len - 1]))
		line.len--;
	return line.at[line.len - 1] == '\\';
}

static int check_line(struct piece line, unsigned number, struct ota_err *err)
{
	if (line.len > EXTLINUX_LINE_MAX_BYTES)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"Line %u is longer than %d bytes", number, EXTLINUX_LINE_MAX_BYTES);
	if (seems_to_go_on(line))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"Line %u ends with a backslash, but no line can go on in the next one",
			number);
	return 0;
}

static int check(const char *text, size_t len_bytes, struct ota_err *err)
{
	struct piece rest = {text, len_bytes}, line;

	if (len_bytes > EXTLINUX_MAX_BYTES)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC, "It is longer than %d bytes",
			EXTLINUX_MAX_BYTES);
	if (len_bytes > 0 && memchr(text, '\0', len_bytes))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC, "There is a NUL in it");
	for (unsigned n = 1; next_line(&rest, &line); n++) {
		int r = check_line(line, n, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int take(
	struct piece word, const char *what, char ret[EXTLINUX_WORD_MAX], struct ota_err *err)
{
	if (word.len >= EXTLINUX_WORD_MAX)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The %s of an entry is longer than %d bytes", what, EXTLINUX_WORD_MAX - 1);
	memcpy(ret, word.at, word.len);
	ret[word.len] = '\0';
	return 0;
}

static int take_root(struct piece line, char ret[EXTLINUX_WORD_MAX], struct ota_err *err)
{
	struct piece word;
	int r = 0;

	while (r == 0 && next_word(&line, &word)) {
		if (!word_is_root(word))
			continue;
		word.at += strlen(root_word);
		word.len -= strlen(root_word);
		r = take(word, "root", ret, err);
	}
	return r;
}

/* One line of the entry that is wanted. */
static int take_line(
	struct piece line, struct extlinux_entry *entry, bool *has_append, struct ota_err *err)
{
	struct piece keyword, value = {0};

	if (!next_word(&line, &keyword))
		return 0;
	if (word_is(keyword, "APPEND")) {
		*has_append = true;
		return take_root(line, entry->root, err);
	}
	next_word(&line, &value);
	if (word_is(keyword, "LINUX") || word_is(keyword, "KERNEL"))
		return take(value, "kernel", entry->kernel, err);
	if (word_is(keyword, "INITRD"))
		return take(value, "initrd", entry->initrd, err);
	return 0;
}

/* The label that boots by itself. */
static bool find_default(const char *text, size_t len_bytes, struct piece *ret_label)
{
	struct piece rest = {text, len_bytes}, line, keyword, value, first = {0}, chosen = {0};

	while (next_line(&rest, &line)) {
		if (!next_word(&line, &keyword) || !next_word(&line, &value))
			continue;
		if (word_is(keyword, "DEFAULT"))
			chosen = value;
		else if (word_is(keyword, "LABEL") && !first.at)
			first = value;
	}
	*ret_label = chosen.at ? chosen : first;
	return ret_label->at;
}

int extlinux_read(
	const char *text, size_t len_bytes, struct extlinux_entry *ret_entry, struct ota_err *err)
{
	struct piece rest = {text, len_bytes}, line, label;
	struct extlinux_entry entry = {0};
	bool inside = false, has_append = false;
	unsigned n_found = 0;
	int r = check(text, len_bytes, err);

	if (r < 0)
		return r;
	if (!find_default(text, len_bytes, &label))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC, "There is no LABEL in it");
	r = take(label, "label", entry.label, err);
	while (r == 0 && next_line(&rest, &line)) {
		struct piece words = line, keyword, value;

		if (next_word(&words, &keyword) && word_is(keyword, "LABEL")) {
			inside = next_word(&words, &value) && value.len == label.len &&
				 memcmp(value.at, label.at, label.len) == 0;
			n_found += inside;
		} else if (inside) {
			r = take_line(line, &entry, &has_append, err);
		}
	}
	if (r < 0)
		return r;
	if (n_found > 1)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"Its default entry, \"%.64s\", is there %u times", entry.label, n_found);
	if (!has_append)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"Its default entry, \"%.64s\", is not there or has no APPEND", entry.label);
	*ret_entry = entry;
	return 0;
}

/* An APPEND line with the root replaced; blanks and the other words stay. */
static int append_line(struct piece line, const char *part_uuid, struct buf *out)
{
	struct piece word;
	bool replaced = false;
	const char *done = line.at, *end = line.at + line.len;
	int r = 0;

	while (r == 0 && next_word(&line, &word)) {
		if (!word_is_root(word))
			continue;
		r = buf_append(out, done, (size_t)(word.at - done));
		if (r == 0)
			r = buf_printf(out, "%sPARTUUID=%s", root_word, part_uuid);
		done = word.at + word.len;
		replaced = true;
	}
	if (!replaced) {
		const char *tail = end;

		while (tail > done && is_blank(tail[-1]))
			tail--;
		r = buf_append(out, done, (size_t)(tail - done));
		if (r == 0)
			r = buf_printf(out, " %sPARTUUID=%s", root_word, part_uuid);
		/* Only the line end of others is worth keeping. */
		done = end > tail && end[-1] == '\r' ? end - 1 : end;
	}
	return r < 0 ? r : buf_append(out, done, (size_t)(end - done));
}

int extlinux_set_root(const char *text, size_t len_bytes, const char *part_uuid, struct buf *ret,
	struct ota_err *err)
{
	struct piece rest = {text, len_bytes}, line;
	AUTO_BUF struct buf out = {0};
	unsigned n_appends = 0;
	int r = check(text, len_bytes, err);

	if (r < 0)
		return r;
	while (r == 0 && next_line(&rest, &line)) {
		struct piece words = line, keyword;
		bool is_append = next_word(&words, &keyword) && word_is(keyword, "APPEND");

		n_appends += is_append;
		r = is_append ? append_line(line, part_uuid, &out)
			      : buf_append(&out, line.at, line.len);
		if (r == 0 && line.at + line.len < text + len_bytes)
			r = buf_append(&out, "\n", 1);
	}
	if (r == 0 && n_appends == 0)
		return ota_err_set(
			err, -EBADMSG, OTA_E_UNSPECIFIC, "There is no APPEND line in it");
	if (r == 0)
		r = buf_append(ret, buf_str(&out), out.len_bytes);
	return r < 0 ? ota_err_no_memory(err, "extlinux.conf") : 0;
}
