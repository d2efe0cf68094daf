/*
 * fstab: merge two mount tables. Contract: fstab.h.
 *
 * A line has four to six fields (dump and pass may be missing) and perhaps a comment behind them. A mount point
 * has one line, the last; what is mounted nowhere (swap: "none") has as many as it likes. Pure.
 */
#include "boot-controllers/grub/fstab.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

enum {
	N_FIELDS = 6,
	N_FIELDS_MIN = 4,
	F_DEVICE = 0,
	F_MOUNT_POINT = 1,
};

struct field {
	const char *text; /* borrowed from the table */
	size_t len;
};

struct line {
	struct field f[N_FIELDS];
};

struct table {
	struct line *lines;
	size_t n;
};

static void table_done(struct table *t)
{
	free(t->lines);
}

#define AUTO_TABLE CLEANUP(table_done)

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool field_is(const struct field *f, const char *text)
{
	return f->len == strlen(text) && memcmp(f->text, text, f->len) == 0;
}

static bool line_parse(const char *p, const char *end, struct line *ret)
{
	static const struct field zero = {"0", 1};
	struct line l = {{{NULL, 0}}};
	size_t n = 0;

	for (;;) {
		const char *from;

		while (p < end && is_blank(*p))
			p++;
		if (p == end || *p == '#')
			break;
		if (n == N_FIELDS)
			return false;
		for (from = p; p < end && !is_blank(*p); p++)
			;
		l.f[n++] = (struct field){from, (size_t)(p - from)};
	}
	if (n < N_FIELDS_MIN)
		return false;
	while (n < N_FIELDS)
		l.f[n++] = zero;
	*ret = l;
	return true;
}

static struct line *table_find(const struct table *t, const struct field *mount_point)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->lines[i].f[F_MOUNT_POINT];

		if (f->len == mount_point->len && memcmp(f->text, mount_point->text, f->len) == 0)
			return &t->lines[i];
	}
	return NULL;
}

static int table_parse(const char *text, size_t len, struct table *ret, struct ota_err *err)
{
	AUTO_TABLE struct table t = {.lines = calloc(FSTAB_ENTRIES_MAX, sizeof(*t.lines))};
	const char *p = text, *end = text + len;

	if (!t.lines)
		return ota_err_no_memory(err, "an fstab");
	if (len > FSTAB_MAX_BYTES)
		return ota_err_set(err, -E2BIG, OTA_E_UNSPECIFIC, "An fstab has more than %d bytes",
			FSTAB_MAX_BYTES);
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl ? nl : end;
		struct line l, *same = NULL;

		if (line_parse(p, stop, &l)) {
			/* Only a mount point is a key. */
			if (l.f[F_MOUNT_POINT].text[0] == '/')
				same = table_find(&t, &l.f[F_MOUNT_POINT]);
			if (!same && t.n == FSTAB_ENTRIES_MAX)
				return ota_err_set(err, -E2BIG, OTA_E_UNSPECIFIC,
					"An fstab has more than %d entries", FSTAB_ENTRIES_MAX);
			*(same ? same : &t.lines[t.n++]) = l;
		}
		p = nl ? nl + 1 : end;
	}
	*ret = t;
	t.lines = NULL;
	return 0;
}

/* @device: written in place of the line's own; NULL = its own. */
static int line_put(struct buf *out, const struct line *l, const char *device)
{
	int r = 0;

	for (size_t i = 0; i < N_FIELDS && r == 0; i++) {
		if (i == F_DEVICE && device)
			r = buf_puts(out, device);
		else
			r = buf_append(out, l->f[i].text, l->f[i].len);
		if (r == 0)
			r = buf_puts(out, i + 1 < N_FIELDS ? "\t" : "\n");
	}
	return r;
}

/* The machine's own line for @mount_point, or a plain one made from @uuid and @rest. */
static int own_line(struct buf *out, const struct table *active, const char *mount_point,
	const char *uuid, bool set_device, const char *rest)
{
	struct field key = {mount_point, strlen(mount_point)};
	const struct line *l = table_find(active, &key);
	char device[128];

	if ((size_t)snprintf(device, sizeof(device), "UUID=%s", uuid) >= sizeof(device))
		return -EINVAL;
	if (l)
		return line_put(out, l, set_device ? device : NULL);
	return buf_printf(out, "%s\t%s\t%s\n", device, mount_point, rest);
}

int fstab_merge(const struct fstab_ids *ids, const char *active, size_t active_len,
	const char *image, size_t image_len, struct buf *ret, struct ota_err *err)
{
	AUTO_TABLE struct table a = {0}, im = {0};
	int r = table_parse(active, active_len, &a, err);

	if (r == 0)
		r = table_parse(image, image_len, &im, err);
	if (r < 0)
		return r;
	r = own_line(ret, &a, "/", ids->root_uuid, true, "ext4\terrors=remount-ro\t0\t1");
	if (r == 0)
		r = own_line(ret, &a, "/boot", ids->boot_uuid, false, "ext4\tdefaults\t0\t1");
	if (r == 0 && ids->esp_uuid)
		r = own_line(ret, &a, "/boot/efi", ids->esp_uuid, false, "vfat\tdefaults\t0\t1");
	for (size_t i = 0; i < im.n && r == 0; i++) {
		const struct field *mp = &im.lines[i].f[F_MOUNT_POINT];

		if (field_is(mp, "/") || field_is(mp, "/boot") ||
			(ids->esp_uuid && field_is(mp, "/boot/efi")))
			continue;
		r = line_put(ret, &im.lines[i], NULL);
	}
	return r < 0 ? ota_err_set(
			       err, r, OTA_E_UNSPECIFIC, "Cannot write an fstab: %s", strerror(-r))
		     : 0;
}
