/*
 * tracker: when children are asked, and what becomes of their answers. The clock is the test's: it stands still until
 * every polling thread sleeps, so hours pass in milliseconds and each run is the same.
 */
#include "otaclient/tree/tracker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/tree/tree.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/sentence.h"

/* ---- the clock ---- */

struct sleeper {
	uint64_t until_ms;
	bool is_woken;
	struct sleeper *next;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t now_ms;
	struct sleeper *sleepers;
	size_t n_asleep;
	bool is_over; /* nobody sleeps any more */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static uint64_t fake_monotonic_ms(void)
{
	uint64_t now_ms;

	pthread_mutex_lock(&fake.lock);
	now_ms = fake.now_ms;
	pthread_mutex_unlock(&fake.lock);
	return now_ms;
}

static int64_t fake_unix_s(void)
{
	return 1700000000;
}

static void fake_sleep_ms(uint64_t ms)
{
	struct sleeper me;

	pthread_mutex_lock(&fake.lock);
	me = (struct sleeper){.until_ms = fake.now_ms + ms, .next = fake.sleepers};
	fake.sleepers = &me;
	fake.n_asleep++;
	pthread_cond_broadcast(&fake.changed);
	while (!me.is_woken && !fake.is_over)
		pthread_cond_wait(&fake.changed, &fake.lock);
	if (!me.is_woken) {
		fake.n_asleep--;
		for (struct sleeper **s = &fake.sleepers; *s; s = &(*s)->next) {
			if (*s == &me) {
				*s = me.next;
				break;
			}
		}
	}
	pthread_mutex_unlock(&fake.lock);
}

static void fake_random(void *ret_data, size_t len_bytes)
{
	memset(ret_data, 7, len_bytes);
}

static const struct clock_ops fake_ops = {
	fake_monotonic_ms, fake_unix_s, fake_sleep_ms, fake_random};

/* With @n threads asleep; under the lock. */
static void wait_until_asleep(size_t n)
{
	while (fake.n_asleep < n)
		pthread_cond_wait(&fake.changed, &fake.lock);
}

static void wake_those_whose_time_has_come(void)
{
	for (struct sleeper **s = &fake.sleepers; *s;) {
		if ((*s)->until_ms > fake.now_ms) {
			s = &(*s)->next;
			continue;
		}
		(*s)->is_woken = true;
		fake.n_asleep--;
		*s = (*s)->next;
	}
	pthread_cond_broadcast(&fake.changed);
}

/* Let time pass in small steps; at each of them, and at the end, all @n_threads have come to rest. */
static void pass(size_t n_threads, uint64_t ms)
{
	pthread_mutex_lock(&fake.lock);
	wait_until_asleep(n_threads);
	for (uint64_t until_ms = fake.now_ms + ms; fake.now_ms < until_ms;) {
		fake.now_ms += 100;
		wake_those_whose_time_has_come();
		wait_until_asleep(n_threads);
	}
	pthread_mutex_unlock(&fake.lock);
}

static void let_go(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.is_over = true;
	pthread_cond_broadcast(&fake.changed);
	pthread_mutex_unlock(&fake.lock);
}

/* ---- children ---- */

/* What child number "port" says when it is asked. */
static struct script {
	bool is_off;
	bool hangs;
	char also[32]; /* a second entry's id; "" = none */
	enum ota_status status, also_status;
	int phase;
	unsigned n_asked;
	uint64_t last_asked_ms;
} scripts[2];
static pthread_mutex_t scripts_lock = PTHREAD_MUTEX_INITIALIZER;

static int scripted_ask(const struct peer_address *address, uint32_t timeout_ms,
	const atomic_bool *stop, struct wire_status *ret_status, struct ota_err *err)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct script s;

	assert_int_equal(timeout_ms, PEER_TIMEOUT_MS);
	pthread_mutex_lock(&scripts_lock);
	scripts[address->port].n_asked++;
	scripts[address->port].last_asked_ms = now_ms;
	s = scripts[address->port];
	pthread_mutex_unlock(&scripts_lock);
	if (s.hangs) {
		while (!atomic_load(stop))
			sched_yield();
		return -ECANCELED;
	}
	if (s.is_off)
		return ota_err_set(err, -EAGAIN, OTA_E_NETWORK, "nobody is there");
	for (int i = 0; i < (s.also[0] ? 2 : 1); i++) {
		struct wire_status_ecu e = {.ecu_id = i ? s.also : address->host,
			.ota_status = (int)(i ? s.also_status : s.status)};

		e.update.phase = (enum update_phase)s.phase;
		assert_int_equal(wire_status_add(ret_status, &e), 0);
	}
	return 0;
}

static void set_script(size_t i, struct script s)
{
	pthread_mutex_lock(&scripts_lock);
	s.n_asked = scripts[i].n_asked;
	scripts[i] = s;
	pthread_mutex_unlock(&scripts_lock);
}

static unsigned n_asked(size_t i)
{
	unsigned n;

	pthread_mutex_lock(&scripts_lock);
	n = scripts[i].n_asked;
	pthread_mutex_unlock(&scripts_lock);
	return n;
}

/* A child that hangs never sleeps by the test's clock, so nothing else tells that its thread has begun. */
static void wait_until_asked(size_t i)
{
	while (n_asked(i) == 0)
		sched_yield();
}

/* ---- a tracker ---- */

struct lab {
	struct tracker *tracker;
	struct status *status;
	size_t n_children;
	unsigned n_changes; /* calls of on_change() */
	struct summary last;
};

static const char *const available[] = {"main", "p0", "p1", "g0"};
static const struct tree_child children[] = {
	{"p0", {"p0", 0}},
        {"p1", {"p1", 1}}
};

/* The tracker calls it from one thread at a time; the test looks when all of them rest. */
static void on_change(void *ctx, const struct summary *now)
{
	struct lab *lab = ctx;

	lab->n_changes++;
	lab->last = *now;
}

static void begin(struct lab *lab, size_t n_children)
{
	struct tracker_config config = {
		.scope = {"main", available, 4},
		.children = children,
		.n_children = n_children,
		.on_change = on_change,
		.ctx = lab,
		.ask = scripted_ask,
	};
	struct ota_err err = {0};

	fake.is_over = false;
	fake.now_ms = 100000;
	*lab = (struct lab){.n_children = n_children, .status = status_new()};
	status_set_booted(lab->status, STATUS_SUCCESS, "1", NULL);
	config.status = lab->status;
	assert_int_equal(tracker_new(&config, &lab->tracker, &err), 0);
}

static void end(struct lab *lab)
{
	let_go();
	tracker_free(lab->tracker);
	status_free(lab->status);
	memset(scripts, 0, sizeof(scripts));
}

static void passes(struct lab *lab, uint64_t ms)
{
	pass(lab->n_children, ms);
}

static void assert_shown(struct lab *lab, const char *ids)
{
	AUTO_WIRE_STATUS struct wire_status answer = {0};
	char text[256] = "";

	assert_int_equal(tracker_status(lab->tracker, &answer), 0);
	for (size_t i = 0; i < answer.n_ecus; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ",
			answer.ecus[i].ecu_id);
	assert_string_equal(text, ids);
}

static struct summary summary_now(struct lab *lab)
{
	struct summary s;

	tracker_summary(lab->tracker, &s);
	return s;
}

/* ---- tests ---- */

static void a_child_is_asked_every_second_until_it_answers_and_then_every_ten(void **state)
{
	struct lab lab;

	(void)state;
	set_script(0, (struct script){.is_off = true});
	begin(&lab, 1);
	passes(&lab, 0);
	assert_int_equal(n_asked(0), 1);
	passes(&lab, 5000);
	assert_int_equal(n_asked(0), 6);
	assert_shown(&lab, "");
	set_script(0, (struct script){.status = STATUS_SUCCESS});
	passes(&lab, 1000);
	assert_int_equal(n_asked(0), 7);
	assert_shown(&lab, "p0 ");
	passes(&lab, 9900);
	assert_int_equal(n_asked(0), 7);
	passes(&lab, 100);
	assert_int_equal(n_asked(0), 8);
	end(&lab);
}

static void an_update_anywhere_makes_the_polls_fast_within_a_second(void **state)
{
	struct lab lab;
	unsigned before;

	(void)state;
	set_script(0, (struct script){.status = STATUS_SUCCESS});
	set_script(1, (struct script){.status = STATUS_SUCCESS});
	begin(&lab, 2);
	passes(&lab, 2000);
	/* our own begins in the middle of an idle interval */
	before = n_asked(1);
	status_begin_update(lab.status, "2");
	passes(&lab, 1200);
	assert_in_range(n_asked(1), before + 1, before + 2);
	before = n_asked(1);
	passes(&lab, 10000);
	assert_int_equal(n_asked(1), before + 10);
	/* and ends */
	status_set_live(lab.status, STATUS_SUCCESS);
	passes(&lab, 2000);
	before = n_asked(1);
	passes(&lab, 20000);
	assert_int_equal(n_asked(1), before + 2);
	end(&lab);
}

static void each_change_is_told_once_and_in_order(void **state)
{
	struct lab lab;
	unsigned before;

	(void)state;
	set_script(
		0, (struct script){
			   .status = STATUS_SUCCESS, .also = "g0", .also_status = STATUS_SUCCESS});
	set_script(1, (struct script){.is_off = true});
	begin(&lab, 2);
	passes(&lab, 3000);
	assert_false(lab.last.all_success);
	before = lab.n_changes;
	passes(&lab, 30000);
	assert_int_equal(lab.n_changes, before);
	set_script(1, (struct script){.status = STATUS_SUCCESS});
	passes(&lab, 1000);
	assert_int_equal(lab.n_changes, before + 1);
	assert_true(lab.last.all_success);
	set_script(0, (struct script){.status = STATUS_UPDATING,
			      .phase = PHASE_DOWNLOADING_OTA_FILES,
			      .also = "g0",
			      .also_status = STATUS_SUCCESS});
	passes(&lab, 10000);
	assert_true(lab.last.child_in_update && lab.last.child_needs_network);
	assert_false(lab.last.all_success);
	set_script(0, (struct script){.status = STATUS_UPDATING,
			      .phase = PHASE_APPLYING_UPDATE,
			      .also = "g0",
			      .also_status = STATUS_SUCCESS});
	passes(&lab, 1000);
	assert_true(lab.last.child_in_update);
	assert_false(lab.last.child_needs_network);
	assert_int_equal(lab.n_changes, before + 3);
	end(&lab);
}

/* A child that restarts is silent for a while, and is waited for; one that is gone is not, for longer than that. */
static void a_child_that_falls_silent_in_an_update_is_lost_after_twenty_minutes(void **state)
{
	struct lab lab;

	(void)state;
	set_script(0, (struct script){.status = STATUS_UPDATING, .phase = PHASE_FINALIZING_UPDATE});
	begin(&lab, 1);
	passes(&lab, 3000);
	set_script(0, (struct script){.is_off = true});
	passes(&lab, 4000);
	assert_shown(&lab, "");
	passes(&lab, 1190 * 1000);
	assert_true(summary_now(&lab).child_in_update);
	assert_true(lab.last.child_in_update);
	passes(&lab, 10 * 1000);
	assert_false(summary_now(&lab).child_in_update);
	assert_false(lab.last.child_in_update);
	assert_int_equal(lab.last.n[SUMMARY_LOST], 1);
	set_script(0, (struct script){.status = STATUS_SUCCESS});
	passes(&lab, 10 * 1000);
	assert_shown(&lab, "p0 ");
	assert_int_equal(lab.last.n[SUMMARY_LOST], 0);
	end(&lab);
}

static void a_request_on_its_way_holds_everything(void **state)
{
	struct lab lab;
	char names[64];

	(void)state;
	set_script(0, (struct script){.status = STATUS_SUCCESS});
	begin(&lab, 1);
	passes(&lab, 1000);
	assert_false(lab.last.child_in_update);
	tracker_hold(lab.tracker);
	assert_true(lab.last.child_in_update && lab.last.child_needs_network);
	tracker_accept(lab.tracker, 0, "p0");
	tracker_release(lab.tracker);
	assert_true(lab.last.child_in_update && lab.last.child_needs_network);
	tracker_names_in_update(lab.tracker, names, sizeof(names));
	assert_string_equal(names, "p0");
	/* it says no word of it: a minute, no more */
	passes(&lab, 59 * 1000);
	assert_true(lab.last.child_in_update);
	passes(&lab, 2 * 1000);
	assert_false(lab.last.child_in_update);
	/* nobody has accepted */
	tracker_hold(lab.tracker);
	tracker_hold(lab.tracker);
	tracker_release(lab.tracker);
	assert_true(lab.last.child_in_update);
	tracker_release(lab.tracker);
	assert_false(lab.last.child_in_update);
	end(&lab);
}

static void what_is_below_is_learned_from_reports(void **state)
{
	struct lab lab;

	(void)state;
	set_script(0, (struct script){.status = STATUS_SUCCESS});
	set_script(1, (struct script){.status = STATUS_SUCCESS, .also = "g0"});
	begin(&lab, 2);
	passes(&lab, 0);
	assert_true(tracker_is_below(lab.tracker, 1, "g0"));
	assert_true(tracker_is_below(lab.tracker, 1, "p1"));
	assert_false(tracker_is_below(lab.tracker, 0, "g0"));
	end(&lab);
}

static void a_lie_about_this_ecu_changes_nothing(void **state)
{
	struct lab lab;

	(void)state;
	set_script(0,
		(struct script){
			.status = STATUS_SUCCESS, .also = "main", .also_status = STATUS_UPDATING});
	begin(&lab, 1);
	passes(&lab, 1000);
	assert_shown(&lab, "p0 ");
	assert_false(summary_now(&lab).in_update);
	end(&lab);
}

static void a_child_that_hangs_holds_up_neither_the_others_nor_the_end(void **state)
{
	struct lab lab;

	(void)state;
	set_script(0, (struct script){.hangs = true});
	set_script(1, (struct script){.status = STATUS_SUCCESS});
	begin(&lab, 2);
	wait_until_asked(0);
	pass(1, 25000);
	assert_shown(&lab, "p1 ");
	assert_int_equal(n_asked(0), 1);
	assert_int_equal(n_asked(1), 3);
	end(&lab);
}

static void an_ecu_without_children_has_a_summary_too(void **state)
{
	struct lab lab;

	(void)state;
	begin(&lab, 0);
	assert_int_equal(lab.n_changes, 1);
	assert_false(summary_now(&lab).in_update);
	end(&lab);
}

static struct ecu_info one_child = {
	.ecu_id = "main",
	.n_secondaries = 1,
	.secondaries = {{.ecu_id = "p0", .ip_addr = "127.0.0.1", .port = 1}},
};

static void ecus_that_nobody_can_watch_are_an_error(void **state)
{
	struct tree_config config = {.ecu = &one_child, .status = status_new()};
	struct tree *tree = NULL;
	struct ota_err err = {0};
	int r;

	no_threads = true;
	r = tree_new(&config, &tree, &err);
	no_threads = false;
	assert_int_equal(r, -EAGAIN);
	assert_sentence(&err, "Cannot watch the ECUs below: Resource temporarily unavailable");
	status_free(config.status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_is_asked_every_second_until_it_answers_and_then_every_ten),
		cmocka_unit_test(an_update_anywhere_makes_the_polls_fast_within_a_second),
		cmocka_unit_test(each_change_is_told_once_and_in_order),
		cmocka_unit_test(
			a_child_that_falls_silent_in_an_update_is_lost_after_twenty_minutes),
		cmocka_unit_test(a_request_on_its_way_holds_everything),
		cmocka_unit_test(what_is_below_is_learned_from_reports),
		cmocka_unit_test(a_lie_about_this_ecu_changes_nothing),
		cmocka_unit_test(a_child_that_hangs_holds_up_neither_the_others_nor_the_end),
		cmocka_unit_test(an_ecu_without_children_has_a_summary_too),
		cmocka_unit_test(ecus_that_nobody_can_watch_are_an_error),
	};

	clock_set_ops(&fake_ops);
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
