/*
 * firmware_update: have the firmware of an image written. Contract: firmware_update.h.
 *
 * nv_update_engine writes the boot loader's slot that does not run. That has to be the one that goes with the standby,
 * or an update would replace the wrong one and switch to the old.
 */
#include "boot-controllers/cboot/firmware_update.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "boot-controllers/cboot/cboot_rootfs.h"
#include "boot-controllers/cboot/firmware_package.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "common/config/conf_tree.h"

static const char request_path[] = "/opt/ota/firmware/firmware_update.yaml";
static const char manifest_path[] = "/opt/ota/firmware/firmware_manifest.yaml";

/* 1: there is text. What cannot be read asks for nothing, but is told. */
static int read_image_file(int root_fd, const char *path, struct buf *ret)
{
	int r = cboot_rootfs_read(root_fd, path, CONF_SIZE_MAX_BYTES, ret);

	if (r == -ENOMEM)
		return r;
	if (r < 0 && r != -ENOENT)
		log_warning("The image's %s is ignored: %s", path, file_read_why(r));
	return r == 0;
}

static int parse_package(const struct buf *asked, const struct buf *described,
	struct firmware_request *request, struct firmware_manifest *manifest, struct ota_err *err)
{
	int r = firmware_request_parse(buf_str(asked), asked->len_bytes, request, err);

	return r < 0 ? r
		     : firmware_manifest_parse(
			       buf_str(described), described->len_bytes, manifest, err);
}

/*
 * Both files or none: what is not whole asks for nothing, as it has always been, but is told. 1: they are there; 0; or
 * -ENOMEM, for a lack of memory says nothing about them.
 */
static int read_package(
	int root_fd, struct firmware_request *request, struct firmware_manifest *manifest)
{
	AUTO_BUF struct buf asked = {0}, described = {0};
	struct ota_err err = {0};
	int has_request = read_image_file(root_fd, request_path, &asked);
	int has_manifest = read_image_file(root_fd, manifest_path, &described);
	int r = -ENOENT;

	if (has_request < 0 || has_manifest < 0)
		return -ENOMEM;
	if (!has_request && !has_manifest)
		return 0;
	if (!has_request || !has_manifest)
		ota_err_set(&err, r, OTA_E_UNSPECIFIC, "There is no usable %s",
			has_request ? manifest_path : request_path);
	else
		r = parse_package(&asked, &described, request, manifest, &err);
	if (r == 0 || r == -ENOMEM)
		return r == 0 ? 1 : r;
	log_warning("The image's firmware is left alone: %s", err.msg);
	return 0;
}

static int check_board(
	const struct cboot_ctl *ctl, const struct firmware_manifest *manifest, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = file_read(
		ctl->root_fd, "etc/nv_boot_control.conf", FIRMWARE_BOARD_MAX_BYTES, &text);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Which board this is cannot be seen: /etc/nv_boot_control.conf: %s",
			file_read_why(r));
	return firmware_check_board(manifest, buf_str(&text), text.len_bytes, err);
}

static int check_payload(int root_fd, const struct firmware_payload *payload, struct ota_err *err)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_CLOSE int fd = path_open(root_fd, payload->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct digest have;
	int r = fd < 0 ? fd : ctx ? digest_of_fd(ctx, fd, &have, NULL) : -ENOMEM;

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"The firmware \"%.64s\" cannot be read at %.128s: %s", payload->name,
			payload->path, strerror(-r));
	if (!digest_equal(&have, &payload->digest))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The firmware \"%.64s\" at %.128s is not what the image's manifest says",
			payload->name, payload->path);
	return 0;
}

/* Where the boot loader has a slot of its own, it may be another one: after a cut between its switch and the root's. */
static int check_loader(const struct cboot_ctl *ctl, struct ota_err *err)
{
	unsigned slot = ctl->disk.active;
	int r = ctl->unified ? 0
			     : nvbootctrl_current_slot(&ctl->tools, NVBOOTCTRL_LOADER, &slot, err);

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot ask which slot the boot loader runs from");
	if (slot == ctl->disk.active)
		return 0;
	r = nvbootctrl_set_active(&ctl->tools, "bring the boot loader's slot in line",
		NVBOOTCTRL_LOADER, ctl->disk.active, err);
	return r < 0 ? r
		     : ota_err_set(err, -EBUSY, OTA_E_UNSPECIFIC,
			       "The boot loader runs from slot %u and the root file system from "
			       "slot %u; after a restart of the machine both are the same, and the "
			       "update can be repeated",
			       slot, ctl->disk.active);
}

int firmware_update_plan(const struct cboot_ctl *ctl, int root_fd, struct firmware_plan *ret_plan,
	struct ota_err *err)
{
	struct firmware_request request;
	struct firmware_manifest manifest;
	const struct firmware_payload *payload = NULL;
	struct firmware_plan plan = {0};
	int r;

	r = read_package(root_fd, &request, &manifest);
	if (r < 0)
		return ota_err_no_memory(err, "what the image says of firmware");
	if (r == 0) {
		*ret_plan = plan;
		return 0;
	}
	r = check_board(ctl, &manifest, err);
	if (r == 0)
		r = firmware_choose(&manifest, &request, &payload, err);
	if (r == 0)
		r = check_payload(root_fd, payload, err);
	if (r == 0)
		r = check_loader(ctl, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot update the firmware");
	plan.wanted = true;
	snprintf(plan.path, sizeof(plan.path), "%s", payload->path);
	*ret_plan = plan;
	return 0;
}

int firmware_update_install(const struct cboot_ctl *ctl, const char *standby_root,
	const struct firmware_plan *plan, struct ota_err *err)
{
	char path[PATH_MAX];
	int r;

	if (!plan->wanted)
		return 0;
	if (snprintf(path, sizeof(path), "%s%s", standby_root, plan->path) >= (int)sizeof(path))
		return ota_err_set(
			err, -ENAMETOOLONG, OTA_E_UNSPECIFIC, "The firmware's path is too long");
	log_info("The firmware of the boot loader's slot %u is written", cboot_standby(ctl));
	r = cboot_install(ctl, path, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot update the firmware") : 0;
}
