/*
 * health_driver: one round of the health check on the machine where it runs, for a test with the real systemd.
 *
 *     health_driver TARGET UNITS
 *
 * Each result is a line, and the sentence of the first failure; status 0 = all is well.
 */
#include <stdio.h>

#include "otaclient/trial/health.h"

static void print_result(void *ctx, const char *name, bool ok, const char *how)
{
	printf("%s: %s\n", name, ok ? "well" : how);
}

static void print_note(void *ctx, bool trouble, const char *sentence)
{
	printf("note: %s\n", sentence);
}

int main(int argc, char **argv)
{
	struct health_config config = {.result = print_result, .note = print_note};
	struct ota_err err = {0};

	if (argc != 3)
		return 2;
	config.target = argv[1];
	config.units = argv[2];
	return health_check(&config, NULL, NULL, &err) < 0;
}
