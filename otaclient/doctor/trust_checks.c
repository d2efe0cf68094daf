/*
 * trust_checks: certificates and clock. Images are refused when either is wrong, and each may be to blame for the
 * other.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/crypto/cert_store.h"
#include "otaclient/doctor/checks.h"

enum {
	DAY_S = 24 * 60 * 60,
	EXPIRES_SOON_S = 90 * DAY_S,
	DATE_MAX = 32,
	CA_FILE_MAX_BYTES = 16 << 20, /* Debian's has 200 kB */
};

static const char system_cas[] = "/etc/ssl/certs/ca-certificates.crt";

static const char *date_of(int64_t unix_s, char ret_date[DATE_MAX])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(ret_date, DATE_MAX, "%Y-%m-%d", &tm) == 0)
		snprintf(ret_date, DATE_MAX, "a time that cannot be told");
	return ret_date;
}

/* --- certificates --- */

struct trust {
	char first_note[FINDING_WHAT_MAX / 2]; /* on a file that was skipped; "" = none was */
	struct finding *ret;
	struct cert_store *store;
	unsigned n_certs;
	int64_t newest_begin_s; /* the latest notBefore that can be true */
	int64_t first_end_s;
	char first_name[128];
	/* of the chain that is walked through */
	char chain[64];
	bool has_intermediate;
};

static void note_skipped(void *ctx, const char *sentence)
{
	struct trust *t = ctx;

	finding_warning(t->ret, "Mend or remove it", "%s", sentence);
	if (t->first_note[0] == '\0')
		snprintf(t->first_note, sizeof(t->first_note), "%s", sentence);
}

static void trust_done(struct trust *t)
{
	cert_store_free(t->store);
}

/* @say: put in what is wrong with the folder itself. */
static bool trust_open(struct machine *m, bool say, struct trust *ret)
{
	struct ota_err err = {0};
	char path[PATH_MAX];

	machine_configure(m);
	machine_path(m, m->settings.certs_dir, path);
	if (cert_store_open(path, say ? note_skipped : NULL, ret, &ret->store, &err) == 0)
		return true;
	if (say)
		finding_failure(ret->ret, "Put the root and intermediate certificates there", "%s",
			err.msg);
	else
		finding_not_looked(ret->ret, "There are no certificates");
	return false;
}

static int count_one(void *ctx, const struct cert_facts *f)
{
	struct trust *t = ctx;

	t->n_certs++;
	return 0;
}

void check_certificates(struct machine *m, struct finding *ret)
{
	CLEANUP(trust_done) struct trust t = {.ret = ret};

	if (!trust_open(m, true, &t))
		return;
	cert_store_each(t.store, count_one, &t);
	if (t.n_certs == 0)
		finding_failure(ret, "Put the root and intermediate certificates there",
			"There is no usable chain of certificates in %s, so no image can be "
			"trusted%s%s",
			m->settings.certs_dir, t.first_note[0] ? ": " : "", t.first_note);
	finding_ok(ret, "%s has %u certificates", m->settings.certs_dir, t.n_certs);
}

static int judge_dates(void *ctx, const struct cert_facts *f)
{
	struct trust *t = ctx;
	int64_t now_s = clock_unix_s();
	char date[DATE_MAX];

	if (f->not_after_s < now_s)
		finding_failure(t->ret, "Install a newer one, or correct the clock",
			"Certificate %s of chain %s expired on %s", f->name, f->chain,
			date_of(f->not_after_s, date));
	else if (f->not_before_s > now_s)
		finding_failure(t->ret, "Correct the clock, or wait",
			"Certificate %s of chain %s is not valid before %s", f->name, f->chain,
			date_of(f->not_before_s, date));
	else if (f->not_after_s - now_s < EXPIRES_SOON_S)
		finding_warning(t->ret, "Install a newer one in time",
			"Certificate %s of chain %s expires on %s", f->name, f->chain,
			date_of(f->not_after_s, date));
	if (t->n_certs++ == 0 || f->not_after_s < t->first_end_s) {
		t->first_end_s = f->not_after_s;
		snprintf(t->first_name, sizeof(t->first_name), "%s", f->name);
	}
	return 0;
}

void check_cert_dates(struct machine *m, struct finding *ret)
{
	CLEANUP(trust_done) struct trust t = {.ret = ret};
	char date[DATE_MAX];

	if (!trust_open(m, false, &t))
		return;
	cert_store_each(t.store, judge_dates, &t);
	if (t.n_certs == 0)
		finding_not_looked(ret, "There are no certificates");
	else
		finding_ok(ret, "The first to expire is %s, on %s", t.first_name,
			date_of(t.first_end_s, date));
}

static void end_chain(struct trust *t)
{
	if (t->chain[0] && !t->has_intermediate)
		finding_warning(t->ret, "Install its intermediate, if images are signed under one",
			"Chain %s has a root but no intermediate certificate", t->chain);
}

static int judge_paths(void *ctx, const struct cert_facts *f)
{
	struct trust *t = ctx;

	if (strncmp(t->chain, f->chain, sizeof(t->chain) - 1) != 0) {
		end_chain(t);
		snprintf(t->chain, sizeof(t->chain), "%s", f->chain);
		t->has_intermediate = false;
		t->n_certs++;
	}
	t->has_intermediate = t->has_intermediate || !f->anchor;
	if (f->why)
		finding_failure(t->ret, "Install the certificates that belong together",
			"Chain %s: %s", f->chain, f->why->msg);
	return 0;
}

void check_cert_chains(struct machine *m, struct finding *ret)
{
	CLEANUP(trust_done) struct trust t = {.ret = ret};

	if (!trust_open(m, false, &t))
		return;
	cert_store_each(t.store, judge_paths, &t);
	end_chain(&t);
	if (t.n_certs == 0)
		finding_not_looked(ret, "There are no certificates");
	else
		finding_ok(ret, "Each certificate leads to the root of its chain (%u chains)",
			t.n_certs);
}

/* Of servers, not of images. */
void check_tls_cas(struct machine *m, struct finding *ret)
{
	AUTO_BUF struct buf b = {0};
	const char *file;
	int r;

	machine_configure(m);
	file = m->settings.tls_ca[0] ? m->settings.tls_ca : system_cas;
	r = machine_read(m, file, CA_FILE_MAX_BYTES, &b);
	if (r == 0 && strstr(buf_str(&b), "-----BEGIN CERTIFICATE-----"))
		finding_ok(ret, "https servers must lead to a certificate of %s", file);
	else if (!m->settings.tls_ca[0])
		finding_warning(ret,
			"Install ca-certificates, or set tls_ca in otaclient.yaml, if servers are "
			"asked with https",
			"%s has no certificates, so no https server can be trusted", file);
	else
		finding_failure(ret,
			"Correct tls_ca in otaclient.yaml: no https server can be trusted",
			"tls_ca %s: %s", file, r < 0 ? file_read_why(r) : "it has no certificates");
}

/* --- the clock --- */

static int find_newest(void *ctx, const struct cert_facts *f)
{
	struct trust *t = ctx;

	if (f->not_before_s != INT64_MAX && f->not_before_s > t->newest_begin_s) {
		t->newest_begin_s = f->not_before_s;
		snprintf(t->first_name, sizeof(t->first_name), "%s", f->name);
	}
	return 0;
}

/*
 * A clock that has lost its time says some date of long ago. Later than this program's file and every certificate it
 * must be.
 */
void check_clock(struct machine *m, struct finding *ret)
{
	CLEANUP(trust_done) struct trust t = {.ret = &(struct finding){0}};
	static const char advice[] = "Set the clock; certificates are judged by it";
	int64_t now_s = clock_unix_s();
	char now[DATE_MAX], then[DATE_MAX];
	struct stat st;

	date_of(now_s, now);
	if (machine_stat(m, "/usr/bin/otactl", &st) == 0 && st.st_mtim.tv_sec > now_s + DAY_S)
		finding_failure(ret, advice, "The clock says %s, but otactl is of %s", now,
			date_of(st.st_mtim.tv_sec, then));
	if (trust_open(m, false, &t))
		cert_store_each(t.store, find_newest, &t);
	if (t.newest_begin_s > now_s)
		finding_failure(ret, advice, "The clock says %s, but certificate %s was made on %s",
			now, t.first_name, date_of(t.newest_begin_s, then));
	finding_ok(ret, "The clock says %s", now);
}

void check_time_service(struct machine *m, struct finding *ret)
{
	struct stat st;

	if (machine_stat(m, "/run/systemd/timesync/synchronized", &st) == 0)
		finding_ok(ret, "systemd-timesyncd has set the clock since the start");
	else if (clock_is_synchronised())
		finding_ok(ret, "A time service keeps the clock");
	else
		finding_warning(ret,
			"Run a time service; without one the clock may be wrong after a long stop",
			"Nothing has set the clock since the start");
}
