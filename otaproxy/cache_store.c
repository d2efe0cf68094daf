/*
 * cache_store: open the folder, look entries up, trust and drop them. Contract and layout: cache_store.h.
 *
 * Renames here are plain ones, past common/base/io: nothing in the cache has to survive a cut. What a cut leaves is
 * in another boot's folder, or in tmp, when the next store is opened; so a sync for each of a hundred thousand files
 * would buy nothing.
 *
 * Elsewhere: unfinished files (cache_temp.c), making room (reclaim).
 */
#include "otaproxy/cache_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "otaproxy/cache_parts.h"

enum {
	DIR_MODE = 0700,                            /* bodies may be somebody's secret */
	BOOT_ID_FILE_MAX_BYTES = CACHE_BOOT_ID_MAX, /* with a line end */
};

static const char version_name[] = "v1";
static const char tmp_name[] = "tmp";
/* Of a file system's own root; fsck wants it back. */
static const char lost_name[] = "lost+found";
/* By which backups know a cache (bford.info/cachedir), and we know ours, also without v1. */
static const char tag_name[] = "CACHEDIR.TAG";
static const char tag_text[] =
	"Signature: 8a477f597d28d172789f06886806bc55\n"
	"# What is in this folder is otaproxy's, and may be removed at any time.\n";

static bool is_boot_id(const char *text)
{
	for (size_t i = 0; i < CACHE_BOOT_ID_MAX - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (text[i] == '\0' || !strchr(dash ? "-" : "0123456789abcdef", text[i]))
			return false;
	}
	return text[CACHE_BOOT_ID_MAX - 1] == '\0';
}

int cache_boot_id_read(const char *path, char ret_id[CACHE_BOOT_ID_MAX], struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = file_read(AT_FDCWD, path, BOOT_ID_FILE_MAX_BYTES, &text);

	if (r == 0 && text.len_bytes == CACHE_BOOT_ID_MAX &&
		text.data[CACHE_BOOT_ID_MAX - 1] == '\n')
		text.data[CACHE_BOOT_ID_MAX - 1] = '\0';
	if (r == -EFBIG || (r == 0 && !is_boot_id(buf_str(&text))))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC, "%s holds no boot id", path);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read the boot id from %s: %s",
			path, strerror(-r));
	memcpy(ret_id, text.data, CACHE_BOOT_ID_MAX);
	return 0;
}

/* Open the folder @name, making it if it is missing. Returns the descriptor or -errno. */
static int open_folder(int parent_fd, const char *name)
{
	if (mkdirat(parent_fd, name, DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	return path_open(parent_fd, name, O_RDONLY | O_DIRECTORY, 0);
}

/* Each cache folder has one user at a time; the lock goes with the process. */
static int lock_dir(int dir_fd, const char *dir, struct ota_err *err)
{
	if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"The cache %s is in use by another otaproxy", dir);
	return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot lock the cache %s: %s", dir,
		strerror(errno));
}

/* What the other client's proxy keeps in the same folder, and what every file system has. */
static bool is_known_name(const char *name)
{
	return strcmp(name, version_name) == 0 || strcmp(name, lost_name) == 0 ||
	       strcmp(name, tag_name) == 0 || strncmp(name, "cache_db", 8) == 0 ||
	       strncmp(name, "tmp_", 4) == 0 || strncmp(name, "URL_", 4) == 0 ||
	       (strspn(name, "0123456789abcdef") == 64 && name[64] == '\0');
}

static int visit_stranger(void *ctx, int dir_fd, const char *name)
{
	char *stranger = ctx;

	if (is_known_name(name))
		return 0;
	snprintf(stranger, NAME_MAX + 1, "%s", name);
	return 1;
}

static bool is_tagged(int dir_fd)
{
	AUTO_BUF struct buf text = {0};

	return file_read(dir_fd, tag_name, sizeof(tag_text), &text) == 0 &&
	       strcmp(buf_str(&text), tag_text) == 0;
}

/* It is missed only if v1 goes and foreign content stays, so a failure is not worth a word. */
static void put_tag(int dir_fd)
{
	AUTO_CLOSE int fd = openat(
		dir_fd, tag_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	/* The umask is for what is kept; this is for whoever opens the folder next. */
	if (fd >= 0 && (fchmod(fd, 0644) < 0 || file_write_all(fd, tag_text, strlen(tag_text)) < 0))
		unlinkat(dir_fd, tag_name, 0);
}

/*
 * Foreign content of a cache folder goes when room is needed. So a folder that has content and has never been one is
 * not taken for one: somebody has mistyped its name.
 */
static int check_dir(const struct cache_store *s, struct ota_err *err)
{
	char stranger[NAME_MAX + 1];
	struct stat st;

	if (fstatat(s->dir_fd, version_name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		is_tagged(s->dir_fd) || folder_each(s->dir_fd, visit_stranger, stranger) <= 0)
		return 0;
	return ota_err_set(err, -ENOTEMPTY, OTA_E_UNSPECIFIC,
		"The folder %s is no cache: it holds %s; name an empty folder, whose content may "
		"be "
		"removed at any time",
		s->dir, stranger);
}

static int open_dir(struct cache_store *s, struct ota_err *err)
{
	int r;

	if (mkdir(s->dir, DIR_MODE) < 0 && errno != EEXIST)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot make the cache folder %s: %s", s->dir, strerror(errno));
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot open the cache folder %s: %s", s->dir, strerror(errno));
	r = lock_dir(s->dir_fd, s->dir, err);
	return r < 0 ? r : check_dir(s, err);
}

static int open_folders(struct cache_store *s, const char *boot_id, struct ota_err *err)
{
	const char *name = version_name;
	int fd;

	s->v1_fd = fd = open_folder(s->dir_fd, name);
	if (fd >= 0) {
		name = tmp_name;
		s->tmp_fd = fd = open_folder(s->v1_fd, name);
	}
	if (fd >= 0) {
		name = boot_id;
		s->folders[0].fd = fd = open_folder(s->v1_fd, name);
	}
	if (fd < 0)
		return ota_err_set(err, fd, OTA_E_UNSPECIFIC,
			"Cannot open the folder %s of the cache %s: %s", name, s->dir,
			strerror(-fd));
	memcpy(s->folders[0].boot_id, boot_id, CACHE_BOOT_ID_MAX);
	s->n_folders = 1;
	return 0;
}

/* Keep the folder open; if there are too many, the one least recently written to goes. */
static void note_folder(struct cache_store *s, const struct cache_folder *folder)
{
	struct cache_folder gone, *oldest = &s->folders[1];

	if (s->n_folders < ARRAY_SIZE(s->folders)) {
		s->folders[s->n_folders++] = *folder;
		return;
	}
	for (unsigned i = 2; i < s->n_folders; i++)
		if (s->folders[i].mtime_s < oldest->mtime_s)
			oldest = &s->folders[i];
	gone = *folder;
	if (oldest->mtime_s < folder->mtime_s) {
		gone = *oldest;
		*oldest = *folder;
	}
	close(gone.fd);
	/* If it cannot be removed it is foreign from now on, which reclaim copes with. */
	folder_remove(s->v1_fd, gone.boot_id);
}

static int visit_boot(void *ctx, int v1_fd, const char *name)
{
	struct cache_store *s = ctx;
	struct cache_folder folder;
	struct stat st;

	/* An empty one has nothing to offer: rmdir takes only those. */
	if (!is_boot_id(name) || strcmp(name, s->folders[0].boot_id) == 0 ||
		unlinkat(v1_fd, name, AT_REMOVEDIR) == 0)
		return 0;
	folder.fd = path_open(v1_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (folder.fd == -ENOTDIR || folder.fd == -ELOOP || folder.fd == -EXDEV)
		return 0; /* foreign */
	if (folder.fd < 0)
		return folder.fd;
	if (fstat(folder.fd, &st) < 0) {
		closep(&folder.fd);
		return -errno;
	}
	memcpy(folder.boot_id, name, CACHE_BOOT_ID_MAX);
	folder.mtime_s = st.st_mtim.tv_sec;
	note_folder(s, &folder);
	return 0;
}

int cache_store_claim(const char *dir, uid_t owner, unsigned *ret_n, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir_fd < 0 ? -errno : lock_dir(dir_fd, dir, err);
	struct stat st;

	if (r == -EWOULDBLOCK)
		return r;
	/* With v1 goes what an older version knows a cache by. */
	if (r == 0 && fstatat(dir_fd, version_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		put_tag(dir_fd);
	if (r == 0)
		r = folder_remove_strange(dir_fd, version_name, owner, ret_n);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot remove what other users have left in the cache %s: %s", dir,
			strerror(-r));
	return 0;
}

int cache_store_open(
	const char *dir, const char *boot_id, struct cache_store **ret_store, struct ota_err *err)
{
	AUTO_CACHE_STORE struct cache_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return ota_err_no_memory(err, "the cache");
	s->dir_fd = s->v1_fd = s->tmp_fd = s->folders[0].fd = -1;
	s->dir = strdup(dir);
	if (!s->dir)
		return ota_err_no_memory(err, "the cache");
	if (!is_boot_id(boot_id))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC, "\"%s\" is no boot id", boot_id);
	r = open_dir(s, err);
	if (r == 0)
		r = open_folders(s, boot_id, err);
	if (r < 0)
		return r;
	put_tag(s->dir_fd);
	r = folder_empty(s->tmp_fd);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot remove the unfinished files of the cache %s: %s", dir,
			strerror(-r));
	r = folder_each(s->v1_fd, visit_boot, s);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot look for older entries of the cache %s: %s", dir, strerror(-r));
	*ret_store = TAKE_PTR(s);
	return 0;
}

void cache_store_free(struct cache_store *s)
{
	if (!s)
		return;
	for (unsigned i = 1; i < s->n_folders; i++)
		closep(&s->folders[i].fd);
	closep(&s->folders[0].fd);
	closep(&s->tmp_fd);
	closep(&s->v1_fd);
	closep(&s->dir_fd);
	free(s->dir);
	free(s);
}

void cache_store_freep(struct cache_store **s)
{
	cache_store_free(*s);
}

void cache_hit_init(struct cache_hit *hit)
{
	*hit = (struct cache_hit){.fd = -1};
}

void cache_hit_done(struct cache_hit *hit)
{
	closep(&hit->fd);
	hit->fd = -1;
}

/* -EBADMSG: the head is torn, or another entry's. */
static int read_head(int fd, const struct cache_key *key, struct cache_hit *hit)
{
	char head[CACHE_META_BYTES];
	struct cache_key said;
	ssize_t n;

	do
		n = pread(fd, head, sizeof(head), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (cache_meta_read(head, (size_t)n, &hit->meta) < 0)
		return -EBADMSG;
	said = cache_key_of_url(hit->meta.url);
	if (!digest_equal(&said.digest, &key->digest) || hit->meta.size_bytes != hit->size_bytes)
		return -EBADMSG;
	return 0;
}

/*
 * The order of the least recently used is kept in atime by ourselves, since mounts are noatime or relatime. A clock
 * that was set back counts as any other difference. It is a hint, so it may fail.
 */
static void renew_atime(int fd, const struct stat *st)
{
	int64_t now_s = clock_unix_s();
	int64_t age_s = now_s - st->st_atim.tv_sec;
	struct timespec times[2] = {{.tv_sec = now_s}, {.tv_nsec = UTIME_OMIT}};

	if (age_s > CACHE_ATIME_RENEW_S || age_s < -CACHE_ATIME_RENEW_S)
		futimens(fd, times);
}

/* Look in one folder. -ENOENT: nothing there that could be served. */
static int find_in(
	const struct cache_folder *folder, const struct cache_key *key, struct cache_hit *ret_hit)
{
	char name[CACHE_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct cache_hit hit = {.body_offset = cache_key_body_offset(key)};
	struct stat st;
	int r = 0;

	cache_key_name(key, name);
	/* O_NONBLOCK: a FIFO in the file's place must not hang the open. */
	fd = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -ENOENT : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	if ((uint64_t)st.st_size < hit.body_offset)
		r = -EBADMSG;
	hit.size_bytes = (uint64_t)st.st_size - hit.body_offset;
	if (r == 0 && key->kind == CACHE_BY_URL)
		r = read_head(fd, key, &hit);
	if (r == -EBADMSG) {
		/* Of no use to anybody. Should a better one have taken its place just now, it is fetched once more. */
		unlinkat(folder->fd, name, 0);
		return -ENOENT;
	}
	if (r < 0)
		return r;
	renew_atime(fd, &st);
	hit.fd = TAKE_FD(fd);
	*ret_hit = hit;
	return 0;
}

static int failed(int r, const struct cache_store *s, const struct cache_key *key, const char *verb,
	struct ota_err *err)
{
	char name[CACHE_NAME_MAX];

	cache_key_name(key, name);
	return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot %s %s of the cache %s: %s", verb, name,
		s->dir, strerror(-r));
}

int cache_store_find(const struct cache_store *s, const struct cache_key *key,
	struct cache_hit *ret_hit, struct ota_err *err)
{
	int r = -ENOENT;

	for (unsigned i = 0; i < s->n_folders && r == -ENOENT; i++) {
		r = find_in(&s->folders[i], key, ret_hit);
		if (r == 0) {
			ret_hit->trusted = i == 0;
			ret_hit->folder = i;
		}
	}
	return r < 0 && r != -ENOENT ? failed(r, s, key, "open", err) : r;
}

/* Is @name in @dir_fd the file that is open at @fd? 0, -ENOENT if not, or -errno. */
static int check_same(int dir_fd, const char *name, int fd)
{
	struct stat open_st, st;

	if (fstat(fd, &open_st) < 0 || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return st.st_ino == open_st.st_ino && st.st_dev == open_st.st_dev ? 0 : -ENOENT;
}

int cache_store_trust(const struct cache_store *s, const struct cache_key *key,
	struct cache_hit *hit, struct ota_err *err)
{
	char name[CACHE_NAME_MAX];
	int own_fd = s->folders[0].fd, from_fd = s->folders[hit->folder].fd;
	int r;

	if (hit->trusted)
		return 0;
	cache_key_name(key, name);
	/* Nobody writes into an older boot's folder, so a name that is this file's stays this file's, or goes. */
	r = check_same(from_fd, name, hit->fd);
	if (r == 0 && renameat(from_fd, name, own_fd, name) < 0)
		r = -errno;
	if (r == -ENOENT)
		r = check_same(own_fd, name, hit->fd);
	if (r == -ENOENT)
		return r;
	if (r < 0)
		return failed(r, s, key, "keep", err);
	hit->trusted = true;
	hit->folder = 0;
	return 0;
}

int cache_store_drop(const struct cache_store *s, const struct cache_key *key, struct ota_err *err)
{
	char name[CACHE_NAME_MAX];
	int first_r = 0;

	cache_key_name(key, name);
	for (unsigned i = 0; i < s->n_folders; i++)
		if (unlinkat(s->folders[i].fd, name, 0) < 0 && errno != ENOENT && first_r == 0)
			first_r = -errno;
	return first_r < 0 ? failed(first_r, s, key, "remove", err) : 0;
}

struct foreign_walk {
	const struct cache_store *store;
	folder_visit_fn *visit;
	void *ctx;
};

static int visit_in_dir(void *ctx, int dir_fd, const char *name)
{
	struct foreign_walk *walk = ctx;

	if (strcmp(name, version_name) == 0 || strcmp(name, lost_name) == 0 ||
		strcmp(name, tag_name) == 0)
		return 0;
	return walk->visit(walk->ctx, dir_fd, name);
}

static int visit_in_v1(void *ctx, int v1_fd, const char *name)
{
	struct foreign_walk *walk = ctx;

	if (strcmp(name, tmp_name) == 0)
		return 0;
	for (unsigned i = 0; i < walk->store->n_folders; i++)
		if (strcmp(name, walk->store->folders[i].boot_id) == 0)
			return 0;
	return walk->visit(walk->ctx, v1_fd, name);
}

int cache_foreign_each(const struct cache_store *s, folder_visit_fn *visit, void *ctx)
{
	struct foreign_walk walk = {.store = s, .visit = visit, .ctx = ctx};
	int r = folder_each(s->dir_fd, visit_in_dir, &walk);

	return r == 0 ? folder_each(s->v1_fd, visit_in_v1, &walk) : r;
}

/* Whether it worked shows in @ctx: 0 or the first failure. */
static int visit_wiping(void *ctx, int dir_fd, const char *name)
{
	int *first_r = ctx;
	int r = folder_remove(dir_fd, name);

	if (*first_r == 0)
		*first_r = r;
	return 0;
}

int cache_store_wipe(const struct cache_store *s, struct ota_err *err)
{
	int first_r = 0;
	int r = cache_foreign_each(s, visit_wiping, &first_r);

	if (first_r == 0)
		first_r = r;
	for (unsigned i = 1; i < s->n_folders; i++)
		visit_wiping(&first_r, s->v1_fd, s->folders[i].boot_id);
	r = folder_empty(s->folders[0].fd);
	if (first_r == 0)
		first_r = r;
	r = folder_empty(s->tmp_fd);
	if (first_r == 0)
		first_r = r;
	if (first_r < 0)
		return ota_err_set(err, first_r, OTA_E_UNSPECIFIC, "Cannot empty the cache %s: %s",
			s->dir, strerror(-first_r));
	return 0;
}
