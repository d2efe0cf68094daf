/*
 * wire: the API's messages as plain structs, and back to bytes. Contract: wire.h.
 *
 * The door to protobuf-c. It reads a copy of proto/otaclient_v2.proto in which strings are bytes (see
 * proto/derive_private.py), into memory that is bounded however the message is made: a message of two-byte
 * parts would otherwise unpack to a hundred times its size.
 */
#include "otaclient/api/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaclient/status/text.h"
#include "otaclient_v2.pb-c.h"

typedef OtaClientV2__UpdateRequest pb_request;
typedef OtaClientV2__UpdateRequestEcu pb_request_ecu;
typedef OtaClientV2__UpdateResponse pb_answer;
typedef OtaClientV2__UpdateResponseEcu pb_answer_ecu;
typedef OtaClientV2__StatusResponseEcuV2 pb_status_ecu;

enum {
	UNPACK_MEMORY_MAX_BYTES = 8 * WIRE_MESSAGE_MAX_BYTES,
	PLACE_MAX = 48, /* "available_ecu_ids[12]." */
};

/*
 * Update, Abort and Rollback have messages of their own that look alike: what is read through Update's structs
 * lies at the same place in the others'. (Of an Abort's or Rollback's entry only the ECU's id is touched.)
 */
#define SAME_PLACE(a, b, field)                                                                    \
	static_assert(offsetof(a, field) == offsetof(b, field), #a " and " #b " differ in " #field)
SAME_PLACE(pb_request, OtaClientV2__AbortRequest, ecu);
SAME_PLACE(pb_request, OtaClientV2__AbortRequest, request_id);
SAME_PLACE(pb_request, OtaClientV2__RollbackRequest, ecu);
SAME_PLACE(pb_request, OtaClientV2__RollbackRequest, request_id);
SAME_PLACE(pb_request_ecu, OtaClientV2__AbortRequestEcu, ecu_id);
SAME_PLACE(pb_request_ecu, OtaClientV2__RollbackRequestEcu, ecu_id);
static_assert(sizeof(pb_request) == sizeof(OtaClientV2__AbortRequest), "AbortRequest has grown");
static_assert(sizeof(pb_request) == sizeof(OtaClientV2__RollbackRequest), "RollbackRequest has grown");
SAME_PLACE(pb_answer, OtaClientV2__AbortResponse, ecu);
SAME_PLACE(pb_answer, OtaClientV2__RollbackResponse, ecu);
SAME_PLACE(pb_answer_ecu, OtaClientV2__AbortResponseEcu, ecu_id);
SAME_PLACE(pb_answer_ecu, OtaClientV2__AbortResponseEcu, result);
SAME_PLACE(pb_answer_ecu, OtaClientV2__AbortResponseEcu, message);
SAME_PLACE(pb_answer_ecu, OtaClientV2__RollbackResponseEcu, ecu_id);
SAME_PLACE(pb_answer_ecu, OtaClientV2__RollbackResponseEcu, result);
SAME_PLACE(pb_answer_ecu, OtaClientV2__RollbackResponseEcu, message);

#define SERVICE "/OtaClientV2.OtaClientService/"
#define DESC(msg) &ota_client_v2__##msg##__descriptor

/* path; request, its entry; answer, its entry */
static const struct method {
	const char *path;
	const ProtobufCMessageDescriptor *request, *request_ecu, *answer, *answer_ecu;
} methods[API_METHOD_COUNT] = {
	[API_UPDATE] = {SERVICE "Update", DESC(update_request), DESC(update_request_ecu),
		DESC(update_response), DESC(update_response_ecu)},
	[API_ABORT] = {SERVICE "Abort", DESC(abort_request), DESC(abort_request_ecu),
		DESC(abort_response), DESC(abort_response_ecu)},
	[API_ROLLBACK] = {SERVICE "Rollback", DESC(rollback_request), DESC(rollback_request_ecu),
		DESC(rollback_response), DESC(rollback_response_ecu)},
	[API_STATUS] = {SERVICE "Status"},
	[API_CLIENT_UPDATE] = {SERVICE "ClientUpdate", DESC(update_request),
		DESC(update_request_ecu), DESC(update_response), DESC(update_response_ecu)},
	[API_FORECAST] = {SERVICE "Forecast", DESC(update_request), DESC(update_request_ecu)},
};

const char *api_method_path(enum api_method m)
{
	return methods[m].path;
}

/* A string field: its name, where it is in protobuf's struct (as bytes) and in ours (as char *). */
struct text_row {
	const char *name;
	size_t theirs, ours;
};
/* clang-format off */
#define TEXT(their_type, field, our_type, our_field) \
	{#field, offsetof(their_type, field), offsetof(our_type, our_field)}
#define NUMBER(field, our_field) \
	{offsetof(OtaClientV2__UpdateStatus, field), offsetof(struct update_stats, our_field)}
/* clang-format on */

static const struct text_row request_texts[] = {
	TEXT(pb_request, request_id, struct wire_request, request_id),
};

/* The id is the first; an Abort's or Rollback's entry has no others. */
static const struct text_row request_ecu_texts[] = {
	TEXT(pb_request_ecu, ecu_id, struct wire_request_ecu, ecu_id),
	TEXT(pb_request_ecu, version, struct wire_request_ecu, update.version),
	TEXT(pb_request_ecu, url, struct wire_request_ecu, update.url),
	TEXT(pb_request_ecu, cookies, struct wire_request_ecu, update.cookies),
	TEXT(pb_request_ecu, release_name, struct wire_request_ecu, update.release_name),
	TEXT(pb_request_ecu, release_id, struct wire_request_ecu, update.release_id),
	TEXT(pb_request_ecu, image_id, struct wire_request_ecu, update.image_id),
};

static const struct text_row answer_ecu_texts[] = {
	TEXT(pb_answer_ecu, ecu_id, struct wire_answer_ecu, ecu_id),
	TEXT(pb_answer_ecu, message, struct wire_answer_ecu, message),
};

static const struct text_row status_ecu_texts[] = {
	TEXT(pb_status_ecu, ecu_id, struct wire_status_ecu, ecu_id),
	TEXT(pb_status_ecu, firmware_version, struct wire_status_ecu, firmware_version),
	TEXT(pb_status_ecu, otaclient_version, struct wire_status_ecu, otaclient_version),
	TEXT(pb_status_ecu, release_name, struct wire_status_ecu, release_name),
	TEXT(pb_status_ecu, release_id, struct wire_status_ecu, release_id),
	TEXT(pb_status_ecu, image_id, struct wire_status_ecu, image_id),
	TEXT(pb_status_ecu, failure_reason, struct wire_status_ecu, failure_reason),
	TEXT(pb_status_ecu, failure_traceback, struct wire_status_ecu, failure_traceback),
};

/* The plain numbers of an update's progress. */
static const struct number_row {
	size_t theirs, ours;
} progress_numbers[] = {
	NUMBER(total_files_size_uncompressed, total_files_size),
	NUMBER(total_files_num, total_files_num),
	NUMBER(update_start_timestamp, start_unix_s),
	NUMBER(total_download_files_num, total_download_files_num),
	NUMBER(total_download_files_size, total_download_files_size),
	NUMBER(downloaded_files_num, downloaded_files_num),
	NUMBER(downloaded_bytes, downloaded_bytes),
	NUMBER(downloaded_files_size, downloaded_files_size),
	NUMBER(downloading_errors, downloading_errors),
	NUMBER(total_remove_files_num, total_remove_files_num),
	NUMBER(removed_files_num, removed_files_num),
	NUMBER(processed_files_num, processed_files_num),
	NUMBER(processed_files_size, processed_files_size),
	NUMBER(total_download_bytes, total_download_bytes),
	NUMBER(total_write_bytes, total_write_bytes),
	NUMBER(remaining_seconds, remaining_s),
};

/* --- memory --- */

/* Protobuf's memory while a message is taken apart; freed at once with its arena. */
struct scratch {
	struct arena arena;
	bool full;      /* the limit was passed */
	bool no_memory; /* else */
};
#define AUTO_SCRATCH CLEANUP(scratch_done)

static void scratch_done(struct scratch *s)
{
	arena_done(&s->arena);
}

static void *scratch_alloc(void *ctx, size_t size_bytes)
{
	struct scratch *s = ctx;
	void *p;

	if (size_bytes > UNPACK_MEMORY_MAX_BYTES ||
		s->arena.used_bytes > UNPACK_MEMORY_MAX_BYTES - size_bytes) {
		s->full = true;
		return NULL;
	}
	p = arena_alloc(&s->arena, size_bytes);
	s->no_memory = s->no_memory || !p;
	return p;
}

static void scratch_free(void *ctx, void *p)
{
}

/* Room for entry @n of an array that grows by doubling; the old array stays in the arena. */
static void *grow(struct arena *a, void *array, size_t n, size_t size_bytes)
{
	void *larger;

	if (n > 0 && (n & (n - 1)) != 0)
		return array;
	larger = arena_alloc(a, (n ? 2 * n : 1) * size_bytes);
	if (larger && n > 0)
		memcpy(larger, array, n * size_bytes);
	return larger;
}

static char *dup_text(struct arena *a, const char *text)
{
	return arena_strndup(a, text ? text : "", text ? strlen(text) : 0);
}

void wire_request_done(struct wire_request *r)
{
	arena_done(&r->arena);
	*r = (struct wire_request){0};
}

void wire_answer_done(struct wire_answer *a)
{
	arena_done(&a->arena);
	*a = (struct wire_answer){0};
}

void wire_status_done(struct wire_status *s)
{
	arena_done(&s->arena);
	*s = (struct wire_status){0};
}

int wire_answer_add(struct wire_answer *a, const char *ecu_id, int result, const char *message)
{
	struct wire_answer_ecu *ecus = grow(&a->arena, a->ecus, a->n_ecus, sizeof(*ecus));
	const char *id = dup_text(&a->arena, ecu_id);
	const char *text = dup_text(&a->arena, message);

	if (!ecus || !id || !text)
		return -ENOMEM;
	a->ecus = ecus;
	ecus[a->n_ecus++] = (struct wire_answer_ecu){id, result, text};
	return 0;
}

int wire_status_add(struct wire_status *s, const struct wire_status_ecu *ecu)
{
	struct wire_status_ecu *ecus = grow(&s->arena, s->ecus, s->n_ecus, sizeof(*ecus));
	struct wire_status_ecu *to;

	if (!ecus)
		return -ENOMEM;
	s->ecus = ecus;
	to = &ecus[s->n_ecus];
	*to = *ecu;
	for (size_t i = 0; i < ARRAY_SIZE(status_ecu_texts); i++) {
		const char **text = (const char **)((char *)to + status_ecu_texts[i].ours);

		*text = dup_text(&s->arena, *text);
		if (!*text)
			return -ENOMEM;
	}
	s->n_ecus++;
	return 0;
}

int wire_status_add_available(struct wire_status *s, const char *ecu_id)
{
	const char **ids = grow(&s->arena, s->available, s->n_available, sizeof(*ids));
	const char *id = dup_text(&s->arena, ecu_id);

	if (!ids || !id)
		return -ENOMEM;
	s->available = ids;
	ids[s->n_available++] = id;
	return 0;
}

const struct wire_status_ecu *wire_status_find(const struct wire_status *s, const char *ecu_id)
{
	for (size_t i = 0; i < s->n_ecus; i++)
		if (strcmp(s->ecus[i].ecu_id, ecu_id) == 0)
			return &s->ecus[i];
	return NULL;
}

/* What the plan has found out; nothing before there is one. */
static void put_plan(const struct plan_figures *planned, uint64_t now_ms, struct update_stats *u)
{
	uint64_t left_s = estimate_left_s(u, now_ms);

	if (planned->made_ms == 0)
		return;
	u->total_download_bytes = planned->received_bytes + planned->work.download_bytes;
	u->total_write_bytes = planned->work.write_bytes;
	u->remaining_s = left_s != ESTIMATE_UNKNOWN ? MAX_OF(left_s, (uint64_t)1) : 0;
}

/*
 * Progress shows only while the ECU is updating, and a failure's cause only while it is failed; a remark has the
 * cause's place while something is under way.
 */
void wire_status_ecu_from(const struct status_snapshot *snapshot, const char *ecu_id, uint64_t now_ms,
	struct wire_status_ecu *ret_ecu)
{
	bool failed = snapshot->ota_status == STATUS_FAILURE ||
		      snapshot->ota_status == STATUS_ROLLBACK_FAILURE;

	*ret_ecu = (struct wire_status_ecu){
		.ecu_id = ecu_id,
		.firmware_version = snapshot->firmware_version,
		.otaclient_version = OTA_VERSION,
		.release_name = snapshot->release.release_name,
		.release_id = snapshot->release.release_id,
		.image_id = snapshot->release.image_id,
		.ota_status = (int)snapshot->ota_status,
	};
	if (failed && snapshot->has_failure) {
		ret_ecu->failure_type = snapshot->failure_is_recoverable ? API_RECOVERABLE
									 : API_UNRECOVERABLE;
		ret_ecu->failure_reason = snapshot->failure_reason;
	}
	if (snapshot->ota_status == STATUS_UPDATING || snapshot->ota_status == STATUS_ROLLBACKING)
		ret_ecu->failure_reason = snapshot->failure_reason;
	if (snapshot->ota_status == STATUS_UPDATING) {
		ret_ecu->update = snapshot->update;
		update_stats_times(&snapshot->update, now_ms, &ret_ecu->times);
		put_plan(&snapshot->update.planned, now_ms, &ret_ecu->update);
	}
}

/* --- bytes to structs --- */

static int no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "a message of the API");
}

static int unpack(const ProtobufCMessageDescriptor *desc, const void *data, size_t len_bytes,
	struct scratch *scratch, void *ret_message, struct ota_err *err)
{
	ProtobufCAllocator allocator = {scratch_alloc, scratch_free, scratch};
	ProtobufCMessage *message = NULL;

	if (len_bytes <= WIRE_MESSAGE_MAX_BYTES)
		message = protobuf_c_message_unpack(desc, &allocator, len_bytes, data);
	else
		scratch->full = true;
	if (!message && scratch->full)
		return ota_err_set(err, -E2BIG, OTA_E_INVALID_REQUEST,
			"The message is too large for %s", desc->short_name);
	if (!message && scratch->no_memory)
		return no_memory(err);
	if (!message)
		return ota_err_set(err, -EBADMSG, OTA_E_INVALID_REQUEST, "The message is no %s",
			desc->short_name);
	*(ProtobufCMessage **)ret_message = message;
	return 0;
}

static int check_count(size_t n_ecus, struct ota_err *err)
{
	if (n_ecus > WIRE_ECUS_MAX)
		return ota_err_set(err, -E2BIG, OTA_E_INVALID_REQUEST,
			"The message names %zu ECUs, at most %d are possible", n_ecus,
			WIRE_ECUS_MAX);
	return 0;
}

/* @where: what stands before the field's name in a sentence, as "ecu[2]." */
static int take_text(struct arena *a, const ProtobufCBinaryData *bytes, const char *where,
	const char *name, char **ret_text, struct ota_err *err)
{
	const char *s = bytes->len ? (const char *)bytes->data : "";

	if (!text_is_clean(s, bytes->len))
		return ota_err_set(err, -EBADMSG, OTA_E_INVALID_REQUEST,
			memchr(s, '\0', bytes->len) ? "%s%s contains a NUL character"
						    : "%s%s is not valid UTF-8",
			where, name);
	*ret_text = arena_strndup(a, s, bytes->len);
	return *ret_text ? 0 : no_memory(err);
}

static int take_texts(struct arena *a, const struct text_row *rows, size_t n_rows, const void *theirs,
	const char *where, void *ours, struct ota_err *err)
{
	for (size_t i = 0; i < n_rows; i++) {
		const void *from = (const char *)theirs + rows[i].theirs;
		int r = take_text(a, from, where, rows[i].name,
			(char **)((char *)ours + rows[i].ours), err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The entries of an array are named in sentences by their place. */
static const char *place(char ret_where[PLACE_MAX], const char *list, size_t i)
{
	snprintf(ret_where, PLACE_MAX, "%s[%zu].", list, i);
	return ret_where;
}

static size_t n_request_ecu_texts(enum api_method m)
{
	return methods[m].request_ecu == DESC(update_request_ecu) ? ARRAY_SIZE(request_ecu_texts) : 1;
}

int wire_request_decode(enum api_method m, const void *data, size_t len_bytes,
	struct wire_request *ret_request, struct ota_err *err)
{
	AUTO_SCRATCH struct scratch scratch = {0};
	AUTO_WIRE_REQUEST struct wire_request request = {0};
	const pb_request *message;
	char where[PLACE_MAX];
	int r = unpack(methods[m].request, data, len_bytes, &scratch, &message, err);

	if (r == 0)
		r = check_count(message->n_ecu, err);
	if (r == 0)
		r = take_texts(&request.arena, request_texts, ARRAY_SIZE(request_texts), message,
			"", &request, err);
	if (r < 0)
		return r;
	request.ecus = arena_alloc(&request.arena, (message->n_ecu + 1) * sizeof(*request.ecus));
	if (!request.ecus)
		return no_memory(err);
	for (size_t i = 0; i < message->n_ecu; i++) {
		r = take_texts(&request.arena, request_ecu_texts, n_request_ecu_texts(m),
			message->ecu[i], place(where, "ecu", i), &request.ecus[i], err);
		if (r < 0)
			return r;
		request.ecus[i].update.request_id = request.request_id;
	}
	request.n_ecus = message->n_ecu;
	*ret_request = request;
	request = (struct wire_request){0};
	return 0;
}

int wire_answer_decode(enum api_method m, const void *data, size_t len_bytes,
	struct wire_answer *ret_answer, struct ota_err *err)
{
	AUTO_SCRATCH struct scratch scratch = {0};
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	const pb_answer *message;
	char where[PLACE_MAX];
	int r = unpack(methods[m].answer, data, len_bytes, &scratch, &message, err);

	if (r == 0)
		r = check_count(message->n_ecu, err);
	if (r < 0)
		return r;
	answer.ecus = arena_alloc(&answer.arena, (message->n_ecu + 1) * sizeof(*answer.ecus));
	if (!answer.ecus)
		return no_memory(err);
	for (size_t i = 0; i < message->n_ecu; i++) {
		r = take_texts(&answer.arena, answer_ecu_texts, ARRAY_SIZE(answer_ecu_texts),
			message->ecu[i], place(where, "ecu", i), &answer.ecus[i], err);
		if (r < 0)
			return r;
		answer.ecus[i].result = (int)message->ecu[i]->result;
	}
	answer.n_ecus = message->n_ecu;
	*ret_answer = answer;
	answer = (struct wire_answer){0};
	return 0;
}

static uint64_t take_seconds(const OtaClientV2__Duration *d)
{
	return d && d->seconds > 0 ? (uint64_t)d->seconds : 0;
}

static int take_progress(const OtaClientV2__UpdateStatus *from, struct arena *a, const char *where,
	struct wire_status_ecu *to, struct ota_err *err)
{
	char *version;
	int r = take_text(a, &from->update_firmware_version, where,
		"update_status.update_firmware_version", &version, err);

	if (r < 0)
		return r;
	text_put(to->update.version, sizeof(to->update.version), version);
	for (size_t i = 0; i < ARRAY_SIZE(progress_numbers); i++)
		memcpy((char *)&to->update + progress_numbers[i].ours,
			(const char *)from + progress_numbers[i].theirs, sizeof(uint64_t));
	to->update.phase = (enum update_phase)from->phase;
	to->times = (struct update_times){
		.total_s = take_seconds(from->total_elapsed_time),
		.delta_s = take_seconds(from->delta_generating_elapsed_time),
		.download_s = take_seconds(from->downloading_elapsed_time),
		.apply_s = take_seconds(from->update_applying_elapsed_time),
	};
	return 0;
}

static int take_status_ecu(const pb_status_ecu *from, struct arena *a, const char *where,
	struct wire_status_ecu *to, struct ota_err *err)
{
	int r = take_texts(a, status_ecu_texts, ARRAY_SIZE(status_ecu_texts), from, where, to, err);

	if (r < 0)
		return r;
	to->ota_status = (int)from->ota_status;
	to->failure_type = (int)from->failure_type;
	/* protobuf leaves the union zeroed where the field is absent */
	return from->update_status ? take_progress(from->update_status, a, where, to, err) : 0;
}

int wire_status_decode(const void *data, size_t len_bytes, struct wire_status *ret_status,
	struct ota_err *err)
{
	AUTO_SCRATCH struct scratch scratch = {0};
	AUTO_WIRE_STATUS struct wire_status status = {0};
	const OtaClientV2__StatusResponse *message;
	char where[PLACE_MAX];
	int r = unpack(DESC(status_response), data, len_bytes, &scratch, &message, err);

	if (r == 0)
		r = check_count(MAX_OF(message->n_ecu_v2, message->n_available_ecu_ids), err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < message->n_available_ecu_ids; i++) {
		char *id;

		r = take_text(&status.arena, &message->available_ecu_ids[i],
			"", "available_ecu_ids", &id, err);
		if (r < 0)
			return r;
		if (wire_status_add_available(&status, id) < 0)
			return no_memory(err);
	}
	status.ecus = arena_alloc(&status.arena, (message->n_ecu_v2 + 1) * sizeof(*status.ecus));
	if (!status.ecus)
		return no_memory(err);
	for (; status.n_ecus < message->n_ecu_v2; status.n_ecus++) {
		r = take_status_ecu(message->ecu_v2[status.n_ecus], &status.arena,
			place(where, "ecu_v2", status.n_ecus), &status.ecus[status.n_ecus], err);
		if (r < 0)
			return r;
	}
	*ret_status = status;
	status = (struct wire_status){0};
	return 0;
}

/* --- structs to bytes --- */

static int pack(const void *message, struct arena *a, struct buf *ret_bytes)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = arena_alloc(a, size + 1);

	if (!bytes)
		return -ENOMEM;
	protobuf_c_message_pack(message, bytes);
	return buf_append(ret_bytes, bytes, size);
}

static int put_text(struct arena *a, const char *text, ProtobufCBinaryData *to)
{
	char *copy = dup_text(a, text);

	if (!copy)
		return -ENOMEM;
	text_repair(copy);
	to->data = (uint8_t *)copy;
	to->len = strlen(copy);
	return 0;
}

static int put_texts(struct arena *a, const struct text_row *rows, size_t n_rows, const void *ours,
	void *theirs)
{
	for (size_t i = 0; i < n_rows; i++) {
		const char *const *text =
			(const char *const *)((const char *)ours + rows[i].ours);
		void *to = (char *)theirs + rows[i].theirs;

		if (put_text(a, *text, to) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* @n new messages, initialised, and an array of pointers to them. */
static int new_messages(struct arena *a, const ProtobufCMessageDescriptor *desc, size_t n,
	void *ret_array)
{
	void **array = arena_alloc(a, (n + 1) * sizeof(*array));

	for (size_t i = 0; array && i < n; i++) {
		array[i] = arena_alloc(a, desc->sizeof_message);
		if (!array[i])
			return -ENOMEM;
		protobuf_c_message_init(desc, array[i]);
	}
	if (!array)
		return -ENOMEM;
	*(void ***)ret_array = array;
	return 0;
}

int wire_request_encode(enum api_method m, const struct wire_request *request, struct buf *ret_bytes)
{
	AUTO_ARENA struct arena a = {0};
	pb_request message;
	int r;

	protobuf_c_message_init(methods[m].request, &message);
	r = put_texts(&a, request_texts, ARRAY_SIZE(request_texts), request, &message);
	if (r == 0)
		r = new_messages(&a, methods[m].request_ecu, request->n_ecus, &message.ecu);
	for (size_t i = 0; r == 0 && i < request->n_ecus; i++)
		r = put_texts(&a, request_ecu_texts, n_request_ecu_texts(m), &request->ecus[i],
			message.ecu[i]);
	message.n_ecu = request->n_ecus;
	return r < 0 ? r : pack(&message, &a, ret_bytes);
}

int wire_answer_encode(enum api_method m, const struct wire_answer *answer, struct buf *ret_bytes)
{
	AUTO_ARENA struct arena a = {0};
	pb_answer message;
	int r;

	protobuf_c_message_init(methods[m].answer, &message);
	r = new_messages(&a, methods[m].answer_ecu, answer->n_ecus, &message.ecu);
	for (size_t i = 0; r == 0 && i < answer->n_ecus; i++) {
		message.ecu[i]->result = (OtaClientV2__FailureType)answer->ecus[i].result;
		r = put_texts(&a, answer_ecu_texts, ARRAY_SIZE(answer_ecu_texts), &answer->ecus[i],
			message.ecu[i]);
	}
	message.n_ecu = answer->n_ecus;
	return r < 0 ? r : pack(&message, &a, ret_bytes);
}

static int put_seconds(struct arena *a, uint64_t seconds, OtaClientV2__Duration **to)
{
	OtaClientV2__Duration *d = arena_alloc(a, sizeof(*d));

	if (!d)
		return -ENOMEM;
	ota_client_v2__duration__init(d);
	d->seconds = (int64_t)seconds;
	*to = d;
	return 0;
}

static int put_progress(struct arena *a, const struct wire_status_ecu *from,
	OtaClientV2__UpdateStatus *to)
{
	int r = put_text(a, from->update.version, &to->update_firmware_version);

	for (size_t i = 0; i < ARRAY_SIZE(progress_numbers); i++)
		memcpy((char *)to + progress_numbers[i].theirs,
			(const char *)&from->update + progress_numbers[i].ours, sizeof(uint64_t));
	to->phase = (OtaClientV2__UpdatePhase)from->update.phase;
	if (r == 0)
		r = put_seconds(a, from->times.total_s, &to->total_elapsed_time);
	if (r == 0)
		r = put_seconds(a, from->times.delta_s, &to->delta_generating_elapsed_time);
	if (r == 0)
		r = put_seconds(a, from->times.download_s, &to->downloading_elapsed_time);
	if (r == 0)
		r = put_seconds(a, from->times.apply_s, &to->update_applying_elapsed_time);
	return r;
}

/* The optional fields are always present, empty or not: agents have never seen an answer without them. */
static int put_status_ecu(struct arena *a, const struct wire_status_ecu *from, pb_status_ecu *to)
{
	OtaClientV2__UpdateStatus **progress = NULL;
	int r = put_texts(a, status_ecu_texts, ARRAY_SIZE(status_ecu_texts), from, to);

	if (r == 0)
		r = new_messages(a, DESC(update_status), 1, &progress);
	if (r < 0)
		return r;
	assert(progress);
	r = put_progress(a, from, progress[0]);
	if (r < 0)
		return r;
	to->ota_status = (OtaClientV2__StatusOta)from->ota_status;
	to->failure_type = (OtaClientV2__FailureType)from->failure_type;
	to->update_status = progress[0];
	to->_failure_type_case =
		OTA_CLIENT_V2__STATUS_RESPONSE_ECU_V2___FAILURE_TYPE_FAILURE_TYPE;
	to->_failure_reason_case =
		OTA_CLIENT_V2__STATUS_RESPONSE_ECU_V2___FAILURE_REASON_FAILURE_REASON;
	to->_failure_traceback_case =
		OTA_CLIENT_V2__STATUS_RESPONSE_ECU_V2___FAILURE_TRACEBACK_FAILURE_TRACEBACK;
	to->_update_status_case =
		OTA_CLIENT_V2__STATUS_RESPONSE_ECU_V2___UPDATE_STATUS_UPDATE_STATUS;
	return 0;
}

int wire_status_encode(const struct wire_status *status, struct buf *ret_bytes)
{
	AUTO_ARENA struct arena a = {0};
	OtaClientV2__StatusResponse message;
	int r;

	ota_client_v2__status_response__init(&message);
	r = new_messages(&a, DESC(status_response_ecu_v2), status->n_ecus, &message.ecu_v2);
	for (size_t i = 0; r == 0 && i < status->n_ecus; i++)
		r = put_status_ecu(&a, &status->ecus[i], message.ecu_v2[i]);
	message.n_ecu_v2 = status->n_ecus;
	message.available_ecu_ids = arena_alloc(&a,
		(status->n_available + 1) * sizeof(*message.available_ecu_ids));
	if (!message.available_ecu_ids)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < status->n_available; i++)
		r = put_text(&a, status->available[i], &message.available_ecu_ids[i]);
	message.n_available_ecu_ids = status->n_available;
	return r < 0 ? r : pack(&message, &a, ret_bytes);
}
