/*
 * grub_entry: find, read and rewrite menu entries. Contract: grub_entry.h. Pure.
 */
#include "boot-controllers/grub/grub_entry.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "boot-controllers/grub/grub_script.h"
#include "common/base/cleanup.h"

/* A menu entry in a text: from its word "menuentry" to its closing brace. */
struct entry {
	const char *head;  /* "menuentry" */
	const char *body;  /* behind { */
	const char *close; /* its } */
};

/* One command of a body. */
struct command {
	struct grub_token word[GRUB_ENTRY_WORDS_MAX];
	size_t n;
};

static bool opens_command(const struct grub_token *t)
{
	static const char *const keyword[] = {
		"then", "else", "elif", "if", "do", "while", "until", "!"};

	if (t->type != GRUB_TOKEN_WORD)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(keyword); i++)
		if (grub_word_is(t, keyword[i]))
			return true;
	return false;
}

static int entry_end(const char **at, const char *end, struct entry *e)
{
	unsigned depth = 1;

	while (depth > 0) {
		struct grub_token t = grub_token_next(at, end);

		if (t.type == GRUB_TOKEN_END || t.type == GRUB_TOKEN_BAD)
			return -EBADMSG;
		if (t.type == GRUB_TOKEN_OPEN && ++depth > GRUB_ENTRY_DEPTH_MAX)
			return -E2BIG;
		if (t.type == GRUB_TOKEN_CLOSE)
			depth--;
		e->close = t.text;
	}
	return 0;
}

/* The next entry at or behind *@at, in a submenu or not. 1, 0 at the end, or -errno. */
static int entry_next(const char **at, const char *end, struct entry *ret)
{
	bool command = true;

	for (;;) {
		struct grub_token t = grub_token_next(at, end);

		if (t.type == GRUB_TOKEN_END)
			return 0;
		if (t.type == GRUB_TOKEN_BAD)
			return -EBADMSG;
		if (command && grub_word_is(&t, "menuentry")) {
			int r;

			ret->head = t.text;
			do
				t = grub_token_next(at, end);
			while (t.type == GRUB_TOKEN_WORD);
			if (t.type == GRUB_TOKEN_BAD)
				return -EBADMSG;
			if (t.type != GRUB_TOKEN_OPEN)
				continue;
			ret->body = *at;
			r = entry_end(at, end, ret);
			return r < 0 ? r : 1;
		}
		command = opens_command(&t);
	}
}

/* The next command of a body. 1, 0 at the end, or -errno. */
static int command_next(const char **at, const char *end, struct command *ret)
{
	ret->n = 0;
	for (;;) {
		struct grub_token t = grub_token_next(at, end);

		if (t.type == GRUB_TOKEN_BAD)
			return -EBADMSG;
		if (t.type == GRUB_TOKEN_WORD && !(ret->n == 0 && opens_command(&t))) {
			if (ret->n == GRUB_ENTRY_WORDS_MAX)
				return -E2BIG;
			ret->word[ret->n++] = t;
		} else if (ret->n > 0) {
			return 1;
		} else if (t.type == GRUB_TOKEN_END) {
			return 0;
		}
	}
}

static bool command_is(const struct command *c, const char *name)
{
	static const char *const suffix[] = {"", "16", "efi"};
	struct grub_text w = grub_word_bare(&c->word[0]);
	size_t name_len = strlen(name), rest = w.len - name_len;

	if (w.len < name_len || memcmp(w.at, name, name_len) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(suffix); i++)
		if (rest == strlen(suffix[i]) && memcmp(w.at + name_len, suffix[i], rest) == 0)
			return true;
	return false;
}

static bool word_begins(const struct grub_token *t, const char *text)
{
	struct grub_text w = grub_word_bare(t);

	return w.len >= strlen(text) && memcmp(w.at, text, strlen(text)) == 0;
}

/* Can the front of the path be replaced without cutting a quote, an escape or ${…} in two? */
static bool has_plain_path(const struct grub_token *t)
{
	struct grub_text w = grub_word_bare(t);

	for (size_t i = 0; i < w.len; i++)
		if (strchr("'\"\\{", w.at[i])) /* a NUL too */
			return false;
	return true;
}

/* A device "(hd0,1)" before the path is not part of it either. */
static struct grub_text word_basename(const struct grub_token *t)
{
	struct grub_text w = grub_word_bare(t);
	const char *slash = memrchr(w.at, '/', w.len);
	size_t skip = slash ? (size_t)(slash + 1 - w.at) : 0;

	return (struct grub_text){w.at + skip, w.len - skip};
}

static bool is_recovery(const struct command *c)
{
	for (size_t i = 2; i < c->n; i++)
		if (grub_word_is(&c->word[i], "recovery") || grub_word_is(&c->word[i], "single"))
			return true;
	return false;
}

/* Does the entry boot the kernel file @name, and not for recovery? 1, 0 or -errno. */
static int entry_boots(const struct entry *e, const char *name)
{
	const char *at = e->body;
	struct command c;
	int r;

	while ((r = command_next(&at, e->close, &c)) > 0) {
		struct grub_text base;

		if (!command_is(&c, "linux") || c.n < 2)
			continue;
		base = word_basename(&c.word[1]);
		return has_plain_path(&c.word[1]) && base.len == strlen(name) &&
		       memcmp(base.at, name, base.len) == 0 && !is_recovery(&c);
	}
	return r;
}

/* A text that is copied with changes, from left to right. */
struct edit {
	struct buf *out;
	const char *from; /* what comes before this is out already */
	int r;            /* the first error */
};

__attribute__((format(printf, 4, 5))) static void edit_replace(
	struct edit *e, const char *at, size_t len, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		e->r = -ENOMEM;
	}
	va_end(ap);
	if (e->r == 0)
		e->r = buf_append(e->out, e->from, (size_t)(at - e->from));
	if (e->r == 0)
		e->r = buf_puts(e->out, text);
	e->from = at + len;
}

static int edit_head(struct edit *ed, const struct entry *e, const char *slot_id)
{
	const char *at = e->head;
	bool has_id = false, id_next = false;

	grub_token_next(&at, e->body);
	for (size_t i = 0;; i++) {
		struct grub_token t = grub_token_next(&at, e->body);

		if (t.type != GRUB_TOKEN_WORD) {
			if (i == 0)
				return -EBADMSG;
			if (!has_id)
				edit_replace(ed, t.text, 0, "%s$menuentry_id_option '%s' ",
					t.text[-1] == ' ' ? "" : " ", slot_id);
			return 0;
		}
		if (i == 0) {
			edit_replace(ed, t.text, t.len, "'%s'", slot_id);
		} else if (id_next) {
			edit_replace(ed, t.text, t.len, "'%s'", slot_id);
			has_id = true;
		}
		id_next = !has_id && (grub_word_is(&t, "$menuentry_id_option") ||
					     grub_word_is(&t, "${menuentry_id_option}") ||
					     grub_word_is(&t, "--id"));
	}
}

static void edit_path(struct edit *ed, const struct grub_token *t, const char *slot_id)
{
	struct grub_text path = grub_word_bare(t), base = word_basename(t);

	edit_replace(ed, path.at, path.len - base.len, "/%s/", slot_id);
}

static void edit_linux(
	struct edit *ed, const struct command *c, const struct grub_entry_wish *w, bool rename)
{
	const struct grub_token *k = &c->word[1], *last = &c->word[c->n - 1];
	bool has_root = false, has_panic = false;

	edit_replace(ed, c->word[0].text, 0, "if [ -n \"${ota_whole}\" ]; then ");
	if (rename)
		edit_replace(ed, k->text, k->len, "/%s/vmlinuz-%s", w->slot_id, w->kernel_version);
	else
		edit_path(ed, k, w->slot_id);
	for (size_t i = 2; i < c->n; i++) {
		has_panic = has_panic || word_begins(&c->word[i], "panic=");
		if (!word_begins(&c->word[i], "root="))
			continue;
		/* The kernel takes the last one: there must be no other. */
		if (has_root)
			edit_replace(ed, c->word[i].text, c->word[i].len, "%s", "");
		else
			edit_replace(
				ed, c->word[i].text, c->word[i].len, "root=UUID=%s", w->root_uuid);
		has_root = true;
	}
	if (!has_root)
		edit_replace(ed, last->text + last->len, 0, " root=UUID=%s", w->root_uuid);
	edit_replace(
		ed, last->text + last->len, 0, "%s; fi", has_panic ? "" : " " GRUB_ENTRY_PANIC);
}

/* What cannot be read now, although it is there: the kernel is loaded and GRUB has no command to unload it. */
static void edit_initrd(
	struct edit *ed, const struct command *c, const struct grub_entry_wish *w, bool rename)
{
	const struct grub_token *last = &c->word[c->n - 1];

	edit_replace(ed, c->word[0].text, 0, "if [ -n \"${ota_whole}\" ]; then if ! ");
	for (size_t i = 1; i < c->n; i++) {
		const struct grub_token *t = &c->word[i];

		if (rename && i == 1)
			edit_replace(ed, t->text, t->len, "/%s/initrd.img-%s", w->slot_id,
				w->kernel_version);
		else if (rename)
			edit_replace(ed, t->text, t->len, "%s", "");
		else if (t->text[0] != '-' && has_plain_path(t))
			edit_path(ed, t, w->slot_id);
	}
	edit_replace(ed, last->text + last->len, 0, "; then sleep 10; reboot; fi; fi");
}

static bool command_searches(const struct command *c, const char *uuid)
{
	for (size_t i = 1; grub_word_is(&c->word[0], "search") && i < c->n; i++)
		if (grub_word_is(&c->word[i], uuid))
			return true;
	return false;
}

/*
 * What keeps a torn slot from being loaded; then the fallback has its turn. With Secure Boot GRUB has no hashsum, and
 * the kernel's signature takes its place. It is asked for its own list first: without the command nothing is refused,
 * nor where there is no other slot.
 */
/* clang-format off */
#define GUARD_LINES \
	"set ota_whole=\n" \
	"\tif [ -s /%1$s/vmlinuz-%2$s -a -s /%1$s/initrd.img-%2$s ]; then set ota_whole=y; fi\n" \
	"\tif [ -n \"${ota_whole}\" -a \"${ota_slots}\" = \"ab\" -a \"${lockdown}\" != \"y\" " \
		"-a \"${shim_lock}\" != \"y\" " \
		"-a -s /%1$s/" GRUB_ENTRY_SUM_NAME " " \
		"-a -f $prefix/$grub_cpu-$grub_platform/hashsum.mod ]; then\n" \
	"\t\tinsmod hashsum\n" \
	"\t\tif hashsum --hash sha256 /%1$s/" GRUB_ENTRY_SUM_NAME "; then\n" \
	"\t\t\tif ! hashsum --hash sha256 --prefix /%1$s --check /%1$s/" GRUB_ENTRY_SUM_NAME "; then " \
		"set ota_whole=; fi\n" \
	"\t\tfi\n" \
	"\tfi\n\t"
/* clang-format on */

#define SEARCH_LINES                                            \
	"insmod part_msdos\n\tinsmod part_gpt\n\tinsmod ext2\n" \
	"\tsearch --no-floppy --fs-uuid --set=root %s\n\t"

static int entry_put(
	const struct entry *e, const struct grub_entry_wish *w, bool rename, struct buf *ret)
{
	struct edit ed = {.out = ret, .from = e->head};
	const char *at = e->body, *p;
	bool searched = w->boot_uuid[0] == '\0';
	struct command c;
	int r = edit_head(&ed, e, w->slot_id);

	if (r < 0)
		return r;
	while ((r = command_next(&at, e->close, &c)) > 0) {
		searched = searched || command_searches(&c, w->boot_uuid);
		if (command_is(&c, "linux") && c.n >= 2) {
			/* grub-probe cannot see every disk, and then the entry does not say where /boot is. */
			if (!searched)
				edit_replace(&ed, c.word[0].text, 0, SEARCH_LINES, w->boot_uuid);
			searched = true;
			edit_replace(
				&ed, c.word[0].text, 0, GUARD_LINES, w->slot_id, w->kernel_version);
			edit_linux(&ed, &c, w, rename);
		} else if (command_is(&c, "initrd")) {
			edit_initrd(&ed, &c, w, rename);
		}
	}
	if (r < 0)
		return r;
	for (p = e->close; p > e->body && (p[-1] == ' ' || p[-1] == '\t'); p--)
		;
	edit_replace(&ed, p, 0,
		"%s\tif [ -n \"${ota_whole}\" ]; then echo 'Booting from %s ...'; "
		"else echo 'The kernel or initrd of %s is not whole'; fi\n",
		p[-1] == '\n' ? "" : "\n", w->slot_id, w->slot_id);
	edit_replace(&ed, e->close + 1, 0, "\n");
	return ed.r;
}

static int explain(struct ota_err *err, int r, const char *kernel_name)
{
	switch (r) {
	case 0:
		return 0;
	case -ENOENT:
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "There is no menu entry that boots %s",
			kernel_name);
	case -EBADMSG:
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"A quote or brace is never closed, or a menu entry is not of the usual "
			"form");
	case -E2BIG:
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Braces go deeper than %d or a command has more than %d words",
			GRUB_ENTRY_DEPTH_MAX, GRUB_ENTRY_WORDS_MAX);
	default:
		return ota_err_no_memory(err, "a menu entry");
	}
}

static void copy_bare(const struct grub_token *t, size_t skip, char *ret, size_t ret_size)
{
	struct grub_text w = grub_word_bare(t);
	size_t len = w.len > skip ? w.len - skip : 0;

	if (len >= ret_size)
		len = 0;
	memcpy(ret, w.at + skip, len);
	ret[len] = '\0';
}

int grub_entry_read(
	const char *text, size_t len_bytes, struct grub_entry_info *ret_info, struct ota_err *err)
{
	static const char root_uuid[] = "root=UUID=";
	struct grub_entry_info info = {0};
	const char *at = text;
	struct entry e;
	struct command c;
	int r = entry_next(&at, text + len_bytes, &e);

	if (r <= 0)
		return explain(err, r < 0 ? r : -ENOENT, "anything");
	at = e.body;
	while ((r = command_next(&at, e.close, &c)) > 0) {
		if (command_is(&c, "linux") && c.n >= 2) {
			copy_bare(&c.word[1], 0, info.kernel, sizeof(info.kernel));
			for (size_t i = 2; i < c.n; i++)
				if (word_begins(&c.word[i], root_uuid))
					copy_bare(&c.word[i], strlen(root_uuid), info.root_uuid,
						sizeof(info.root_uuid));
		} else if (command_is(&c, "initrd") && c.n >= 2) {
			copy_bare(&c.word[c.n - 1], 0, info.initrd, sizeof(info.initrd));
		}
	}
	if (r < 0)
		return explain(err, r, "anything");
	*ret_info = info;
	return 0;
}

/* What GRUB will read is what was wished for, whatever odd text it was made from. */
static int check_made(const struct buf *made, const struct grub_entry_wish *w)
{
	struct grub_entry_info info;
	char kernel[PATH_MAX];
	int r = grub_entry_read(buf_str(made), made->len_bytes, &info, NULL);

	snprintf(kernel, sizeof(kernel), "/%s/vmlinuz-%s", w->slot_id, w->kernel_version);
	if (r < 0 || strcmp(info.kernel, kernel) != 0 || strcmp(info.root_uuid, w->root_uuid) != 0)
		return -EBADMSG;
	return 0;
}

static int find_and_put(const char *text, size_t len, const char *kernel_name,
	const struct grub_entry_wish *wish, bool rename, struct buf *ret)
{
	AUTO_BUF struct buf out = {0};
	const char *at = text, *end = text + len;
	struct entry e;
	int r;

	while ((r = entry_next(&at, end, &e)) > 0) {
		r = entry_boots(&e, kernel_name);
		if (r != 0)
			break;
	}
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	r = entry_put(&e, wish, rename, &out);
	if (r == 0)
		r = check_made(&out, wish);
	return r < 0 ? r : buf_append(ret, buf_str(&out), out.len_bytes);
}

int grub_entry_from_mkconfig(const char *mkconfig, size_t len_bytes,
	const struct grub_entry_wish *wish, struct buf *ret, struct ota_err *err)
{
	AUTO_BUF struct buf name = {0};
	int r = buf_printf(&name, "vmlinuz-%s", wish->kernel_version);

	if (r == 0)
		r = find_and_put(mkconfig, len_bytes, buf_str(&name), wish, false, ret);
	return explain(err, r, buf_str(&name));
}

int grub_entry_from_legacy(const char *cfg, size_t len_bytes, const char *kernel_name,
	const struct grub_entry_wish *wish, struct buf *ret, struct ota_err *err)
{
	return explain(
		err, find_and_put(cfg, len_bytes, kernel_name, wish, true, ret), kernel_name);
}

int grub_entry_plain(
	const struct grub_entry_wish *w, const char *cmdline, struct buf *ret, struct ota_err *err)
{
	AUTO_BUF struct buf plain = {0}, entry = {0};
	int r = buf_printf(&plain,
		"menuentry 'x' --class gnu-linux --class gnu --class os {\n"
		"\tinsmod gzio\n"
		"\techo\t'Loading Linux %s ...'\n\tlinux\t/vmlinuz-%s root=x ro ",
		w->kernel_version, w->kernel_version);

	/* One line stays one line. */
	for (const char *c = cmdline; *c && r == 0; c++)
		r = buf_append(&plain, (unsigned char)*c < ' ' ? " " : c, 1);
	if (r == 0)
		r = buf_printf(&plain,
			"\n\techo\t'Loading initial ramdisk ...'\n\tinitrd\t/initrd.img-%s\n}\n",
			w->kernel_version);
	if (r < 0)
		return explain(err, r, "");
	r = grub_entry_from_mkconfig(buf_str(&plain), plain.len_bytes, w, &entry, err);
	if (r < 0)
		return ota_err_wrap(
			err, r, "The kernel's arguments of /etc/default/grub cannot be used");
	r = buf_puts(ret, "# Made without grub-mkconfig, which this slot's root does not have.\n");
	if (r == 0)
		r = buf_append(ret, buf_str(&entry), entry.len_bytes);
	return explain(err, r, "");
}
