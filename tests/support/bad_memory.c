/*
 * bad_memory: a library for LD_PRELOAD that lets one allocation of one program fail, or all from there on.
 *
 * BAD_MEMORY_FILE names a file of struct script (below), mapped before main() begins, so that a program that has given up
 * its access to files still reads it, and all its processes count as one. Allocations count that the program of that name
 * makes, itself or by its libraries, once main() has begun. They are told apart by the way that leads there, that is by
 * all return addresses; so the third one on a way is found whatever threads do. Ways of one place differ in libraries
 * alone. In the script:
 *
 *     at 0        count only
 *     at N        the Nth on the way @way fails; @onwards: and from then on each one, on whatever way
 *
 * What intercepts: failing_alloc.c.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/failing_alloc.h"

enum {
	FRAMES = 64,
	WAYS_MAX = 8192, /* a power of two, and more than there are */
};

static struct script {
	char program[32];
	uint32_t way, at, onwards;
	_Atomic uint32_t n_failed, is_over; /* is_over: memory has ended */
	struct {
		_Atomic uint32_t way, place, n;
	} ways[WAYS_MAX];
} * script;

static const void *program_begin, *own_begin; /* of the program, and of this library */
static _Thread_local __attribute__((tls_model("initial-exec"))) bool counting;

static uint32_t mix(uint32_t way, uint32_t more)
{
	for (unsigned b = 0; b < 4; b++)
		way = (way ^ (more >> 8 * b & 0xff)) * 16777619;
	return way;
}

/* Where in which object each function was called. false: not by the program. */
static bool way_here(uint32_t *ret_way, uint32_t *ret_place)
{
	void *frames[FRAMES];
	int n = backtrace(frames, FRAMES);
	uint32_t way = 2166136261, place = way;
	bool is_ours = false;

	for (int i = 0; i < n; i++) {
		struct dl_find_object o;
		uint32_t at;

		if (_dl_find_object(frames[i], &o) < 0 || o.dlfo_map_start == own_begin)
			continue;
		at = (uint32_t)((char *)frames[i] - (char *)o.dlfo_map_start);
		way = mix(way, at);
		if (o.dlfo_map_start != program_begin)
			continue;
		place = mix(place, at);
		is_ours = true;
	}
	*ret_way = way ? way : 1; /* 0 is a free place of the table */
	*ret_place = place;
	return is_ours;
}

/* How many there were on this way, with this one. */
static uint32_t count(uint32_t way, uint32_t place)
{
	for (uint32_t i = way;; i++) {
		uint32_t none = 0, slot = i % WAYS_MAX;

		if (!atomic_compare_exchange_strong(&script->ways[slot].way, &none, way) &&
			none != way)
			continue;
		atomic_store(&script->ways[slot].place, place);
		return atomic_fetch_add(&script->ways[slot].n, 1) + 1;
	}
}

static bool judge(void)
{
	uint32_t way, place;
	bool hit;

	if (!way_here(&way, &place))
		return false;
	hit = count(way, place) == script->at && way == script->way;
	if (hit && script->onwards)
		atomic_store(&script->is_over, 1);
	hit = hit || atomic_load(&script->is_over);
	if (hit)
		atomic_fetch_add(&script->n_failed, 1);
	return hit;
}

/* The unwinder may itself allocate. */
static bool fails(void)
{
	bool hit;

	if (counting)
		return false;
	counting = true;
	hit = judge();
	counting = false;
	return hit;
}

static void __attribute__((constructor)) open_script(void)
{
	const char *path = getenv("BAD_MEMORY_FILE");
	const char *program = (const char *)(uintptr_t)getauxval(AT_EXECFN);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct dl_find_object o;
	void *frame[1];

	script = mmap(NULL, sizeof(*script), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	/* Memory without an end would let every test pass. */
	if (fd < 0 || script == MAP_FAILED || !program)
		abort();
	close(fd);
	program = strrchr(program, '/') ? strrchr(program, '/') + 1 : program;
	if (strcmp(program, script->program) != 0)
		return;
	if (_dl_find_object((void *)getauxval(AT_ENTRY), &o) < 0)
		abort();
	program_begin = o.dlfo_map_start;
	if (_dl_find_object((void *)(uintptr_t)open_script, &o) < 0)
		abort();
	own_begin = o.dlfo_map_start;
	backtrace(frame, 1); /* loads what it needs */
	failing_alloc_ask(fails);
}
