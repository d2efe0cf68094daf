/*
 * cert_store: the installed certificates, and the search for a path to an anchor. Contract: cert_store.h.
 *
 * The path itself is libcrypto's work (X509_verify_cert): only a chain's self-issued certificates are trusted,
 * its others are merely material to build with, and no flag makes an intermediate an anchor. What libcrypto
 * leaves open is decided here: who may be a signer at all, and that an anchor that issues says it is a CA.
 *
 * Chains stay apart because the CAs of test and production may bear the same names.
 */
#include "common/crypto/cert_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/crypto/x509_cert.h"

enum {
	SECURITY_LEVEL = 2, /* of libcrypto: 112 bits, so no SHA-1 and no RSA below 2048 */
	PATH_DEPTH_MAX = 8, /* CAs between signer and anchor; real chains have one */
	TIME_TEXT_MAX = 32,
	PLACE_TEXT_MAX = 64, /* a longer name of a chain is cut */
};

struct chain {
	char *name; /* the files' common prefix */
	struct stack_st_X509 *anchors;
	struct stack_st_X509 *intermediates;
	X509_STORE *trusted; /* the anchors again, in the form X509_verify_cert wants */
};

struct cert_store {
	char *dir;
	struct chain *chains; /* sorted by name */
	size_t n_chains;
};

struct note {
	void (*fn)(void *ctx, const char *sentence);
	void *ctx;
};

static void note_printf(const struct note *note, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void note_printf(const struct note *note, const char *fmt, ...)
{
	char sentence[OTA_ERR_MSG_MAX];
	va_list ap;

	if (!note->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	note->fn(note->ctx, sentence);
}

static void chain_done(struct chain *chain)
{
	free(chain->name);
	sk_X509_pop_free(chain->anchors, X509_free);
	sk_X509_pop_free(chain->intermediates, X509_free);
	X509_STORE_free(chain->trusted);
}

void cert_store_free(struct cert_store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < store->n_chains; i++)
		chain_done(&store->chains[i]);
	free(store->chains);
	free(store->dir);
	free(store);
}

void cert_store_freep(struct cert_store **store)
{
	cert_store_free(*store);
}

/* Loading. */

static bool is_word_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || (unsigned char)c >= 0x80;
}

/* The length of <chain> in "<chain>.<role>.pem", 0 if the name has another form. */
static size_t chain_name_len(const char *file)
{
	size_t chain = 0, role = 0;

	while (is_word_char(file[chain]))
		chain++;
	if (chain == 0 || file[chain] != '.')
		return 0;
	while (is_word_char(file[chain + 1 + role]))
		role++;
	return role > 0 && strcmp(file + chain + 1 + role, ".pem") == 0 ? chain : 0;
}

/* Files come sorted, but "a-b.x.pem" sorts before "a.x.pem", so the whole list is searched. */
static struct chain *chain_of(struct cert_store *store, const char *file, size_t name_len)
{
	struct chain *chain;
	void *grown;

	for (size_t i = 0; i < store->n_chains; i++) {
		chain = &store->chains[i];
		if (strncmp(chain->name, file, name_len) == 0 && chain->name[name_len] == '\0')
			return chain;
	}
	grown = reallocarray(store->chains, store->n_chains + 1, sizeof(*chain));
	if (!grown)
		return NULL;
	store->chains = grown;
	chain = &store->chains[store->n_chains];
	*chain = (struct chain){
		.name = strndup(file, name_len),
		.anchors = sk_X509_new_null(),
		.intermediates = sk_X509_new_null(),
		.trusted = X509_STORE_new(),
	};
	store->n_chains++; /* from here on cert_store_free() sees it */
	return chain->name && chain->anchors && chain->intermediates && chain->trusted ? chain
										       : NULL;
}

static int chain_add(struct chain *chain, X509 *x509)
{
	bool anchor = x509_cert_is_self_issued(x509);

	if (anchor && X509_STORE_add_cert(chain->trusted, x509) != 1)
		return -ENOMEM;
	if (sk_X509_push(anchor ? chain->anchors : chain->intermediates, x509) <= 0)
		return -ENOMEM;
	return 0;
}

static int load_file(
	struct cert_store *store, int dir_fd, const char *file, const struct note *note)
{
	size_t name_len = chain_name_len(file);
	AUTO_BUF struct buf pem = {0};
	struct chain *chain;
	X509 *x509;
	bool more = false;
	int r;

	if (name_len == 0) {
		note_printf(note,
			"Certificate file %s was skipped: its name is not <chain>.<role>.pem",
			file);
		return 0;
	}
	r = file_read(dir_fd, file, CERT_PEM_MAX_BYTES, &pem);
	if (r == -ENOMEM) /* it would be missing for as long as we run */
		return r;
	if (r < 0) {
		note_printf(note, "Certificate file %s was skipped: %s", file, file_read_why(r));
		return 0;
	}
	r = x509_cert_from_pem(buf_str(&pem), pem.len_bytes, &x509, &more);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		note_printf(
			note, "Certificate file %s was skipped: it holds no PEM certificate", file);
		return 0;
	}
	if (more)
		note_printf(note, "Only the first certificate of file %s is used", file);
	chain = chain_of(store, file, name_len);
	r = chain ? chain_add(chain, x509) : -ENOMEM;
	if (r < 0)
		X509_free(x509);
	return r;
}

static int is_no_hidden_file(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Not alphasort(): which of two files comes first shall not depend on the locale. */
static int by_file_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int by_chain_name(const void *a, const void *b)
{
	return strcmp(((const struct chain *)a)->name, ((const struct chain *)b)->name);
}

static int load_files(struct cert_store *store, const struct note *note)
{
	AUTO_CLOSE int dir_fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **files = NULL;
	int n = dir_fd < 0 ? -1 : scandirat(dir_fd, ".", &files, is_no_hidden_file, by_file_name);
	int r = n < 0 ? -errno : 0;

	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = load_file(store, dir_fd, files[i]->d_name, note);
		free(files[i]);
	}
	free(files);
	return r;
}

/* A chain without an anchor can vouch for nothing; it must not look as if it could. */
static void drop_unanchored(struct cert_store *store, const struct note *note)
{
	size_t kept = 0;

	for (size_t i = 0; i < store->n_chains; i++) {
		struct chain *chain = &store->chains[i];

		if (sk_X509_num(chain->anchors) > 0) {
			store->chains[kept++] = *chain;
			continue;
		}
		note_printf(note,
			"Certificate chain %s was skipped: none of its certificates is self-issued",
			chain->name);
		chain_done(chain);
	}
	store->n_chains = kept;
}

int cert_store_open(const char *dir, void (*note)(void *ctx, const char *sentence), void *note_ctx,
	struct cert_store **ret_store, struct ota_err *err)
{
	AUTO_CERT_STORE struct cert_store *store = calloc(1, sizeof(*store));
	const struct note n = {.fn = note, .ctx = note_ctx};
	int r;

	if (!store || !(store->dir = strdup(dir)))
		return ota_err_no_memory(err, "the certificates");
	r = libcrypto_check(err);
	if (r < 0)
		return r;
	r = load_files(store, &n);
	ERR_clear_error();
	if (r < 0)
		return ota_err_set(err, r, OTA_E_METADATAJWT_CERT_INVALID,
			"Cannot read the certificates in %s: %s", dir, strerror(-r));
	drop_unanchored(store, &n);
	if (store->n_chains > 0)
		qsort(store->chains, store->n_chains, sizeof(*store->chains), by_chain_name);
	*ret_store = TAKE_PTR(store);
	return 0;
}

/* Verification. */

static void time_text(time_t t, char ret_text[TIME_TEXT_MAX])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) ||
		strftime(ret_text, TIME_TEXT_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(ret_text, TIME_TEXT_MAX, "an unknown time");
}

static void asn1_time_text(const ASN1_TIME *t, char ret_text[TIME_TEXT_MAX])
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1 ||
		strftime(ret_text, TIME_TEXT_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(ret_text, TIME_TEXT_MAX, "an unknown time");
}

/* What follows the certificate's name in the sentence. */
static const struct reason {
	int why; /* X509_V_ERR_… */
	const char *text;
} reasons[] = {
	{X509_V_ERR_CERT_SIGNATURE_FAILURE,            "was not signed by the issuer it names"               },
	{X509_V_ERR_INVALID_CA,                        "is no CA certificate but has issued another one"     },
	{X509_V_ERR_KEYUSAGE_NO_CERTSIGN,              "is no CA certificate but has issued another one"     },
	{X509_V_ERR_PATH_LENGTH_EXCEEDED,              "allows fewer CA certificates below it than there are"},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,         "has no issuer in that chain"                         },
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "has no issuer in that chain"                         },
};

static const char *reason_text(int why)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].why == why)
			return reasons[i].text;
	return NULL;
}

static bool lacks_certificate(int why)
{
	return why == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	       why == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
}

/* The signer comes with the image and is of no chain; all others are. */
static void place_text(const struct chain *chain, int depth, char ret_text[PLACE_TEXT_MAX])
{
	ret_text[0] = '\0';
	if (depth > 0)
		snprintf(ret_text, PLACE_TEXT_MAX, " of chain %s", chain->name);
}

/* Say why @x509, which stands @depth steps above the signer, ends the path. */
static int refuse(
	const struct chain *chain, const X509 *x509, int depth, int why, struct ota_err *err)
{
	char name[CERT_NAME_MAX] = "?", place[PLACE_TEXT_MAX], when[TIME_TEXT_MAX],
	     now[TIME_TEXT_MAX];
	bool expired = why == X509_V_ERR_CERT_HAS_EXPIRED;

	if (x509)
		x509_cert_name(x509, name);
	place_text(chain, depth, place);
	if (x509 && (expired || why == X509_V_ERR_CERT_NOT_YET_VALID)) {
		asn1_time_text(
			expired ? X509_get0_notAfter(x509) : X509_get0_notBefore(x509), when);
		time_text((time_t)clock_unix_s(), now);
		return ota_err_set(err, -EPERM, OTA_E_METADATAJWT_CERT_INVALID,
			"Certificate %s%s %s %s; this machine's clock says %s", name, place,
			expired ? "expired at" : "is not valid before", when, now);
	}
	if (reason_text(why))
		return ota_err_set(err, lacks_certificate(why) ? -ENOKEY : -EPERM,
			OTA_E_METADATAJWT_CERT_INVALID, "Certificate %s%s %s", name, place,
			reason_text(why));
	return ota_err_set(err, -EPERM, OTA_E_METADATAJWT_CERT_INVALID,
		"Certificate %s%s is refused: %s", name, place, X509_verify_cert_error_string(why));
}

/* libcrypto lets an anchor of version 1 issue although it cannot say that it is a CA; we do not. */
static int check_issuers(X509_STORE_CTX *ctx, const struct chain *chain, struct ota_err *err)
{
	struct stack_st_X509 *path = X509_STORE_CTX_get0_chain(ctx);

	for (int i = 1; i < sk_X509_num(path); i++)
		if (X509_check_ca(sk_X509_value(path, i)) != 1)
			return refuse(chain, sk_X509_value(path, i), i, X509_V_ERR_INVALID_CA, err);
	return 0;
}

/* Does the chain know nobody who could have issued the signer? */
static bool lacks_issuer(X509_STORE_CTX *ctx)
{
	return X509_STORE_CTX_get_error_depth(ctx) == 0 &&
	       X509_STORE_CTX_get_error(ctx) == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
}

static int verify_once(const struct chain *chain, X509 *x509, bool *ret_known, struct ota_err *err)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	int r;

	if (!ctx || X509_STORE_CTX_init(ctx, chain->trusted, x509, chain->intermediates) != 1) {
		X509_STORE_CTX_free(ctx);
		ERR_clear_error();
		return ota_err_no_memory(err, "the check of a certificate");
	}
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)clock_unix_s());
	X509_VERIFY_PARAM_set_depth(param, PATH_DEPTH_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	if (X509_verify_cert(ctx) == 1)
		r = check_issuers(ctx, chain, err);
	else if (X509_STORE_CTX_get_error(ctx) == X509_V_ERR_OUT_OF_MEM)
		r = ota_err_no_memory(err, "the check of a certificate");
	else
		r = refuse(chain, X509_STORE_CTX_get_current_cert(ctx),
			X509_STORE_CTX_get_error_depth(ctx), X509_STORE_CTX_get_error(ctx), err);
	*ret_known = !lacks_issuer(ctx);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return r;
}

/*
 * @ret_known: does the chain have an issuer for the signer at all? Tells the useful sentence from the others. Asked
 * twice before it is refused: signer_cert.c says why.
 */
static int chain_verify(const struct chain *chain, X509 *x509, bool *ret_known, struct ota_err *err)
{
	struct ota_err why = {0};
	int r = verify_once(chain, x509, ret_known, &why);

	return r == 0 ? 0 : verify_once(chain, x509, ret_known, err);
}

/* The chain that has this very certificate as an anchor, or NULL. */
static const struct chain *chain_that_pins(const struct cert_store *store, const X509 *x509)
{
	for (size_t i = 0; i < store->n_chains; i++)
		for (int k = 0; k < sk_X509_num(store->chains[i].anchors); k++)
			if (X509_cmp(sk_X509_value(store->chains[i].anchors, k), x509) == 0)
				return &store->chains[i];
	return NULL;
}

static int search_chains(
	const struct cert_store *store, const struct signer_cert *cert, struct ota_err *err)
{
	struct ota_err best = {0};
	char issuer[CERT_NAME_MAX];
	int r;

	for (size_t i = 0; i < store->n_chains; i++) {
		struct ota_err why = {0};
		bool known = false;

		r = chain_verify(&store->chains[i], cert->x509, &known, &why);
		if (r == 0)
			return 0;
		if ((r != -EPERM && r != -ENOKEY) || (known && best.errnum == 0))
			best = why;
	}
	if (best.errnum < 0)
		return ota_err_set(err, best.errnum, best.code, "%s", best.msg);
	x509_name_text(X509_get_issuer_name(cert->x509), issuer);
	return ota_err_set(err, -ENOKEY, OTA_E_METADATAJWT_CERT_INVALID,
		"Certificate %s was issued by %s, whose certificate is not in %s", cert->name,
		issuer, store->dir);
}

int cert_store_verify(
	const struct cert_store *store, const struct signer_cert *cert, struct ota_err *err)
{
	const struct chain *pinned = chain_that_pins(store, cert->x509);
	bool known;

	if (store->n_chains == 0)
		return ota_err_set(err, -ENOKEY, OTA_E_METADATAJWT_CERT_INVALID,
			"There is no CA certificate in %s, so no image can be trusted", store->dir);
	if (pinned)
		return chain_verify(pinned, cert->x509, &known, err);
	if (x509_cert_is_self_issued(cert->x509))
		return ota_err_set(err, -ENOKEY, OTA_E_METADATAJWT_CERT_INVALID,
			"Certificate %s vouches for itself and is not installed in %s", cert->name,
			store->dir);
	if (X509_check_ca(cert->x509) != 0)
		return ota_err_set(err, -EPERM, OTA_E_METADATAJWT_CERT_INVALID,
			"Certificate %s belongs to a CA, which must not sign images itself",
			cert->name);
	return search_chains(store, cert, err);
}

/* Telling. */

static int64_t unix_of(const ASN1_TIME *t, int64_t unreadable)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : unreadable;
}

static int tell_one(
	const struct chain *chain, X509 *x509, bool anchor, cert_store_fn *fn, void *ctx)
{
	struct cert_facts facts = {.chain = chain->name, .anchor = anchor};
	struct ota_err why = {0};
	char name[CERT_NAME_MAX];
	bool known;
	int r = chain_verify(chain, x509, &known, &why);

	if (r == -ENOMEM)
		return r;
	x509_cert_name(x509, name);
	facts.name = name;
	facts.not_before_s = unix_of(X509_get0_notBefore(x509), INT64_MAX);
	facts.not_after_s = unix_of(X509_get0_notAfter(x509), INT64_MIN);
	facts.why = r < 0 ? &why : NULL;
	return fn(ctx, &facts);
}

int cert_store_each(const struct cert_store *store, cert_store_fn *fn, void *ctx)
{
	int r = 0;

	for (size_t i = 0; i < store->n_chains; i++) {
		const struct chain *c = &store->chains[i];

		for (int k = 0; k < sk_X509_num(c->anchors) && r == 0; k++)
			r = tell_one(c, sk_X509_value(c->anchors, k), true, fn, ctx);
		for (int k = 0; k < sk_X509_num(c->intermediates) && r == 0; k++)
			r = tell_one(c, sk_X509_value(c->intermediates, k), false, fn, ctx);
	}
	return r;
}
