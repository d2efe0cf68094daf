/*
 * trust_checks: certificates and a clock that are right, and each way in which they are not.
 *
 * Argument: the folder tests/data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "tests/unit/checked_machine.h"

static const int64_t in_2023 = 1700000000; /* 2023-11-14 */
static const int64_t in_2027 = 1800000000; /* 2027-01-15 */
static const int64_t in_2029 = 1876694400; /* 2029-06-21, 58 days before the short ones end */
static const int64_t in_2030 = 1893456000;

static const char *data_dir;
static int64_t now_s;
static bool synchronised;

static int64_t test_unix_s(void)
{
	return now_s;
}

static bool test_is_synchronised(void)
{
	return synchronised;
}

static const struct clock_ops test_clock = {
	.unix_s = test_unix_s, .is_synchronised = test_is_synchronised};

static void install(struct checked_machine *c, const char *name, const char *source)
{
	AUTO_BUF struct buf b = {0};
	char from[PATH_MAX], to[PATH_MAX];

	snprintf(from, sizeof(from), "%s/certs/%s", data_dir, source);
	assert_int_equal(file_read(AT_FDCWD, from, 1 << 16, &b), 0);
	snprintf(to, sizeof(to), "opt/ota/client/certs/%s", name);
	put(c, to, buf_str(&b));
}

static void there_must_be_certificates(void **state)
{
	struct checked_machine *c = *state;

	assert_failure(c, check_certificates, "Cannot read the certificates in ");
	assert_not_looked(c, check_cert_dates, "There are no certificates");
	assert_not_looked(c, check_cert_chains, "There are no certificates");
	put(c, "opt/ota/client/certs/", "");
	assert_failure(c, check_certificates,
		"There is no usable chain of certificates in /opt/ota/client/certs, so no image");
	assert_not_looked(c, check_cert_dates, "There are no certificates");
	assert_not_looked(c, check_cert_chains, "There are no certificates");
	/* The usual reason is worth more than that there are further ones. */
	install(c, "root.pem", "root.pem");
	assert_failure(c, check_certificates,
		"so no image can be trusted: Certificate file root.pem was skipped: its name is "
		"not "
		"<chain>.<role>.pem");
	unlinkat(c->dir->fd, "opt/ota/client/certs/root.pem", 0);
	install(c, "dev.root.pem", "root.pem");
	install(c, "dev.interm.pem", "interm.pem");
	assert_ok(c, check_certificates, "/opt/ota/client/certs has 2 certificates");
	put(c, "opt/ota/client/certs/README", "");
	assert_warning(c, check_certificates, "Certificate file README was skipped: its name");
}

static void certificates_are_judged_by_their_dates(void **state)
{
	struct checked_machine *c = *state;

	install(c, "dev.root.pem", "root.pem");
	install(c, "dev.interm.pem", "interm-short.pem");
	assert_ok(c, check_cert_dates, "The first to expire is CN=short-lived interm, serial ");
	assert_non_null(strstr(c->f.what, ", on 2029-08-18"));
	now_s = in_2029;
	assert_warning(c, check_cert_dates, "Certificate CN=short-lived interm, serial ");
	assert_non_null(strstr(c->f.what, " of chain dev expires on 2029-08-18"));
	now_s = in_2030;
	assert_failure(c, check_cert_dates, " of chain dev expired on 2029-08-18");
	now_s = in_2023;
	assert_failure(c, check_cert_dates, " of chain dev is not valid before 2026-11-22");
}

static void root_and_intermediate_must_belong_together(void **state)
{
	struct checked_machine *c = *state;

	install(c, "dev.root.pem", "root.pem");
	assert_warning(
		c, check_cert_chains, "Chain dev has a root but no intermediate certificate");
	install(c, "dev.interm.pem", "interm.pem");
	assert_ok(
		c, check_cert_chains, "Each certificate leads to the root of its chain (1 chains)");
	install(c, "a.root.pem", "twin-root.pem");
	assert_warning(c, check_cert_chains, "Chain a has a root but no intermediate certificate");
	install(c, "a.interm.pem", "interm.pem");
	assert_failure(c, check_cert_chains, "Chain a: Certificate CN=interm, serial ");
}

static void servers_need_their_certificates(void **state)
{
	struct checked_machine *c = *state;

	assert_warning(c, check_tls_cas, "/etc/ssl/certs/ca-certificates.crt has no certificates");
	put(c, "etc/ssl/certs/ca-certificates.crt", "x\n-----BEGIN CERTIFICATE-----\n");
	assert_ok(c, check_tls_cas, "a certificate of /etc/ssl/certs/ca-certificates.crt");
	put(c, "etc/otaclient/otaclient.yaml", "tls_ca: /etc/ota/ca.pem\n");
	assert_failure(c, check_tls_cas, "tls_ca /etc/ota/ca.pem: No such file or directory");
	put(c, "etc/ota/ca.pem", "x\n");
	assert_failure(c, check_tls_cas, "tls_ca /etc/ota/ca.pem: it has no certificates");
	put(c, "etc/ota/ca.pem", "-----BEGIN CERTIFICATE-----\n");
	assert_ok(c, check_tls_cas, "a certificate of /etc/ota/ca.pem");
}

static void a_clock_of_long_ago_is_noticed(void **state)
{
	struct checked_machine *c = *state;
	struct timespec times[2] = {{.tv_sec = in_2027}, {.tv_sec = in_2027}};

	assert_ok(c, check_clock, "The clock says 2027-01-15");
	put(c, "usr/bin/otactl", "");
	assert_int_equal(utimensat(c->dir->fd, "usr/bin/otactl", times, 0), 0);
	assert_ok(c, check_clock, "The clock says 2027-01-15");
	now_s = in_2023;
	assert_failure(c, check_clock, "The clock says 2023-11-14, but otactl is of 2027-01-15");
	unlinkat(c->dir->fd, "usr/bin/otactl", 0);
	assert_ok(c, check_clock, "The clock says 2023-11-14");
	install(c, "dev.root.pem", "root.pem");
	assert_failure(
		c, check_clock, "The clock says 2023-11-14, but certificate CN=root, serial ");
	assert_non_null(strstr(c->f.what, " was made on 2026-11-22"));
}

static void somebody_should_keep_the_clock(void **state)
{
	struct checked_machine *c = *state;

	assert_warning(c, check_time_service, "Nothing has set the clock since the start");
	synchronised = true;
	assert_ok(c, check_time_service, "A time service keeps the clock");
	put(c, "run/systemd/timesync/synchronized", "");
	assert_ok(c, check_time_service, "systemd-timesyncd has set the clock");
}

static int begin(void **state)
{
	now_s = in_2027;
	synchronised = false;
	clock_set_ops(&test_clock);
	return checked_machine_setup(state);
}

int main(int argc, char **argv)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, checked_machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(there_must_be_certificates),
		TEST(certificates_are_judged_by_their_dates),
		TEST(root_and_intermediate_must_belong_together),
		TEST(servers_need_their_certificates),
		TEST(a_clock_of_long_ago_is_noticed),
		TEST(somebody_should_keep_the_clock),
	};

	if (argc != 2)
		return 2;
	data_dir = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
