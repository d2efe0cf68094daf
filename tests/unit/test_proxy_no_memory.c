/*
 * test_proxy_no_memory: memory runs out at each single allocation of what the proxy makes of outside bytes: a request is
 * decided as it would be with memory, or not at all; a list of servers is the whole list, or none.
 *
 * Argument: the folder tests/fuzz/corpus.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/cache_control.h"
#include "otaproxy/cache_meta.h"
#include "otaproxy/origins.h"
#include "otaproxy/proxy_request.h"
#include "tests/unit/corpus_text.h"

static int run_origins(struct ota_err *err)
{
	AUTO_ORIGINS struct origins *o = NULL;
	int r = origins_parse(text.data, text.len_bytes, "list", &o, err);

	if (r == 0)
		right(o->known && o->n > 1);
	return r;
}

/* While a list cannot be read, no server may be asked; and once there is memory again, it is known. */
static char list_path[64];

static int run_origins_file(struct ota_err *err)
{
	AUTO_ORIGINS_FILE struct origins_file *f = NULL;
	AUTO_ORIGINS struct origins *o = NULL;
	AUTO_ORIGINS struct origins *again = NULL;
	struct ota_err trouble = {0};
	int r = origins_file_new(list_path, &f);

	if (r < 0)
		return ota_err_no_memory(err, "the file");
	o = origins_file_get(f, &trouble);
	failing_alloc_stop();
	assert_true(o->known ? o->n > 1 : o->n == 0);
	again = origins_file_get(f, NULL);
	assert_true(again->known);
	if (!o->known)
		*err = trouble;
	return o->known ? 0 : trouble.errnum;
}

static const struct proxy_field fields[] = {
	{"Host",		   "image.example:80"                                  },
	{"ota-file-cache-control",
         "file_sha256=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	{"Cookie",                 "a=1"					       },
	{"Authorization",          "Bearer x"					  },
	{"Range",		  "bytes=0-9"					 },
	{"If-Range",               "\"tag\""					   },
	{"Via",		    "1.1 other"					 },
};

static int run_request(struct ota_err *err)
{
	const struct proxy_received in = {.method = "GET",
		.target = "http://image.example/a%20b?x=1",
		.version = "HTTP/1.1",
		.fields = fields,
		.n_fields = ARRAY_SIZE(fields),
		.local_address = "127.0.0.1:8082"};
	const struct proxy_rules rules = {.pseudonym = "me"};
	AUTO_PROXY_REQUEST struct proxy_request q = {0};
	int r = proxy_request_read(&in, &rules, &q);

	if (r == 0)
		right(q.kind == PROXY_FETCH && strcmp(q.cookie, "a=1") == 0 && q.if_range &&
			strcmp(q.authorization, "Bearer x") == 0 && q.cache_control.has_digest &&
			strcmp(q.url, "http://image.example/a%20b?x=1") == 0);
	return r;
}

static int run_cache_control(struct ota_err *err)
{
	struct cache_control cc = {0};

	return cache_control_parse(fields[1].value, strlen(fields[1].value), &cc, err);
}

static int run_cache_meta(struct ota_err *err)
{
	char head[CACHE_META_BYTES] = {0};
	struct cache_meta meta;

	memcpy(head, text.data, MIN_OF(text.len_bytes, sizeof(head)));
	return cache_meta_read(head, sizeof(head), &meta);
}

static void lists_of_servers(void **state)
{
	int fd;

	read_text("origins/whole");
	sweep(run_origins, 1, 0);
	assert_true(said("No memory for the list of servers"));
	snprintf(list_path, sizeof(list_path), "/tmp/ota-test-XXXXXX");
	fd = mkstemp(list_path);
	assert_int_equal(file_write_all(fd, text.data, text.len_bytes), 0);
	close(fd);
	sweep(run_origins_file, 2, 0);
	unlink(list_path);
}

static void requests(void **state)
{
	sweep(run_request, 1,
		SILENT); /* a sanitizer has a strdup() of its own, which does not fail */
	needs_none(run_cache_control);
}

static void entries_of_the_cache(void **state)
{
	read_text("cache_meta/good");
	needs_none(run_cache_meta);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_of_servers),
		cmocka_unit_test(requests),
		cmocka_unit_test(entries_of_the_cache),
	};

	if (!corpus_given(argc, argv))
		return 2;
	return cmocka_run_group_tests(tests, NULL, corpus_teardown);
}
