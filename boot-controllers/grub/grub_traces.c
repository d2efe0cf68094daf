/*
 * grub_traces: what GRUB would meet, looked at as its own scripts do. Contract: grub_traces.h.
 */
#include "boot-controllers/grub/grub_traces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot-controllers/grub/grub_entry.h"
#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/crypto/digest.h"

enum {
	SUM_MAX_BYTES = 1024,               /* a digest and a file's name */
	SUM_NAME_AT = 2 * DIGEST_BYTES + 2, /* behind two spaces */
};

bool grub_trial_not_begun(const struct grub_ctl *ctl, const struct grub_choice *choice)
{
	return choice->trial == grub_standby(ctl) && (choice->once || choice->tries >= ctl->tries);
}

static int digest_file(int dir_fd, const char *name, struct digest *ret_digest)
{
	AUTO_CLOSE int fd = path_open(dir_fd, name, O_RDONLY, 0);
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -ENOENT;
	return ctx ? digest_of_fd(ctx, fd, ret_digest, NULL) : -ENOMEM;
}

/* Where there is no such digest, or not as we write it, GRUB loads the kernel as it is. */
static int check_kernel(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err)
{
	AUTO_BUF struct buf line = {0};
	struct digest want, have;
	const char *name;
	AUTO_CLOSE int fd = path_open(ctl->boot_fd, grub_slot_id[slot], O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0 || grub_read_file(fd, GRUB_ENTRY_SUM_NAME, SUM_MAX_BYTES, &line) < 0 ||
		line.len_bytes <= SUM_NAME_AT ||
		digest_from_hex(line.data, 2 * DIGEST_BYTES, &want) < 0)
		return 0;
	line.data[line.len_bytes - 1] = '\0'; /* the end of the line */
	name = buf_str(&line) + SUM_NAME_AT;
	if (!path_is_component(name, strlen(name)) || digest_file(fd, name, &have) < 0 ||
		digest_equal(&want, &have))
		return 0;
	return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
		"/boot/%s/%s is cut short or changed: it is not what its digest says",
		grub_slot_id[slot], name);
}

void grub_traces(const struct boot_ctl *base, struct boot_traces *ret_traces)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	struct boot_traces t = {0};
	struct grub_choice choice;

	t.not_begun = grub_choice_read(ctl, &choice) == 0 && grub_trial_not_begun(ctl, &choice);
	if (grub_check_entry(ctl, grub_standby(ctl), false, &t.trouble) == 0)
		check_kernel(ctl, grub_standby(ctl), &t.trouble);
	*ret_traces = t;
}
