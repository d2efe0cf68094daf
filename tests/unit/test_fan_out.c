/*
 * fan_out: one request to several children, against real servers on the loopback.
 */
#include "otaclient/tree/fan_out.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/api/service.h"

/* ---- children ---- */

/* A child that is there; what it answers beside its own entry comes from @below. */
struct child {
	struct api_service *service;
	struct status *status;
	struct request_handler handler;
	struct api_tree below;
	pthread_t thread;
	struct tree_child address;
	char request_id[64]; /* of the request that came */
	size_t n_ecus;       /* that it named */
};

static int accept_update(void *ctx, const struct update_request *request, struct ota_err *err)
{
	struct child *c = ctx;

	snprintf(c->request_id, sizeof(c->request_id), "%s", request->request_id);
	return strcmp(request->url, "http://busy/") == 0
		       ? ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "It is busy")
		       : 0;
}

static int below_forward(void *ctx, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	struct child *c = ctx;

	c->n_ecus = request->n_ecus;
	return 0;
}

static int below_status(void *ctx, struct wire_status *status)
{
	return 0;
}

static void below_stop(void *ctx)
{
}

static void *serve(void *service)
{
	api_service_run(service, NULL);
	return NULL;
}

static void child_begin(struct child *c, const char *id,
	int (*forward)(void *, enum api_method, const struct wire_request *, struct wire_answer *))
{
	struct api_config config = {
		.listen_ip = "127.0.0.1", .ecu_id = id, .ecu_info_loaded = true, .tree = &c->below};
	struct ota_err err = {0};

	*c = (struct child){.status = status_new()};
	c->handler = (struct request_handler){.update = accept_update, .ctx = c};
	c->below = (struct api_tree){forward, below_status, below_stop, c};
	assert_int_equal(api_service_start(&config, c->status, &c->handler, &c->service, &err), 0);
	assert_int_equal(pthread_create(&c->thread, NULL, serve, c->service), 0);
	c->address = (struct tree_child){
		id, {"127.0.0.1", api_service_port(c->service)}
        };
}

static void child_end(struct child *c)
{
	api_service_stop(c->service);
	pthread_join(c->thread, NULL);
	api_service_free(c->service);
	status_free(c->status);
}

/* A port that takes connections and says nothing; or, once it is closed, one that takes none. */
static int silent_port(struct tree_child *ret_child, const char *id)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_child = (struct tree_child){
		id, {"127.0.0.1", ntohs(a.sin_port)}
        };
	return fd;
}

/* ---- requests ---- */

static char url[] = "http://x/", busy_url[] = "http://busy/", empty[] = "", request_id[] = "17-abc";

static struct wire_request_ecu named(const char *id, char *from)
{
	return (struct wire_request_ecu){
		id, {empty, from, empty, empty, empty, empty, request_id}
        };
}

/* The answer as text: "p1 0 ; p2 1 It is busy; ". */
static char *run(struct fan_out *f, enum api_method m, const struct wire_request *request)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	AUTO_BUF struct buf text = {0};

	if (!f->own_id)
		f->own_id = "main";
	assert_int_equal(fan_out_run(f, m, request, &answer), 0);
	for (size_t i = 0; i < answer.n_ecus; i++)
		assert_int_equal(buf_printf(&text, "%s %d %s; ", answer.ecus[i].ecu_id,
					 answer.ecus[i].result, answer.ecus[i].message),
			0);
	return strdup(buf_str(&text));
}

static void note_accepted(void *ctx, size_t child, const char *ecu_id)
{
	char *text = ctx;

	snprintf(text + strlen(text), 64, "%zu:%s ", child, ecu_id);
}

/* ---- tests ---- */

static void children_are_asked_with_the_whole_request_and_answer_in_their_order(void **state)
{
	struct child p1, p2;
	struct wire_request_ecu ecus[] = {named("p2", url), named("p1", url), named("main", url)};
	const struct wire_request request = {.ecus = ecus, .n_ecus = 3, .request_id = request_id};
	const struct tree_child *children[] = {&p1.address, &p2.address};
	char accepted[256] = "";
	struct fan_out f = {children, 2, .accepted = note_accepted, .ctx = accepted};
	AUTO_FREE char *answer = NULL;

	(void)state;
	child_begin(&p1, "p1", below_forward);
	child_begin(&p2, "p2", below_forward);
	answer = run(&f, API_UPDATE, &request);
	assert_string_equal(answer, "p1 0 ; p2 0 ; ");
	assert_string_equal(accepted, "0:p1 1:p2 ");
	child_end(&p1);
	child_end(&p2);
	assert_string_equal(p1.request_id, "17-abc");
	assert_int_equal(p1.n_ecus, 3);
	assert_int_equal(p2.n_ecus, 3);
}

static void what_a_child_refuses_is_handed_up(void **state)
{
	struct child p1;
	struct wire_request_ecu ecus[] = {named("p1", busy_url)};
	const struct wire_request request = {.ecus = ecus, .n_ecus = 1, .request_id = request_id};
	const struct tree_child *children[] = {&p1.address};
	char accepted[256] = "";
	struct fan_out f = {children, 1, .accepted = note_accepted, .ctx = accepted};
	AUTO_FREE char *answer = NULL;

	(void)state;
	child_begin(&p1, "p1", below_forward);
	answer = run(&f, API_UPDATE, &request);
	assert_string_equal(answer, "p1 1 It is busy; ");
	assert_string_equal(accepted, "");
	child_end(&p1);
}

static void a_child_that_is_not_there_gets_an_entry_that_says_so(void **state)
{
	struct child p1;
	struct tree_child dead;
	struct wire_request_ecu ecus[] = {named("dead", url), named("p1", url)};
	const struct wire_request request = {.ecus = ecus, .n_ecus = 2, .request_id = request_id};
	const struct tree_child *children[] = {&dead, &p1.address};
	struct fan_out f = {children, 2};
	AUTO_FREE char *update = NULL, *abort = NULL, *want = NULL;

	(void)state;
	close(silent_port(&dead, "dead"));
	child_begin(&p1, "p1", below_forward);
	update = run(&f, API_UPDATE, &request);
	assert_true(asprintf(&want,
			    "dead 1 ECU dead cannot be asked: 127.0.0.1:%u did not answer Update: "
			    "Connection refused; "
			    "p1 0 ; ",
			    dead.address.port) > 0);
	assert_string_equal(update, want);
	abort = run(&f, API_ABORT, &request);
	assert_non_null(strstr(abort, "dead 1 ECU dead cannot be asked: "));
	assert_non_null(strstr(abort, "did not answer Abort"));
	assert_non_null(strstr(abort, "p1 1 Cannot abort: no active OTA update in progress; "));
	child_end(&p1);
}

static void children_that_say_nothing_cost_the_time_of_one(void **state)
{
	struct tree_child silent[2];
	const struct tree_child *children[] = {&silent[0], &silent[1]};
	struct wire_request_ecu ecus[] = {named("s0", url), named("s1", url)};
	const struct wire_request request = {.ecus = ecus, .n_ecus = 2, .request_id = request_id};
	struct fan_out f = {children, 2};
	AUTO_CLOSE int fd0 = silent_port(&silent[0], "s0");
	AUTO_CLOSE int fd1 = silent_port(&silent[1], "s1");
	uint64_t began_ms = clock_monotonic_ms();
	AUTO_FREE char *answer = run(&f, API_UPDATE, &request);
	uint64_t took_ms = clock_monotonic_ms() - began_ms;

	(void)state;
	assert_true(fd0 >= 0 && fd1 >= 0);
	assert_non_null(strstr(answer, "s0 1 ECU s0 cannot be asked: "));
	assert_non_null(strstr(answer, "; s1 1 ECU s1 cannot be asked: "));
	assert_in_range(took_ms, PEER_TIMEOUT_MS - 500, 2 * PEER_TIMEOUT_MS - 1000);
}

static atomic_bool stop_now;

static void *stop_it(void *arg)
{
	atomic_store(&stop_now, true);
	return NULL;
}

static void nobody_is_waited_for_once_the_daemon_ends(void **state)
{
	struct tree_child silent;
	const struct tree_child *children[] = {&silent};
	struct wire_request_ecu ecus[] = {named("s0", url)};
	const struct wire_request request = {.ecus = ecus, .n_ecus = 1, .request_id = request_id};
	struct fan_out f = {children, 1, .stop = &stop_now};
	AUTO_CLOSE int fd = silent_port(&silent, "s0");
	uint64_t began_ms = clock_monotonic_ms();
	AUTO_FREE char *answer = NULL, *want = NULL;
	pthread_t thread;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(pthread_create(&thread, NULL, stop_it, NULL), 0);
	answer = run(&f, API_UPDATE, &request);
	pthread_join(thread, NULL);
	assert_in_range(clock_monotonic_ms() - began_ms, 0, PEER_TIMEOUT_MS - 3000);
	assert_true(
		asprintf(&want, "s0 1 ECU s0 cannot be asked: 127.0.0.1:%u was not waited for to answer Update; ",
			silent.address.port) > 0);
	assert_string_equal(answer, want);
}

static int lie(void *ctx, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	AUTO_FREE char *huge = calloc(1, 3001);
	char id[32];

	if (!huge)
		return -ENOMEM;
	memset(huge, 'z', 3000);
	if (wire_answer_add(answer, "main", API_UNRECOVERABLE, "I am main") < 0 ||
		wire_answer_add(answer, request->ecus[0].ecu_id, API_UNRECOVERABLE, "l0") < 0 ||
		wire_answer_add(answer, "", API_NO_FAILURE, "") < 0 ||
		wire_answer_add(answer, huge, API_NO_FAILURE, "") < 0 ||
		wire_answer_add(answer, "g1", 4711, huge) < 0)
		return -ENOMEM;
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "ghost%d", i);
		if (wire_answer_add(answer, id, API_NO_FAILURE, "") < 0)
			return -ENOMEM;
	}
	return 0;
}

static void an_answer_that_makes_no_sense_is_cut_to_what_does(void **state)
{
	struct child liars[2];
	const struct tree_child *children[] = {&liars[0].address, &liars[1].address};
	struct wire_request_ecu ecus[] = {named("l0", url)};
	const struct wire_request request = {.ecus = ecus, .n_ecus = 1, .request_id = request_id};
	const struct fan_out f = {children, 2, .own_id = "main"};
	size_t n_l0 = 0;
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};

	(void)state;
	child_begin(&liars[0], "l0", lie);
	child_begin(&liars[1], "l1", lie);
	assert_int_equal(fan_out_run(&f, API_UPDATE, &request, &answer), 0);
	assert_int_equal(answer.n_ecus, WIRE_ECUS_MAX);
	assert_string_equal(answer.ecus[1].ecu_id, "g1");
	assert_int_equal(answer.ecus[1].result, 4711);
	assert_int_equal(strlen(answer.ecus[1].message), FAN_OUT_MESSAGE_MAX - 1);
	for (size_t i = 0; i < answer.n_ecus; i++) {
		assert_string_not_equal(answer.ecus[i].ecu_id, "main");
		n_l0 += strcmp(answer.ecus[i].ecu_id, "l0") == 0;
	}
	/* Said by itself, twice; the other one does not speak for it. */
	assert_int_equal(n_l0, 2);
	child_end(&liars[0]);
	child_end(&liars[1]);
}

static void nobody_to_ask_is_an_empty_answer(void **state)
{
	const struct wire_request request = {.request_id = request_id};
	struct fan_out f = {.n_children = 0};
	AUTO_FREE char *answer = run(&f, API_ABORT, &request);

	(void)state;
	assert_string_equal(answer, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			children_are_asked_with_the_whole_request_and_answer_in_their_order),
		cmocka_unit_test(what_a_child_refuses_is_handed_up),
		cmocka_unit_test(a_child_that_is_not_there_gets_an_entry_that_says_so),
		cmocka_unit_test(children_that_say_nothing_cost_the_time_of_one),
		cmocka_unit_test(nobody_is_waited_for_once_the_daemon_ends),
		cmocka_unit_test(an_answer_that_makes_no_sense_is_cut_to_what_does),
		cmocka_unit_test(nobody_to_ask_is_an_empty_answer),
	};
	int failed;

	log_set_level(LOG_LEVEL_ERROR);
	peer_open();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	peer_close();
	return failed;
}
