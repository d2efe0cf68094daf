/*
 * status_store: the status files of a slot. Contract: status_store.h; contents: docs/formats.md,
 * "Status files".
 *
 * Everything read here may be torn, hand-made or another program's, so each reader has a limit and
 * takes nothing that could not be shown in an answer of the API (valid UTF-8 without NUL). A file that
 * is a link is none: the folder may be in the other slot, and the link lead anywhere in this one.
 */
#include "otaclient/status/status_store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/crc32.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/codec/json.h"
#include "otaclient/status/text.h"

enum {
	/* A version is cut when it is read, so a long file is no error; one beyond this is no
	   version. */
	VERSION_FILE_MAX_BYTES = 1 << 20,
	WORD_FILE_MAX_BYTES = 256, /* status, slot_in_use: one word */
	RELEASE_FILE_MAX_BYTES =
		3 * 6 * STATUS_RELEASE_MAX + 256, /* three strings, each byte escaped */
	COMPLETE_FILE_MAX_BYTES = 1024,
	FILE_MODE = 0644,
	DIR_MODE = 0755,
};

static const char *const status_names[] = {
	[STATUS_INITIALIZED] = "INITIALIZED",
	[STATUS_SUCCESS] = "SUCCESS",
	[STATUS_FAILURE] = "FAILURE",
	[STATUS_UPDATING] = "UPDATING",
	[STATUS_ROLLBACKING] = "ROLLBACKING",
	[STATUS_ROLLBACK_FAILURE] = "ROLLBACK_FAILURE",
	[STATUS_CLIENT_UPDATING] = "CLIENT_UPDATING",
	[STATUS_ABORTING] = "ABORTING",
	[STATUS_ABORTED] = "ABORTED",
};

const char *ota_status_name(enum ota_status s)
{
	return s >= 0 && (size_t)s < ARRAY_SIZE(status_names) ? status_names[s] : "";
}

enum ota_status ota_status_from_name(const char *name)
{
	size_t len;

	while (isspace((unsigned char)*name))
		name++;
	len = strlen(name);
	while (len > 0 && isspace((unsigned char)name[len - 1]))
		len--;
	for (size_t i = 0; i < ARRAY_SIZE(status_names); i++)
		if (strlen(status_names[i]) == len && strncasecmp(status_names[i], name, len) == 0)
			return (enum ota_status)i;
	return STATUS_NONE;
}

/* The file's text, or an empty buffer if there is none that could be shown. */
static void read_text(const char *dir, const char *name, size_t max_bytes, struct buf *ret_text)
{
	AUTO_CLOSE int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir_fd < 0 || file_read_beneath(dir_fd, name, max_bytes, ret_text) < 0)
		return;
	if (!text_is_clean(buf_str(ret_text), ret_text->len_bytes))
		buf_done(ret_text);
}

/* A file with one word. Needs no memory: what is not known at a start is taken for a machine without a past. */
static void read_word(const char *dir, const char *name, char ret_text[WORD_FILE_MAX_BYTES + 1])
{
	AUTO_CLOSE int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ssize_t n = dir_fd < 0 ? -errno
			       : file_read_word(dir_fd, name, ret_text, WORD_FILE_MAX_BYTES + 1);

	if (n < 0 || !text_is_clean(ret_text, (size_t)n))
		ret_text[0] = '\0';
}

enum ota_status status_store_read_status(const char *dir)
{
	char text[WORD_FILE_MAX_BYTES + 1] = "";

	read_word(dir, "status", text);
	return ota_status_from_name(text);
}

void status_store_read_slot_in_use(const char *dir, char ret_slot[STATUS_SLOT_MAX])
{
	char text[WORD_FILE_MAX_BYTES + 1] = "";
	const char *word = text;
	size_t len;

	read_word(dir, "slot_in_use", text);
	word += strspn(word, " \t\r\n");
	len = strcspn(word, " \t\r\n");
	if (len >= STATUS_SLOT_MAX || word[len + strspn(word + len, " \t\r\n")] != '\0')
		len = 0;
	memcpy(ret_slot, word, len);
	ret_slot[len] = '\0';
}

/* A version comes back as it was requested; only line ends go, which an editor may have added. */
void status_store_read_version(const char *dir, char ret_version[STATUS_VERSION_MAX])
{
	AUTO_BUF struct buf text = {0};

	read_text(dir, "version", VERSION_FILE_MAX_BYTES, &text);
	for (; text.len_bytes > 0 && strchr("\r\n", text.data[text.len_bytes - 1]);
		text.len_bytes--)
		text.data[text.len_bytes - 1] = '\0';
	text_put(ret_version, STATUS_VERSION_MAX, buf_str(&text));
}

static void take_member(const struct json_value *object, const char *key, char *field)
{
	const char *text = json_value_string(json_value_member(object, key));

	if (text && strlen(text) < STATUS_RELEASE_MAX)
		memcpy(field, text, strlen(text) + 1);
}

void status_store_read_release(const char *dir, struct release_detail *ret_detail)
{
	AUTO_BUF struct buf text = {0};
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	const struct json_value *root;

	memset(ret_detail, 0, sizeof(*ret_detail));
	read_text(dir, "version_detail", RELEASE_FILE_MAX_BYTES, &text);
	if (json_doc_parse(buf_str(&text), text.len_bytes, RELEASE_FILE_MAX_BYTES, &doc, NULL) < 0)
		return;
	root = json_doc_root(doc);
	take_member(root, "release_name", ret_detail->release_name);
	take_member(root, "release_id", ret_detail->release_id);
	take_member(root, "image_id", ret_detail->image_id);
}

/* Open the status folder, making it if it is missing. */
static int open_dir(const char *dir, int *ret_fd, struct ota_err *err)
{
	AUTO_CLOSE int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		AUTO_FREE char *parent = strdup(dir);
		AUTO_CLOSE int parent_fd = -1;
		char *slash;
		int r;

		if (!parent)
			return ota_err_no_memory(err, "a path");
		for (size_t len = strlen(parent); len > 1 && parent[len - 1] == '/'; len--)
			parent[len - 1] = '\0';
		slash = strrchr(parent, '/');
		if (!slash || !slash[1])
			return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
				"Cannot make status folder %s: the path is not absolute", dir);
		*slash = '\0';
		parent_fd = open(slash == parent ? "/" : parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
		r = parent_fd < 0 ? -errno
				  : io_mkdir("status folder", parent_fd, slash + 1, DIR_MODE);
		if (r < 0)
			return ota_err_set(err, r, OTA_E_UNSPECIFIC,
				"Cannot make status folder %s: %s", dir, strerror(-r));
		fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot open status folder %s: %s", dir, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int write_text(const char *what, const char *dir, const char *name, const char *text,
	size_t len_bytes, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = -1;
	int r = open_dir(dir, &dir_fd, err);

	if (r < 0)
		return r;
	r = io_replace_file(what, dir_fd, name, text, len_bytes, FILE_MODE);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write %s/%s: %s", dir, name,
			strerror(-r));
	return 0;
}

/* Missing is fine, the folder too. */
static int remove_file(const char *what, const char *dir, const char *name, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = dir_fd < 0 ? -errno : io_unlink(what, dir_fd, name, 0);

	if (r < 0 && r != -ENOENT)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot remove %s/%s: %s", dir, name,
			strerror(-r));
	return 0;
}

int status_store_write_status(const char *dir, enum ota_status s, struct ota_err *err)
{
	const char *name = ota_status_name(s);

	return write_text("status file", dir, "status", name, strlen(name), err);
}

int status_store_write_slot_in_use(const char *dir, const char *slot, struct ota_err *err)
{
	return write_text("slot_in_use file", dir, "slot_in_use", slot, strlen(slot), err);
}

int status_store_write_version(const char *dir, const char *version, struct ota_err *err)
{
	return write_text("version file", dir, "version", version, strlen(version), err);
}

static int put_member(struct buf *json, const char *lead, const char *key, const char *text)
{
	int r = buf_printf(json, "%s\"%s\": ", lead, key);

	return r < 0 ? r : json_put_string(json, text, strlen(text));
}

/* All three or none: a release that is known in part would be shown next to the parts of an older
 * one. */
int status_store_write_release(const char *dir, const struct release_detail *d, struct ota_err *err)
{
	AUTO_BUF struct buf json = {0};
	int r;

	if (!d->release_name[0] || !d->release_id[0] || !d->image_id[0])
		return remove_file("version_detail file", dir, "version_detail", err);
	r = put_member(&json, "{", "release_name", d->release_name);
	if (r == 0)
		r = put_member(&json, ", ", "release_id", d->release_id);
	if (r == 0)
		r = put_member(&json, ", ", "image_id", d->image_id);
	if (r == 0)
		r = buf_puts(&json, "}");
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write %s/version_detail: %s",
			dir, r == -EBADMSG ? "a name is no UTF-8" : strerror(-r));
	return write_text(
		"version_detail file", dir, "version_detail", json.data, json.len_bytes, err);
}

/* The mark is lines key=value in this order; the last one sums up the others. */
static const char complete_head[] = "otaclient-complete=1\n";

int status_store_write_complete(
	const char *dir, const struct complete_mark *mark, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	char hex[DIGEST_HEX_MAX];
	int r;

	if (mark->fs_uuid[strcspn(mark->fs_uuid, "\n")] != '\0')
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"Cannot write %s/complete: the file system's UUID has more than one line",
			dir);
	digest_to_hex(&mark->image, hex);
	r = buf_printf(&text,
		"%simage=%s\nfs_uuid=%s\nunix_s=%" PRId64 "\nother_mount_s=%" PRIu32 "\n",
		complete_head, hex, mark->fs_uuid, mark->unix_s, mark->other_mount_s);
	if (r == 0)
		r = buf_printf(&text, "crc32=%08" PRIx32 "\n", crc32_of(text.data, text.len_bytes));
	if (r < 0)
		return ota_err_no_memory(err, "the mark of a complete slot");
	return write_text("complete mark", dir, "complete", text.data, text.len_bytes, err);
}

/* The value of the next line, which must be @key's; NUL-terminated in place. NULL: it is not. */
static char *next_value(char **at, const char *key)
{
	size_t key_len = strlen(key);
	char *line = *at;
	char *end = strchr(line, '\n');

	if (!end || strncmp(line, key, key_len) != 0 || line[key_len] != '=')
		return NULL;
	*end = '\0';
	*at = end + 1;
	return line + key_len + 1;
}

static bool parse_int64(const char *text, int64_t min, int64_t max, int64_t *ret_value)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || end == text || *end || v < min || v > max)
		return false;
	*ret_value = v;
	return true;
}

static bool parse_complete(struct buf *text, struct complete_mark *ret_mark)
{
	struct complete_mark mark = {0};
	char *at = text->data;
	char *last, *image, *uuid, *unix_s, *mount_s, *crc;
	char want_crc[16];
	int64_t mount;

	last = memmem(text->data, text->len_bytes, "\ncrc32=", 7);
	if (!last)
		return false;
	snprintf(want_crc, sizeof(want_crc), "%08" PRIx32,
		crc32_of(text->data, (size_t)(last + 1 - text->data)));
	if (strncmp(at, complete_head, sizeof(complete_head) - 1) != 0)
		return false;
	at += sizeof(complete_head) - 1;
	image = next_value(&at, "image");
	uuid = image ? next_value(&at, "fs_uuid") : NULL;
	unix_s = uuid ? next_value(&at, "unix_s") : NULL;
	mount_s = unix_s ? next_value(&at, "other_mount_s") : NULL;
	crc = mount_s ? next_value(&at, "crc32") : NULL;
	if (!crc || strcmp(crc, want_crc) != 0 || *at)
		return false;
	if (digest_from_hex(image, strlen(image), &mark.image) < 0 ||
		strlen(uuid) >= sizeof(mark.fs_uuid) ||
		!parse_int64(unix_s, INT64_MIN, INT64_MAX, &mark.unix_s) ||
		!parse_int64(mount_s, 0, UINT32_MAX, &mount))
		return false;
	memcpy(mark.fs_uuid, uuid, strlen(uuid) + 1);
	mark.other_mount_s = (uint32_t)mount;
	*ret_mark = mark;
	return true;
}

int status_store_read_complete(const char *dir, struct complete_mark *ret_mark, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_BUF struct buf text = {0};
	int r = dir_fd < 0 ? -errno
			   : file_read_beneath(dir_fd, "complete", COMPLETE_FILE_MAX_BYTES, &text);

	if (r == -EFBIG || r == -EINVAL || r == -ELOOP)
		r = -EBADMSG;
	if (r == 0 && (!text_is_clean(buf_str(&text), text.len_bytes) || text.len_bytes == 0 ||
			      !parse_complete(&text, ret_mark)))
		r = -EBADMSG;
	if (r == -EBADMSG)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"%s/complete is torn or was not written by this program", dir);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot read %s/complete: %s", dir, strerror(-r));
	return 0;
}

int status_store_remove_complete(const char *dir, struct ota_err *err)
{
	return remove_file("complete mark", dir, "complete", err);
}
