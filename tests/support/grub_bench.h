/*
 * grub_bench: one machine with its open GRUB controller, for each test of a program anew. The machine is grub_machine's.
 */
#pragma once

#include "boot-controllers/boot_controller.h"
#include "common/base/io.h"
#include "tests/support/grub_machine.h"

static struct grub_machine m;
static struct boot_ctl *ctl; /* NULL = not open */
static struct ota_err err;

static inline int begin(void **state)
{
	err = (struct ota_err){0};
	ctl = NULL;
	grub_machine_init(&m);
	return 0;
}

static inline void stop(void)
{
	if (ctl)
		ctl->ops->close(ctl);
	ctl = NULL;
}

static inline int end(void **state)
{
	io_set_hook(NULL, NULL);
	stop();
	grub_machine_done(&m);
	return 0;
}

static inline void must(int r)
{
	if (r < 0)
		fail_msg("%s", err.msg);
}

/* Open and set up, as the daemon does; was the stored status to be forgotten? */
static inline bool start(void)
{
	bool reset;

	stop();
	must(grub_machine_open(&m, &ctl, &err));
	must(ctl->ops->setup(ctl, &reset, &err));
	return reset;
}
