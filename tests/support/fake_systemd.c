/*
 * fake_systemd: an sd-bus server. Contract: fake_systemd.h.
 */
#include "tests/support/fake_systemd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>

enum {
	POLL_MS = 20,
};

static struct {
	struct fake_systemd *told;
	char dir[32], address[128];
	struct sockaddr_un addr;
	int listen_fd;
	atomic_bool stop;
	pthread_t thread;
} server;

static void must(int r)
{
	if (r < 0) {
		fprintf(stderr, "fake_systemd: %s\n", strerror(-r));
		abort();
	}
}

static const struct fake_unit *find(const char *name)
{
	static struct fake_unit missing;

	for (size_t i = 0; i < server.told->n_units; i++)
		if (strcmp(server.told->units[i].name, name) == 0)
			return &server.told->units[i];
	missing = (struct fake_unit){
		.name = name, .load = "not-found", .active = "inactive", .sub = "dead"};
	return &missing;
}

/* A unit's object is "/unit/<its place in the table>". */
static const struct fake_unit *unit_of(const char *path)
{
	static const struct fake_unit nothing;
	size_t i = strtoul(path + strlen("/unit/"), NULL, 10);

	return i < server.told->n_units ? &server.told->units[i] : &nothing;
}

static int get_restarts(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "u", unit_of(path)->n_restarts);
}

static int get_since(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "t", unit_of(path)->up_us);
}

static int is_service(sd_bus *bus, const char *path, const char *interface, void *userdata,
	void **ret_found, sd_bus_error *error)
{
	const char *name = unit_of(path)->name;

	*ret_found = &server;
	return name && strstr(name, ".service") ? 1 : 0;
}

static const char *path_of(const struct fake_unit *unit)
{
	static char path[32];

	if (unit >= server.told->units && unit < server.told->units + server.told->n_units)
		snprintf(path, sizeof(path), "/unit/%zu", (size_t)(unit - server.told->units));
	else
		snprintf(path, sizeof(path), "/unit/9999");
	return path;
}

static int refuse(sd_bus_error *error)
{
	return sd_bus_error_set(error, "org.freedesktop.DBus.Error.Failed", server.told->fails);
}

static int list_units_by_names(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus_message *answer = NULL;
	const char *name;

	if (server.told->never_answers)
		return 1;
	if (server.told->fails)
		return refuse(error);
	must(sd_bus_message_new_method_return(m, &answer));
	must(sd_bus_message_open_container(answer, 'a', "(ssssssouso)"));
	must(sd_bus_message_enter_container(m, 'a', "s"));
	while (sd_bus_message_read(m, "s", &name) > 0) {
		const struct fake_unit *u = find(name);

		if (!strchr(name, '.'))
			continue;
		must(sd_bus_message_append(answer, "(ssssssouso)", name, "A unit", u->load,
			u->active, u->sub, "", path_of(u), u->job ? 7 : 0, u->job ? u->job : "",
			"/"));
	}
	must(sd_bus_message_close_container(answer));
	must(sd_bus_send(NULL, answer, NULL));
	sd_bus_message_unref(answer);
	return 1;
}

static int list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *name = server.told->running_job;
	sd_bus_message *answer = NULL;

	if (server.told->fails)
		return refuse(error);
	must(sd_bus_message_new_method_return(m, &answer));
	must(sd_bus_message_open_container(answer, 'a', "(usssoo)"));
	must(sd_bus_message_append(
		answer, "(usssoo)", 1, "multi-user.target", "start", "waiting", "/j", "/u"));
	if (name)
		must(sd_bus_message_append(
			answer, "(usssoo)", 2, name, "start", "running", "/j", "/u"));
	must(sd_bus_message_close_container(answer));
	must(sd_bus_send(NULL, answer, NULL));
	sd_bus_message_unref(answer);
	return 1;
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("ListUnitsByNames", "as", "a(ssssssouso)", list_units_by_names,
		SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ListJobs", "", "a(usssoo)", list_jobs, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable unit[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ActiveEnterTimestampMonotonic", "t", get_since, 0, 0),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("NRestarts", "u", get_restarts, 0, 0),
	SD_BUS_VTABLE_END,
};

/* One client until it goes. */
static void serve(int fd)
{
	sd_bus *bus = NULL;
	sd_id128_t id;

	must(sd_id128_randomize(&id));
	must(sd_bus_new(&bus));
	must(sd_bus_set_fd(bus, fd, fd));
	must(sd_bus_set_server(bus, 1, id));
	must(sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1",
		"org.freedesktop.systemd1.Manager", manager, NULL));
	must(sd_bus_add_fallback_vtable(
		bus, NULL, "/unit", "org.freedesktop.systemd1.Unit", unit, NULL, NULL));
	must(sd_bus_add_fallback_vtable(
		bus, NULL, "/unit", "org.freedesktop.systemd1.Service", service, is_service, NULL));
	if (sd_bus_start(bus) >= 0)
		while (!atomic_load(&server.stop)) {
			int r = sd_bus_process(bus, NULL);

			if (r < 0 || !sd_bus_is_open(bus))
				break;
			if (r == 0)
				sd_bus_wait(bus, POLL_MS * 1000);
		}
	sd_bus_close_unref(bus);
}

static void *run(void *arg)
{
	while (!atomic_load(&server.stop)) {
		struct pollfd p = {.fd = server.listen_fd, .events = POLLIN};
		int fd;

		if (poll(&p, 1, POLL_MS) <= 0)
			continue;
		fd = accept4(server.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			serve(fd);
	}
	return NULL;
}

const char *fake_systemd_start(struct fake_systemd *f)
{
	int r;

	server.told = f;
	strcpy(server.dir, "/tmp/fake_systemd.XXXXXX");
	if (!mkdtemp(server.dir))
		abort();
	server.addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(server.addr.sun_path, sizeof(server.addr.sun_path), "%s/bus", server.dir);
	snprintf(server.address, sizeof(server.address), "unix:path=%s", server.addr.sun_path);
	server.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = server.listen_fd < 0
		    ? -1
		    : bind(server.listen_fd, (struct sockaddr *)&server.addr, sizeof(server.addr));
	if (r == 0)
		r = listen(server.listen_fd, 4);
	must(r < 0 ? -errno : 0);
	atomic_store(&server.stop, false);
	must(-pthread_create(&server.thread, NULL, run, NULL));
	return server.address;
}

void fake_systemd_stop(void)
{
	atomic_store(&server.stop, true);
	pthread_join(server.thread, NULL);
	close(server.listen_fd);
	unlink(server.addr.sun_path);
	rmdir(server.dir);
}
