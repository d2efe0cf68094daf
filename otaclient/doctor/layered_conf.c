/*
 * layered_conf: files and their drop-ins. Contract: layered_conf.h.
 */
#include "otaclient/doctor/layered_conf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaclient/doctor/system_conf.h"

enum {
	DROP_INS_MAX = 256, /* of all folders together */
	VALUE_MAX = 256,
};

struct drop_in {
	char name[NAME_MAX + 1];
	char path[PATH_MAX];
};

struct drop_ins {
	unsigned n;
	struct drop_in list[DROP_INS_MAX];
};

static bool is_known(const struct drop_ins *d, const char *name)
{
	for (unsigned i = 0; i < d->n; i++)
		if (strcmp(d->list[i].name, name) == 0)
			return true;
	return false;
}

/* The first folder that has a name is the one whose file counts. */
static void collect(
	const struct machine *m, const char *folder, const char *file, struct drop_ins *d)
{
	char path[PATH_MAX / 2], full[PATH_MAX];
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;

	snprintf(path, sizeof(path), "%s/%s.d", folder, file);
	dir = opendir(machine_path(m, path, full));
	while (dir && d->n < DROP_INS_MAX && (e = readdir(dir))) {
		struct drop_in *f = &d->list[d->n];
		size_t len = strlen(e->d_name);

		if (e->d_name[0] == '.' || len < 5 || strcmp(e->d_name + len - 5, ".conf") != 0 ||
			is_known(d, e->d_name))
			continue;
		snprintf(f->name, sizeof(f->name), "%s", e->d_name);
		snprintf(f->path, sizeof(f->path), "%s/%s", path, e->d_name);
		d->n++;
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

/* What is asked for. */
struct wish {
	const struct machine *m;
	const char *section, *key;
};

static void read_setting(const struct wish *w, const char *path, char *value, size_t size)
{
	AUTO_BUF struct buf b = {0};
	char v[VALUE_MAX];

	if (machine_read(w->m, path, SYSTEM_CONF_MAX_BYTES, &b) == 0 &&
		system_conf_value(buf_str(&b), b.len_bytes, w->section, w->key, v, sizeof(v)) ==
			0 &&
		strlen(v) < size)
		memcpy(value, v, strlen(v) + 1);
}

int layered_conf_find(const struct machine *m, const char *const *folders, const char *file,
	const char *section, const char *key, char *ret_value, size_t size)
{
	AUTO_FREE struct drop_ins *d = calloc(1, sizeof(*d));
	const struct wish wish = {m, section, key};
	char path[PATH_MAX];
	struct stat st;

	if (!d)
		return -ENOMEM;
	ret_value[0] = '\0';
	for (size_t i = 0; folders[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", folders[i], file);
		if (machine_stat(m, path, &st) < 0)
			continue;
		read_setting(&wish, path, ret_value, size);
		break;
	}
	for (size_t i = 0; folders[i]; i++)
		collect(m, folders[i], file, d);
	if (d->n > 0)
		qsort(d->list, d->n, sizeof(d->list[0]), by_name);
	for (unsigned i = 0; i < d->n; i++)
		read_setting(&wish, d->list[i].path, ret_value, size);
	return 0;
}
