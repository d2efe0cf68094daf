/*
 * persistent_path: which paths a machine carries over from its old system into the new one, as far as the path alone
 * tells. The updater refuses by it, the image builder warns by it. Pure.
 *
 * Elsewhere: the form of persistents.txt (list_text), what lies at a path on a machine (persist_files).
 */
#pragma once

/* NULL if @path may be kept, else why every machine refuses it, for the end of a sentence. */
const char *persistent_path_refusal(const char *path);
