/*
 * firmware_package: read what an image says of its firmware. Contract: firmware_package.h.
 */
#include "boot-controllers/cboot/firmware_package.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "boot-controllers/cboot/tegra_release.h"
#include "common/base/cleanup.h"
#include "common/config/conf_tree.h"

static const char request_name[] = "firmware_update.yaml";
static const char manifest_name[] = "firmware_manifest.yaml";

static const char *const board_keys[FIRMWARE_BOARD_KEYS] = {
	"board_id", "board_sku", "board_rev", "fab_id", "board_conf"};

static bool is_scalar(const struct conf_node *node)
{
	return node->kind != CONF_LIST && node->kind != CONF_MAP;
}

/* Numbers and the like count as they are written: 0004 is a board's name. */
static int take(const char *file, const struct conf_node *node, char ret[FIRMWARE_TEXT_MAX],
	struct ota_err *err)
{
	const char *text = node->text && node->kind != CONF_NULL ? node->text : "";

	if (!is_scalar(node) || strlen(text) >= FIRMWARE_TEXT_MAX)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s, line %u: It is no text of at most %d bytes", file, node->line,
			FIRMWARE_TEXT_MAX - 1);
	snprintf(ret, FIRMWARE_TEXT_MAX, "%s", text);
	return 0;
}

static int find(const char *file, const struct conf_node *map, const char *key,
	const struct conf_node **ret_node, struct ota_err *err)
{
	*ret_node = map->kind == CONF_MAP ? conf_node_find(map, key) : NULL;
	return *ret_node ? 0
			 : ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
				   "%s, line %u: There is no \"%s\"", file, map->line, key);
}

static int take_key(const char *file, const struct conf_node *map, const char *key,
	char ret[FIRMWARE_TEXT_MAX], struct ota_err *err)
{
	const struct conf_node *node;
	int r = find(file, map, key, &node, err);

	return r < 0 ? r : take(file, node, ret, err);
}

static int open_file(const char *file, const char *text, size_t len_bytes,
	struct conf_tree **ret_tree, struct ota_err *err)
{
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	char version[FIRMWARE_TEXT_MAX];
	int r = conf_tree_parse(text, len_bytes, file, &tree, err);

	if (r == 0)
		r = take_key(file, conf_tree_root(tree), "format_version", version, err);
	if (r == 0 && strcmp(version, "1") != 0)
		r = ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s has format_version %.32s, but only 1 is known", file, version);
	if (r == 0)
		*ret_tree = TAKE_PTR(tree);
	return r;
}

/* A list with something in it, which we have room for. */
static int find_list(const char *file, const struct conf_node *map, const char *key,
	const struct conf_node **ret_first, struct ota_err *err)
{
	const struct conf_node *list;
	size_t n = 0;
	int r = find(file, map, key, &list, err);

	if (r < 0)
		return r;
	for (const struct conf_node *c = list->kind == CONF_LIST ? list->child : NULL; c;
		c = c->next)
		n++;
	if (n == 0 || n > FIRMWARE_PAYLOADS_MAX)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s, line %u: \"%s\" is no list of 1 to %d entries", file, list->line, key,
			FIRMWARE_PAYLOADS_MAX);
	*ret_first = list->child;
	return 0;
}

int firmware_request_parse(
	const char *text, size_t len_bytes, struct firmware_request *ret, struct ota_err *err)
{
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct firmware_request request = {0};
	const struct conf_node *name = NULL;
	int r = open_file(request_name, text, len_bytes, &tree, err);

	if (r == 0)
		r = find_list(request_name, conf_tree_root(tree), "firmware_list", &name, err);
	for (; r == 0 && name; name = name->next)
		r = take(request_name, name, request.names[request.n_names++], err);
	if (r == 0)
		*ret = request;
	return r;
}

/* "sha256:<64 hex digits>" */
static int take_digest(const struct conf_node *map, struct digest *ret, struct ota_err *err)
{
	static const char algorithm[] = "sha256:";
	char text[FIRMWARE_TEXT_MAX];
	const char *hex = text + strlen(algorithm);
	int r = take_key(manifest_name, map, "digest", text, err);

	if (r < 0)
		return r;
	if (strncmp(text, algorithm, strlen(algorithm)) != 0 ||
		digest_from_hex(hex, strlen(hex), ret) < 0)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s, line %u: The digest is not \"sha256:\" and 64 hex digits",
			manifest_name, map->line);
	return 0;
}

/* "file:///opt/…"; another one is kept as "", for it may not be wanted. */
static int take_location(
	const struct conf_node *map, char ret[FIRMWARE_TEXT_MAX], struct ota_err *err)
{
	static const char scheme[] = "file://";
	char text[FIRMWARE_TEXT_MAX];
	const char *path = text + strlen(scheme);
	int r = take_key(manifest_name, map, "file_location", text, err);

	if (r < 0)
		return r;
	if (strncmp(text, scheme, strlen(scheme)) == 0 && path[0] == '/')
		snprintf(ret, FIRMWARE_TEXT_MAX, "%s", path);
	return 0;
}

static int take_payload(
	const struct conf_node *map, struct firmware_payload *ret, struct ota_err *err)
{
	int r = take_key(manifest_name, map, "payload_name", ret->name, err);

	if (r == 0)
		r = take_key(manifest_name, map, "type", ret->type, err);
	if (r == 0)
		r = take_location(map, ret->path, err);
	return r < 0 ? r : take_digest(map, &ret->digest, err);
}

static int take_spec(const struct conf_node *root, struct firmware_manifest *m, struct ota_err *err)
{
	const struct conf_node *spec, *compat;
	int r = find(manifest_name, root, "firmware_spec", &spec, err);

	if (r == 0)
		r = take_key(manifest_name, spec, "bsp_version", m->bsp_version, err);
	if (r == 0)
		r = find(manifest_name, spec, "firmware_compat", &compat, err);
	for (size_t i = 0; r == 0 && i < FIRMWARE_BOARD_KEYS; i++)
		r = take_key(manifest_name, compat, board_keys[i], m->board[i], err);
	return r;
}

int firmware_manifest_parse(
	const char *text, size_t len_bytes, struct firmware_manifest *ret, struct ota_err *err)
{
	AUTO_CONF_TREE struct conf_tree *tree = NULL;
	struct firmware_manifest m = {0};
	const struct conf_node *payload = NULL;
	int r = open_file(manifest_name, text, len_bytes, &tree, err);

	if (r == 0)
		r = take_key(manifest_name, conf_tree_root(tree), "hardware_type", m.hardware, err);
	if (r == 0)
		r = take_spec(conf_tree_root(tree), &m, err);
	if (r == 0)
		r = find_list(
			manifest_name, conf_tree_root(tree), "firmware_packages", &payload, err);
	for (; r == 0 && payload; payload = payload->next)
		r = take_payload(payload, &m.payloads[m.n_payloads++], err);
	if (r == 0)
		*ret = m;
	return r;
}

/* ---- the board ---------------------------------------------------------------------------------- */

/* The value of the line "TNSPEC <value>". */
static bool find_tnspec(const char *text, size_t len_bytes, char ret[FIRMWARE_TEXT_MAX])
{
	static const char key[] = "TNSPEC";
	const char *at = text, *end = text + len_bytes;

	while (at < end) {
		const char *nl = memchr(at, '\n', (size_t)(end - at)), *stop = nl ? nl : end;
		size_t len = (size_t)(stop - at);

		if (len > strlen(key) && memcmp(at, key, strlen(key)) == 0 &&
			strchr(" \t", at[strlen(key)]) && at[strlen(key)]) {
			len -= strlen(key) + 1;
			if (len >= FIRMWARE_TEXT_MAX || memchr(at, '\0', (size_t)(stop - at)))
				return false;
			memcpy(ret, at + strlen(key) + 1, len);
			ret[len] = '\0';
			return true;
		}
		at = stop + 1;
	}
	return false;
}

static int check_release(const struct firmware_manifest *m, struct ota_err *err)
{
	struct tegra_release release;

	if (tegra_release_parse_short(m->bsp_version, &release) < 0)
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
			"The bsp_version \"%.32s\" of the image's firmware is not like R32.6.1",
			m->bsp_version);
	if (!tegra_release_before(&release, 34, 0, 0))
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
			"The image's firmware is that of %.32s, but CBoot is that of releases "
			"before R34",
			m->bsp_version);
	return 0;
}

int firmware_check_board(
	const struct firmware_manifest *m, const char *text, size_t len_bytes, struct ota_err *err)
{
	char tnspec[FIRMWARE_TEXT_MAX];
	int r;

	if (strcmp(m->hardware, "nvidia_jetson") != 0)
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
			"The image's firmware is for the hardware_type \"%.64s\", not for "
			"\"nvidia_jetson\"",
			m->hardware);
	r = check_release(m, err);
	if (r < 0)
		return r;
	if (!find_tnspec(text, len_bytes, tnspec))
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
			"Which board this is cannot be seen: /etc/nv_boot_control.conf has no "
			"TNSPEC");
	for (size_t i = 0; i < FIRMWARE_BOARD_KEYS; i++)
		if (!strstr(tnspec, m->board[i]))
			return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
				"The image's firmware is for another board: its %s \"%.40s\" is "
				"not in the TNSPEC \"%.100s\"",
				board_keys[i], m->board[i], tnspec);
	return 0;
}

int firmware_choose(const struct firmware_manifest *m, const struct firmware_request *request,
	const struct firmware_payload **ret_payload, struct ota_err *err)
{
	const struct firmware_payload *found = NULL;
	const char *name = request->names[0];

	if (request->n_names != 1)
		return ota_err_set(err, -EOPNOTSUPP, OTA_E_UNSPECIFIC,
			"The image asks for %zu payloads, but CBoot takes one in an update",
			request->n_names);
	for (size_t i = 0; i < m->n_payloads && !found; i++)
		if (strcmp(m->payloads[i].name, name) == 0)
			found = &m->payloads[i];
	if (!found)
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"The image asks for the firmware \"%.64s\", which its %s does not have",
			name, manifest_name);
	if (strcmp(found->type, "BUP") != 0)
		return ota_err_set(err, -EOPNOTSUPP, OTA_E_UNSPECIFIC,
			"The firmware \"%.64s\" is of the type \"%.32s\", but CBoot takes BUP only",
			name, found->type);
	if (!found->path[0])
		return ota_err_set(err, -EOPNOTSUPP, OTA_E_UNSPECIFIC,
			"The firmware \"%.64s\" is no file of the image (file:///…)", name);
	*ret_payload = found;
	return 0;
}
