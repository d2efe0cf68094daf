/*
 * cert_store: the certificates that this machine trusts to vouch for images, and whether they vouch for a
 * signer. Chains end in an installed anchor, or they do not count.
 *
 * Files: CERTS_DIR/<chain>.<role>.pem, one certificate each, as docs/formats.md, "certs" says. All of
 * one <chain> prefix form one chain; the self-issued ones of it are its anchors, the others its
 * intermediates. Files of other names are skipped and reported.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct cert_store;
struct signer_cert;

/*
 * Load @dir. Returns 0 (also with no usable chain at all: then every image is refused), or -errno when the
 * folder cannot be read. @note (may be NULL) is told about each file that was skipped and why. -ENOMEM: who
 * asks again asks in another process, for libcrypto may have been left without what it makes only once.
 */
int cert_store_open(const char *dir, void (*note)(void *ctx, const char *sentence), void *note_ctx,
	struct cert_store **ret_store, struct ota_err *err);
void cert_store_free(struct cert_store *store);
void cert_store_freep(struct cert_store **store);
#define AUTO_CERT_STORE CLEANUP(cert_store_freep)

/* What is known of one installed certificate; all borrowed. */
struct cert_facts {
	const char *chain;
	const char *name; /* "CN=…, serial …" */
	bool anchor;
	int64_t not_before_s, not_after_s; /* Unix time; one that cannot be read makes it invalid */
	const struct ota_err *why; /* NULL: a path leads to an anchor now; else why none does */
};

/*
 * Call @fn for every certificate, chain by chain, a chain's anchors first, until it returns something else than 0,
 * which is returned. -ENOMEM.
 */
typedef int cert_store_fn(void *ctx, const struct cert_facts *facts);
int cert_store_each(const struct cert_store *store, cert_store_fn *fn, void *ctx);

enum {
	CERT_PEM_MAX_BYTES = 64 * 1024, /* one PEM certificate; real ones are about 1 kB */
};

/* Parse one PEM certificate with an EC key on P-256. -EBADMSG with code E309. */
int signer_cert_parse(
	const char *pem, size_t len_bytes, struct signer_cert **ret_cert, struct ota_err *err);
void signer_cert_free(struct signer_cert *cert);
void signer_cert_freep(struct signer_cert **cert);
#define AUTO_SIGNER_CERT CLEANUP(signer_cert_freep)

/* "CN=…, serial …" for messages and inspect; borrowed from @cert. */
const char *signer_cert_name(const struct signer_cert *cert);

/*
 * Does a path lead from @cert to an anchor of one chain, every link valid now (signature, dates, CA flag, path
 * length)? A self-issued signer is refused unless that very certificate is an installed anchor. 0, or with
 * code E309 and a sentence that says which link fails and why (dates with both times):
 *   -ENOKEY  a certificate that could vouch for it is not installed
 *   -EPERM   anything else
 */
int cert_store_verify(
	const struct cert_store *store, const struct signer_cert *cert, struct ota_err *err);

/* Is @sig_der an ECDSA-SHA256 signature (ASN.1 DER) by @cert's key over the bytes? 0 or -EPERM with E309. */
int signer_cert_check(const struct signer_cert *cert, const void *data, size_t len_bytes,
	const void *sig_der, size_t sig_len, struct ota_err *err);

/* For image builders: sign with a PEM private key (PKCS#8 or SEC1, no passphrase). */
struct sign_key;
int sign_key_load(const char *path, struct sign_key **ret_key, struct ota_err *err);
void sign_key_free(struct sign_key *key);
void sign_key_freep(struct sign_key **key);
#define AUTO_SIGN_KEY CLEANUP(sign_key_freep)
/* Does the key belong to the certificate? 0 or -EINVAL. */
int sign_key_matches(
	const struct sign_key *key, const struct signer_cert *cert, struct ota_err *err);
/* @ret_sig is malloc'ed DER. */
int sign_key_sign(const struct sign_key *key, const void *data, size_t len_bytes,
	unsigned char **ret_sig, size_t *ret_len, struct ota_err *err);
