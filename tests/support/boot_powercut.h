/*
 * boot_powercut: cut the power in a boot controller at every durable step of what the daemon does with it, and look
 * where the machine's loader leads then. For cmocka tests; each boot loader's machine says how it is copied, restarted
 * and looked at.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/buf.h"

/* What one run of the daemon does after its start. */
struct powercut_task {
	bool commit;
	const char *release; /* update to an image with that kernel; NULL = no update */
	bool go_back;        /* to the other slot as it is */
	bool flipped_before; /* the machine was told to start the other slot, but did not restart yet */
};

/* Of both slots, a and b: does it hold a complete system? */
struct powercut_truth {
	bool complete[2];
};

/* A boot loader's machine. All of them take it as the first argument. */
struct powercut_machine_ops {
	size_t size_bytes;
	void (*copy)(const void *from, void *ret);
	void (*done)(void *machine);
	int (*open)(void *machine, struct boot_ctl **ret_ctl, struct ota_err *err);
	char (*running)(const void *machine);
	const char *(*put_image)(void *machine, char slot, const char *release);
	char (*restart)(void *machine); /* what comes up, and runs from then on */

	/* All that the loader could read; two cuts that leave the same are looked at once. NULL: look at all. */
	void (*fingerprint)(const void *machine, struct buf *ret);

	/* Assert that each way that the loader can go by itself leads to a complete slot. */
	void (*check)(void *machine, const struct powercut_truth *truth,
		const struct powercut_task *task);

	unsigned kept_starts; /* so many restarts must stay with a committed slot */
};

/* Nothing durable happens from the @cut_at-th step on, counted from now. */
void powercut_arm(unsigned cut_at);
void powercut_disarm(void);

/* "After a cut before step 3 (publish /boot)": of the last time it was armed. */
const char *powercut_where(void);

/* One run of the daemon up to the restart. Ends where the power goes off; any other failure fails the test. */
int powercut_run_daemon(const struct powercut_machine_ops *ops, void *machine,
	const struct powercut_task *task, struct powercut_truth *truth);

/* Is this another state than @last, which becomes it? Always, if the machine has no fingerprint. */
bool powercut_is_new_state(const struct powercut_machine_ops *ops, const void *machine,
	const struct powercut_truth *truth, struct buf *last);

/*
 * Run @task on copies of @machine with each of its steps the last one once. After each, check the machine, and carry
 * another update through on it. Fewer cuts or states than these would be a test that looks away.
 */
void powercut_everywhere(const struct powercut_machine_ops *ops, const void *machine,
	const struct powercut_truth *at_start, const struct powercut_task *task, unsigned cuts_min,
	unsigned states_min);
