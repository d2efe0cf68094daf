/*
 * test_client_no_memory: memory runs out at each single allocation of what the daemon, otactl and the doctor make of outside
 * bytes: messages of the API, status files, what a fetcher says, what the kernel and the flight recorder have left. The
 * result is the one with memory, or there is a failure; what decides about a start needs none.
 *
 * Argument: the folder tests/fuzz/corpus.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/api/answers.h"
#include "otaclient/api/wire_forecast.h"
#include "otaclient/doctor/ext4_super.h"
#include "otaclient/doctor/listeners.h"
#include "otaclient/doctor/system_conf.h"
#include "otaclient/fetcher/fetcher.h"
#include "otaclient/fetcher/packet.h"
#include "otaclient/flight/flight_record.h"
#include "otaclient/flight/kernel_tail.h"
#include "otaclient/proxy/proxy_counts.h"
#include "otaclient/status/status_store.h"
#include "otaclient/tree/ecu_table.h"
#include "tests/unit/corpus_text.h"
#include "tests/unit/tmp_dir.h"

static const struct tmp_dir *dir;

/* ---- messages; the first byte of the corpus's says which ---- */

static int run_request(struct ota_err *err)
{
	AUTO_WIRE_REQUEST struct wire_request request = {0};
	AUTO_BUF struct buf out = {0};
	int r = wire_request_decode(API_UPDATE, text.data + 1, text.len_bytes - 1, &request, err);

	if (r < 0)
		return r;
	r = wire_request_encode(API_UPDATE, &request, &out);
	if (r < 0)
		return ota_err_no_memory(err, "the request");
	right_as_before(buf_str(&out), out.len_bytes);
	return 0;
}

static int run_answer(struct ota_err *err)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	AUTO_BUF struct buf out = {0};
	int r = wire_answer_decode(API_UPDATE, text.data + 1, text.len_bytes - 1, &answer, err);

	if (r < 0)
		return r;
	r = wire_answer_encode(API_UPDATE, &answer, &out);
	if (r < 0)
		return ota_err_no_memory(err, "the answer");
	right_as_before(buf_str(&out), out.len_bytes);
	return 0;
}

static int run_status(struct ota_err *err)
{
	AUTO_WIRE_STATUS struct wire_status status = {0};
	AUTO_BUF struct buf out = {0};
	int r = wire_status_decode(text.data + 1, text.len_bytes - 1, &status, err);

	if (r < 0)
		return r;
	r = wire_status_encode(&status, &out);
	if (r < 0)
		return ota_err_no_memory(err, "the status");
	right_as_before(buf_str(&out), out.len_bytes);
	return 0;
}

static int run_forecast(struct ota_err *err)
{
	struct wire_forecast forecast;
	AUTO_BUF struct buf out = {0};
	int r = wire_forecast_decode(text.data + 1, text.len_bytes - 1, &forecast, err);

	if (r < 0)
		return r;
	if (wire_forecast_encode(&forecast, &out) < 0)
		return ota_err_no_memory(err, "the forecast");
	right_as_before(buf_str(&out), out.len_bytes);
	return 0;
}

/* What children report is kept, and goes on to whoever asks: all of an ECU, or nothing new. */
static int run_table(struct ota_err *err)
{
	static const char *const available[] = {"main", "p1"};
	static const char *const children[] = {"p1"};
	const struct ecu_table_config config = {
		{"main", available, 2},
                children, 1
        };
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	AUTO_WIRE_STATUS struct wire_status said = {0}, told = {0};
	int r;

	if (!t)
		return ota_err_no_memory(err, "the table");
	r = wire_status_decode(text.data + 1, text.len_bytes - 1, &said, err);
	if (r < 0)
		return r;
	ecu_table_store(t, 0, &said, 1);
	r = ecu_table_export(t, 2, &told);
	return r < 0 ? ota_err_no_memory(err, "what is told") : 0;
}

static int take_update(void *ctx, const struct update_request *request, struct ota_err *err)
{
	return 0;
}

/* The whole way of a request to this ECU. */
static int ask(enum api_method m, struct buf *ret_answer, struct ota_err *err)
{
	static const struct request_handler handler = {.update = take_update};
	const struct api_config config = {.ecu_id = "autoware", .ecu_info_loaded = true};
	AUTO_WIRE_REQUEST struct wire_request request = {0};
	struct status *status = status_new();
	const struct answerer by = {.config = &config, .status = status, .handler = &handler};
	int r = status ? 0 : ota_err_no_memory(err, "the status");

	if (r == 0)
		status_set_booted(status, STATUS_SUCCESS, "1", NULL);
	if (r == 0 && m == API_STATUS)
		r = answer_status(&by, ret_answer, err);
	else if (r == 0)
		r = wire_request_decode(m, text.data + 2, text.len_bytes - 2, &request, err);
	if (r == 0 && m != API_STATUS)
		r = answer_request(&by, m, &request, ret_answer, err);
	status_free(status);
	return r;
}

static int run_ask_status(struct ota_err *err)
{
	AUTO_BUF struct buf answer = {0};
	AUTO_WIRE_STATUS struct wire_status status = {0};
	int r = ask(API_STATUS, &answer, err);

	if (r < 0)
		return r;
	failing_alloc_stop();
	assert_int_equal(wire_status_decode(buf_str(&answer), answer.len_bytes, &status, NULL), 0);
	assert_int_equal(status.n_ecus, 1);
	return 0;
}

static int run_ask_update(struct ota_err *err)
{
	AUTO_BUF struct buf answer = {0};
	AUTO_WIRE_ANSWER struct wire_answer said_so = {0};
	int r = ask(API_UPDATE, &answer, err);

	if (r < 0)
		return r;
	failing_alloc_stop();
	assert_int_equal(
		wire_answer_decode(API_UPDATE, buf_str(&answer), answer.len_bytes, &said_so, NULL),
		0);
	return 0;
}

static void messages_of_the_api(void **state)
{
	read_text("wire/update");
	sweep_output(run_request, 3, 0);
	read_text("wire/answer");
	sweep_output(run_answer, 3, 0);
	read_text("wire/status");
	sweep_output(run_status, 5, 0);
	sweep(run_table, 5, 0);
	sweep(run_ask_status, 3, ANY_FAILURE | SILENT);
	read_text("answers/update");
	sweep(run_ask_update, 3, ANY_FAILURE | SILENT);
	read_text("wire/forecast");
	sweep_output(run_forecast, 5, 0);
}

/* ---- status files ---- */

static const struct release_detail release = {"name", "id", "image"};
static const struct complete_mark mark = {.fs_uuid = "1-2", .unix_s = 3, .other_mount_s = 4};

/* From these a start knows whether an update is under way. */
static int run_words(struct ota_err *err)
{
	char slot[STATUS_SLOT_MAX];

	status_store_read_slot_in_use(dir->path, slot);
	right(status_store_read_status(dir->path) == STATUS_UPDATING && strcmp(slot, "b") == 0);
	return 0;
}

/* These are shown, and nothing else: right, or not known. */
static int run_shown(struct ota_err *err)
{
	char version[STATUS_VERSION_MAX];
	struct release_detail d;

	status_store_read_version(dir->path, version);
	status_store_read_release(dir->path, &d);
	right(strcmp(version, "1.2") == 0 || version[0] == '\0');
	right(memcmp(&d, &release, sizeof(d)) == 0 ||
		memcmp(&d, &(struct release_detail){0}, sizeof(d)) == 0);
	return 0;
}

static int run_mark(struct ota_err *err)
{
	struct complete_mark m = {0};
	int r = status_store_read_complete(dir->path, &m, err);

	if (r == 0)
		right(strcmp(m.fs_uuid, "1-2") == 0 && m.other_mount_s == 4);
	return r;
}

static int run_write(struct ota_err *err)
{
	int r = status_store_write_release(dir->path, &release, err);

	return r == 0 ? status_store_write_complete(dir->path, &mark, err) : r;
}

static void status_files(void **state)
{
	assert_int_equal(status_store_write_status(dir->path, STATUS_UPDATING, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(dir->path, "b", NULL), 0);
	assert_int_equal(status_store_write_version(dir->path, "1.2", NULL), 0);
	sweep(run_write, 2, 0);
	assert_true(said("No memory for the mark of a complete slot"));
	needs_none(run_words);
	sweep(run_shown, 0, SILENT);
	sweep(run_mark, 1, 0);
}

/* ---- the fetcher, with the test in its place ---- */

static void note_done(void *ctx, const struct fetcher_result *result)
{
}

/* A fetcher with a job, and its program's ends of the sockets. */
struct fetching {
	struct fetcher *f;
	int jobs_fd, needs_fd;
};

static void fetching_done(struct fetching *x)
{
	fetcher_free(x->f);
	close(x->jobs_fd);
	close(x->needs_fd);
}

static int fetching_begin(struct fetching *x, struct ota_err *err)
{
	const struct fetcher_job job = {
		.url = "http://h/", .name = "n", .cache_control = "c", .fd = -1, .done = note_done};
	int jobs[2], needs[2], r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, jobs), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, needs), 0);
	*x = (struct fetching){fetcher_new_for_test(jobs[0], needs[0]), jobs[1], needs[1]};
	if (!x->f) {
		close(jobs[0]);
		close(needs[0]);
		return ota_err_no_memory(err, "a fetcher");
	}
	r = fetcher_add(x->f, &job, err);
	assert_int_equal(fetcher_pending(x->f), r == 0 ? 1 : 0);
	return r;
}

static int run_fetching(struct ota_err *err)
{
	CLEANUP(fetching_done) struct fetching x;

	return fetching_begin(&x, err);
}

static void a_fetcher(void **state)
{
	const struct packet_head result = {.type = PACKET_RESULT};
	CLEANUP(fetching_done) struct fetching x;
	struct ota_err err = {0};

	sweep(run_fetching, 1, 0);
	assert_int_equal(fetching_begin(&x, &err), 0);
	assert_int_equal(fetcher_run(x.f, 0, &err), 0);
	assert_int_equal(packet_send(x.jobs_fd, &result, NULL, -1, false), 0);
	/* What it says is taken without memory. */
	failing_alloc_start(1, true);
	assert_int_equal(fetcher_run(x.f, 0, &err), 0);
	assert_false(failing_alloc_stop());
	assert_int_equal(fetcher_pending(x.f), 0);
}

/* ---- what needs no memory ---- */

static int run_kernel_tail(struct ota_err *err)
{
	char line[KERNEL_LINE_MAX];

	right(kernel_tail_take("4,1,2,-;text\n", 13, line));
	return kernel_tail_death_line(text.data, text.len_bytes, line) ? 0 : -EBADMSG;
}

static int run_proxy_counts(struct ota_err *err)
{
	struct proxy_counts counts;

	return proxy_counts_parse(text.data, text.len_bytes, &counts);
}

static int run_flight(struct ota_err *err)
{
	static char ring[FLIGHT_RING_BYTES];
	static struct flight_record records[FLIGHT_CELLS];

	memset(ring, 0, sizeof(ring));
	memcpy(ring, text.data, MIN_OF(text.len_bytes, sizeof(ring)));
	return flight_ring_read(ring, sizeof(ring), records) > 0 ? 0 : -EBADMSG;
}

static int run_ext4(struct ota_err *err)
{
	struct ext4_super super;

	return ext4_super_parse(text.data, text.len_bytes, &super);
}

static int run_listeners(struct ota_err *err)
{
	struct listen_address any;

	right(listen_address_parse("0.0.0.0", &any));
	listeners_find(text.data, text.len_bytes, false, &any, 8080);
	return 0;
}

static int run_system_conf(struct ota_err *err)
{
	char value[64];

	return system_conf_value(
		text.data, text.len_bytes, "Manager", "RuntimeWatchdogSec", value, sizeof(value));
}

static void what_needs_no_memory(void **state)
{
	static const struct {
		const char *path;
		run_fn *run;
	} rows[] = {
		{"kernel_tail/panic", run_kernel_tail },
		{"proxy_counts/page", run_proxy_counts},
		{"flight_record/one", run_flight      },
		{"ext4_super/ext4",   run_ext4        },
		{"listeners/tcp",     run_listeners   },
		{"system_conf/usual", run_system_conf },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		read_text(rows[i].path);
		needs_none(rows[i].run);
	}
}

static int setup(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	if (tmp_dir_setup(state) < 0)
		return -1;
	dir = *state;
	return 0;
}

static int teardown(void **state)
{
	corpus_teardown(state);
	return tmp_dir_teardown(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_the_api),
		cmocka_unit_test(status_files),
		cmocka_unit_test(a_fetcher),
		cmocka_unit_test(what_needs_no_memory),
	};

	if (!corpus_given(argc, argv))
		return 2;
	return cmocka_run_group_tests(tests, setup, teardown);
}
