/* firmware_package: what an image says of its firmware, and whether it is for this board. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot-controllers/cboot/firmware_package.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#define DIGEST "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char manifest_text[] = "format_version: 1\n"
				    "hardware_type: nvidia_jetson\n"
				    "hardware_series: Jetson AGX Xavier\n"
				    "hardware_model: a model\n"
				    "firmware_spec:\n"
				    "  bsp_version: R32.6.1\n"
				    "  firmware_compat:\n"
				    "    board_id: 2888\n"
				    "    board_sku: 0004\n"
				    "    board_rev: \"\"\n"
				    "    fab_id: 400\n"
				    "    board_conf: jetson-xavier\n"
				    "firmware_packages:\n"
				    "  - payload_name: capsule\n"
				    "    file_location: sha256:1234\n"
				    "    type: UEFI-CAPSULE\n"
				    "    digest: " DIGEST "\n"
				    "  - payload_name: bl\n"
				    "    file_location: file:///opt/ota/firmware/bl_payload\n"
				    "    type: BUP\n"
				    "    digest: " DIGEST "\n";

static const char board_text[] = "# comment\nTNSPEC 2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\n"
				 "COMPATIBLE_SPEC 2888\n";

/* The manifest with the first @from replaced by @to. */
static const char *with(const char *from, const char *to)
{
	static char text[4096];
	const char *at = strstr(manifest_text, from);

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - manifest_text), manifest_text, to,
		at + strlen(from));
	return text;
}

static void read_it(const char *text, struct firmware_manifest *ret)
{
	struct ota_err err = {0};

	if (firmware_manifest_parse(text, strlen(text), ret, &err) < 0)
		fail_msg("%s", err.msg);
}

static void a_manifest_is_read(void **state)
{
	struct firmware_manifest m;

	read_it(manifest_text, &m);
	assert_string_equal(m.hardware, "nvidia_jetson");
	assert_string_equal(m.bsp_version, "R32.6.1");
	assert_string_equal(m.board[0], "2888");
	assert_string_equal(m.board[1], "0004"); /* not 4 */
	assert_string_equal(m.board[2], "");
	assert_int_equal(m.n_payloads, 2);
	assert_string_equal(m.payloads[0].path, "");
	assert_string_equal(m.payloads[1].name, "bl");
	assert_string_equal(m.payloads[1].path, "/opt/ota/firmware/bl_payload");
	assert_string_equal(m.payloads[1].type, "BUP");
	assert_int_equal(m.payloads[1].digest.bytes[1], 0x11);
}

static void a_manifest_that_is_none_is_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *from, *to, *sentence;
	} odd[] = {
		{"format_version: 1", "format_version: 2",
			"firmware_manifest.yaml has format_version 2, but only 1 is known"},
		{"format_version: 1\n", "", "firmware_manifest.yaml, line 1: There is no \"format_version\""},
		{"hardware_type: nvidia_jetson", "hardware_type: [a]",
			"firmware_manifest.yaml, line 2: It is no text of at most 255 bytes"},
		{"  bsp_version: R32.6.1\n", "",
			"firmware_manifest.yaml, line 6: There is no \"bsp_version\""},
		{"    fab_id: 400\n", "", "firmware_manifest.yaml, line 8: There is no \"fab_id\""},
		{"    type: UEFI-CAPSULE\n", "", "firmware_manifest.yaml, line 14: There is no \"type\""},
		{"digest: sha256:00", "digest: sha1:00",
			"firmware_manifest.yaml, line 14: The digest is not \"sha256:\" and 64 hex digits"},
		{"digest: sha256:00", "digest: sha256:0",
			"firmware_manifest.yaml, line 14: The digest is not \"sha256:\" and 64 hex digits"},
		{"firmware_packages:", "firmware_packages: []\nother:",
			"firmware_manifest.yaml, line 13: \"firmware_packages\" is no list of 1 to 16 entries"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		const char *text = with(odd[i].from, odd[i].to);
		struct firmware_manifest m;
		struct ota_err err = {0};

		assert_int_equal(firmware_manifest_parse(text, strlen(text), &m, &err), -EBADMSG);
		assert_string_equal(err.msg, odd[i].sentence);
	}
}

static void a_request_is_a_list_of_names(void **state)
{
	/* clang-format off */
	static const char *const odd[][2] = {
		{"", "firmware_update.yaml, line 1: There is no \"format_version\""},
		{"- a\n", "firmware_update.yaml, line 1: There is no \"format_version\""},
		{"format_version: 1\n", "firmware_update.yaml, line 1: There is no \"firmware_list\""},
		{"format_version: 1\nfirmware_list: bl\n",
			"firmware_update.yaml, line 2: \"firmware_list\" is no list of 1 to 16 entries"},
		{"format_version: 1\nfirmware_list: [[bl]]\n",
			"firmware_update.yaml, line 2: It is no text of at most 255 bytes"},
		{"format_version: 1\nfirmware_list: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q]\n",
			"firmware_update.yaml, line 2: \"firmware_list\" is no list of 1 to 16 entries"},
	};
	/* clang-format on */
	static const char good[] = "format_version: 1\nfirmware_list:\n - bl\n - other\n";
	struct firmware_request q;

	assert_int_equal(firmware_request_parse(good, strlen(good), &q, NULL), 0);
	assert_int_equal(q.n_names, 2);
	assert_string_equal(q.names[1], "other");
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct ota_err err = {0};

		assert_int_equal(
			firmware_request_parse(odd[i][0], strlen(odd[i][0]), &q, &err), -EBADMSG);
		assert_string_equal(err.msg, odd[i][1]);
	}
}

static int board_fits(const char *manifest, const char *board, size_t len, struct ota_err *err)
{
	struct firmware_manifest m;

	*err = (struct ota_err){0};
	read_it(manifest, &m);
	return firmware_check_board(&m, board, len, err);
}

static void every_part_must_stand_in_the_boards_spec(void **state)
{
	/* clang-format off */
	static const struct {
		const char *from, *to, *sentence;
	} odd[] = {
		{"board_sku: 0004", "board_sku: 0008",
			"The image's firmware is for another board: its board_sku \"0008\" is not in the TNSPEC "
			"\"2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\""},
		{"board_conf: jetson-xavier", "board_conf: jetson-tx2",
			"The image's firmware is for another board: its board_conf \"jetson-tx2\" is not in the TNSPEC "
			"\"2888-400-0004-M.0-1-2-jetson-xavier-mmcblk0p1\""},
		{"nvidia_jetson", "raspberry",
			"The image's firmware is for the hardware_type \"raspberry\", not for \"nvidia_jetson\""},
		{"R32.6.1", "R35.4.1",
			"The image's firmware is that of R35.4.1, but CBoot is that of releases before R34"},
		{"R32.6.1", "32.6.1", "The bsp_version \"32.6.1\" of the image's firmware is not like R32.6.1"},
		{"R32.6.1", "R32.6.1-rc",
			"The bsp_version \"R32.6.1-rc\" of the image's firmware is not like R32.6.1"},
	};
	/* clang-format on */
	struct ota_err err;

	assert_int_equal(board_fits(manifest_text, board_text, strlen(board_text), &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		assert_int_equal(board_fits(with(odd[i].from, odd[i].to), board_text,
					 strlen(board_text), &err),
			-ENODEV);
		assert_string_equal(err.msg, odd[i].sentence);
	}
}

static void a_board_without_a_spec_fits_nothing(void **state)
{
	static const char *const odd[] = {"", "TNSPEC", "TNSPECS 2888\n", "# TNSPEC 2888\n"};
	static const char nul[] = "TNSPEC 2888-400-0004\0jetson-xavier\n";
	AUTO_BUF struct buf longer = {0};
	struct ota_err err;

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		assert_int_equal(board_fits(manifest_text, odd[i], strlen(odd[i]), &err), -ENODEV);
		assert_string_equal(err.msg, "Which board this is cannot be seen: "
					     "/etc/nv_boot_control.conf has no TNSPEC");
	}
	assert_int_equal(board_fits(manifest_text, nul, sizeof(nul) - 1, &err), -ENODEV);
	assert_int_equal(buf_puts(&longer, "TNSPEC "), 0);
	for (int i = 0; i < FIRMWARE_TEXT_MAX; i++)
		assert_int_equal(buf_puts(&longer, "x"), 0);
	assert_int_equal(
		board_fits(manifest_text, buf_str(&longer), longer.len_bytes, &err), -ENODEV);
}

static void one_payload_that_cboot_takes_is_chosen(void **state)
{
	/* clang-format off */
	static const struct {
		const char *names[2];
		size_t n;
		int errnum;
		const char *sentence;
	} odd[] = {
		{{"bl", "bl"}, 2, -EOPNOTSUPP, "The image asks for 2 payloads, but CBoot takes one in an update"},
		{{"other"}, 1, -ENOENT,
			"The image asks for the firmware \"other\", which its firmware_manifest.yaml does not have"},
		{{"capsule"}, 1, -EOPNOTSUPP,
			"The firmware \"capsule\" is of the type \"UEFI-CAPSULE\", but CBoot takes BUP only"},
	};
	/* clang-format on */
	const struct firmware_payload *p = NULL;
	struct firmware_request q = {.names = {"bl"}, .n_names = 1};
	struct firmware_manifest m;
	struct ota_err err = {0};

	read_it(manifest_text, &m);
	assert_int_equal(firmware_choose(&m, &q, &p, &err), 0);
	assert_string_equal(p->name, "bl");
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		for (size_t n = 0; n < odd[i].n; n++)
			snprintf(q.names[n], sizeof(q.names[n]), "%s", odd[i].names[n]);
		q.n_names = odd[i].n;
		assert_int_equal(firmware_choose(&m, &q, &p, &err), odd[i].errnum);
		assert_string_equal(err.msg, odd[i].sentence);
	}
	read_it(with("file:///opt/ota/firmware/bl_payload", "http://server/bl"), &m);
	q = (struct firmware_request){.names = {"bl"}, .n_names = 1};
	assert_int_equal(firmware_choose(&m, &q, &p, &err), -EOPNOTSUPP);
	assert_string_equal(err.msg, "The firmware \"bl\" is no file of the image (file:///…)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_is_read),
		cmocka_unit_test(a_manifest_that_is_none_is_refused),
		cmocka_unit_test(a_request_is_a_list_of_names),
		cmocka_unit_test(every_part_must_stand_in_the_boards_spec),
		cmocka_unit_test(a_board_without_a_spec_fits_nothing),
		cmocka_unit_test(one_payload_that_cboot_takes_is_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
