/*
 * grub_env: the environment block through which GRUB and we talk (saved_entry, next_entry).
 *
 * GRUB overwrites the file in place at boot, so it always has GRUB_ENV_BYTES; variables of others are kept as
 * they are. Format: docs/formats.md, "grubenv".
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"

enum {
	GRUB_ENV_BYTES = 1024, /* what GRUB itself makes; save_env cannot change a file's size */
	GRUB_ENV_FILE_MAX_BYTES = 65536, /* more than any tool writes */
	GRUB_ENV_VALUE_MAX =
		512, /* a value of ours is a slot's name; longer foreign ones are kept too */
};

/* The lines "name=value\n" in the file's own spelling. {0} is an empty environment. */
struct grub_env {
	char body[GRUB_ENV_BYTES];
	size_t len_bytes;
};

/*
 * -EBADMSG: not an environment block (GRUB would not read it either). -E2BIG: its variables do not fit
 * into GRUB_ENV_BYTES.
 */
int grub_env_parse(
	const void *data, size_t len_bytes, struct grub_env *ret_env, struct ota_err *err);

/* -ENOENT: not set. -ENAMETOOLONG. "" is a value. */
int grub_env_get(const struct grub_env *env, const char *name, char *ret_value, size_t value_size);

/* -ENOSPC: the block is full; @env is unchanged. -EINVAL: @name cannot be a name. */
int grub_env_set(struct grub_env *env, const char *name, const char *value);
void grub_env_unset(struct grub_env *env, const char *name);

void grub_env_render(const struct grub_env *env, char ret_block[GRUB_ENV_BYTES]);
