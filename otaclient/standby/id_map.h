/*
 * id_map: the number that an owner has on another slot, by name: two systems may number the same
 * user differently.
 */
#pragma once

#include <sys/types.h>

struct id_map;

/* From /etc/passwd and /etc/group of both roots; a file that is missing maps nothing. NULL: no
 * memory. */
struct id_map *id_map_new(int from_root_fd, int to_root_fd);
void id_map_free(struct id_map *m);
void id_map_freep(struct id_map **m);
#define AUTO_ID_MAP CLEANUP(id_map_freep)

/* The id in the other system, or the same number if there is no such name. */
uid_t id_map_uid(const struct id_map *m, uid_t uid);
gid_t id_map_gid(const struct id_map *m, gid_t gid);
