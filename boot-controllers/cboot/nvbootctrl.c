/*
 * nvbootctrl: run nvbootctrl and nv_update_engine. Contract: nvbootctrl.h.
 */
#include "boot-controllers/cboot/nvbootctrl.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "boot-controllers/tool_path.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/run.h"

enum {
	MORE_MAX = 4,
	ARGS_MAX = 5 + MORE_MAX + 1, /* all of struct call, and the NULL */
};

/* Tool, "-t rootfs" or not, a word, a slot if @slot is one, and more words up to the first NULL. */
struct call {
	const char *tool;
	enum nvbootctrl_domain domain;
	const char *word;
	unsigned slot; /* NVBOOTCTRL_N_SLOTS: none */
	const char *more[MORE_MAX];
	uint32_t timeout_ms; /* 0 = NVBOOTCTRL_TIMEOUT_MS */
};

static int run_call(const struct nvbootctrl *n, const struct call *call, struct buf *out,
	int *ret_status, struct ota_err *err)
{
	const char *argv[ARGS_MAX] = {0};
	char tool[PATH_MAX], slot[16];
	size_t i = 0;

	tool_path_find(n->tools_path, call->tool, call->tool, tool);
	argv[i++] = tool;
	if (call->domain == NVBOOTCTRL_ROOTFS) {
		argv[i++] = "-t";
		argv[i++] = "rootfs";
	}
	argv[i++] = call->word;
	if (call->slot < NVBOOTCTRL_N_SLOTS) {
		snprintf(slot, sizeof(slot), "%u", call->slot);
		argv[i++] = slot;
	}
	for (size_t m = 0; m < MORE_MAX && call->more[m]; m++)
		argv[i++] = call->more[m];
	return run_tool(
		&(struct run_args){
			.argv = argv,
			.root = n->tools_path || !n->root[0] ? NULL : n->root,
			.timeout_ms = n->timeout_ms      ? n->timeout_ms
				      : call->timeout_ms ? call->timeout_ms
							 : NVBOOTCTRL_TIMEOUT_MS,
			.out = out,
			.ret_status = ret_status,
		},
		err);
}

/* A call that changes something. */
static int change(
	const struct nvbootctrl *n, const char *what, const struct call *call, struct ota_err *err)
{
	int r = io_point(what);

	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot %s: the step was stopped", what);
	r = run_call(n, call, NULL, NULL, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot %s", what) : 0;
}

int nvbootctrl_parse_slot(
	const char *text, size_t len_bytes, unsigned *ret_slot, struct ota_err *err)
{
	size_t len = len_bytes;

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	if (len_bytes > NVBOOTCTRL_ANSWER_MAX_BYTES || len != 1 || text[0] < '0' ||
		text[0] >= '0' + NVBOOTCTRL_N_SLOTS)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"nvbootctrl get-current-slot printed %zu bytes that are neither 0 nor 1",
			len_bytes);
	*ret_slot = (unsigned)(text[0] - '0');
	return 0;
}

int nvbootctrl_is_unified(const struct nvbootctrl *n, bool *ret, struct ota_err *err)
{
	int status = 0;
	int r = run_call(n,
		&(struct call){
			"nvbootctrl", NVBOOTCTRL_LOADER, "is-unified-enabled", NVBOOTCTRL_N_SLOTS},
		NULL, &status, err);

	if (r == 0)
		*ret = status == 0;
	return r;
}

int nvbootctrl_current_slot(const struct nvbootctrl *n, enum nvbootctrl_domain domain,
	unsigned *ret_slot, struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};
	int r = run_call(n,
		&(struct call){"nvbootctrl", domain, "get-current-slot", NVBOOTCTRL_N_SLOTS}, &out,
		NULL, err);

	return r < 0 ? r : nvbootctrl_parse_slot(buf_str(&out), out.len_bytes, ret_slot, err);
}

int nvbootctrl_set_active(const struct nvbootctrl *n, const char *what,
	enum nvbootctrl_domain domain, unsigned slot, struct ota_err *err)
{
	return change(
		n, what, &(struct call){"nvbootctrl", domain, "set-active-boot-slot", slot}, err);
}

int nvbootctrl_set_unbootable(const struct nvbootctrl *n, unsigned slot, struct ota_err *err)
{
	return change(n, "make the standby unbootable",
		&(struct call){"nvbootctrl", NVBOOTCTRL_ROOTFS, "set-slot-as-unbootable", slot},
		err);
}

int nvbootctrl_mark_successful(const struct nvbootctrl *n, unsigned slot, struct ota_err *err)
{
	return change(n, "mark the slot successful",
		&(struct call){"nvbootctrl", NVBOOTCTRL_ROOTFS, "mark-boot-successful", slot}, err);
}

int nvbootctrl_install(
	const struct nvbootctrl *n, bool unified, const char *payload, struct ota_err *err)
{
	struct call call = {
		"nv_update_engine", NVBOOTCTRL_LOADER, "-i", NVBOOTCTRL_N_SLOTS,
		{unified ? "bl-only" : "bl", "--payload", payload, unified ? NULL : "--no-reboot"},
		NVBOOTCTRL_INSTALL_TIMEOUT_MS
        };

	return change(n, "write the boot loader's firmware", &call, err);
}

int nvbootctrl_verify(const struct nvbootctrl *n, struct ota_err *err)
{
	return change(n, "verify the boot loader",
		&(struct call){
			"nv_update_engine", NVBOOTCTRL_LOADER, "--verify", NVBOOTCTRL_N_SLOTS},
		err);
}
