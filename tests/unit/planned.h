/*
 * planned: an image of some files, what a machine has of it (nothing yet), and a plan (not made yet). The image is the
 * test's own: its regulars.txt.
 */
#pragma once

#include <string.h>

#include "common/image/list_text.h"
#include "otaclient/inventory/plan.h"

struct planned {
	struct file_table *table;
	struct patch_list *patches; /* NULL until the test reads some */
	struct inventory *inv;
	struct plan *plan;
};

static const struct slot_space plenty = {
	.free_bytes = 1 << 30,
	.free_inodes = 1000,
	.total_bytes = 1 << 30,
	.total_inodes = 1000,
};

/* The group's state from here on; planned_teardown() ends it. */
static inline struct planned *planned_new(const char *regulars)
{
	static struct planned p;

	p = (struct planned){.table = file_table_new()};
	assert_int_equal(
		list_text_read_regulars(regulars, strlen(regulars), "regulars.txt", p.table, NULL),
		0);
	assert_int_equal(file_table_seal(p.table, NULL), 0);
	p.inv = inventory_new(p.table);
	p.plan = plan_new(p.table);
	return &p;
}

static inline int planned_teardown(void **state)
{
	struct planned *p = *state;

	plan_free(p->plan);
	inventory_free(p->inv);
	patch_list_free(p->patches);
	file_table_free(p->table);
	return 0;
}

static inline uint32_t file_at(const struct planned *p, const char *path)
{
	enum entry_kind kind;
	uint32_t i;

	assert_true(file_table_find(p->table, path, strlen(path), &kind, &i));
	return i;
}

static inline uint32_t content_of(const struct planned *p, const char *path)
{
	return p->table->files[file_at(p, path)].content;
}
