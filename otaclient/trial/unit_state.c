/*
 * unit_state: calls of org.freedesktop.systemd1.Manager. Contract: unit_state.h.
 *
 * As root, the way is systemd's own socket, as systemctl has it: it is there before and without a D-Bus daemon.
 */
#include "otaclient/trial/unit_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#define OWN_SOCKET "unix:path=/run/systemd/private"
#define MANAGER \
	"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"

struct unit_bus {
	sd_bus *bus;
};

static void message_unrefp(sd_bus_message **m)
{
	sd_bus_message_unref(*m);
}
#define AUTO_MESSAGE CLEANUP(message_unrefp)

static int say(int r, const sd_bus_error *error, struct ota_err *err)
{
	return ota_err_set(err, r, OTA_E_NOT_HEALTHY, "Cannot ask systemd: %s",
		error && error->message ? error->message : strerror(-r));
}

static int connect_to(const char *address, sd_bus **ret_bus)
{
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_unref(bus);
		return r;
	}
	*ret_bus = bus;
	return 0;
}

int unit_bus_open(const char *address, struct unit_bus **ret_bus, struct ota_err *err)
{
	struct unit_bus *b;
	sd_bus *bus = NULL;
	int r;

	if (!address && sd_booted() <= 0)
		return -ENOENT;
	r = connect_to(address ? address : OWN_SOCKET, &bus);
	if (r < 0 && !address)
		r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(bus, (uint64_t)UNIT_CALL_MS * 1000);
	b = r < 0 ? NULL : calloc(1, sizeof(*b));
	if (!b) {
		sd_bus_flush_close_unref(bus);
		return say(r < 0 ? r : -ENOMEM, NULL, err);
	}
	b->bus = bus;
	*ret_bus = b;
	return 0;
}

void unit_bus_free(struct unit_bus *b)
{
	if (!b)
		return;
	sd_bus_close_unref(b->bus);
	free(b);
}

void unit_bus_freep(struct unit_bus **b)
{
	unit_bus_free(*b);
}

static void put_word(char ret_word[UNIT_WORD_MAX], const char *word)
{
	snprintf(ret_word, UNIT_WORD_MAX, "%s", word);
}

/* name, description, load, active, sub, followed, path, job's number, its type, its path */
#define UNIT_ROW "(ssssssouso)"

/* @ret_path lives as long as @answer. */
static int read_unit(sd_bus_message *answer, struct unit_state *ret_state, const char **ret_path)
{
	const char *load, *active, *sub, *path, *job;
	uint32_t job_id;
	int r = sd_bus_message_enter_container(answer, 'a', UNIT_ROW);

	if (r >= 0)
		r = sd_bus_message_enter_container(answer, 'r', "ssssssouso");
	/* It leaves out what is no name. */
	if (r == 0)
		return -EINVAL;
	if (r >= 0)
		r = sd_bus_message_read(answer, "ssssssouso", NULL, NULL, &load, &active, &sub,
			NULL, &path, &job_id, &job, NULL);
	if (r < 0)
		return r;
	put_word(ret_state->load, load);
	put_word(ret_state->active, active);
	put_word(ret_state->sub, sub);
	put_word(ret_state->job, job_id ? job : "");
	*ret_path = path;
	return 0;
}

/* Where a property does not exist, as NRestarts of what is no service, @ret_value is left alone. */
static int read_number(struct unit_bus *b, const char *path, const char *interface,
	const char *property, char type, void *ret_value)
{
	CLEANUP(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_get_property_trivial(b->bus, "org.freedesktop.systemd1", path, interface,
		property, &error, type, ret_value);

	if (sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_PROPERTY) ||
		sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_INTERFACE))
		return 0;
	return r;
}

static int read_history(struct unit_bus *b, const char *path, struct unit_state *state)
{
	uint64_t since_us = 0;
	int r = read_number(b, path, "org.freedesktop.systemd1.Unit",
		"ActiveEnterTimestampMonotonic", 't', &since_us);

	state->active_since_ms = since_us / 1000;
	if (r >= 0)
		r = read_number(b, path, "org.freedesktop.systemd1.Service", "NRestarts", 'u',
			&state->n_restarts);
	return r;
}

int unit_bus_state(
	struct unit_bus *b, const char *name, struct unit_state *ret_state, struct ota_err *err)
{
	CLEANUP(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	AUTO_MESSAGE sd_bus_message *answer = NULL;
	struct unit_state state = {0};
	const char *path = NULL;
	int r = sd_bus_call_method(
		b->bus, MANAGER, "ListUnitsByNames", &error, &answer, "as", 1, name);

	if (r >= 0)
		r = read_unit(answer, &state, &path);
	if (r == -EINVAL)
		return ota_err_set(
			err, r, OTA_E_NOT_HEALTHY, "\"%s\" is no name of a unit of systemd", name);
	if (r >= 0)
		r = read_history(b, path, &state);
	if (r < 0)
		return say(r, &error, err);
	*ret_state = state;
	return 0;
}

int unit_bus_running_job(
	struct unit_bus *b, char ret_name[UNIT_NAME_MAX_BYTES], struct ota_err *err)
{
	CLEANUP(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	AUTO_MESSAGE sd_bus_message *answer = NULL;
	char running[UNIT_NAME_MAX_BYTES] = "";
	const char *name, *state;
	int r = sd_bus_call_method(b->bus, MANAGER, "ListJobs", &error, &answer, "");

	/* number, unit, type, state, two paths */
	if (r >= 0)
		r = sd_bus_message_enter_container(answer, 'a', "(usssoo)");
	while (r >= 0 && (r = sd_bus_message_read(
				  answer, "(usssoo)", NULL, &name, NULL, &state, NULL, NULL)) > 0)
		if (!running[0] && strcmp(state, "running") == 0)
			snprintf(running, sizeof(running), "%s", name);
	if (r < 0)
		return say(r, &error, err);
	memcpy(ret_name, running, sizeof(running));
	return 0;
}
