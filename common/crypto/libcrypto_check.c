/*
 * libcrypto_check: does libcrypto work in this process? Contract: x509_cert.h.
 *
 * What libcrypto makes once, at its first use, and had no memory for, it does not make later: until the process ends,
 * each certificate would seem to have another kind of key, or to have been signed by somebody else. So before anything
 * is asked of it that counts, it is asked something whose answer is known. The key to this certificate was thrown away.
 */
#include "common/crypto/x509_cert.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>

#include "common/base/cleanup.h"
#include "common/crypto/cert_store.h"

static const char known_text[] = "known";

/* clang-format off */
static const char known_cert[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBeDCCAR2gAwIBAgIUKFcwNr/nEwgO1Q9S6VjLjnBZ/nkwCgYIKoZIzj0EAwIw\n"
	"EDEOMAwGA1UEAwwFa25vd24wIBcNMjYxMTI3MTk1NzA0WhgPMjEyNjExMDMxOTU3\n"
	"MDRaMBAxDjAMBgNVBAMMBWtub3duMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n"
	"GdnGKNt1gn3ZaTtLdCJSq/dKx9uj6NevyuwlXbgFl5bPNZqSgOPP0UDUD75FcqRe\n"
	"w6NsXTz0P8KsXwjAnBYt7qNTMFEwHQYDVR0OBBYEFNsGnF9wuyiR2aW5FeCS+5YI\n"
	"Ek5sMB8GA1UdIwQYMBaAFNsGnF9wuyiR2aW5FeCS+5YIEk5sMA8GA1UdEwEB/wQF\n"
	"MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhALQZOTB3aWqyJRf/9CVxVStOdosVTI1Q\n"
	"AvjQVyk/skRhAiEA5aTg/skI1izj/zYE8Vkt8s5RvPNhuG8TAXMYKYP6en8=\n"
	"-----END CERTIFICATE-----\n";

/* Of known_text. */
static const unsigned char known_signature[] = {
	0x30, 0x45, 0x02, 0x21, 0x00, 0x97, 0xf2, 0xcd, 0x55, 0xf2, 0x02, 0xfd,
	0x6f, 0x4f, 0x2f, 0xf8, 0x46, 0xaa, 0x04, 0x27, 0x51, 0xd7, 0x0c, 0xe2,
	0xc1, 0x0c, 0xda, 0xe3, 0x9f, 0x3e, 0x07, 0xe7, 0x6e, 0x3f, 0x2b, 0x79,
	0xa7, 0x02, 0x20, 0x4c, 0x64, 0xfc, 0x9d, 0x7e, 0xa8, 0x63, 0x8f, 0xea,
	0x0c, 0xef, 0xa3, 0xd6, 0x15, 0x9c, 0xf3, 0xf4, 0xc1, 0x15, 0xf1, 0xf5,
	0xa2, 0x77, 0x4a, 0xa8, 0xf6, 0x65, 0x86, 0x57, 0xc1, 0x3c, 0xc0,
};
/* clang-format on */

int libcrypto_check(struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	int r = signer_cert_parse(known_cert, strlen(known_cert), &cert, NULL);

	if (r == 0)
		r = signer_cert_check(cert, known_text, strlen(known_text), known_signature,
			sizeof(known_signature), NULL);
	/* It has signed itself. */
	if (r == 0 && X509_verify(cert->x509, X509_get0_pubkey(cert->x509)) != 1)
		r = -EPERM;
	ERR_clear_error();
	return r < 0 ? ota_err_no_memory(err, "the start of libcrypto") : 0;
}
