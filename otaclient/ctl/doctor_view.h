/*
 * doctor_view: what otactl prints while the doctor looks: a line for each check as it is done, and at the end how many
 * there were; or all of it as one JSON object.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "otaclient/doctor/doctor.h"

int doctor_view_run(FILE *out, const struct doctor_options *options, bool json,
	struct doctor_counts *ret_counts, struct ota_err *err);
