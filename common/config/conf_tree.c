/*
 * conf_tree: libyaml's events become nodes; limits on the way. Contract: conf_tree.h.
 *
 * All nodes and texts live in the tree's arena. What a plain scalar means is decided by the words
 * of YAML 1.1 in the tables below, and by yaml_number.
 */
#include "common/config/conf_tree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/config/yaml_number.h"

struct conf_tree {
	struct arena mem;
	const struct conf_node *root;
};

/* clang-format off */
static const char *const null_words[] = {"", "~", "null", "Null", "NULL"};

static const char *const bool_words[] = {
	"yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF",
	"true", "True", "TRUE", "false", "False", "FALSE",
};
/* clang-format on */

/* One list or map that is being filled. */
struct level {
	struct conf_node *node;
	struct conf_node *last;
	const char *key; /* map: read, its value not yet */
};

struct builder {
	yaml_parser_t parser;
	const char *name;    /* of the file */
	struct conf_tree *tree;
	unsigned n_nodes;
	unsigned depth; /* levels in use */
	struct level levels[CONF_DEPTH_MAX];
};

static bool is_among(const char *text, const char *const *words, size_t n_words)
{
	for (size_t i = 0; i < n_words; i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return false;
}

/* What a text without quotes is. */
static enum conf_kind plain_kind(const char *text)
{
	if (is_among(text, null_words, ARRAY_SIZE(null_words)))
		return CONF_NULL;
	if (is_among(text, bool_words, ARRAY_SIZE(bool_words)))
		return CONF_BOOL;
	return strchr("+-.0123456789", text[0]) ? yaml_number_kind(text) : CONF_STRING;
}

static int bad_yaml(const struct builder *b, size_t line, const char *what, struct ota_err *err)
{
	return ota_err_set(
		err, -EBADMSG, OTA_E_UNSPECIFIC, "%s, line %zu: %s", b->name, line, what);
}

static int scalar_take(
	struct builder *b, const yaml_event_t *event, struct conf_node *node, struct ota_err *err)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;

	if (memchr(text, '\0', len))
		return bad_yaml(b, node->line, "a text has a NUL character in it", err);
	node->text = arena_strndup(&b->tree->mem, text, len);
	if (!node->text)
		return ota_err_no_memory(err, b->name);
	node->kind = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_kind(node->text)
									 : CONF_STRING;
	return 0;
}

/* Hang @node where it belongs. A map's scalar in key position becomes the next value's name
 * instead. */
static int node_attach(struct builder *b, struct conf_node *node, struct ota_err *err)
{
	struct level *level = b->depth > 0 ? &b->levels[b->depth - 1] : NULL;

	if (!level) {
		b->tree->root = node;
		return 0;
	}
	if (level->node->kind == CONF_MAP && !level->key) {
		if (!node->text)
			return bad_yaml(
				b, node->line, "the name of a key must be a plain word", err);
		level->key = node->text;
		return 0;
	}
	node->key = TAKE_PTR(level->key);
	if (level->last)
		level->last->next = node;
	else
		level->node->child = node;
	level->last = node;
	return 0;
}

static bool event_has_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	default:
		return event->data.mapping_start.tag;
	}
}

static int node_begin(struct builder *b, const yaml_event_t *event, struct ota_err *err)
{
	struct conf_node *node;
	unsigned line = (unsigned)event->start_mark.line + 1;
	int r = 0;

	if (b->n_nodes++ >= CONF_NODES_MAX)
		return bad_yaml(b, line, "the file has too many entries", err);
	if (event_has_tag(event))
		return bad_yaml(b, line, "tags (\"!…\") are not understood", err);
	node = arena_alloc(&b->tree->mem, sizeof(*node));
	if (!node)
		return ota_err_no_memory(err, b->name);
	node->line = line;
	if (event->type == YAML_SCALAR_EVENT)
		r = scalar_take(b, event, node, err);
	else
		node->kind = event->type == YAML_SEQUENCE_START_EVENT ? CONF_LIST : CONF_MAP;
	if (r == 0)
		r = node_attach(b, node, err);
	if (r < 0 || node->text)
		return r;
	if (b->depth == CONF_DEPTH_MAX)
		return bad_yaml(b, line, "lists and maps are nested too deep", err);
	b->levels[b->depth++] = (struct level){.node = node};
	return 0;
}

static int event_take(struct builder *b, const yaml_event_t *event, struct ota_err *err)
{
	size_t line = event->start_mark.line + 1;

	switch (event->type) {
	case YAML_SCALAR_EVENT:
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		return node_begin(b, event, err);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	case YAML_ALIAS_EVENT:
		return bad_yaml(b, line, "aliases (\"*…\") are not understood", err);
	case YAML_DOCUMENT_START_EVENT:
		if (b->tree->root)
			return bad_yaml(
				b, line, "a second document begins, only one is allowed", err);
		return 0;
	default:
		return 0;
	}
}

static int parse_all(struct builder *b, struct ota_err *err)
{
	for (bool end = false; !end;) {
		yaml_event_t event;
		int r;

		if (!yaml_parser_parse(&b->parser, &event)) {
			if (b->parser.error == YAML_MEMORY_ERROR)
				return ota_err_no_memory(err, b->name);
			return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
				"%s, line %zu: this is no YAML: %s", b->name,
				b->parser.problem_mark.line + 1,
				b->parser.problem ? b->parser.problem : "it cannot be read");
		}
		end = event.type == YAML_STREAM_END_EVENT;
		r = event_take(b, &event, err);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
	}
	return 0;
}

int conf_tree_parse(const char *text, size_t len_bytes, const char *name,
	struct conf_tree **ret_tree, struct ota_err *err)
{
	static const struct conf_node empty = {.kind = CONF_NULL, .line = 1, .text = ""};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct builder b = {.name = name};
	int r;

	if (len_bytes > CONF_SIZE_MAX_BYTES)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC, "%s is larger than %d kB", name,
			CONF_SIZE_MAX_BYTES / 1024);
	tree = calloc(1, sizeof(*tree));
	if (!tree || !yaml_parser_initialize(&b.parser))
		return ota_err_no_memory(err, name);
	b.tree = tree;
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len_bytes);
	r = parse_all(&b, err);
	yaml_parser_delete(&b.parser);
	if (r < 0)
		return r;
	if (!tree->root)
		tree->root = &empty;
	*ret_tree = TAKE_PTR(tree);
	return 0;
}

int conf_tree_read(const char *path, struct conf_tree **ret_tree, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = file_read(AT_FDCWD, path, CONF_SIZE_MAX_BYTES, &text);

	if (r == -EFBIG)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "%s is larger than %d kB", path,
			CONF_SIZE_MAX_BYTES / 1024);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot read %s: %s", path, file_read_why(r));
	return conf_tree_parse(buf_str(&text), text.len_bytes, path, ret_tree, err);
}

const struct conf_node *conf_tree_root(const struct conf_tree *tree)
{
	return tree->root;
}

const struct conf_node *conf_node_find(const struct conf_node *map, const char *key)
{
	const struct conf_node *found = NULL;

	assert(map->kind == CONF_MAP);
	for (const struct conf_node *n = map->child; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			found = n;
	return found;
}

/* YAML 1.1 writes 0b…, 0x…, 0… (octal) and lets "_" stand between digits. */
int conf_node_uint(const struct conf_node *node, uint64_t *ret_value)
{
	const char *p = node->text;
	unsigned base = 10;
	uint64_t v = 0;

	assert(node->kind == CONF_INT);
	if (*p == '-')
		return -ERANGE;
	if (*p == '+')
		p++;
	if (p[0] == '0' && p[1]) {
		base = p[1] == 'x' ? 16 : p[1] == 'b' ? 2 : 8;
		p += base == 8 ? 1 : 2;
	}
	for (; *p; p++) {
		unsigned digit;

		if (*p == '_')
			continue;
		digit = (unsigned)(*p <= '9' ? *p - '0' : (*p | 0x20) - 'a' + 10);
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit, &v))
			return -ERANGE;
	}
	*ret_value = v;
	return 0;
}

bool conf_node_is_true(const struct conf_node *node)
{
	assert(node->kind == CONF_BOOL);
	/* yes, true, on */
	return strchr("yYtT", node->text[0]) || (node->text[1] | 0x20) == 'n';
}

void conf_tree_free(struct conf_tree *tree)
{
	if (!tree)
		return;
	arena_done(&tree->mem);
	free(tree);
}

void conf_tree_freep(struct conf_tree **tree)
{
	conf_tree_free(*tree);
}
