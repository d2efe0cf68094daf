/*
 * doctor_view: the doctor's findings for people and for scripts. Contract: doctor_view.h.
 *
 * The texts quote files, so they are printed as columns.h and JSON have them. The names of the JSON's verdicts are its
 * own and never change.
 */
#include "otaclient/ctl/doctor_view.h"

#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "otaclient/ctl/columns.h"

static const char *const json_verdicts[] = {
	[VERDICT_OK] = "OK",
	[VERDICT_NOT_LOOKED] = "NOT_LOOKED_AT",
	[VERDICT_WARNING] = "WARNING",
	[VERDICT_FAILURE] = "FAILURE",
};

struct view {
	FILE *out;
	unsigned n;
};

static void print_line(void *ctx, const char *group, const char *id, const struct finding *f)
{
	struct view *v = ctx;

	fprintf(v->out, "%-13s  %-22s  ", doctor_verdict_word(f->verdict), id);
	columns_print(v->out, f->what);
	if (f->advice[0]) {
		fputs(". ", v->out);
		columns_print(v->out, f->advice);
	}
	if (f->n_more > 0)
		fprintf(v->out, " (and %u more)", f->n_more);
	fputc('\n', v->out);
	fflush(v->out); /* a check may take its time */
	v->n++;
}

static void json_text(FILE *out, const char *before, const char *key, const char *text)
{
	AUTO_BUF struct buf quoted = {0};

	if (json_put_string(&quoted, text, strlen(text)) < 0)
		quoted.len_bytes = 0;
	fprintf(out, "%s\"%s\": %s", before, key, quoted.len_bytes ? buf_str(&quoted) : "null");
}

static void print_json(void *ctx, const char *group, const char *id, const struct finding *f)
{
	struct view *v = ctx;

	json_text(v->out, v->n++ ? ", {" : "{", "id", id);
	json_text(v->out, ", ", "group", group);
	json_text(v->out, ", ", "result", json_verdicts[f->verdict]);
	json_text(v->out, ", ", "message", f->what);
	json_text(v->out, ", ", "advice", f->advice);
	fprintf(v->out, ", \"more\": %u}", f->n_more);
}

static void print_summary(const struct view *v, const struct doctor_counts *c)
{
	fprintf(v->out, "%u checks: %u ok, %u %s, %u %s, %u not looked at\n", v->n,
		c->n[VERDICT_OK], c->n[VERDICT_WARNING],
		c->n[VERDICT_WARNING] == 1 ? "warning" : "warnings", c->n[VERDICT_FAILURE],
		c->n[VERDICT_FAILURE] == 1 ? "failure" : "failures", c->n[VERDICT_NOT_LOOKED]);
}

int doctor_view_run(FILE *out, const struct doctor_options *options, bool json,
	struct doctor_counts *ret_counts, struct ota_err *err)
{
	struct view v = {.out = out};
	int r;

	if (json)
		fputs("{\"checks\": [", out);
	r = doctor_run(options, json ? print_json : print_line, &v, ret_counts, err);
	if (r < 0)
		return r;
	if (!json)
		print_summary(&v, ret_counts);
	else
		fprintf(out,
			"], \"ok\": %u, \"warnings\": %u, \"failures\": %u, \"not_looked_at\": "
			"%u}\n",
			ret_counts->n[VERDICT_OK], ret_counts->n[VERDICT_WARNING],
			ret_counts->n[VERDICT_FAILURE], ret_counts->n[VERDICT_NOT_LOOKED]);
	return 0;
}
