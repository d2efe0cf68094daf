/*
 * test_cert_store: who may sign an image on a machine with which certificates installed, and what is said to
 * those who may not.
 *
 * Argument: the folder tests/data. Certificates: certs/ (its "make" says what each is) and sample-image/keys/.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/crypto/cert_store.h"

#define DIR_TEMPLATE "/tmp/test_cert_store.XXXXXX"

enum {
	PATH_BYTES = 5000,
};

static const int64_t in_2023 = 1700000000; /* 2023-11-14 22:13:20 */
static const int64_t in_2027 = 1800000000;
static const int64_t in_2030 = 1893456000; /* 2030-01-01 00:00:00 */

static char data_dir[4096];
static int64_t now_s;

static int64_t test_unix_s(void)
{
	return now_s;
}

static const struct clock_ops test_clock = {.unix_s = test_unix_s};

/* A folder of certificates, made anew for each test. */
struct fixture {
	char dir[sizeof(DIR_TEMPLATE)];
	struct buf notes; /* one line each */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, DIR_TEMPLATE);
	now_s = in_2027;
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	AUTO_CLOSEDIR DIR *d = opendir(f->dir);
	struct dirent *e;

	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) < 0)
			unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	rmdir(f->dir);
	buf_done(&f->notes);
	free(f);
	return 0;
}

/* Install @source (below tests/data) as @name. */
static void install(const struct fixture *f, const char *name, const char *source)
{
	char from[PATH_BYTES], to[PATH_BYTES];

	snprintf(from, sizeof(from), "%s/%s", data_dir, source);
	snprintf(to, sizeof(to), "%s/%s", f->dir, name);
	assert_int_equal(symlink(from, to), 0);
}

static void install_text(
	const struct fixture *f, const char *name, const void *text, size_t len_bytes)
{
	char to[PATH_BYTES];

	snprintf(to, sizeof(to), "%s/%s", f->dir, name);
	AUTO_CLOSE int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, len_bytes), 0);
}

static void take_note(void *ctx, const char *sentence)
{
	buf_printf(ctx, "%s\n", sentence);
}

static struct cert_store *open_store(struct fixture *f)
{
	struct cert_store *store = NULL;

	assert_int_equal(cert_store_open(f->dir, take_note, &f->notes, &store, NULL), 0);
	return store;
}

static void read_data(const char *path, struct buf *ret)
{
	AUTO_CLOSE int fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(file_read(fd, path, 1 << 20, ret), 0);
}

static struct signer_cert *parse_cert(const char *path)
{
	AUTO_BUF struct buf pem = {0};
	struct signer_cert *cert = NULL;

	read_data(path, &pem);
	assert_int_equal(signer_cert_parse(buf_str(&pem), pem.len_bytes, &cert, NULL), 0);
	return cert;
}

static void accepts(struct fixture *f, const char *path)
{
	AUTO_CERT_STORE struct cert_store *store = open_store(f);
	AUTO_SIGNER_CERT struct signer_cert *cert = parse_cert(path);
	struct ota_err err = {0};

	if (cert_store_verify(store, cert, &err) < 0)
		fail_msg("%s: %s", path, err.msg);
}

static void refuses(struct fixture *f, const char *path, const char *sentence)
{
	AUTO_CERT_STORE struct cert_store *store = open_store(f);
	AUTO_SIGNER_CERT struct signer_cert *cert = parse_cert(path);
	bool missing = strchr(sentence, '@') || strstr(sentence, "has no issuer");
	struct ota_err err = {0};

	assert_int_equal(cert_store_verify(store, cert, &err), missing ? -ENOKEY : -EPERM);
	assert_int_equal(err.code, OTA_E_METADATAJWT_CERT_INVALID);
	/* "@" stands for the folder, whose name is another one each time. */
	if (strchr(sentence, '@')) {
		size_t head = (size_t)(strchr(sentence, '@') - sentence);
		char want[OTA_ERR_MSG_MAX];

		snprintf(want, sizeof(want), "%.*s%s%s", (int)head, sentence, f->dir,
			sentence + head + 1);
		assert_string_equal(err.msg, want);
	} else {
		assert_string_equal(err.msg, sentence);
	}
}

static void notes_are(struct fixture *f, const char *want)
{
	struct cert_store *store = open_store(f);

	cert_store_free(store);
	assert_string_equal(buf_str(&f->notes), want);
}

static void install_chain(struct fixture *f)
{
	install(f, "dev.root.pem", "certs/root.pem");
	install(f, "dev.interm.pem", "certs/interm.pem");
}

/* Signers that are trusted. */

static void a_path_to_an_anchor_is_enough(void **state)
{
	install_chain(*state);
	accepts(*state, "certs/leaf.pem");
	accepts(*state, "certs/leaf-of-root.pem");
	notes_are(*state, "");
}

static void the_sample_images_signer_is_trusted(void **state)
{
	install(*state, "test.root.pem", "sample-image/keys/test.root.pem");
	install(*state, "test.interm.pem", "sample-image/keys/test.interm.pem");
	accepts(*state, "sample-image/image/sign.pem");
}

static void chains_with_equal_names_do_not_disturb_each_other(void **state)
{
	install(*state, "a.root.pem", "certs/twin-root.pem");
	install(*state, "a.interm.pem", "certs/twin-interm.pem");
	install(*state, "b.root.pem", "certs/root.pem");
	install(*state, "b.interm.pem", "certs/interm.pem");
	accepts(*state, "certs/leaf.pem");
	accepts(*state, "certs/twin-leaf.pem");
}

static void an_old_and_a_new_intermediate_may_share_name_and_chain(void **state)
{
	install(*state, "a.root-1.pem", "certs/twin-root.pem");
	install(*state, "a.interm-1.pem", "certs/twin-interm.pem");
	install(*state, "a.root-2.pem", "certs/root.pem");
	install(*state, "a.interm-2.pem", "certs/interm.pem");
	accepts(*state, "certs/leaf.pem");
	accepts(*state, "certs/twin-leaf.pem");
}

static void a_self_signed_signer_counts_if_it_is_installed_itself(void **state)
{
	install(*state, "only.signer.pem", "certs/self-leaf.pem");
	accepts(*state, "certs/self-leaf.pem");
	now_s = in_2023;
	refuses(*state, "certs/self-leaf.pem",
		"Certificate CN=self-signed signer, serial 7A is not valid before "
		"2026-11-22 00:05:56 UTC; this machine's clock says 2023-11-14 22:13:20 UTC");
}

/* Signers that are not. */

static void with_nothing_installed_nobody_is_trusted(void **state)
{
	refuses(*state, "certs/leaf.pem",
		"There is no CA certificate in @, so no image can be trusted");
}

static void an_intermediate_alone_is_no_anchor(void **state)
{
	install(*state, "dev.interm.pem", "certs/interm.pem");
	refuses(*state, "certs/leaf.pem",
		"There is no CA certificate in @, so no image can be trusted");
	assert_string_equal(buf_str(&((struct fixture *)*state)->notes),
		"Certificate chain dev was skipped: none of its certificates is self-issued\n");
}

static void an_intermediate_of_another_chain_does_not_help(void **state)
{
	install(*state, "a.root.pem", "certs/root.pem");
	install(*state, "b.interm.pem", "certs/interm.pem");
	refuses(*state, "certs/leaf.pem",
		"Certificate CN=leaf, serial 66 was issued by CN=interm, whose certificate is not "
		"in @");
}

static void an_intermediate_without_its_root_leads_nowhere(void **state)
{
	install(*state, "dev.interm.pem", "certs/interm.pem");
	install(*state, "dev.root.pem", "certs/root-short.pem");
	refuses(*state, "certs/leaf.pem",
		"Certificate CN=interm, serial 65 of chain dev has no issuer in that chain");
}

static void a_self_issued_signer_is_refused_even_if_a_ca_signed_it(void **state)
{
	install_chain(*state);
	refuses(*state, "certs/self-leaf.pem",
		"Certificate CN=self-signed signer, serial 7A vouches for itself and is not "
		"installed in @");
	refuses(*state, "certs/leaf-self-name.pem",
		"Certificate CN=interm, serial 70 vouches for itself and is not installed in @");
	refuses(*state, "certs/twin-root.pem",
		"Certificate CN=root, serial 75 vouches for itself and is not installed in @");
}

static void a_ca_must_not_sign_images_itself(void **state)
{
	install_chain(*state);
	refuses(*state, "certs/interm.pem",
		"Certificate CN=interm, serial 65 belongs to a CA, which must not sign images "
		"itself");
}

static void an_end_entity_is_no_issuer(void **state)
{
	install_chain(*state);
	install(*state, "dev.leaf.pem", "certs/leaf.pem");
	refuses(*state, "certs/leaf-of-leaf.pem",
		"Certificate CN=leaf, serial 66 of chain dev is no CA certificate but has issued "
		"another one");
}

static void an_installed_self_signed_signer_is_no_issuer(void **state)
{
	install(*state, "dev.signer.pem", "certs/self-leaf.pem");
	refuses(*state, "certs/leaf-of-self-leaf.pem",
		"Certificate CN=self-signed signer, serial 7A of chain dev is no CA certificate "
		"but has issued "
		"another one");
}

static void an_anchor_too_must_say_that_it_is_a_ca(void **state)
{
	install(*state, "dev.root.pem", "certs/root-v1.pem");
	refuses(*state, "certs/leaf-of-v1.pem",
		"Certificate CN=root of version 1, serial 78 of chain dev is no CA certificate but "
		"has issued "
		"another one");
}

static void a_ca_whose_key_must_not_sign_certificates_is_no_issuer(void **state)
{
	install_chain(*state);
	install(*state, "dev.interm-nosign.pem", "certs/interm-nosign.pem");
	refuses(*state, "certs/leaf-nosign.pem",
		"Certificate CN=interm without keyCertSign, serial 6C of chain dev is no CA "
		"certificate but has "
		"issued another one");
}

static void the_path_length_holds(void **state)
{
	install_chain(*state);
	install(*state, "dev.interm2.pem", "certs/interm2.pem");
	refuses(*state, "certs/leaf-too-deep.pem",
		"Certificate CN=interm, serial 65 of chain dev allows fewer CA certificates below "
		"it than there "
		"are");
}

static void the_name_of_an_issuer_is_not_enough(void **state)
{
	/* Without a key identifier the name alone leads to the issuer, and only the signature tells. */
	install(*state, "test.root.pem", "sample-image/keys/test.root.pem");
	install(*state, "test.interm.pem", "sample-image/keys/test.interm.pem");
	refuses(*state, "sample-image/keys/negative/impostor-issuer-name-leaf.pem",
		"Certificate CN=leaf, serial 027A3B8FAA95BFA55869B4F9F8075E73C1C9DCC4 was not "
		"signed by the "
		"issuer it names");
	refuses(*state, "sample-image/keys/negative/unrelated-ca-leaf.pem",
		"Certificate CN=leaf, serial 79891D3A20093B3A2AA153BFA77BE341FB38BF5D was issued "
		"by CN=evilca, "
		"whose certificate is not in @");
	refuses(*state, "sample-image/keys/negative/issued-by-end-entity.pem",
		"Certificate CN=leaf, serial 3FD1EEB1E415EE09CB9483048800197E72B69B2D was issued "
		"by "
		"CN=sign.sample.example, whose certificate is not in @");
	refuses(*state, "sample-image/keys/negative/self-signed.pem",
		"Certificate CN=anyone, serial 46E5943FAC1C74124A14D8741FDDBCF4FAA93340 vouches "
		"for itself and "
		"is not installed in @");
}

static void sha1_is_refused(void **state)
{
	install_chain(*state);
	install(*state, "dev.interm-sha1.pem", "certs/interm-sha1.pem");
	refuses(*state, "certs/leaf-sha1.pem",
		"Certificate CN=interm by SHA-1, serial 6E of chain dev is refused: CA signature "
		"digest "
		"algorithm too weak");
}

static void a_critical_extension_that_nobody_knows_is_refused(void **state)
{
	install_chain(*state);
	refuses(*state, "certs/leaf-odd.pem",
		"Certificate CN=leaf with an odd extension, serial 6B is refused: unhandled "
		"critical extension");
}

static void every_link_has_its_dates(void **state)
{
	install_chain(*state);
	install(*state, "dev.interm-short.pem", "certs/interm-short.pem");
	install(*state, "short.root.pem", "certs/root-short.pem");
	accepts(*state, "certs/leaf-of-short.pem");
	accepts(*state, "certs/leaf-of-short-root.pem");

	now_s = in_2030;
	accepts(*state, "certs/leaf.pem");
	refuses(*state, "certs/leaf-of-short.pem",
		"Certificate CN=short-lived interm, serial 71 of chain dev expired at 2029-08-18 "
		"00:05:56 UTC; "
		"this machine's clock says 2030-01-01 00:00:00 UTC");
	refuses(*state, "certs/leaf-of-short-root.pem",
		"Certificate CN=short-lived root, serial 73 of chain short expired at 2029-08-18 "
		"00:05:56 UTC; "
		"this machine's clock says 2030-01-01 00:00:00 UTC");

	now_s = in_2023;
	refuses(*state, "certs/leaf-of-root.pem",
		"Certificate CN=root, serial 64 of chain dev is not valid before 2026-11-22 "
		"00:05:55 UTC; "
		"this machine's clock says 2023-11-14 22:13:20 UTC");
}

static void the_sentence_is_of_the_chain_that_knows_the_issuer(void **state)
{
	install(*state, "a.root.pem", "certs/root-short.pem");
	install(*state, "b.root.pem", "certs/root.pem");
	install(*state, "b.interm.pem", "certs/interm.pem");
	install(*state, "b.interm2.pem", "certs/interm2.pem");
	install(*state, "c.root.pem", "certs/twin-root.pem");
	refuses(*state, "certs/leaf-too-deep.pem",
		"Certificate CN=interm, serial 65 of chain b allows fewer CA certificates below it "
		"than there "
		"are");
}

/* The folder. */

static void files_that_do_not_fit_are_skipped_and_reported(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE char *large = calloc(1, CERT_PEM_MAX_BYTES + 1);
	AUTO_BUF struct buf two = {0};
	char path[PATH_BYTES];

	install_chain(f);
	install(f, "root.pem", "certs/root.pem");
	install(f, "a.b.c.pem", "certs/root.pem");
	install(f, ".hidden.root.pem", "certs/root.pem");
	install(f, "dev.root.crt", "certs/root.pem");
	install(f, "dev..pem", "certs/root.pem");
	install(f, "dev.key.pem", "sample-image/keys/sign.key");
	install(f, "dev.lost.pem", "certs/no-such-file.pem");
	install_text(f, "dev.empty.pem", "", 0);
	install_text(f, "dev.large.pem", large, CERT_PEM_MAX_BYTES + 1);
	read_data("certs/twin-root.pem", &two);
	read_data("certs/twin-interm.pem", &two);
	install_text(f, "two.root.pem", two.data, two.len_bytes);
	snprintf(path, sizeof(path), "%s/dev.fifo.pem", f->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/dev.dir.pem", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);

	notes_are(f,
		"Certificate file a.b.c.pem was skipped: its name is not <chain>.<role>.pem\n"
		"Certificate file dev..pem was skipped: its name is not <chain>.<role>.pem\n"
		"Certificate file dev.dir.pem was skipped: it is not a regular file\n"
		"Certificate file dev.empty.pem was skipped: it holds no PEM certificate\n"
		"Certificate file dev.fifo.pem was skipped: it is not a regular file\n"
		"Certificate file dev.key.pem was skipped: it holds no PEM certificate\n"
		"Certificate file dev.large.pem was skipped: File too large\n"
		"Certificate file dev.lost.pem was skipped: No such file or directory\n"
		"Certificate file dev.root.crt was skipped: its name is not <chain>.<role>.pem\n"
		"Certificate file root.pem was skipped: its name is not <chain>.<role>.pem\n"
		"Only the first certificate of file two.root.pem is used\n");
	accepts(f, "certs/leaf.pem");
	refuses(f, "certs/twin-leaf.pem",
		"Certificate CN=leaf, serial 77 was issued by CN=interm, whose certificate is not "
		"in @");
}

static void a_missing_folder_is_an_error(void **state)
{
	struct cert_store *store = NULL;
	struct ota_err err = {0};

	assert_int_equal(cert_store_open("/nonexistent/certs", NULL, NULL, &store, &err), -ENOENT);
	assert_null(store);
	assert_string_equal(err.msg,
		"Cannot read the certificates in /nonexistent/certs: No such file or directory");
}

/* One certificate. */

static void parse_fails(const char *text, size_t len_bytes, const char *sentence)
{
	struct signer_cert *cert = NULL;
	struct ota_err err = {0};

	assert_int_equal(signer_cert_parse(text, len_bytes, &cert, &err), -EBADMSG);
	assert_null(cert);
	assert_int_equal(err.code, OTA_E_METADATAJWT_CERT_INVALID);
	assert_string_equal(err.msg, sentence);
}

static void only_pem_certificates_with_p256_are_parsed(void **state)
{
	static const char encrypted[] = "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
					"DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\n"
					"AAAAAAAAAAAAAAAAAAAAAA==\n-----END CERTIFICATE-----\n";
	AUTO_FREE char *large = calloc(1, CERT_PEM_MAX_BYTES + 1);
	AUTO_BUF struct buf p384 = {0};
	AUTO_BUF struct buf rsa = {0};
	AUTO_BUF struct buf cut = {0};

	read_data("certs/leaf-p384.pem", &p384);
	parse_fails(p384.data, p384.len_bytes,
		"Signing certificate CN=leaf with P-384, serial 7C has no EC key on P-256");
	read_data("certs/leaf-rsa.pem", &rsa);
	parse_fails(rsa.data, rsa.len_bytes,
		"Signing certificate CN=leaf with RSA, serial 7D has no EC key on P-256");
	read_data("certs/leaf.pem", &cut);
	parse_fails(cut.data, cut.len_bytes / 2,
		"The signing certificate's file holds no PEM certificate");
	parse_fails("", 0, "The signing certificate's file holds no PEM certificate");
	/* Must not ask for a passphrase on the terminal. */
	parse_fails(encrypted, strlen(encrypted),
		"The signing certificate's file holds no PEM certificate");
	parse_fails(large, CERT_PEM_MAX_BYTES + 1,
		"The signing certificate has 65537 bytes, more than the 65536 allowed");
}

static void text_around_the_certificate_does_not_matter(void **state)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	AUTO_BUF struct buf pem = {0};

	buf_puts(&pem, "Certificate:\n    Data:\n");
	read_data("certs/leaf.pem", &pem);
	buf_puts(&pem, "the end\n");
	assert_int_equal(signer_cert_parse(pem.data, pem.len_bytes, &cert, NULL), 0);
	assert_string_equal(signer_cert_name(cert), "CN=leaf, serial 66");
}

static struct sign_key *load_key(const char *path)
{
	struct sign_key *key = NULL;
	char full[PATH_BYTES];

	snprintf(full, sizeof(full), "%s/%s", data_dir, path);
	assert_int_equal(sign_key_load(full, &key, NULL), 0);
	return key;
}

static void what_a_key_signs_its_certificate_confirms(void **state)
{
	AUTO_SIGN_KEY struct sign_key *key = load_key("sample-image/keys/sign.key");
	AUTO_SIGNER_CERT struct signer_cert *cert = parse_cert("sample-image/keys/sign.pem");
	AUTO_SIGNER_CERT struct signer_cert *other = parse_cert("certs/leaf.pem");
	AUTO_FREE unsigned char *sig = NULL;
	struct ota_err err = {0};
	size_t sig_len;

	assert_int_equal(sign_key_matches(key, cert, NULL), 0);
	assert_int_equal(sign_key_matches(key, other, &err), -EINVAL);
	assert_string_equal(
		err.msg, "The signing key does not belong to certificate CN=leaf, serial 66");

	assert_int_equal(sign_key_sign(key, "abc", 3, &sig, &sig_len, NULL), 0);
	assert_in_range(sig_len, 66, 72);
	assert_int_equal(sig[0], 0x30); /* an ASN.1 SEQUENCE, not the bare r and s */
	assert_int_equal(signer_cert_check(cert, "abc", 3, sig, sig_len, NULL), 0);
	assert_int_equal(signer_cert_check(cert, "abd", 3, sig, sig_len, NULL), -EPERM);
	assert_int_equal(signer_cert_check(cert, "abc", 3, sig, sig_len - 1, NULL), -EPERM);
	assert_int_equal(signer_cert_check(cert, "abc", 3, "", 0, NULL), -EPERM);
	assert_int_equal(signer_cert_check(other, "abc", 3, sig, sig_len, &err), -EPERM);
	assert_int_equal(err.code, OTA_E_METADATAJWT_CERT_INVALID);
	assert_string_equal(err.msg,
		"The signature was not made with the key of certificate CN=leaf, serial 66");
}

static void a_signature_of_64_bare_bytes_is_refused(void **state)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = parse_cert("sample-image/keys/sign.pem");
	unsigned char bare[64];

	memset(bare, 0x11, sizeof(bare));
	assert_int_equal(signer_cert_check(cert, "abc", 3, bare, sizeof(bare), NULL), -EPERM);
}

static void a_key_that_cannot_be_used_is_named(void **state)
{
	struct fixture *f = *state;
	struct sign_key *key = NULL;
	struct ota_err err = {0};
	char path[100], want[OTA_ERR_MSG_MAX];

	assert_int_equal(sign_key_load("/nonexistent/sign.key", &key, &err), -ENOENT);
	assert_string_equal(err.msg,
		"Cannot read signing key /nonexistent/sign.key: No such file or directory");

	install(f, "key.pem", "certs/leaf.pem");
	snprintf(path, sizeof(path), "%s/key.pem", f->dir);
	snprintf(want, sizeof(want), "%s holds no PEM private key without a passphrase", path);
	assert_int_equal(sign_key_load(path, &key, &err), -EBADMSG);
	assert_string_equal(err.msg, want);
	assert_null(key);
}

static int tell(void *ctx, const struct cert_facts *f)
{
	struct buf *out = ctx;

	return buf_printf(out, "%s %s %s %lld %lld: %s\n", f->chain, f->anchor ? "anchor" : "other",
		f->name, (long long)f->not_before_s, (long long)f->not_after_s,
		f->why ? f->why->msg : "leads");
}

static void what_is_installed_is_told(void **state)
{
	struct fixture *f = *state;
	AUTO_CERT_STORE struct cert_store *store = NULL;
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	install(f, "b.interm.pem", "certs/interm-short.pem");
	install(f, "b.root.pem", "certs/root.pem");
	install(f, "a.root.pem", "certs/root-short.pem");
	install(f, "a.interm.pem", "certs/interm.pem");
	now_s = in_2030;
	assert_int_equal(cert_store_open(f->dir, NULL, NULL, &store, &err), 0);
	assert_int_equal(cert_store_each(store, tell, &out), 0);
	for (char *p = out.data; (p = strstr(p, "serial ")); p++)
		for (char *d = p + strlen("serial "); *d && *d != ' ' && *d != ';'; d++)
			*d = '#';
	assert_non_null(strstr(buf_str(&out), "a anchor CN=short-lived root, serial #"));
	assert_non_null(strstr(buf_str(&out), " 1795305956 1881705956: Certificate "));
	assert_non_null(strstr(buf_str(&out), "a other CN=interm, serial #"));
	assert_non_null(strstr(buf_str(&out), "b anchor CN=root, serial #"));
	assert_non_null(strstr(buf_str(&out), " 1795305955 4948905955: leads\n"));
	assert_non_null(strstr(buf_str(&out), "b other CN=short-lived interm, serial #"));
	assert_non_null(strstr(buf_str(&out), "has no issuer in that chain"));
	assert_non_null(strstr(buf_str(&out), "expired at 2029-08-18 00:05:56 UTC"));
}

static int stop_at_once(void *ctx, const struct cert_facts *f)
{
	++*(int *)ctx;
	return -ECANCELED;
}

static void telling_can_be_stopped(void **state)
{
	AUTO_CERT_STORE struct cert_store *store = NULL;
	struct fixture *f = *state;
	struct ota_err err = {0};
	int n = 0;

	install(f, "a.root.pem", "certs/root.pem");
	install(f, "a.interm.pem", "certs/interm.pem");
	assert_int_equal(cert_store_open(f->dir, NULL, NULL, &store, &err), 0);
	assert_int_equal(cert_store_each(store, stop_at_once, &n), -ECANCELED);
	assert_int_equal(n, 1);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_path_to_an_anchor_is_enough),
		T(the_sample_images_signer_is_trusted),
		T(chains_with_equal_names_do_not_disturb_each_other),
		T(an_old_and_a_new_intermediate_may_share_name_and_chain),
		T(a_self_signed_signer_counts_if_it_is_installed_itself),
		T(with_nothing_installed_nobody_is_trusted),
		T(an_intermediate_alone_is_no_anchor),
		T(an_intermediate_of_another_chain_does_not_help),
		T(an_intermediate_without_its_root_leads_nowhere),
		T(a_self_issued_signer_is_refused_even_if_a_ca_signed_it),
		T(a_ca_must_not_sign_images_itself),
		T(an_end_entity_is_no_issuer),
		T(an_installed_self_signed_signer_is_no_issuer),
		T(an_anchor_too_must_say_that_it_is_a_ca),
		T(a_ca_whose_key_must_not_sign_certificates_is_no_issuer),
		T(the_path_length_holds),
		T(the_name_of_an_issuer_is_not_enough),
		T(sha1_is_refused),
		T(a_critical_extension_that_nobody_knows_is_refused),
		T(every_link_has_its_dates),
		T(the_sentence_is_of_the_chain_that_knows_the_issuer),
		T(files_that_do_not_fit_are_skipped_and_reported),
		T(a_missing_folder_is_an_error),
		T(only_pem_certificates_with_p256_are_parsed),
		T(text_around_the_certificate_does_not_matter),
		T(what_a_key_signs_its_certificate_confirms),
		T(a_signature_of_64_bare_bytes_is_refused),
		T(a_key_that_cannot_be_used_is_named),
		T(what_is_installed_is_told),
		T(telling_can_be_stopped),
	};

	if (argc != 2 || !realpath(argv[1], data_dir))
		return 2;
	clock_set_ops(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
