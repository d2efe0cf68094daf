/*
 * origins: the list of allowed servers, and the file that it stands in. Contract: origins.h.
 *
 * The lock of an origins_file guards which list is current and which version of the file that is.
 * The file is read without it: two threads may read the same version, and if the older one comes
 * last, the next call sees that the file differs and reads again.
 */
#include "otaproxy/origins.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/base/file.h"

/* Which version of a file this is. */
struct version {
	bool there; /* false: the rest is zero */
	ino_t ino;
	off_t size_bytes;
	struct timespec mtime;
};

struct origins_file {
	char *path;
	struct origins *unknown; /* stands in while there is no usable list */
	pthread_mutex_t lock;
	struct origins *now;    /* under lock */
	struct version version; /* of the file that now came from; under lock */
};

static struct origins *origins_new(bool known)
{
	struct origins *o = calloc(1, sizeof(*o));

	if (o) {
		atomic_init(&o->n_refs, 1);
		o->known = known;
	}
	return o;
}

struct origins *origins_ref(struct origins *o)
{
	atomic_fetch_add(&o->n_refs, 1);
	return o;
}

void origins_unref(struct origins *o)
{
	if (o && atomic_fetch_sub(&o->n_refs, 1) == 1)
		free(o);
}

void origins_unrefp(struct origins **o)
{
	origins_unref(*o);
}

static bool read_origin(const char *line, size_t len, struct origin *ret_origin)
{
	static const struct {
		const char *text;
		size_t len;
		bool https;
	} schemes[] = {
		{"http://",  7, false},
		{"https://", 8, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		struct origin o = {.https = schemes[i].https};
		size_t skip = schemes[i].len;

		if (len < skip || strncasecmp(line, schemes[i].text, skip) != 0)
			continue;
		if (authority_parse(line + skip, len - skip, &o.authority) < 0)
			return false;
		authority_normalise(&o.authority, o.https);
		*ret_origin = o;
		return true;
	}
	return false;
}

static int read_line(struct origins *o, const char *line, size_t len, unsigned number,
	const char *name, struct ota_err *err)
{
	if (number > ORIGINS_LINES_MAX)
		return ota_err_set(err, -E2BIG, OTA_E_OTAPROXY_FAILED, "%s has more than %d lines",
			name, ORIGINS_LINES_MAX);
	if (len > ORIGINS_LINE_MAX_BYTES)
		return ota_err_set(err, -E2BIG, OTA_E_OTAPROXY_FAILED,
			"Line %u of %s is longer than %d bytes", number, name,
			ORIGINS_LINE_MAX_BYTES);
	if (len == 0)
		return 0;
	if (!read_origin(line, len, &o->list[o->n]))
		return ota_err_set(err, -EBADMSG, OTA_E_OTAPROXY_FAILED,
			"Line %u of %s is no http:// or https:// with host and port and nothing "
			"else",
			number, name);
	o->n++;
	return 0;
}

int origins_parse(const char *text, size_t len_bytes, const char *name,
	struct origins **ret_origins, struct ota_err *err)
{
	AUTO_ORIGINS struct origins *o = origins_new(true);
	int r;

	if (!o)
		return ota_err_no_memory(err, "the list of servers");
	for (unsigned number = 1; len_bytes > 0; number++) {
		const char *end = memchr(text, '\n', len_bytes);
		size_t len = end ? (size_t)(end - text) : len_bytes;

		r = read_line(o, text, len, number, name, err);
		if (r < 0)
			return r;
		if (!end)
			return ota_err_set(err, -EBADMSG, OTA_E_OTAPROXY_FAILED,
				"Line %u of %s does not end", number, name);
		text += len + 1;
		len_bytes -= len + 1;
	}
	*ret_origins = TAKE_PTR(o);
	return 0;
}

bool origins_match(const struct origin *o, const struct authority *asked)
{
	if (strcmp(o->authority.host, asked->host) != 0)
		return false;
	return asked->port == 0 ? o->authority.port == 0
				: authority_port(&o->authority, o->https) == asked->port;
}

const struct origin *origins_find(const struct origins *o, const struct authority *asked)
{
	const struct origin *found = NULL;

	for (unsigned i = 0; i < o->n; i++)
		if (origins_match(&o->list[i], asked) && (!found || o->list[i].https))
			found = &o->list[i];
	return found;
}

int origins_file_new(const char *path, struct origins_file **ret_file)
{
	AUTO_ORIGINS_FILE struct origins_file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	f->path = strdup(path);
	f->unknown = origins_new(false);
	if (!f->path || !f->unknown)
		return -ENOMEM;
	f->now = origins_ref(f->unknown);
	*ret_file = TAKE_PTR(f);
	return 0;
}

void origins_file_free(struct origins_file *f)
{
	if (!f)
		return;
	origins_unref(f->now);
	origins_unref(f->unknown);
	pthread_mutex_destroy(&f->lock);
	free(f->path);
	free(f);
}

void origins_file_freep(struct origins_file **f)
{
	origins_file_free(*f);
}

static struct version version_of(const struct stat *st)
{
	return (struct version){
		.there = true,
		.ino = st->st_ino,
		.size_bytes = st->st_size,
		.mtime = st->st_mtim,
	};
}

static bool version_equal(const struct version *a, const struct version *b)
{
	return a->there == b->there && a->ino == b->ino && a->size_bytes == b->size_bytes &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/* The file's list and the version that was read; on failure the version is the one that failed. */
static int read_list(const char *path, struct version *version, struct origins **ret_origins,
	struct ota_err *err)
{
	/* O_NONBLOCK: a FIFO in the file's place must not hang the open. */
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	AUTO_BUF struct buf text = {0};
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ota_err_set(err, -errno, OTA_E_OTAPROXY_FAILED, "Cannot read %s: %m", path);
	*version = version_of(&st);
	if (!S_ISREG(st.st_mode))
		return ota_err_set(
			err, -EINVAL, OTA_E_OTAPROXY_FAILED, "%s is no regular file", path);
	r = file_read_fd(fd, ORIGINS_FILE_MAX_BYTES, &text);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot read %s", path);
	return origins_parse(buf_str(&text), text.len_bytes, path, ret_origins, err);
}

/* Make @o (NULL = none) current as @version; true if that version was not current before. */
static bool replace(struct origins_file *f, struct origins *o, const struct version *version)
{
	struct origins *before;
	bool is_news;

	pthread_mutex_lock(&f->lock);
	is_news = !version_equal(&f->version, version);
	before = f->now;
	f->now = origins_ref(o ? o : f->unknown);
	f->version = *version;
	pthread_mutex_unlock(&f->lock);
	origins_unref(before);
	return is_news;
}

/* Is it the file that is wrong, so that nothing changes before it does? */
static bool is_verdict(int r)
{
	return r == -EBADMSG || r == -E2BIG || r == -EFBIG || r == -EINVAL;
}

static void put_trouble(struct ota_err *ret_trouble, const struct ota_err *err)
{
	if (ret_trouble)
		*ret_trouble = *err;
}

struct origins *origins_file_get(struct origins_file *f, struct ota_err *ret_trouble)
{
	AUTO_ORIGINS struct origins *fresh = NULL;
	struct version version = {0};
	struct origins *current = NULL;
	struct ota_err err = {0};
	struct stat st;

	if (stat(f->path, &st) == 0)
		version = version_of(&st);
	pthread_mutex_lock(&f->lock);
	if (version_equal(&f->version, &version))
		current = origins_ref(f->now);
	pthread_mutex_unlock(&f->lock);
	if (current)
		return current;
	if (version.there) {
		int r = read_list(f->path, &version, &fresh, &err);

		if (r == -ENOENT) { /* gone meanwhile */
			version = (struct version){0};
			err = (struct ota_err){0};
		} else if (r < 0 && !is_verdict(r)) {
			put_trouble(ret_trouble, &err);
			return origins_ref(f->unknown);
		}
	}
	if (replace(f, fresh, &version) && err.errnum != 0)
		put_trouble(ret_trouble, &err);
	return origins_ref(fresh ? fresh : f->unknown);
}
