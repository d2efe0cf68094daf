/*
 * finding: what a look at one thing of a machine has found: how bad it is, one sentence, and what to do about it.
 *
 * For looks before anything is tried, which change nothing: a check is given an empty one ({0}) and puts in all that it
 * finds. The worst stays, of equals the first; the others are counted.
 */
#pragma once

enum verdict {
	VERDICT_OK,
	VERDICT_NOT_LOOKED, /* it could not be looked at; the sentence says why */
	VERDICT_WARNING,    /* an update goes on, but something is not as it should be */
	VERDICT_FAILURE,    /* an update would fail, or would not be committed */
};

enum {
	FINDING_WHAT_MAX = 512,
	FINDING_ADVICE_MAX = 256,
};

struct finding {
	enum verdict verdict;
	char what
		[FINDING_WHAT_MAX]; /* one sentence without a final dot; "" = nothing was put in yet */
	char advice
		[FINDING_ADVICE_MAX]; /* what to do, without a final dot; "" = nothing, or whatever @what says */
	unsigned n_more;              /* further things that are not as they should be */
};

/* @advice may be NULL. It is given for a finding that is not VERDICT_OK. */
void finding_put(struct finding *f, enum verdict v, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define finding_ok(f, ...)              finding_put((f), VERDICT_OK, NULL, __VA_ARGS__)
#define finding_not_looked(f, ...)      finding_put((f), VERDICT_NOT_LOOKED, NULL, __VA_ARGS__)
#define finding_warning(f, advice, ...) finding_put((f), VERDICT_WARNING, (advice), __VA_ARGS__)
#define finding_failure(f, advice, ...) finding_put((f), VERDICT_FAILURE, (advice), __VA_ARGS__)
