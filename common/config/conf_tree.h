/*
 * conf_tree: a YAML file as a small tree that remembers its lines. The door to libyaml.
 *
 * Values keep YAML 1.1's types ("on" is a boolean, 0x10 a number, "7" in quotes a string), since
 * the files are shared with programs that read them so. There are no aliases, so a small file
 * cannot become a large tree.
 * In use: conf_table.c, ecu_info.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	CONF_SIZE_MAX_BYTES = 64 * 1024, /* an ecu_info.yaml of 64 secondaries has some 8 kB */
	CONF_DEPTH_MAX = 8,              /* what we read has three levels */
	CONF_NODES_MAX = 4096,           /* keys and values together */
};

enum conf_kind {
	CONF_NULL,
	CONF_BOOL,
	CONF_INT,
	CONF_OTHER_SCALAR, /* a float or a date: nothing that we read is one */
	CONF_STRING,
	CONF_LIST,
	CONF_MAP,
};

struct conf_node {
	enum conf_kind kind;
	unsigned line;                 /* where it begins, from 1 */
	const char *text;              /* scalars: as written, without quotes; NULL otherwise */
	const char *key;               /* its name in the map around it; NULL elsewhere */
	const struct conf_node *child; /* first entry of a list or map, in the file's order */
	const struct conf_node *next;  /* the entry behind this one */
};

struct conf_tree;

/*
 * @name       what the file is called in sentences: "<name>, line 3: …"
 * @ret_tree   owned by the caller, conf_tree_free()
 *
 * Returns 0, or -EBADMSG: it is no YAML, or a limit is passed, or it uses aliases, tags or a second
 * document; -ENOMEM. An empty file is a tree whose root is CONF_NULL.
 */
int conf_tree_parse(const char *text, size_t len_bytes, const char *name,
	struct conf_tree **ret_tree, struct ota_err *err);

/* The same from a file; also -ENOENT and the other errors of file_read(). */
int conf_tree_read(const char *path, struct conf_tree **ret_tree, struct ota_err *err);

const struct conf_node *conf_tree_root(const struct conf_tree *tree);

/* Entry @key of a map, the last one if it is there twice; NULL if there is none. */
const struct conf_node *conf_node_find(const struct conf_node *map, const char *key);

/* The number of a CONF_INT. 0, or -ERANGE when it is negative or does not fit. */
int conf_node_uint(const struct conf_node *node, uint64_t *ret_value);

/* The value of a CONF_BOOL. */
bool conf_node_is_true(const struct conf_node *node);

void conf_tree_free(struct conf_tree *tree);
void conf_tree_freep(struct conf_tree **tree);
#define AUTO_CONF_TREE CLEANUP(conf_tree_freep)
