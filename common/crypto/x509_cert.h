/*
 * x509_cert: what the files of this folder share about one certificate. For this folder only: it is the one
 * header that shows libcrypto's types.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

#include "common/base/err.h"

enum {
	CERT_NAME_MAX = 192, /* "CN=…, serial …" with the NUL; longer parts are cut */
};

struct signer_cert {
	X509 *x509;
	char name[CERT_NAME_MAX];
};

/*
 * Why libcrypto has just refused something from outside: -ENOMEM if memory was short, else -EBADMSG. Its error queue is
 * left empty.
 */
int x509_why_failed(void);

/*
 * The first certificate of a PEM text. @ret_more (may be NULL): does another one follow? -EBADMSG if there is
 * none, -ENOMEM. libcrypto's error queue is left empty.
 */
int x509_cert_from_pem(const char *pem, size_t len_bytes, X509 **ret_x509, bool *ret_more);

/* "CN=…", or the whole name where there is no CN; control characters are escaped. */
void x509_name_text(const X509_NAME *name, char ret_text[CERT_NAME_MAX]);

/* Subject and serial number: "CN=…, serial …". */
void x509_cert_name(const X509 *x509, char ret_name[CERT_NAME_MAX]);

/* Are subject and issuer the same name? (Whether it has signed itself is another question.) */
bool x509_cert_is_self_issued(const X509 *x509);

/* Is it a key on the curve P-256, the only one ES256 knows? */
bool x509_key_is_p256(const EVP_PKEY *key);

/*
 * Is libcrypto's answer right where it is known? Asked before the first that is not. -ENOMEM: no, and it will not be
 * until the process ends.
 */
int libcrypto_check(struct ota_err *err);

/* For every PEM reader: answers "no passphrase" instead of asking on the terminal. */
int x509_no_passphrase(char *buf, int size, int rwflag, void *ctx);
