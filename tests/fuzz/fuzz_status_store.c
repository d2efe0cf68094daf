/*
 * The status files of a slot: each holds the input, and each is read. What comes out must be text that the API
 * may show.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "otaclient/status/status_store.h"
#include "otaclient/status/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"status", "slot_in_use", "version", "version_detail", "complete"};
/* In memory, which is fifty times as fast. */
static char dir[] = "/dev/shm/fuzz_status_store.XXXXXX";

static void remove_dir(void)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlinkat(fd, names[i], 0);
	close(fd);
	rmdir(dir);
}

static void put_all(const uint8_t *data, size_t size)
{
	AUTO_CLOSE int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_CLOSE int fd = openat(dir_fd, names[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		if (fd < 0 || file_write_all(fd, data, size) < 0)
			abort();
	}
}

static void check(const char *text, size_t size_bytes)
{
	size_t len = strnlen(text, size_bytes);

	assert(len < size_bytes);
	assert(text_is_clean(text, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	char slot[STATUS_SLOT_MAX], version[STATUS_VERSION_MAX];
	struct release_detail d;
	struct complete_mark mark;

	if (!ready) {
		if (!mkdtemp(dir))
			abort();
		atexit(remove_dir);
		ready = true;
	}
	put_all(data, size);
	assert(status_store_read_status(dir) <= STATUS_ABORTED);
	status_store_read_slot_in_use(dir, slot);
	check(slot, sizeof(slot));
	status_store_read_version(dir, version);
	check(version, sizeof(version));
	status_store_read_release(dir, &d);
	check(d.release_name, sizeof(d.release_name));
	check(d.release_id, sizeof(d.release_id));
	check(d.image_id, sizeof(d.image_id));
	if (status_store_read_complete(dir, &mark, NULL) == 0)
		check(mark.fs_uuid, sizeof(mark.fs_uuid));
	return 0;
}
