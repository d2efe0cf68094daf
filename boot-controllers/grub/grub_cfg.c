/*
 * grub_cfg: frame grub-mkconfig's output, and recognise the frame. Contract: grub_cfg.h. Pure.
 */
#include "boot-controllers/grub/grub_cfg.h"

#include <errno.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/crypto/digest.h"

static const char footer_begin[] = "# ------ OTA managed metadata ------ #\n";
static const char footer_end[] = "# ------ End of OTA managed metadata ------ #";

/*
 * What the hook prints. At boot the default is the slot that boots by itself: the saved one of the environment block,
 * or, if that names none, the committed one. Before it comes a trial, once by next_entry or as often as ota_left says.
 * It is counted before it begins, and what could not be counted is not tried: read back, for not every failed write is
 * told. A slot that was started too often without coming up, by ota_spare_after, takes turns with its spare from then
 * on; a system that comes up decides. Whichever it is, the other slot is the way out when the kernel cannot be loaded,
 * and behind it a restart: a menu would wait for a key. A slot has an entry only while it is complete.
 * GRUB takes a fallback only as a number; that is why this part stands before all that may print entries. It has no
 * arithmetic either.
 */
/* clang-format off */
#define HOOK_OUTPUT \
	"# The slots that have an entry, and which of them the environment block names.\n" \
	"set ota_slots=\n" \
	"set ota_home=\n" \
	"set ota_first=\n" \
	"set ota_again=\n" \
	"set ota_other=\n" \
	"for ota_x in a b; do\n" \
	"  if [ -f ${config_directory}/ota-slot_${ota_x}.cfg ]; then\n" \
	"    source ${config_directory}/ota-slot_${ota_x}.cfg\n" \
	"    set ota_slots=\"${ota_slots}${ota_x}\"\n" \
	"    if [ \"${saved_entry}\" = \"ota-slot_${ota_x}\" ]; then set ota_home=\"${saved_entry}\"; fi\n" \
	"    if [ \"${default}\" = \"ota-slot_${ota_x}\" ]; then set ota_first=\"${default}\"; fi\n" \
	"    if [ \"${ota_try}\" = \"ota-slot_${ota_x}\" ]; then set ota_again=\"${ota_try}\"; fi\n" \
	"    if [ \"${ota_spare}\" = \"ota-slot_${ota_x}\" ]; then set ota_other=\"${ota_spare}\"; fi\n" \
	"  fi\n" \
	"done\n" \
	"if [ -z \"${ota_home}\" -a -f ${config_directory}/ota-committed.cfg ]; then\n" \
	"  set default=\n" \
	"  source ${config_directory}/ota-committed.cfg\n" \
	"  set ota_home=\"${default}\"\n" \
	"fi\n" \
	"if [ -n \"${ota_slots}\" ]; then\n" \
	"  set default=\"${ota_home}\"\n" \
	"fi\n" \
	"# One less than $1 is ota_less; nothing if that is none of 1 to 9.\n" \
	"function ota_lower {\n" \
	"  set ota_less=\n" \
	"  set ota_below=0\n" \
	"  for ota_n in 1 2 3 4 5 6 7 8 9; do\n" \
	"    if [ \"$1\" = \"${ota_n}\" ]; then set ota_less=\"${ota_below}\"; fi\n" \
	"    set ota_below=\"${ota_n}\"\n" \
	"  done\n" \
	"}\n" \
	"if [ \"${boot_once}\" = \"true\" ]; then\n" \
	"  # The header has taken next_entry off. Where that is not written, it would be tried for ever.\n" \
	"  set next_entry=\n" \
	"  load_env next_entry\n" \
	"  if [ -z \"${next_entry}\" -a -n \"${ota_first}\" ]; then set default=\"${ota_first}\"; fi\n" \
	"  set next_entry=\n" \
	"elif [ -n \"${ota_again}\" ]; then\n" \
	"  ota_lower \"${ota_left}\"\n" \
	"  if [ -n \"${ota_less}\" ]; then\n" \
	"    set ota_left=\"${ota_less}\"\n" \
	"    save_env ota_left\n" \
	"    set ota_left=\n" \
	"    load_env ota_left\n" \
	"    if [ \"${ota_left}\" = \"${ota_less}\" ]; then set default=\"${ota_again}\"; fi\n" \
	"  fi\n" \
	"elif [ -n \"${ota_other}\" -a \"${ota_other}\" != \"${ota_home}\" ]; then\n" \
	"  if [ \"${ota_spare_after}\" = \"0\" ]; then\n" \
	"    set default=\"${ota_other}\"\n" \
	"    set ota_spare_after=1\n" \
	"    save_env ota_spare_after\n" \
	"  else\n" \
	"    ota_lower \"${ota_spare_after}\"\n" \
	"    if [ -n \"${ota_less}\" ]; then\n" \
	"      set ota_spare_after=\"${ota_less}\"\n" \
	"      save_env ota_spare_after\n" \
	"    fi\n" \
	"  fi\n" \
	"fi\n" \
	"if [ -n \"${ota_slots}\" ]; then\n" \
	"  menuentry 'ota-restart' --unrestricted $menuentry_id_option 'ota-restart' {\n" \
	"    echo 'No slot can be booted; trying again in 10 s ...'\n" \
	"    sleep 10\n" \
	"    reboot\n" \
	"  }\n" \
	"  set fallback=1\n" \
	"fi\n" \
	"if [ \"${ota_slots}\" = \"ab\" ]; then\n" \
	"  if [ \"${default}\" = \"ota-slot_b\" ]; then\n" \
	"    set fallback=\"0 2\"\n" \
	"  else\n" \
	"    set fallback=\"1 2\"\n" \
	"  fi\n" \
	"fi\n"
/* clang-format on */

const char grub_cfg_hook_output[] = HOOK_OUTPUT;

const char grub_cfg_hook_script[] =
	"#!/bin/sh\n" GRUB_CFG_HEADER "# Prints the part of grub.cfg that knows both slots.\n"
	"cat << 'END_OF_OTA'\n" HOOK_OUTPUT "END_OF_OTA\n";

/* The parts of grub-mkconfig's own header that the hook and foreign entries count on. */
const char grub_cfg_plain_frame[] = "if [ -s $prefix/grubenv ]; then\n"
				    "  load_env\n"
				    "fi\n"
				    "if [ \"${next_entry}\" ]; then\n"
				    "  set default=\"${next_entry}\"\n"
				    "  set next_entry=\n"
				    "  save_env next_entry\n"
				    "  set boot_once=true\n"
				    "else\n"
				    "  set default=\"${saved_entry}\"\n"
				    "fi\n"
				    "menuentry_id_option=\"--id\"\n"
				    "export menuentry_id_option\n"
				    "function load_video {\n"
				    "  insmod all_video\n"
				    "}\n"
				    "function gfxmode {\n"
				    "  set gfxpayload=\"${1}\"\n"
				    "}\n"
				    "function recordfail {\n"
				    "  set recordfail=1\n"
				    "}\n"
				    "function savedefault {\n"
				    "  set savedefault=1\n"
				    "}\n"
				    "set timeout_style=menu\n"
				    "set timeout=0\n" HOOK_OUTPUT;

const char grub_cfg_uefi_stub[] =
	"#!/bin/sh\n" GRUB_CFG_HEADER
	"# Switched off: its entry keeps older releases of GRUB from booting.\n";

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void strip(const char **text, size_t *len)
{
	while (*len > 0 && is_space(**text)) {
		++*text;
		--*len;
	}
	while (*len > 0 && is_space((*text)[*len - 1]))
		--*len;
}

int grub_cfg_wrap(const char *body, size_t len_bytes, const char *otaclient_version,
	const char *grub_version, struct buf *ret)
{
	char hex[DIGEST_HEX_MAX];
	struct digest d;
	int r;

	strip(&body, &len_bytes);
	digest_of(body, len_bytes, &d);
	digest_to_hex(&d, hex);
	r = buf_puts(ret, GRUB_CFG_HEADER);
	if (r == 0)
		r = buf_append(ret, body, len_bytes);
	if (r == 0)
		r = buf_printf(ret,
			"\n%s# otaclient_version: %s\n# grub_version: %s\n# checksum: "
			"sha256:%s\n%s\n",
			footer_begin, otaclient_version, grub_version, hex, footer_end);
	return r;
}

/* Take the value of "# key: value" out of the footer. */
static bool footer_value(
	const char *p, const char *end, const char *key, char *ret, size_t ret_size)
{
	size_t key_len = strlen(key);

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *stop = nl ? nl : end, *text = p;
		size_t len = (size_t)(stop - p);

		p = nl ? nl + 1 : end;
		if (len < 2 || text[0] != '#')
			continue;
		text++;
		len--;
		strip(&text, &len);
		if (len <= key_len || memcmp(text, key, key_len) != 0 || text[key_len] != ':')
			continue;
		text += key_len + 1;
		len -= key_len + 1;
		strip(&text, &len);
		if (len == 0 || len >= ret_size)
			return false;
		memcpy(ret, text, len);
		ret[len] = '\0';
		return true;
	}
	return false;
}

static bool all_comments(const char *p, const char *end)
{
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		if (*p != '#')
			return false;
		p = nl ? nl + 1 : end;
	}
	return true;
}

/* The last place of @needle in the text. */
static const char *find_last(const char *text, size_t len, const char *needle)
{
	const char *found = NULL, *p = text;

	while ((p = memmem(p, len - (size_t)(p - text), needle, strlen(needle)))) {
		found = p;
		p++;
	}
	return found;
}

/* Without the last newline, which goes where the frame ends with the hook. */
static bool has_hook(const char *text, size_t len)
{
	return memmem(text, len, HOOK_OUTPUT, sizeof(HOOK_OUTPUT) - 2) != NULL;
}

static int bad_cfg(struct ota_err *err, const char *why)
{
	return ota_err_set(
		err, -EBADMSG, OTA_E_UNSPECIFIC, "It is not a whole managed grub.cfg: %s", why);
}

int grub_cfg_check(
	const char *text, size_t len_bytes, struct grub_cfg_info *ret_info, struct ota_err *err)
{
	struct grub_cfg_info info = {0};
	char sum[16 + DIGEST_HEX_MAX], hex[DIGEST_HEX_MAX];
	const char *foot, *foot_text, *foot_stop, *body;
	size_t head_len = strlen(GRUB_CFG_HEADER), body_len;
	struct digest d;

	if (len_bytes > GRUB_CFG_MAX_BYTES)
		return bad_cfg(err, "it is too long");
	if (len_bytes < head_len || memcmp(text, GRUB_CFG_HEADER, head_len) != 0)
		return bad_cfg(err, "it does not begin with the two lines that say so");
	foot = find_last(text + head_len, len_bytes - head_len, footer_begin);
	if (!foot || (foot > text + head_len && foot[-1] != '\n'))
		return bad_cfg(err, "it has no footer");
	foot_text = foot + sizeof(footer_begin) - 1;
	foot_stop = memmem(foot_text, (size_t)(text + len_bytes - foot_text), footer_end,
		sizeof(footer_end) - 1);
	if (!foot_stop || !all_comments(foot_text, foot_stop))
		return bad_cfg(err, "its footer is cut off or has lines that are no comments");
	if (!footer_value(foot_text, foot_stop, "otaclient_version", info.otaclient_version,
		    sizeof(info.otaclient_version)) ||
		!footer_value(foot_text, foot_stop, "grub_version", info.grub_version,
			sizeof(info.grub_version)) ||
		!footer_value(foot_text, foot_stop, "checksum", sum, sizeof(sum)))
		return bad_cfg(err, "its footer lacks a version or the checksum");
	body = text + head_len;
	body_len = (size_t)(foot - body);
	strip(&body, &body_len);
	digest_of(body, body_len, &d);
	digest_to_hex(&d, hex);
	if (strncmp(sum, "sha256:", 7) != 0 || strcasecmp(sum + 7, hex) != 0)
		return bad_cfg(err, "its checksum is wrong");
	info.has_committed = memmem(body, body_len, "ota-committed.cfg", 17) != NULL;
	info.has_hook = has_hook(body, body_len);
	*ret_info = info;
	return 0;
}

int grub_cfg_hook_first(
	const char *mkconfig, size_t len_bytes, struct buf *ret, struct ota_err *err)
{
	static const char hook_begin[] = "### BEGIN /etc/grub.d/30_ota ###\n";
	static const char hook_end[] = "### END /etc/grub.d/30_ota ###\n";
	static const char header_end[] = "### END /etc/grub.d/00_header ###\n";
	const char *end = mkconfig + len_bytes;
	const char *from = memmem(mkconfig, len_bytes, hook_begin, strlen(hook_begin));
	const char *to =
		from ? memmem(from, (size_t)(end - from), hook_end, strlen(hook_end)) : NULL;
	const char *at = memmem(mkconfig, len_bytes, header_end, strlen(header_end));
	int r;

	if (!to || !has_hook(from, (size_t)(to - from)))
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"grub-mkconfig printed nothing of the hook /etc/grub.d/30_ota");
	to += strlen(hook_end);
	at = at ? at + strlen(header_end) : from;
	if (at > from)
		at = from;
	r = buf_append(ret, mkconfig, (size_t)(at - mkconfig));
	if (r == 0)
		r = buf_append(ret, from, (size_t)(to - from));
	if (r == 0)
		r = buf_append(ret, at, (size_t)(from - at));
	if (r == 0)
		r = buf_append(ret, to, (size_t)(end - to));
	return r < 0 ? ota_err_no_memory(err, "grub.cfg") : 0;
}

int grub_cfg_committed(const char *slot_id, struct buf *ret)
{
	return buf_printf(ret, "%sset default=\"%s\"\n", GRUB_CFG_HEADER, slot_id);
}
