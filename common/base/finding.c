/*
 * finding: the worst that a check has found. Contract: finding.h. Pure.
 */
#include "common/base/finding.h"

#include <stdarg.h>
#include <stdio.h>

void finding_put(struct finding *f, enum verdict v, const char *advice, const char *fmt, ...)
{
	va_list ap;

	if (f->what[0] && v <= f->verdict) {
		f->n_more += v > VERDICT_OK;
		return;
	}
	f->n_more += f->what[0] && f->verdict > VERDICT_OK;
	f->verdict = v;
	va_start(ap, fmt);
	vsnprintf(f->what, sizeof(f->what), fmt, ap);
	va_end(ap);
	snprintf(f->advice, sizeof(f->advice), "%s", advice ? advice : "");
}
