/*
 * test_lying_fetcher: a fetcher that an intruder has taken over says that all is well, or nothing at all. What asks it,
 * the image's source and the pool, must not believe it. The test plays it, in place of the program.
 *
 * Argument: the folder tests/data/sample-image.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "otaclient/fetcher/fetcher.h"
#include "otaclient/fetcher/packet.h"
#include "otaclient/source/fetch_pool.h"
#include "otaclient/source/image_source.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

static const char *sample_dir;

/* What the liar does with the file of a job. */
static enum {
	WRITE_A_LIE,
	KEEP_IT_OPEN, /* so that it could still change it */
	SAY_NOTHING,
} way;

static struct {
	pthread_t thread;
	int jobs_fd, needs_fd;
	int kept_fd; /* of a job; -1 = none */
	struct packet packet;
} liar;

/* The file @name of the true image, if it has one of that name. */
static void write_truth(const char *name, int fd)
{
	AUTO_BUF struct buf text = {0};
	char path[4096];

	snprintf(path, sizeof(path), "%s/image/%s", sample_dir, name);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
	assert_int_equal(file_write_all(fd, text.data, text.len_bytes), 0);
}

static void do_job(const struct packet *job, int fd)
{
	struct packet_head result = {.type = PACKET_RESULT, .id = job->head.id, .status = 200};
	const char *url = job->text[JOB_URL];

	if (way == SAY_NOTHING)
		return;
	if (strstr(url, "/oci-layout")) {
		result.r = -ENOENT;
		result.status = 404;
	} else if (strstr(url, "/metadata.jwt") && way != KEEP_IT_OPEN) {
		write_truth("metadata.jwt", fd);
	} else {
		assert_int_equal(file_write_all(fd, "a lie", 5), 0);
		result.plain_bytes = result.wire_bytes = 5;
	}
	if (way == KEEP_IT_OPEN && result.r == 0)
		liar.kept_fd = dup(fd);
	close(fd); /* before anybody is told */
	assert_int_equal(packet_send(liar.jobs_fd, &result, NULL, -1, true), 0);
}

static void *liar_thread(void *arg)
{
	int fd = -1;

	while (packet_receive(liar.jobs_fd, true, &liar.packet, &fd) == 0) {
		if (liar.packet.head.type != PACKET_JOB)
			continue;
		do_job(&liar.packet, fd);
	}
	return NULL;
}

/* In place of the one that starts the program. */
int __wrap_fetcher_new(
	const struct http_config *http, struct fetcher **ret_fetcher, struct ota_err *err);
int __wrap_fetcher_new(
	const struct http_config *http, struct fetcher **ret_fetcher, struct ota_err *err)
{
	int jobs[2], needs[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, jobs), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, needs), 0);
	liar.jobs_fd = jobs[1];
	liar.needs_fd = needs[1];
	liar.kept_fd = -1;
	*ret_fetcher = fetcher_new_for_test(jobs[0], needs[0]);
	assert_non_null(*ret_fetcher);
	assert_int_equal(__real_pthread_create(&liar.thread, NULL, liar_thread, NULL), 0);
	return 0;
}

static void liar_end(void)
{
	pthread_join(liar.thread, NULL);
	close(liar.jobs_fd);
	close(liar.needs_fd);
	closep(&liar.kept_fd);
}

/* What comes of an image's metadata. */
static int open_image(struct ota_err *err)
{
	struct image_source_config config = {
		.url = "http://host/image",
		.scratch_dir_fd = -1,
		.inactivity_ms = 1000,
	};
	struct cert_store *certs = NULL;
	struct image image;
	char keys_dir[4096];
	int r;

	*err = (struct ota_err){0};
	snprintf(keys_dir, sizeof(keys_dir), "%s/keys", sample_dir);
	assert_int_equal(cert_store_open(keys_dir, NULL, NULL, &certs, NULL), 0);
	config.certs = certs;
	r = image_source_open(&config, &image, err);
	liar_end();
	cert_store_free(certs);
	return r;
}

static void image_is_not_what_a_liar_says(void **state)
{
	struct ota_err err;

	way = WRITE_A_LIE;
	assert_int_equal(open_image(&err), -EBADMSG);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_sentence(
		&err, "The fetcher's sign.pem is not the one that the image's metadata.jwt names");
}

static void file_that_a_liar_can_still_write_to_is_not_read(void **state)
{
	struct ota_err err;

	way = KEEP_IT_OPEN;
	assert_int_equal(open_image(&err), -EBUSY);
	assert_sentence(&err, "Cannot keep the image's metadata.jwt: Device or resource busy");
}

static void liar_that_says_nothing_is_not_waited_for(void **state)
{
	struct ota_err err;

	way = SAY_NOTHING;
	assert_int_equal(open_image(&err), -ETIMEDOUT);
	assert_sentence(&err, "No byte came for 1 s: The server sends nothing");
}

/* What comes of one content, /a of five bytes. */
static int fetch_content(const struct tmp_dir *d, struct ota_err *err)
{
	AUTO_FILE_TABLE struct file_table *table = file_table_new();
	AUTO_CLOSE int store_fd = -1;
	struct fetch_config config = {
		.base_url = "http://host/",
		.rootfs_dir = "data",
		.compressed_dir = "",
		.n_threads = 1,
		.inactivity_ms = 1000,
	};
	struct file_entry f = {
		.mode = 0644, .path = {"/a", 2}
        };
	struct digest digest;
	uint32_t wanted = 0;
	int r;

	*err = (struct ota_err){0};
	digest_of("bytes", 5, &digest);
	assert_int_equal(file_table_add_file(table, &f, &digest, 5, false, 0), 0);
	assert_int_equal(file_table_seal(table, NULL), 0);
	config.store_dir_fd = store_fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fetch_pool_run(&config, table, &wanted, 1, NULL, NULL, NULL, err);
	liar_end();
	return r;
}

static void content_is_not_what_a_liar_says(void **state)
{
	struct ota_err err;

	way = WRITE_A_LIE;
	assert_int_equal(fetch_content(*state, &err), -EBADMSG);
	assert_int_equal(err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_sentence(&err,
		"Cannot fetch the content of /a: What the fetcher has written is not what it has "
		"told of");
	way = KEEP_IT_OPEN;
	assert_int_equal(fetch_content(*state, &err), -EBUSY);
	way = SAY_NOTHING;
	assert_int_equal(fetch_content(*state, &err), -ETIMEDOUT);
	assert_sentence(&err, "No byte came for 1 s: The server sends nothing");
}

static void pool_without_a_thread_of_its_own_is_said(void **state)
{
	struct ota_err err;
	int r;

	no_threads = true;
	r = fetch_content(*state, &err);
	no_threads = false;
	assert_int_equal(r, -EAGAIN);
	assert_sentence(
		&err, "Cannot start a thread to fetch contents: Resource temporarily unavailable");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_is_not_what_a_liar_says),
		cmocka_unit_test(file_that_a_liar_can_still_write_to_is_not_read),
		cmocka_unit_test(liar_that_says_nothing_is_not_waited_for),
		tmp_dir_test(content_is_not_what_a_liar_says),
		tmp_dir_test(pool_without_a_thread_of_its_own_is_said),
	};

	if (argc != 2)
		return 1;
	sample_dir = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
