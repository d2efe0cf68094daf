/*
 * ecu_info: the rules of ecu_info.yaml. Contract: ecu_info.h.
 */
#include "common/config/ecu_info.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"

#define ECU_FIELD(f)       .offset = offsetof(struct ecu_info, f)
#define SECONDARY_FIELD(f) .offset = offsetof(struct ecu_secondary, f)

/* clang-format off */
static const char *const bootloader_words[] = {
	"auto_detect", "grub", "cboot", "jetson-cboot", "jetson-uefi", "rpi_boot", NULL,
};

static const struct conf_key ecu_keys[] = {
	{"format_version", CONF_TYPE_OTHER},
	{"ecu_id", CONF_TYPE_STRING, ECU_FIELD(ecu_id), .size_bytes = ECU_ID_MAX, .required = true},
	{"ip_addr", CONF_TYPE_IP, ECU_FIELD(ip_addr), .fallback = "127.0.0.1"},
	{"bootloader", CONF_TYPE_CHOICE, ECU_FIELD(bootloader), .words = bootloader_words,
		.fallback = "auto_detect"},
	{"available_ecu_ids", CONF_TYPE_OTHER},
	{"secondaries", CONF_TYPE_OTHER},
};

static const struct conf_key secondary_keys[] = {
	{"ecu_id", CONF_TYPE_STRING, SECONDARY_FIELD(ecu_id), .size_bytes = ECU_ID_MAX,
		.required = true},
	{"ip_addr", CONF_TYPE_IP, SECONDARY_FIELD(ip_addr), .required = true},
	{"port", CONF_TYPE_UINT, SECONDARY_FIELD(port), .min = 1, .max = 65535,
		.fallback = "50051"},
};

/* One entry of available_ecu_ids. */
static const struct conf_key available_key = {
	"available_ecu_ids", CONF_TYPE_STRING, 0, .size_bytes = ECU_ID_MAX,
};
/* clang-format on */

/* Integrators write 1 as well as "1"; other numbers are accepted too, since there is only one format. */
static void read_format_version(const struct conf_node *v, struct conf_notes *notes)
{
	bool digits =
		v->kind == CONF_STRING && v->text[0] && !v->text[strspn(v->text, "0123456789")];

	if (v->kind != CONF_INT && !digits)
		conf_note(notes, CONF_WRONG, v->line, "format_version must be 1");
	else if (strcmp(v->text, "1") != 0)
		conf_note(notes, CONF_NOTICE, v->line,
			"format_version %.16s is read as if it were 1", v->text);
}

static bool is_listed(const struct ecu_info *info, const char *ecu_id)
{
	for (uint32_t i = 0; i < info->n_available; i++)
		if (strcmp(info->available_ecu_ids[i], ecu_id) == 0)
			return true;
	return false;
}

static void read_available(
	const struct conf_node *list, struct ecu_info *info, struct conf_notes *notes)
{
	if (list->kind != CONF_LIST) {
		conf_note(notes, CONF_WRONG, list->line,
			"available_ecu_ids must be a list of ECU ids");
		return;
	}
	for (const struct conf_node *n = list->child; n; n = n->next) {
		char id[ECU_ID_MAX];

		if (!conf_table_read_value(&available_key, n, "each of ", id, notes))
			continue;
		if (is_listed(info, id)) {
			conf_note(notes, CONF_NOTICE, n->line, "available_ecu_ids has \"%s\" twice",
				id);
			continue;
		}
		if (info->n_available == ECU_IDS_MAX) {
			conf_note(notes, CONF_WRONG, n->line,
				"available_ecu_ids has more than %d entries", ECU_IDS_MAX);
			return;
		}
		memcpy(info->available_ecu_ids[info->n_available++], id, sizeof(id));
	}
}

/*
 * An id twice would make one ECU's status pass for the other's, and an ECU below itself is asked for ever. The other
 * client takes such a file, so it is no reason to take no updates.
 */
static bool has_free_id(const struct ecu_info *info, const struct ecu_secondary *s, unsigned line,
	const char *where, struct conf_notes *notes)
{
	if (strcmp(s->ecu_id, info->ecu_id) == 0) {
		conf_note(notes, CONF_NOTICE, line,
			"%s.ecu_id \"%s\" is this ECU's own; the entry is ignored", where,
			s->ecu_id);
		return false;
	}
	for (const struct ecu_secondary *o = info->secondaries; o < s; o++) {
		if (strcmp(s->ecu_id, o->ecu_id) == 0) {
			conf_note(notes, CONF_NOTICE, line,
				"%s.ecu_id \"%s\" is there twice; this entry, %s, is ignored",
				where, s->ecu_id, s->ip_addr);
			return false;
		}
	}
	return true;
}

/* Two addresses of one ECU, or this one's: the other ECU will not be found there. */
static void notice_address(const struct ecu_info *info, const struct ecu_secondary *s,
	unsigned line, const char *where, struct conf_notes *notes)
{
	bool is_here = strcmp(s->ip_addr, info->ip_addr) == 0 ||
		       strcmp(s->ip_addr, "127.0.0.1") == 0 || strcmp(s->ip_addr, "::1") == 0;

	if (is_here && s->port == ECU_API_PORT)
		conf_note(notes, CONF_NOTICE, line,
			"%s, ECU \"%s\", has this ECU's own address, %s, port %u", where, s->ecu_id,
			s->ip_addr, s->port);
	for (const struct ecu_secondary *o = info->secondaries; o < s; o++) {
		if (s->port == o->port && strcmp(s->ip_addr, o->ip_addr) == 0) {
			conf_note(notes, CONF_NOTICE, line,
				"%s, ECU \"%s\", has the address of ECU \"%s\", %s, port %u", where,
				s->ecu_id, o->ecu_id, s->ip_addr, s->port);
			return;
		}
	}
}

static void read_secondaries(
	const struct conf_node *list, struct ecu_info *info, struct conf_notes *notes)
{
	unsigned i = 0;

	if (list->kind != CONF_LIST) {
		conf_note(notes, CONF_WRONG, list->line, "secondaries must be a list of maps");
		return;
	}
	for (const struct conf_node *n = list->child; n; n = n->next, i++) {
		struct ecu_secondary *s = &info->secondaries[info->n_secondaries];
		unsigned wrong = notes->n_wrong;
		char where[32], prefix[40];

		if (info->n_secondaries == ECU_SECONDARIES_MAX) {
			conf_note(notes, CONF_WRONG, n->line,
				"secondaries has more than %d entries", ECU_SECONDARIES_MAX);
			return;
		}
		if (n->kind != CONF_MAP) {
			conf_note(notes, CONF_WRONG, n->line, "secondaries[%u] must be a map", i);
			continue;
		}
		snprintf(where, sizeof(where), "secondaries[%u]", i);
		snprintf(prefix, sizeof(prefix), "%s.", where);
		conf_table_defaults(secondary_keys, ARRAY_SIZE(secondary_keys), s);
		conf_table_read(secondary_keys, ARRAY_SIZE(secondary_keys), n, prefix, s, notes);
		if (notes->n_wrong == wrong && has_free_id(info, s, n->line, where, notes)) {
			notice_address(info, s, n->line, where, notes);
			info->n_secondaries++;
		}
	}
}

static void read_root(const struct conf_node *root, struct ecu_info *info, struct conf_notes *notes)
{
	const struct conf_node *n;

	if (root->kind != CONF_MAP) {
		conf_note(
			notes, CONF_WRONG, root->line, "the file must be a map of keys and values");
		return;
	}
	conf_table_read(ecu_keys, ARRAY_SIZE(ecu_keys), root, "", info, notes);
	n = conf_node_find(root, "format_version");
	if (n)
		read_format_version(n, notes);
	n = conf_node_find(root, "available_ecu_ids");
	if (n)
		read_available(n, info, notes);
	n = conf_node_find(root, "secondaries");
	if (n)
		read_secondaries(n, info, notes);
}

static void set_default(struct ecu_info *ret_info)
{
	*ret_info = (struct ecu_info){.ecu_id = "autoware"};
	conf_table_defaults(ecu_keys, ARRAY_SIZE(ecu_keys), ret_info);
}

/* @tree may be NULL: then @err says why there is none. */
static void finish(const struct conf_tree *tree, const struct ota_err *err,
	struct conf_notes *notes, struct ecu_info *ret_info)
{
	set_default(ret_info);
	if (tree) {
		read_root(conf_tree_root(tree), ret_info, notes);
		if (notes->n_wrong > 0)
			set_default(ret_info);
		ret_info->loaded = notes->n_wrong == 0;
		ret_info->wrong = notes->n_wrong > 0;
	} else {
		ret_info->wrong = err->errnum == -EBADMSG || err->errnum == -EFBIG;
		if (notes->note)
			notes->note(notes->ctx, CONF_WRONG, err->msg);
	}
	if (ret_info->n_available == 0) {
		memcpy(ret_info->available_ecu_ids[0], ret_info->ecu_id, ECU_ID_MAX);
		ret_info->n_available = 1;
	}
}

int ecu_info_load(const char *path, conf_note_fn *note, void *ctx, struct ecu_info *ret_info)
{
	struct conf_notes notes = {.file = path, .note = note, .ctx = ctx};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	conf_tree_read(path, &tree, &err);
	finish(tree, &err, &notes, ret_info);
	return err.errnum == -ENOMEM ? -ENOMEM : 0;
}

int ecu_info_parse(const char *text, size_t len_bytes, const char *name, conf_note_fn *note,
	void *ctx, struct ecu_info *ret_info)
{
	struct conf_notes notes = {.file = name, .note = note, .ctx = ctx};
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct ota_err err = {0};

	conf_tree_parse(text, len_bytes, name, &tree, &err);
	finish(tree, &err, &notes, ret_info);
	return err.errnum == -ENOMEM ? -ENOMEM : 0;
}

const struct conf_key *ecu_info_keys(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(ecu_keys);
	return ecu_keys;
}

const struct conf_key *ecu_info_secondary_keys(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(secondary_keys);
	return secondary_keys;
}
