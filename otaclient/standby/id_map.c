/*
 * id_map: name tables of two systems. Contract: id_map.h.
 */
#include "otaclient/standby/id_map.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/base/file.h"
#include "common/base/path.h"

enum {
	NAMES_FILE_MAX_BYTES = 4 << 20, /* of a machine with a directory service dumped into it */
};

struct name_id {
	const char *name; /* slice of the file's text */
	size_t len;
	uint32_t id;
};

/* One passwd or group file: "name:x:id:…" per line. */
struct names {
	struct buf text;
	struct name_id *entries;
	size_t n;
};

struct id_map {
	struct names from_users, to_users, from_groups, to_groups;
};

static bool parse_line(const char *line, size_t len, struct name_id *ret)
{
	const char *colon = memchr(line, ':', len);
	const char *second =
		colon ? memchr(colon + 1, ':', len - (size_t)(colon + 1 - line)) : NULL;
	const char *end = line + len, *p;
	uint64_t id;

	if (!second || colon == line)
		return false;
	p = second + 1;
	if (decimal_read(&p, end, UINT32_MAX - 1, &id) < 0 || (p < end && *p != ':'))
		return false;
	*ret = (struct name_id){.name = line, .len = (size_t)(colon - line), .id = (uint32_t)id};
	return true;
}

static int names_read(struct names *n, int root_fd, const char *path)
{
	AUTO_CLOSE int fd = path_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK, 0);
	size_t lines = 1, at = 0;

	if (fd < 0 || file_read_fd(fd, NAMES_FILE_MAX_BYTES, &n->text) < 0)
		return 0;
	for (size_t i = 0; i < n->text.len_bytes; i++)
		lines += n->text.data[i] == '\n';
	n->entries = calloc(lines, sizeof(*n->entries));
	if (!n->entries)
		return -ENOMEM;
	while (at < n->text.len_bytes) {
		const char *line = n->text.data + at;
		const char *end = memchr(line, '\n', n->text.len_bytes - at);
		size_t len = end ? (size_t)(end - line) : n->text.len_bytes - at;

		if (parse_line(line, len, &n->entries[n->n]))
			n->n++;
		at += len + 1;
	}
	return 0;
}

static void names_done(struct names *n)
{
	buf_done(&n->text);
	free(n->entries);
}

struct id_map *id_map_new(int from_root_fd, int to_root_fd)
{
	AUTO_ID_MAP struct id_map *m = calloc(1, sizeof(*m));

	if (!m || names_read(&m->from_users, from_root_fd, "/etc/passwd") < 0 ||
		names_read(&m->to_users, to_root_fd, "/etc/passwd") < 0 ||
		names_read(&m->from_groups, from_root_fd, "/etc/group") < 0 ||
		names_read(&m->to_groups, to_root_fd, "/etc/group") < 0)
		return NULL;
	return TAKE_PTR(m);
}

void id_map_free(struct id_map *m)
{
	if (!m)
		return;
	names_done(&m->from_users);
	names_done(&m->to_users);
	names_done(&m->from_groups);
	names_done(&m->to_groups);
	free(m);
}

void id_map_freep(struct id_map **m)
{
	id_map_free(*m);
}

static uint32_t map_id(const struct names *from, const struct names *to, uint32_t id)
{
	const struct name_id *name = NULL;

	for (size_t i = 0; i < from->n && !name; i++)
		if (from->entries[i].id == id)
			name = &from->entries[i];
	for (size_t i = 0; name && i < to->n; i++)
		if (to->entries[i].len == name->len &&
			memcmp(to->entries[i].name, name->name, name->len) == 0)
			return to->entries[i].id;
	return id;
}

uid_t id_map_uid(const struct id_map *m, uid_t uid)
{
	return map_id(&m->from_users, &m->to_users, uid);
}

gid_t id_map_gid(const struct id_map *m, gid_t gid)
{
	return map_id(&m->from_groups, &m->to_groups, gid);
}
