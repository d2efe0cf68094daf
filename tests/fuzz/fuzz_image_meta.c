/*
 * fuzz_image_meta: a metadata.jwt that parses holds nothing that could lead out of a folder. An input that
 * begins with '[' is taken as the payload of one, so that the fuzzer gets past the base64.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/codec/base64url.h"
#include "common/crypto/digest.h"
#include "common/image/image_meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of a key that does not exist any more. */
static const char cert_pem[] = "-----BEGIN CERTIFICATE-----\n"
			       "MIIBQDCB56ADAgECAgFkMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHJvb3QwIBcN\n"
			       "MjYxMTIyMDAwNTU1WhgPMjEyNjEwMjkwMDA1NTVaMA8xDTALBgNVBAMMBHJvb3Qw\n"
			       "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAREiYq+xGHkJQkWEA/FSnj7rnv3Xg6k\n"
			       "OfO7MLebku9wMhUBR0Q1oFGZgBLa+/QrGFupkuCApr/1ORAGHVGpo42MozIwMDAP\n"
			       "BgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRcdNHoIDwrpaQVtSmqDBNF3GYcajAK\n"
			       "BggqhkjOPQQDAgNIADBFAiEAt8uGvpVONshHkRgvmeVeAXeJnNoVc/EMkEiINZxb\n"
			       "PuoCIBcrd7HT3/S8OrLUtODRkYdZ02pFen9zar2zetKP0DKi\n"
			       "-----END CERTIFICATE-----\n";

static void wrap(const uint8_t *payload, size_t size, struct buf *ret_jwt)
{
	assert(buf_puts(ret_jwt, "eyJhbGciOiAiRVMyNTYifQ==.") == 0);
	assert(base64url_encode(payload, size, ret_jwt) == 0);
	assert(buf_puts(ret_jwt, ".AAAA") == 0);
}

static void check_name(const char *name)
{
	size_t len = strnlen(name, IMAGE_META_NAME_MAX);

	assert(len < IMAGE_META_NAME_MAX);
	assert(path_is_component(name, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf jwt = {0};
	struct ota_err err = {0};
	struct image_meta m;

	if (size > 0 && data[0] == '[')
		wrap(data, size, &jwt);
	else
		assert(buf_append(&jwt, data, size) == 0);
	if (image_meta_parse(buf_str(&jwt), jwt.len_bytes, &m, &err) < 0) {
		assert(err.code == OTA_E_OTA_IMAGE_INVALID);
		assert(strncmp(err.msg, "metadata.jwt is invalid: ", 25) == 0);
		return 0;
	}
	check_name(m.dirs.name);
	check_name(m.symlinks.name);
	check_name(m.regulars.name);
	check_name(m.persistents.name);
	check_name(m.certificate.name);
	check_name(m.rootfs_dir);
	if (m.attributes.name[0])
		check_name(m.attributes.name);
	if (m.compressed_dir[0])
		check_name(m.compressed_dir);
	/* Whatever words there are: a list that is named once more is still one of them. */
	if (image_meta_has_zst(&m, &m.regulars)) {
		m.compressed_lists[0] = '\0';
		image_meta_add_zst(&m, &m.regulars);
		assert(image_meta_has_zst(&m, &m.regulars));
	}
	/* The signature of a made-up text leads nowhere, but it must lead there safely. */
	assert(image_meta_verify(buf_str(&jwt), jwt.len_bytes, &m, buf_str(&jwt), jwt.len_bytes,
		       NULL, NULL) < 0);
	digest_of(cert_pem, strlen(cert_pem), &m.certificate.digest);
	assert(image_meta_verify(buf_str(&jwt), jwt.len_bytes, &m, cert_pem, strlen(cert_pem), NULL,
		       NULL) < 0);
	return 0;
}
