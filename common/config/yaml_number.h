/*
 * yaml_number: is a plain word of YAML 1.1 a number, or something else that is written with digits?
 */
#pragma once

#include "common/config/conf_tree.h"

/* Of a word that begins with a digit, a sign or a dot: CONF_INT, CONF_OTHER_SCALAR or CONF_STRING. */
enum conf_kind yaml_number_kind(const char *text);
