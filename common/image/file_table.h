/*
 * file_table: what a root file system is to consist of: directories, links, files, and the distinct contents
 * that the files need. Made from an image's lists by list_text.c; read by everything that plans or builds.
 *
 * Paths and targets are borrowed slices of the list texts where possible, so the texts must outlive the
 * table; what had to be unquoted lives in the table's arena. 100 000 files cost about 10 MB.
 *
 * Immutable once file_table_seal() has returned; then any thread may read it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/keyed_hash.h"
#include "common/crypto/digest.h"

#define FILE_TABLE_NONE UINT32_MAX /* "no such index" */

enum {
	FILE_TABLE_ENTRIES_MAX = 16 << 20, /* of all kinds; bounds memory against a hostile list */
	FILE_TABLE_XATTRS_MAX = 16 << 20,  /* as many again */
	FILE_TABLE_NAMES_MAX = 65000,      /* of one file: what ext4 can count */
};
#define CONTENT_SIZE_UNKNOWN UINT64_MAX

/* Not NUL-terminated. */
struct text {
	const char *at;
	uint32_t len;
};

/* A path of a sealed table as a string, in @buf. */
const char *text_path(struct text path, char buf[PATH_MAX]);

enum entry_kind {
	ENTRY_DIR = 0,
	ENTRY_SYMLINK = 1,
	ENTRY_FILE = 2,
};

struct dir_entry {
	struct text path;
	uint32_t uid, gid;
	uint16_t mode; /* permission bits with set-id and sticky */
	bool implied;  /* no line of its own: parent of something listed; 0755 root:root */
};

struct symlink_entry {
	struct text path;
	struct text target;
	uint32_t uid, gid;
};

struct file_entry {
	struct text path;
	uint32_t uid, gid;
	uint32_t content; /* index into contents */
	uint32_t group;   /* index of the first file of its hard link group; its own index if it has none */
	uint16_t mode;
};

struct content {
	struct digest digest;
	uint64_t size_bytes; /* plain; CONTENT_SIZE_UNKNOWN: an old list without the column */
	uint32_t first_file; /* a file that has it, for the plain URL */
	bool has_zst;        /* the server has a compressed blob */
};

/* One line of attributes.txt for a path of the image. Sorted by kind, index, key. */
struct entry_xattr {
	enum entry_kind kind;
	uint32_t index; /* within its kind */
	struct text name; /* "security.capability" */
	struct text value_hex;
};

/* Modification time; nsec == MTIME_UNKNOWN: the image says nothing. */
#define MTIME_UNKNOWN UINT32_MAX
struct entry_mtime {
	int64_t sec;
	uint32_t nsec;
} __attribute__((packed));

struct file_table {
	struct dir_entry *dirs; /* parents before children after sealing */
	struct symlink_entry *symlinks;
	struct file_entry *files;
	struct content *contents;
	uint32_t n_dirs, n_symlinks, n_files, n_contents;

	bool has_attributes;  /* the image carries attributes.txt: xattrs and mtimes are then exact */
	struct entry_mtime *mtimes[3]; /* by entry_kind, one per entry; NULL without attributes */
	struct entry_xattr *xattrs;
	uint32_t n_xattrs;
	/* Attributes of "/" itself, which has no line in dirs.txt but may have in attributes.txt: index
	 * FILE_TABLE_NONE of kind ENTRY_DIR in xattrs, and: */
	struct entry_mtime root_mtime;

	uint64_t total_size_bytes; /* sum over all names, unknown sizes as 0 */

	uint32_t
		entries_max; /* FILE_TABLE_ENTRIES_MAX; tests make it smaller before they add anything */

	/* private to file_table.c */
	struct hash_key hash_key;
	struct arena arena;
	struct group_map *groups; /* inode column -> first file; gone after the seal */
	struct text last_parent;  /* the seal: a path that is known to be a directory's */
	uint32_t caps[4], xattrs_cap;
	uint32_t *content_index, content_slots;
	uint32_t *path_index, path_slots;
};

struct file_table *file_table_new(void);
void file_table_free(struct file_table *t);
void file_table_freep(struct file_table **t);
#define AUTO_FILE_TABLE CLEANUP(file_table_freep)

/*
 * Building, before the seal. 0, -ENOMEM or -E2BIG; they copy the struct, not the text behind it. Of a
 * file_entry, content and group are found here and need not be set.
 */
int file_table_add_dir(struct file_table *t, const struct dir_entry *d);
int file_table_add_symlink(struct file_table *t, const struct symlink_entry *s);
/*
 * @inode != 0: files with the same number form a link group. -EBADMSG: the digest is there with another size
 * (contents[file_table_find_content()] tells which). Of a known and an unknown size the known one counts.
 */
int file_table_add_file(struct file_table *t, const struct file_entry *f, const struct digest *digest,
	uint64_t size_bytes, bool has_zst, uint64_t inode);
/* Space that lives as long as the table, for unquoted paths. */
struct arena *file_table_arena(struct file_table *t);

/* About so many files are going to be added: spares growing. Only a hint. */
void file_table_expect_files(struct file_table *t, size_t n_files);

/*
 * Check the whole and make it fast to search: paths canonical and unique, nothing below /.ota-*, every parent
 * a directory (listed or implied), owner and mode of a group those of its first file, dirs in parent-first
 * order; files stay in theirs. 0, or -EBADMSG with code E203 and the path in the sentence; -E2BIG (E203) if the
 * implied directories pass the limit; -ENOMEM. After a failure the table can only be freed.
 */
int file_table_seal(struct file_table *t, struct ota_err *err);

/*
 * Attributes, after the seal and before the table is shared: begin, then any number of the others in any
 * order, then end. "/" is kind ENTRY_DIR, index FILE_TABLE_NONE. Those of a link group are given for its first
 * file and then hold for all its names. 0, -ENOMEM or -E2BIG; end: -EEXIST if an entry has a name twice.
 */
int file_table_begin_attributes(struct file_table *t);
int file_table_add_xattr(struct file_table *t, const struct entry_xattr *x);
void file_table_set_mtime(struct file_table *t, enum entry_kind kind, uint32_t index, int64_t sec,
	uint32_t nsec);
int file_table_end_attributes(struct file_table *t);

/* Look up a path after the seal. Returns false if the image has none. */
bool file_table_find(const struct file_table *t, const char *path, size_t len_bytes, enum entry_kind *ret_kind,
	uint32_t *ret_index);

/* The index of a content, or FILE_TABLE_NONE; before the seal too. */
uint32_t file_table_find_content(const struct file_table *t, const struct digest *digest);

/* The xattrs of one entry: @ret_first and the count. "/" is kind ENTRY_DIR, index FILE_TABLE_NONE. */
uint32_t file_table_xattrs_of(const struct file_table *t, enum entry_kind kind, uint32_t index,
	const struct entry_xattr **ret_first);
