/*
 * sign_key: an image builder's private key. Contract: cert_store.h. Not used on a vehicle.
 */
#include "common/crypto/cert_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/crypto/x509_cert.h"

enum {
	KEY_PEM_MAX_BYTES = 64 * 1024, /* a P-256 key has about 300 bytes */
};

struct sign_key {
	EVP_PKEY *pkey;
};

static EVP_PKEY *key_from_pem(const struct buf *pem)
{
	BIO *bio = BIO_new_mem_buf(buf_str(pem), (int)pem->len_bytes);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, x509_no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return pkey;
}

int sign_key_load(const char *path, struct sign_key **ret_key, struct ota_err *err)
{
	AUTO_SIGN_KEY struct sign_key *key = NULL;
	AUTO_BUF struct buf pem = {0};
	int r = file_read(AT_FDCWD, path, KEY_PEM_MAX_BYTES, &pem);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read signing key %s: %s", path,
			file_read_why(r));
	key = calloc(1, sizeof(*key));
	if (key)
		key->pkey = key_from_pem(&pem);
	if (pem.data)
		OPENSSL_cleanse(pem.data, pem.cap_bytes);
	if (!key || (!key->pkey && x509_why_failed() == -ENOMEM))
		return ota_err_no_memory(err, "the signing key");
	ERR_clear_error();
	if (!key->pkey)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s holds no PEM private key without a passphrase", path);
	if (!x509_key_is_p256(key->pkey))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"Signing key %s is no EC key on P-256", path);
	*ret_key = TAKE_PTR(key);
	return 0;
}

void sign_key_free(struct sign_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

void sign_key_freep(struct sign_key **key)
{
	sign_key_free(*key);
}

int sign_key_matches(
	const struct sign_key *key, const struct signer_cert *cert, struct ota_err *err)
{
	bool same = EVP_PKEY_eq(key->pkey, X509_get0_pubkey(cert->x509)) == 1;

	ERR_clear_error();
	if (!same)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"The signing key does not belong to certificate %s", cert->name);
	return 0;
}

int sign_key_sign(const struct sign_key *key, const void *data, size_t len_bytes,
	unsigned char **ret_sig, size_t *ret_len, struct ota_err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	AUTO_FREE unsigned char *sig = NULL;
	size_t max = 0, len;
	bool done;

	/* Where memory is short, libcrypto may say that it has made a signature of 4 GB. */
	done = ctx &&
	       EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key->pkey, NULL) == 1 &&
	       EVP_DigestSign(ctx, NULL, &max, data, len_bytes) == 1 && (sig = malloc(max)) &&
	       (len = max, EVP_DigestSign(ctx, sig, &len, data, len_bytes) == 1) && len <= max;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (!done)
		return ota_err_set(
			err, -EIO, OTA_E_UNSPECIFIC, "libcrypto cannot sign with this key");
	*ret_sig = TAKE_PTR(sig);
	*ret_len = len;
	return 0;
}
