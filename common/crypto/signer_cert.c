/*
 * signer_cert: the certificate that an image names as its signer. Contract: cert_store.h.
 *
 * Here is its form, its name for people and its public key at work; whether anybody vouches for it is asked of
 * cert_store.
 *
 * What libcrypto refuses it is asked once more, for where memory is short for a moment it may say that a certificate or
 * a signature is wrong. If memory is gone for good, the second time ends where it begins.
 */
#include "common/crypto/cert_store.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/base/cleanup.h"
#include "common/crypto/x509_cert.h"

enum {
	NAME_SHOWN_MAX = 128,
	SERIAL_SHOWN_MAX =
		64, /* a legal one has 20 bytes; libcrypto breaks the line in longer ones */
};

int x509_no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
	return -1;
}

static void x509_freep(X509 **x)
{
	X509_free(*x);
}

static void bio_freep(BIO **bio)
{
	BIO_free(*bio);
}

int x509_why_failed(void)
{
	unsigned long e;
	int r = -EBADMSG;

	while ((e = ERR_get_error()))
		if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE)
			r = -ENOMEM;
	return r;
}

bool x509_cert_is_self_issued(const X509 *x509)
{
	return X509_NAME_cmp(X509_get_subject_name(x509), X509_get_issuer_name(x509)) == 0;
}

static int read_pem(const char *pem, size_t len_bytes, X509 **ret_x509, bool *ret_more)
{
	CLEANUP(bio_freep) BIO *bio = BIO_new_mem_buf(pem, (int)len_bytes);
	CLEANUP(x509_freep) X509 *x = NULL;
	CLEANUP(x509_freep) X509 *second = NULL;

	if (!bio)
		return -ENOMEM;
	x = PEM_read_bio_X509(bio, NULL, x509_no_passphrase, NULL);
	if (x && ret_more) {
		second = PEM_read_bio_X509(bio, NULL, x509_no_passphrase, NULL);
		*ret_more = second != NULL;
	}
	if (!x)
		return x509_why_failed();
	ERR_clear_error();
	*ret_x509 = TAKE_PTR(x);
	return 0;
}

/*
 * A certificate is kept without its key, the key's strength, its extensions or the mark that it has signed itself, if
 * memory was short for just these. There are others that lack them.
 */
static bool is_whole(X509 *x509)
{
	EVP_PKEY *key = X509_get0_pubkey(x509);
	bool whole =
		key && EVP_PKEY_get_security_bits(key) > 0 && X509_check_purpose(x509, -1, 0) == 1;

	if (whole && x509_cert_is_self_issued(x509))
		whole = X509_get_extension_flags(x509) & EXFLAG_SS;
	ERR_clear_error();
	return whole;
}

int x509_cert_from_pem(const char *pem, size_t len_bytes, X509 **ret_x509, bool *ret_more)
{
	CLEANUP(x509_freep) X509 *x = NULL;
	int r;

	if (len_bytes > INT_MAX)
		return -EBADMSG;
	r = read_pem(pem, len_bytes, &x, ret_more);
	if (r == -EBADMSG || (r == 0 && !is_whole(x))) {
		X509_free(TAKE_PTR(x));
		r = read_pem(pem, len_bytes, &x, ret_more);
	}
	if (r == 0)
		*ret_x509 = TAKE_PTR(x);
	return r;
}

/* What has been printed to the memory @bio, cut to fit. */
static void bio_text(BIO *bio, char *ret_text, size_t cap_bytes)
{
	int n = BIO_read(bio, ret_text, (int)cap_bytes - 1);

	ret_text[n > 0 ? n : 0] = '\0';
}

void x509_name_text(const X509_NAME *name, char ret_text[CERT_NAME_MAX])
{
	CLEANUP(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	const unsigned long flags =
		ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_MSB | ASN1_STRFLGS_UTF8_CONVERT;
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);

	ret_text[0] = '\0';
	if (!bio)
		return;
	if (at >= 0) {
		BIO_puts(bio, "CN=");
		ASN1_STRING_print_ex(
			bio, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), flags);
	} else {
		X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
	}
	bio_text(bio, ret_text, NAME_SHOWN_MAX);
	ERR_clear_error();
}

void x509_cert_name(const X509 *x509, char ret_name[CERT_NAME_MAX])
{
	CLEANUP(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	size_t len;

	x509_name_text(X509_get_subject_name(x509), ret_name);
	if (!bio)
		return;
	BIO_puts(bio, ", serial ");
	i2a_ASN1_INTEGER(bio, X509_get0_serialNumber(x509));
	len = strlen(ret_name);
	bio_text(bio, ret_name + len, SERIAL_SHOWN_MAX);
	ERR_clear_error();
}

bool x509_key_is_p256(const EVP_PKEY *key)
{
	char group[32];
	size_t len;

	return key && EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
	       strcmp(group, SN_X9_62_prime256v1) == 0;
}

static int cert_fill(struct signer_cert *cert, const char *pem, size_t len_bytes, bool *ret_is_p256)
{
	int r = x509_cert_from_pem(pem, len_bytes, &cert->x509, NULL);

	if (r < 0)
		return r;
	x509_cert_name(cert->x509, cert->name);
	*ret_is_p256 = x509_key_is_p256(X509_get0_pubkey(cert->x509));
	ERR_clear_error();
	return 0;
}

int signer_cert_parse(
	const char *pem, size_t len_bytes, struct signer_cert **ret_cert, struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	bool is_p256;
	int r;

	if (len_bytes > CERT_PEM_MAX_BYTES)
		return ota_err_set(err, -EBADMSG, OTA_E_METADATAJWT_CERT_INVALID,
			"The signing certificate has %zu bytes, more than the %d allowed",
			len_bytes, CERT_PEM_MAX_BYTES);
	cert = calloc(1, sizeof(*cert));
	if (!cert)
		return ota_err_no_memory(err, "the signing certificate");
	r = cert_fill(cert, pem, len_bytes, &is_p256);
	if (r == 0 && !is_p256) {
		X509_free(TAKE_PTR(cert->x509));
		r = cert_fill(cert, pem, len_bytes, &is_p256);
	}
	if (r == -ENOMEM)
		return ota_err_no_memory(err, "the signing certificate");
	if (r < 0)
		return ota_err_set(err, r, OTA_E_METADATAJWT_CERT_INVALID,
			"The signing certificate's file holds no PEM certificate");
	if (!is_p256)
		return ota_err_set(err, -EBADMSG, OTA_E_METADATAJWT_CERT_INVALID,
			"Signing certificate %s has no EC key on P-256", cert->name);
	*ret_cert = TAKE_PTR(cert);
	return 0;
}

void signer_cert_free(struct signer_cert *cert)
{
	if (!cert)
		return;
	X509_free(cert->x509);
	free(cert);
}

void signer_cert_freep(struct signer_cert **cert)
{
	signer_cert_free(*cert);
}

const char *signer_cert_name(const struct signer_cert *cert)
{
	return cert->name;
}

/* -EBADMSG: it is another signature. */
static int check_once(const struct signer_cert *cert, const void *data, size_t len_bytes,
	const void *sig_der, size_t sig_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good;

	if (!ctx)
		return -ENOMEM;
	good = EVP_DigestVerifyInit_ex(
		       ctx, NULL, "SHA256", NULL, NULL, X509_get0_pubkey(cert->x509), NULL) == 1 &&
	       EVP_DigestVerify(ctx, sig_der, sig_len, data, len_bytes) == 1;
	EVP_MD_CTX_free(ctx);
	if (!good)
		return x509_why_failed();
	ERR_clear_error();
	return 0;
}

int signer_cert_check(const struct signer_cert *cert, const void *data, size_t len_bytes,
	const void *sig_der, size_t sig_len, struct ota_err *err)
{
	int r = check_once(cert, data, len_bytes, sig_der, sig_len);

	if (r == -EBADMSG)
		r = check_once(cert, data, len_bytes, sig_der, sig_len);
	if (r == -ENOMEM)
		return ota_err_no_memory(err, "the check of a signature");
	if (r < 0)
		return ota_err_set(err, -EPERM, OTA_E_METADATAJWT_CERT_INVALID,
			"The signature was not made with the key of certificate %s", cert->name);
	return 0;
}
