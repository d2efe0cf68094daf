/*
 * fuzz_cert: certificates from a server. An input is PEM, or else the DER that goes into one. None is
 * trusted by a machine with one anchor that nobody has the key of.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/crypto/cert_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A root whose key does not exist any more. */
static const char root_pem[] = "-----BEGIN CERTIFICATE-----\n"
			       "MIIBQDCB56ADAgECAgFkMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHJvb3QwIBcN\n"
			       "MjYxMTIyMDAwNTU1WhgPMjEyNjEwMjkwMDA1NTVaMA8xDTALBgNVBAMMBHJvb3Qw\n"
			       "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAREiYq+xGHkJQkWEA/FSnj7rnv3Xg6k\n"
			       "OfO7MLebku9wMhUBR0Q1oFGZgBLa+/QrGFupkuCApr/1ORAGHVGpo42MozIwMDAP\n"
			       "BgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRcdNHoIDwrpaQVtSmqDBNF3GYcajAK\n"
			       "BggqhkjOPQQDAgNIADBFAiEAt8uGvpVONshHkRgvmeVeAXeJnNoVc/EMkEiINZxb\n"
			       "PuoCIBcrd7HT3/S8OrLUtODRkYdZ02pFen9zar2zetKP0DKi\n"
			       "-----END CERTIFICATE-----\n";

static struct cert_store *make_store(void)
{
	char dir[] = "/tmp/fuzz_cert.XXXXXX";
	struct cert_store *store = NULL;

	assert(mkdtemp(dir));
	AUTO_CLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int fd = openat(dir_fd, "a.root.pem", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert(file_write_all(fd, root_pem, strlen(root_pem)) == 0);
	assert(cert_store_open(dir, NULL, NULL, &store, NULL) == 0);
	unlinkat(dir_fd, "a.root.pem", 0);
	rmdir(dir);
	return store;
}

static int put_pem(const uint8_t *der, size_t size, struct buf *ret_pem)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	int r = buf_puts(ret_pem, "-----BEGIN CERTIFICATE-----\n");

	for (size_t i = 0; i < size && r == 0; i += 3) {
		uint32_t v = (uint32_t)der[i] << 16 |
			     (uint32_t)(i + 1 < size ? der[i + 1] : 0) << 8 |
			     (uint32_t)(i + 2 < size ? der[i + 2] : 0);

		r = buf_printf(ret_pem, "%c%c%c%c%s", alphabet[v >> 18], alphabet[v >> 12 & 63],
			i + 1 < size ? alphabet[v >> 6 & 63] : '=',
			i + 2 < size ? alphabet[v & 63] : '=', i % 48 == 45 ? "\n" : "");
	}
	return r < 0 ? r : buf_puts(ret_pem, "\n-----END CERTIFICATE-----\n");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cert_store *store;
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	AUTO_BUF struct buf pem = {0};
	const char *name;

	if (!store)
		store = make_store();
	if (size > 0 && data[0] == '-')
		assert(buf_append(&pem, data, size) == 0);
	else
		assert(put_pem(data, size, &pem) == 0);
	if (signer_cert_parse(buf_str(&pem), pem.len_bytes, &cert, NULL) < 0)
		return 0;
	name = signer_cert_name(cert);
	for (size_t i = 0; name[i]; i++)
		assert((unsigned char)name[i] >= ' ' && (unsigned char)name[i] < 127);
	/* The anchor itself may sign, as installed self-signed signers may. */
	assert(cert_store_verify(store, cert, NULL) < 0 || strcmp(name, "CN=root, serial 64") == 0);
	assert(signer_cert_check(cert, "x", 1, data, size, NULL) < 0);
	return 0;
}
