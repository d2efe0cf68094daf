/*
 * sandbox: from root to another user, with no way back. Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/sandbox.h"
#include "tests/unit/in_child.h"

static bool status_says(const char *line)
{
	AUTO_BUF struct buf text = {0};

	return file_read(AT_FDCWD, "/proc/self/status", 64 * 1024, &text) == 0 &&
	       strstr(buf_str(&text), line);
}

struct identity {
	const char *user;
	unsigned uid, gid;
};

static int become(void *ctx)
{
	const struct identity *who = ctx;
	const gid_t more[] = {1, 2, 3};
	char ids[64];

	CHECK(setgroups(ARRAY_SIZE(more), more) == 0);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	CHECK(sandbox_drop_user(who->user) == 0);
	snprintf(ids, sizeof(ids), "\nUid:\t%u\t%u\t%u\t%u\n", who->uid, who->uid, who->uid,
		who->uid);
	CHECK(status_says(ids));
	snprintf(ids, sizeof(ids), "\nGid:\t%u\t%u\t%u\t%u\n", who->gid, who->gid, who->gid,
		who->gid);
	CHECK(status_says(ids));
	CHECK(status_says("\nGroups:\t \n"));
	CHECK(status_says("\nCapInh:\t0000000000000000\n"));
	CHECK(status_says("\nCapPrm:\t0000000000000000\n"));
	CHECK(status_says("\nCapEff:\t0000000000000000\n"));
	CHECK(status_says("\nCapBnd:\t0000000000000000\n"));
	CHECK(status_says("\nCapAmb:\t0000000000000000\n"));
	CHECK(status_says("\nNoNewPrivs:\t1\n"));
	CHECK(umask(0) == 077);
	CHECK(setuid(0) < 0 && errno == EPERM);
	CHECK(setgid(0) < 0 && errno == EPERM);
	CHECK(open("/etc/shadow", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	return 0;
}

static void a_named_user_has_no_rights_left(void **state)
{
	struct passwd *nobody = getpwnam("nobody");
	struct identity who = {"nobody"};

	assert_non_null(nobody);
	who.uid = nobody->pw_uid;
	who.gid = nobody->pw_gid;
	assert_int_equal(in_child(become, &who), 0);
}

static void ids_that_have_no_name_will_do(void **state)
{
	struct identity who = {"61234:61235", 61234, 61235};

	assert_int_equal(in_child(become, &who), 0);
}

static int signal_kept(void *ctx)
{
	int death_signal = 0;

	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	CHECK(sandbox_drop_user("nobody") == 0);
	CHECK(prctl(PR_GET_PDEATHSIG, &death_signal) == 0 && death_signal == SIGKILL);
	return 0;
}

static void the_signal_for_the_parents_death_is_kept(void **state)
{
	assert_int_equal(in_child(signal_kept, NULL), 0);
}

static int wrong_users(void *ctx)
{
	static const char *const wrong[] = {"root", "", "0:0", "0:5", "5:0", ":", "5:", ":5",
		"5:6:7", "+5:6", "5:6 ", "4294967295:5", "5:4294967295", "99999999999999999999:5"};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CHECK(sandbox_drop_user(wrong[i]) == -EINVAL);
	CHECK(sandbox_drop_user("no-such-user") == -ENOENT);
	CHECK(geteuid() == 0 && status_says("\nNoNewPrivs:\t0\n"));
	return 0;
}

static void root_and_what_is_no_user_are_refused_before_anything_changes(void **state)
{
	assert_int_equal(in_child(wrong_users, NULL), 0);
}

/* All three together, as a service calls them. */
static int whole_order(void *ctx)
{
	const struct sandbox_path paths[] = {
		{"/usr"           },
                { "/tmp", .writable = true}
        };

	CHECK(sandbox_drop_user("nobody") == 0);
	CHECK(sandbox_restrict_paths(paths, ARRAY_SIZE(paths)) == 0);
	CHECK(sandbox_restrict_calls() == 0);
	CHECK(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(execl("/bin/true", "true", NULL) < 0 && errno == EPERM);
	CHECK(access("/usr", R_OK) == 0);
	return 0;
}

static void the_three_follow_each_other(void **state)
{
	assert_int_equal(in_child(whole_order, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_named_user_has_no_rights_left),
		cmocka_unit_test(ids_that_have_no_name_will_do),
		cmocka_unit_test(the_signal_for_the_parents_death_is_kept),
		cmocka_unit_test(root_and_what_is_no_user_are_refused_before_anything_changes),
		cmocka_unit_test(the_three_follow_each_other),
	};

	if (geteuid() != 0) {
		fputs("test_sandbox_root: needs root\n", stderr);
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
