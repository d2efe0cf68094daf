/*
 * checked_machine: a machine in a temporary folder, for the tests of otaclient/doctor's checks. Files are put in, one
 * check runs, and what it says is compared.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "otaclient/doctor/checks.h"
#include "tests/unit/tmp_dir.h"

struct checked_machine {
	struct tmp_dir *dir;
	struct machine m;
	struct finding f; /* of the last check */
};

static inline int checked_machine_setup(void **state)
{
	struct checked_machine *c = calloc(1, sizeof(*c));

	if (!c || tmp_dir_setup((void **)&c->dir) < 0)
		return -1;
	*state = c;
	return machine_init(&c->m, c->dir->path, NULL);
}

static inline int checked_machine_teardown(void **state)
{
	struct checked_machine *c = *state;
	int r;

	machine_done(&c->m);
	r = tmp_dir_teardown((void **)&c->dir);
	free(c);
	return r;
}

#define checked_machine_test(f) \
	cmocka_unit_test_setup_teardown(f, checked_machine_setup, checked_machine_teardown)

static inline void make_folders(struct checked_machine *c, const char *path)
{
	char part[PATH_MAX];

	for (const char *p = path; (p = strchr(p, '/')); p++) {
		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		assert_true(mkdirat(c->dir->fd, part, 0755) == 0 || errno == EEXIST);
	}
}

/* @path without its first slash; one that ends in a slash is a folder. */
static inline void put_bytes(
	struct checked_machine *c, const char *path, const void *data, size_t len)
{
	int fd;

	make_folders(c, path);
	if (path[strlen(path) - 1] == '/')
		return;
	fd = openat(c->dir->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

static inline void put(struct checked_machine *c, const char *path, const char *text)
{
	put_bytes(c, path, text, strlen(text));
}

/* Forget what was read, as the next start of otactl does; slots that the test has set stay. */
static inline struct finding *look(struct checked_machine *c, check_fn *check)
{
	c->m.configured = false;
	c->m.ecu_notes = c->m.proxy_notes = c->m.settings_notes = (struct machine_notes){0};
	c->f = (struct finding){0};
	check(&c->m, &c->f);
	return &c->f;
}

#define assert_finding(f_, verdict_, part)                                                       \
	do {                                                                                     \
		const struct finding *found = (f_);                                              \
                                                                                                 \
		if (found->verdict != (verdict_) || !strstr(found->what, (part)))                \
			fail_msg("%d: \"%s\" (%s), not %d: \"%s\"", found->verdict, found->what, \
				found->advice, (verdict_), (part));                              \
	} while (0)
#define assert_ok(c, check, part)      assert_finding(look((c), (check)), VERDICT_OK, part)
#define assert_warning(c, check, part) assert_finding(look((c), (check)), VERDICT_WARNING, part)
#define assert_failure(c, check, part) assert_finding(look((c), (check)), VERDICT_FAILURE, part)
#define assert_not_looked(c, check, part) \
	assert_finding(look((c), (check)), VERDICT_NOT_LOOKED, part)
