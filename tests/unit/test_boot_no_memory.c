/*
 * test_boot_no_memory: memory runs out at each single allocation of each reader of a boot loader's files. What is put out is
 * what is put out with memory, or there is a failure that says so; those that decide what boots need none.
 *
 * Argument: the folder tests/fuzz/corpus.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot-controllers/cboot/extlinux.h"
#include "boot-controllers/cboot/firmware_package.h"
#include "boot-controllers/cboot/firmware_update.h"
#include "boot-controllers/cboot/nvbootctrl.h"
#include "boot-controllers/cboot/tegra_release.h"
#include "boot-controllers/grub/fstab.h"
#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_default.h"
#include "boot-controllers/grub/grub_entry.h"
#include "boot-controllers/grub/grub_env.h"
#include "boot-controllers/kernel_line.h"
#include "common/base/cleanup.h"
#include "tests/support/cboot_machine.h"
#include "tests/unit/corpus_text.h"

/* ---- GRUB ---- */

static const struct grub_entry_wish wish = {.slot_id = "ota-slot_a",
	.kernel_version = "6.1.0-18-amd64",
	.root_uuid = "r",
	.boot_uuid = "b"};

static int put_out(int r, const struct buf *out)
{
	if (r == 0)
		right_as_before(buf_str(out), out->len_bytes);
	return r;
}

static int run_entry(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};

	return put_out(grub_entry_from_mkconfig(text.data, text.len_bytes, &wish, &out, err), &out);
}

static int run_legacy_entry(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};
	int r = grub_entry_from_legacy(text.data, text.len_bytes, "vmlinuz-ota", &wish, &out, err);

	return put_out(r, &out);
}

static int run_plain_entry(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};

	return put_out(grub_entry_plain(&wish, "quiet splash", &out, err), &out);
}

static int run_entry_read(struct ota_err *err)
{
	struct grub_entry_info info;
	int r = grub_entry_read(text.data, text.len_bytes, &info, err);

	right(r == 0 && info.kernel[0] && info.root_uuid[0]);
	return r;
}

static int run_hook_first(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};

	return put_out(grub_cfg_hook_first(text.data, text.len_bytes, &out, err), &out);
}

static int run_wrap(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};

	return put_out(grub_cfg_wrap(text.data, text.len_bytes, "4.0.0", "2.06", &out), &out);
}

static int run_cfg_check(struct ota_err *err)
{
	struct grub_cfg_info info;

	return grub_cfg_check(text.data, text.len_bytes, &info, err);
}

static int run_default(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};

	return put_out(grub_default_rewrite(text.data, text.len_bytes, &out, err), &out);
}

static int run_default_value(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};
	int r = grub_default_value(text.data, text.len_bytes, "GRUB_DEFAULT", &out);

	return put_out(r, &out);
}

static int run_fstab(struct ota_err *err)
{
	static const struct fstab_ids ids = {.root_uuid = "r", .boot_uuid = "b", .esp_uuid = "e"};
	AUTO_BUF struct buf out = {0};
	int r = fstab_merge(&ids, text.data, text.len_bytes, text.data, text.len_bytes, &out, err);

	return put_out(r, &out);
}

static int run_env(struct ota_err *err)
{
	char block[GRUB_ENV_BYTES], value[GRUB_ENV_VALUE_MAX];
	struct grub_env env;
	int r = grub_env_parse(text.data, text.len_bytes, &env, err);

	if (r == 0)
		r = grub_env_set(&env, "next_entry", "ota-slot_b");
	if (r == 0)
		r = grub_env_get(&env, "next_entry", value, sizeof(value));
	if (r == 0)
		grub_env_render(&env, block);
	return r;
}

static int run_kernel_line(struct ota_err *err)
{
	char value[64];

	return kernel_line_value(text.data, text.len_bytes, "root", value, sizeof(value));
}

static void files_of_grub(void **state)
{
	read_text("grub_entry/debian-12");
	sweep_output(run_entry, 3, 0);
	assert_true(said("No memory for a menu entry"));
	sweep_output(run_plain_entry, 3, 0);
	read_text("grub_entry/legacy");
	sweep_output(run_legacy_entry, 3, 0);
	read_text("grub_entry/guarded");
	needs_none(run_entry_read);
	read_text("grub_cfg/hooked");
	sweep_output(run_hook_first, 1, 0);
	assert_true(said("No memory for grub.cfg"));
	sweep_output(run_wrap, 1, SILENT);
	read_text("grub_default/debian-12");
	sweep_output(run_default, 2, 0);
	assert_true(said("No memory for /etc/default/grub"));
	sweep_output(run_default_value, 2, SILENT);
	read_text("fstab/debian");
	sweep_output(run_fstab, 2, 0);
	assert_true(said("No memory for an fstab"));
	read_text("grub_env/made");
	needs_none(run_env);
	read_text("kernel_line/usual");
	needs_none(run_kernel_line);
}

static void a_managed_file_is_checked_without_memory(void **state)
{
	buf_done(&text);
	assert_int_equal(grub_cfg_wrap("menuentry", 9, "4.0.0", "2.06", &text), 0);
	needs_none(run_cfg_check);
}

/* ---- CBoot ---- */

static int run_set_root(struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};
	int r = extlinux_set_root(text.data, text.len_bytes, "0a-0b", &out, err);

	return put_out(r, &out);
}

static int run_extlinux(struct ota_err *err)
{
	struct extlinux_entry entry;
	int r = extlinux_read(text.data, text.len_bytes, &entry, err);

	right(r == 0 && entry.kernel[0]);
	return r;
}

static int run_manifest(struct ota_err *err)
{
	static struct firmware_manifest m;
	int r = firmware_manifest_parse(text.data, text.len_bytes, &m, err);

	if (r == 0)
		right(m.n_payloads == 1 && strcmp(m.payloads[0].name, "bl") == 0);
	return r;
}

static int run_request(struct ota_err *err)
{
	static struct firmware_request request;
	int r = firmware_request_parse(text.data, text.len_bytes, &request, err);

	if (r == 0)
		right(request.n_names == 1 && strcmp(request.names[0], "bl") == 0);
	return r;
}

static int run_slot(struct ota_err *err)
{
	unsigned slot;

	return nvbootctrl_parse_slot(text.data, text.len_bytes, &slot, err);
}

static int run_tegra_release(struct ota_err *err)
{
	struct tegra_release release;

	return tegra_release_parse(text.data, text.len_bytes, &release, err);
}

static void files_of_a_jetson(void **state)
{
	read_text("extlinux/jetson");
	sweep_output(run_set_root, 1, 0);
	assert_true(said("No memory for extlinux.conf"));
	needs_none(run_extlinux);
	read_text("firmware_package/manifest");
	sweep(run_manifest, 10, 0);
	read_text("firmware_package/request");
	sweep(run_request, 10, 0);
	read_text("nvbootctrl/a");
	needs_none(run_slot);
	read_text("tegra_release/xavier");
	needs_none(run_tegra_release);
}

/* ---- a whole image ---- */

static struct cboot_machine machine;
static struct boot_ctl *jetson;
static int image_fd = -1;

static int run_firmware(struct ota_err *err)
{
	struct firmware_plan plan = {0};
	int r = firmware_update_plan(cboot_ctl_of(jetson), image_fd, &plan, err);

	if (r == 0)
		right(plan.wanted);
	return r;
}

/* New firmware that is not written because memory was short would be missed by the new system. */
static void firmware_of_an_image_is_not_forgotten(void **state)
{
	struct ota_err err = {0};
	bool reset;

	cboot_machine_init(&machine, true, false);
	machine.firmware = true;
	assert_int_equal(cboot_machine_open(&machine, &jetson, &err), 0);
	assert_int_equal(jetson->ops->setup(jetson, &reset, &err), 0);
	image_fd = open(cboot_machine_put_image(&machine, 1, "4.9.2-tegra"), O_PATH | O_CLOEXEC);
	sweep(run_firmware, 10, 0);
	assert_true(said("No memory for what the image says of firmware"));
	close(image_fd);
	jetson->ops->close(jetson);
	cboot_machine_done(&machine);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_grub),
		cmocka_unit_test(a_managed_file_is_checked_without_memory),
		cmocka_unit_test(files_of_a_jetson),
		cmocka_unit_test(firmware_of_an_image_is_not_forgotten),
	};

	if (!corpus_given(argc, argv))
		return 2;
	return cmocka_run_group_tests(tests, NULL, corpus_teardown);
}
