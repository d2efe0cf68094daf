/*
 * boot_controller: the registry of boot loaders. Contract: boot_controller.h.
 */
#include "boot-controllers/boot_controller.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "boot-controllers/cboot/cboot.h"
#include "boot-controllers/grub/grub.h"
#include "common/base/cleanup.h"

static bool machine_is(const char *name)
{
	struct utsname u;

	return uname(&u) == 0 && strcmp(u.machine, name) == 0;
}

static bool is_pc(void)
{
	return machine_is("x86_64");
}

static bool is_jetson(void)
{
	return machine_is("aarch64") &&
	       access("/sys/module/tegra_fuse/parameters/tegra_chip_id", F_OK) == 0;
}

/* ops, another name that ecu_info.yaml may use (NULL = none), is this the machine for it? */
static const struct {
	const struct boot_controller_ops *ops;
	const char *alias;
	bool (*detect)(void);
} registry[] = {
	{&grub_ops,  NULL,    is_pc    },
	{&cboot_ops, "cboot", is_jetson},
};

static const struct boot_controller_ops *test_ops;

void boot_controller_register_for_test(const struct boot_controller_ops *ops)
{
	test_ops = ops;
}

static bool is_auto_detect(const char *name)
{
	return strcmp(name, "auto_detect") == 0;
}

static bool find(const char *name, const struct boot_controller_ops **ret_ops)
{
	bool detect = is_auto_detect(name);

	if (test_ops && strcmp(name, test_ops->name) == 0) {
		*ret_ops = test_ops;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(registry); i++) {
		const char *alias = registry[i].alias;

		if (detect ? registry[i].detect()
			   : strcmp(name, registry[i].ops->name) == 0 ||
					(alias && strcmp(name, alias) == 0)) {
			*ret_ops = registry[i].ops;
			return true;
		}
	}
	return false;
}

/* What could be written into ecu_info.yaml instead. */
static int refuse_unknown(const char *name, struct ota_err *err)
{
	char known[128] = "";
	size_t len = 0;

	if (is_auto_detect(name))
		return ota_err_set(err, -ENODEV, OTA_E_BOOTCONTROL_UNSUPPORTED,
			"No boot loader is chosen, and none is supported on this kind of machine");
	for (size_t i = 0; i < ARRAY_SIZE(registry) && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
			i == 0 ? "" : " and ", registry[i].ops->name);
	return ota_err_set(err, -ENODEV, OTA_E_BOOTCONTROL_UNSUPPORTED,
		"The boot loader \"%.64s\" of ecu_info.yaml is not supported; this version knows "
		"%s",
		name, known);
}

int boot_controller_open(const char *name, const struct boot_env *env, struct boot_ctl **ret_ctl,
	struct ota_err *err)
{
	const struct boot_controller_ops *ops = NULL;
	int r;

	if (!find(name, &ops))
		return refuse_unknown(name, err);
	r = ops->open(ret_ctl, env, err);
	if (r < 0) {
		ota_err_blame(err,
			r == -ENODEV ? OTA_E_BOOTCONTROL_UNSUPPORTED : OTA_E_BOOTCONTROL_STARTUP);
		return ota_err_wrap(err, r,
			is_auto_detect(name) ? "Cannot use \"%s\", the usual boot loader of such a "
					       "machine (none is "
					       "chosen)"
					     : "Cannot use the boot loader \"%s\"",
			ops->name);
	}
	return 0;
}
