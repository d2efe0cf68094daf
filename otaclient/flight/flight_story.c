/*
 * flight_story: from records to a sentence. Contract: flight_story.h.
 */
#include "otaclient/flight/flight_story.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "otaclient/status/text.h"

enum {
	VERSION_SHOWN_MAX = 64, /* bytes; the reason is to have room behind it */
	CHECK_SHOWN_MAX = 240,
};

static bool begins(const struct flight_record *r)
{
	return r->kind == FLIGHT_UPDATE_BEGINS || r->kind == FLIGHT_ROLLBACK_BEGINS;
}

static void forget_if_well(struct flight_story *s, const struct flight_record *r)
{
	if (s->failed && strcmp(s->failed->subject, r->subject) == 0)
		s->failed = NULL;
}

static bool is_known(const uint8_t boot_id[FLIGHT_BOOT_ID_BYTES])
{
	static const uint8_t zeros[FLIGHT_BOOT_ID_BYTES];

	return memcmp(boot_id, zeros, sizeof(zeros)) != 0;
}

static void read_own_start(struct flight_story *s, const struct flight_record *r)
{
	bool known = s->flip && is_known(r->boot_id) && is_known(s->flip->boot_id);
	bool same = known && memcmp(r->boot_id, s->flip->boot_id, FLIGHT_BOOT_ID_BYTES) == 0;

	s->waits = same;
	s->restarted = known && !same;
}

static void read_own(struct flight_story *s, const struct flight_record *r)
{
	if (r->kind == FLIGHT_STEP)
		s->step = r;
	else if (r->kind == FLIGHT_FLIP)
		s->flip = r;
	else if (r->kind == FLIGHT_START)
		read_own_start(s, r);
	else if (r->kind == FLIGHT_FAILURE)
		s->told = r;
}

static void read_other(struct flight_story *s, const struct flight_record *r)
{
	/* Lines of a kernel are no act of the system, and a later version may record what we cannot tell. */
	if (r->kind == FLIGHT_KERNEL || r->kind > FLIGHT_KERNEL)
		return;
	s->sign = r;
	if (r->kind == FLIGHT_CHECK && r->failed)
		s->failed = r;
	else if (r->kind == FLIGHT_CHECK)
		forget_if_well(s, r);
	else if (r->kind == FLIGHT_REVERT)
		s->revert = r;
	else if (r->kind == FLIGHT_COMMIT)
		s->commit = r;
}

void flight_story_read(const struct flight_record *records, size_t n, const char *slot,
	struct flight_story *ret_story)
{
	struct flight_story s = {0};

	for (size_t i = 0; i < n; i++) {
		const struct flight_record *r = &records[i];

		if (begins(r))
			s = (struct flight_story){.begin = r};
		else if (strcmp(r->slot, slot) == 0)
			read_own(&s, r);
		else if (r->slot[0])
			read_other(&s, r);
	}
	*ret_story = s;
}

/* The other slot's recorder begins as a copy of this one's, if it was staged in this story. */
static bool is_same(const struct flight_record *a, const struct flight_record *b)
{
	return a && a->number == b->number && a->kind == b->kind && a->unix_s == b->unix_s &&
	       strcmp(a->text, b->text) == 0;
}

size_t flight_story_join(const struct flight_story *s, struct flight_record *records, size_t n,
	const char *other_slot, const struct flight_record *others, size_t n_others)
{
	bool behind = false;

	for (size_t i = 0; i < n_others; i++) {
		const struct flight_record *r = &others[i];
		/* A rollback stages nothing: there only the clock tells. */
		bool later = s->flip && s->begin && s->begin->kind == FLIGHT_ROLLBACK_BEGINS &&
			     r->unix_s >= s->flip->unix_s;

		if (begins(r))
			behind = is_same(s->begin, r);
		else if (strcmp(r->slot, other_slot) == 0 && (behind || later))
			records[n++] = *r;
	}
	return n;
}

int64_t flight_story_tried_unix_s(const struct flight_story *s)
{
	if (s->commit)
		return s->commit->unix_s;
	if (s->flip)
		return s->flip->unix_s;
	/* A cut may have come between the switch and its record. */
	if (s->sign)
		return s->begin ? s->begin->unix_s : s->sign->unix_s;
	return INT64_MAX;
}

bool flight_story_trial_is_lost(const struct flight_story *s, const struct trial_traces *traces)
{
	return traces && traces->not_begun && s->restarted && !s->sign;
}

/* ---- sentences ---- */

static void add(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct buf *b, const char *fmt, ...)
{
	char part[OTA_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(part, sizeof(part), fmt, ap);
	va_end(ap);
	/* Where memory is short, the sentence is, too. */
	(void)buf_puts(b, part);
}

static void add_version(struct buf *b, const struct flight_story *s)
{
	char version[VERSION_SHOWN_MAX] = "";

	if (s->begin)
		text_put(version, sizeof(version), s->begin->subject);
	if (version[0])
		add(b, " (version \"%s\")", version);
}

static void add_check(struct buf *b, const struct flight_record *check)
{
	char how[CHECK_SHOWN_MAX];

	text_put(how, sizeof(how), check->text);
	add(b, "the health check %.64s %s%s%s", check->subject,
		check->failed ? "failed" : "was passed", how[0] ? ": " : "", how);
}

static void add_sign(struct buf *b, const struct flight_record *sign)
{
	switch (sign->kind) {
	case FLIGHT_START:
		add(b, "its last sign was the start of otaclient");
		break;
	case FLIGHT_CHECK:
		add(b, "the last that it recorded is that ");
		add_check(b, sign);
		break;
	case FLIGHT_FAILURE:
		add(b, "the last that it recorded is E%03u: %s", sign->code, sign->text);
		break;
	default:
		add(b, "the last that it recorded is \"%s\"", flight_kind_name(sign->kind));
		break;
	}
}

/* Of one that recorded nothing: how far it came, by what is left of it. */
static void add_silence(struct buf *b, const struct trial_traces *t)
{
	if (t && t->root == TRIAL_ROOT_GONE)
		add(b, ": there is no ext4 any more where its root file system was");
	else if (t && t->trouble[0])
		add(b, ": the boot loader could not start it: %s", t->trouble);
	else if (t && t->root == TRIAL_ROOT_WRITABLE && t->guard[0])
		add(b, ": %s when the time to commit was over", t->guard);
	else if (t && t->root == TRIAL_ROOT_WRITABLE)
		add(b, ": its root file system was mounted writable, but the way from there to "
		       "otaclient failed");
	else if (t && t->root == TRIAL_ROOT_UNTOUCHED)
		add(b, ": its kernel, its initrd or its first program failed, for its root file "
		       "system was never "
		       "mounted writable");
	else
		add(b, ": its kernel, its root file system or the way to otaclient failed");
}

/* What became of a system that was tried. */
static void add_fate(struct buf *b, const struct flight_story *s, const struct flight_scene *scene)
{
	const char *line = scene->kernel_line;

	if (s->revert) {
		add(b, "%s", s->revert->text[0] ? s->revert->text : "it gave up");
		return;
	}
	if (s->sign)
		add_sign(b, s->sign);
	else if (scene->shared)
		add(b, "it gave no sign of life");
	else
		add(b, "what it did is recorded on its own slot alone");
	if (s->failed && s->failed != s->sign) {
		add(b, "; ");
		add_check(b, s->failed);
	}
	if (line[0])
		add(b, "; the last words of its kernel: %s", line);
	else if (!s->sign && scene->shared)
		add_silence(b, scene->traces);
	else if (scene->traces && scene->traces->guard[0])
		add(b, "; %s when the time to commit was over", scene->traces->guard);
	if (!line[0] && scene->traces && scene->traces->watchdog)
		add(b, "; the watchdog has reset the machine");
}

static bool is_rollback(const struct flight_story *s, const struct flight_scene *scene)
{
	return s->begin ? s->begin->kind == FLIGHT_ROLLBACK_BEGINS : scene->is_rollback;
}

static void tell_tried(
	struct buf *b, const struct flight_story *s, const struct flight_scene *scene)
{
	bool rollback = is_rollback(s, scene);

	add(b, "%s on %s", rollback ? "The former system" : "The new system", scene->other_slot);
	add_version(b, s);
	if (s->commit) {
		add(b, " was committed, and yet the machine has started from this slot");
		if (scene->kernel_line[0])
			add(b, "; the last words of a kernel since then: %s", scene->kernel_line);
		return;
	}
	add(b, " did not commit: ");
	add_fate(b, s, scene);
}

static void tell_not_begun(
	struct buf *b, const struct flight_story *s, const struct flight_scene *scene)
{
	add(b, "%s on %s", is_rollback(s, scene) ? "The former system" : "The new system",
		scene->other_slot);
	add_version(b, s);
	add(b, " was not tried: the boot loader could not note down that it begins to, so it "
	       "cannot write "
	       "to /boot");
}

static void tell_interrupted(
	struct buf *b, const struct flight_story *s, const struct flight_scene *scene)
{
	add(b, "The %s", is_rollback(s, scene) ? "rollback" : "update");
	if (s->begin && s->begin->subject[0] && !is_rollback(s, scene))
		add(b, " to version \"%.*s\"",
			(int)text_cut(
				s->begin->subject, strlen(s->begin->subject), VERSION_SHOWN_MAX),
			s->begin->subject);
	add(b, " was interrupted");
	if (s->step)
		add(b, " in %s (%s)", s->step->subject, s->step->text);
	add(b, ": the machine or otaclient was stopped before the other slot was tried");
}

void flight_story_tell(
	const struct flight_story *s, const struct flight_scene *scene, struct ota_err *ret_reason)
{
	AUTO_BUF struct buf b = {0};
	bool waits = s->waits && !s->sign;
	enum ota_code code = OTA_E_RECOVERABLE;

	if (waits) {
		add(&b,
			"The machine has not restarted since it was told to; its next start tries "
			"the "
			"slot %s",
			s->flip->subject);
	} else if (flight_story_trial_is_lost(s, scene->traces)) {
		code = is_rollback(s, scene) ? OTA_E_BOOTCONTROL_POSTROLLBACK
					     : OTA_E_BOOTCONTROL_POSTUPDATE;
		tell_not_begun(&b, s, scene);
	} else if (s->flip || s->sign) {
		code = is_rollback(s, scene) ? OTA_E_BOOTCONTROL_POSTROLLBACK : OTA_E_NOT_HEALTHY;
		tell_tried(&b, s, scene);
	} else if (s->begin) {
		tell_interrupted(&b, s, scene);
	} else {
		add(&b, "The %s did not come to its end; why is not recorded",
			scene->is_rollback ? "rollback" : "update");
	}
	*ret_reason = (struct ota_err){.errnum = -EHOSTDOWN, .code = code};
	text_put(ret_reason->msg, sizeof(ret_reason->msg), buf_str(&b));
	text_repair(ret_reason->msg);
}
