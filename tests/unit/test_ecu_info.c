/*
 * ecu_info: which files describe an ECU, and what is said about those that do not.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/config/ecu_info.h"
#include "tests/unit/note_list.h"

static struct ecu_info info;
static struct note_list notes;

static void parse(const char *text)
{
	notes = (struct note_list){0};
	ecu_info_parse(text, strlen(text), "ecu_info.yaml", note_list_add, &notes, &info);
}

static void load(const char *path)
{
	notes = (struct note_list){0};
	ecu_info_load(path, note_list_add, &notes, &info);
}

static void assert_is_default(void)
{
	assert_false(info.loaded);
	assert_string_equal(info.ecu_id, "autoware");
	assert_string_equal(info.ip_addr, "127.0.0.1");
	assert_string_equal(info.bootloader, "auto_detect");
	assert_int_equal(info.n_available, 1);
	assert_string_equal(info.available_ecu_ids[0], "autoware");
	assert_int_equal(info.n_secondaries, 0);
}

/* The file is refused, and this is the one thing said about it. */
static void refuses(const char *text, const char *sentence)
{
	parse(text);
	if (notes.n_wrong != 1)
		fail_msg("%u sentences about:\n%s", notes.n_wrong, text);
	assert_string_equal(notes.wrong[0], sentence);
	assert_is_default();
	assert_true(info.wrong);
}

static void the_main_ecu_of_the_examples_loads(void **state)
{
	load(DATA_DIR "/examples/main-ecu_info.yaml");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	assert_string_equal(info.ecu_id, "main");
	assert_string_equal(info.ip_addr, "127.0.0.1");
	assert_string_equal(info.bootloader, "auto_detect");
	assert_int_equal(info.n_secondaries, 3);
	assert_string_equal(info.secondaries[2].ecu_id, "C");
	assert_string_equal(info.secondaries[2].ip_addr, "192.168.20.13");
	assert_int_equal(info.secondaries[2].port, 50051);
	assert_int_equal(info.n_available, 7);
	assert_string_equal(info.available_ecu_ids[6], "F");
}

static void the_secondary_ecu_of_the_examples_loads(void **state)
{
	load(DATA_DIR "/examples/secondary-a-ecu_info.yaml");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	assert_string_equal(info.ip_addr, "192.168.20.11");
	assert_int_equal(info.n_secondaries, 3);
	assert_int_equal(info.n_available, 1);
	assert_string_equal(info.available_ecu_ids[0], "A");
}

static void the_file_in_the_root_of_the_tree_loads(void **state)
{
	load(SOURCE_DIR "/ecu_info.yaml.example");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
}

static void the_file_in_the_root_of_the_tree_explains_every_key(void **state)
{
	const struct conf_key *keys;
	size_t n_keys;

	keys = ecu_info_keys(&n_keys);
	assert_int_equal(n_keys, 6);
	note_list_assert_explained(SOURCE_DIR "/ecu_info.yaml.example", keys, n_keys);
	keys = ecu_info_secondary_keys(&n_keys);
	assert_int_equal(n_keys, 3);
	note_list_assert_explained(SOURCE_DIR "/ecu_info.yaml.example", keys, n_keys);
}

static void the_file_in_the_root_of_the_tree_names_every_boot_loader(void **state)
{
	static const char *const words[] = {
		"auto_detect", "grub", "cboot", "jetson-cboot", "jetson-uefi", "rpi_boot"};
	AUTO_BUF struct buf text = {0};

	assert_int_equal(
		file_read(AT_FDCWD, SOURCE_DIR "/ecu_info.yaml.example", 1 << 16, &text), 0);
	parse("ecu_id: m\nbootloader: none\n");
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		assert_non_null(strstr(notes.wrong[0], words[i]));
		assert_non_null(strstr(buf_str(&text), words[i]));
	}
}

static void an_id_alone_is_enough(void **state)
{
	parse("ecu_id: perception1\n");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	assert_string_equal(info.ecu_id, "perception1");
	assert_string_equal(info.ip_addr, "127.0.0.1");
	assert_string_equal(info.bootloader, "auto_detect");
	assert_string_equal(info.available_ecu_ids[0], "perception1");
}

static void every_key_is_read(void **state)
{
	parse("format_version: 1\n"
	      "ecu_id: 'm'\n"
	      "ip_addr: fe80::1%eth0\n"
	      "bootloader: jetson-cboot\n"
	      "available_ecu_ids: [m, s]\n"
	      "secondaries:\n"
	      "- ecu_id: s\n"
	      "  ip_addr: 10.0.0.2\n"
	      "  port: '50052'\n");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	assert_string_equal(info.ip_addr, "fe80::1%eth0");
	assert_string_equal(info.bootloader, "jetson-cboot");
	assert_int_equal(info.n_available, 2);
	assert_int_equal(info.secondaries[0].port, 50052);
}

static void an_address_may_be_a_number_or_localhost(void **state)
{
	parse("{ecu_id: m, ip_addr: 3232240651}");
	assert_string_equal(info.ip_addr, "192.168.20.11");
	parse("{ecu_id: m, ip_addr: localhost}");
	assert_string_equal(info.ip_addr, "127.0.0.1");
}

static void unknown_and_repeated_keys_are_noticed_only(void **state)
{
	parse("ecu_id: m\n"
	      "secondarys: []\n"
	      "ip_addr: 10.0.0.1\n"
	      "ip_addr: 10.0.0.2\n"
	      "available_ecu_ids: [m, m]\n"
	      "format_version: 2\n");
	assert_true(info.loaded);
	assert_int_equal(notes.n_notices, 4);
	assert_string_equal(notes.notices[0],
		"ecu_info.yaml, line 2: secondarys is not a known key and is ignored");
	assert_string_equal(notes.notices[1],
		"ecu_info.yaml, line 3: ip_addr is there again below, which counts");
	assert_string_equal(notes.notices[2],
		"ecu_info.yaml, line 6: format_version 2 is read as if it were 1");
	assert_string_equal(
		notes.notices[3], "ecu_info.yaml, line 5: available_ecu_ids has \"m\" twice");
	assert_string_equal(info.ip_addr, "10.0.0.2");
	assert_int_equal(info.n_available, 1);
}

static void a_wrong_value_is_named_with_its_line(void **state)
{
	refuses("ecu_id: m\n\nip_addr: localhosst\n",
		"ecu_info.yaml, line 3: ip_addr must be an IP address, not \"localhosst\"");
	refuses("ecu_id: m\nip_addr: 10.0.0.256\n",
		"ecu_info.yaml, line 2: ip_addr must be an IP address, not \"10.0.0.256\"");
	refuses("ecu_id: m\nip_addr: 10.0.0.1%eth0\n",
		"ecu_info.yaml, line 2: ip_addr must be an IP address, not \"10.0.0.1%eth0\"");
	refuses("ecu_id: m\nip_addr:\n",
		"ecu_info.yaml, line 2: ip_addr must be an IP address, not nothing");
	refuses("ecu_id: 7\n",
		"ecu_info.yaml, line 1: ecu_id must be a string (put it in quotes), not 7");
	refuses("ecu_id: on\n",
		"ecu_info.yaml, line 1: ecu_id must be a string (put it in quotes), not on");
	refuses("ecu_id: ''\n",
		"ecu_info.yaml, line 1: ecu_id must be a string that is not empty, not \"\"");
	refuses("ecu_id: \"a\\tb\"\n", "ecu_info.yaml, line 1: ecu_id must be a string without "
				       "control characters, not \"a\tb\"");
	refuses("ip_addr: 10.0.0.1\n", "ecu_info.yaml, line 1: ecu_id is missing");
	refuses("{}\n", "ecu_info.yaml, line 1: ecu_id is missing");
	refuses("ecu_id: m\nbootloader: GRUB\n", "ecu_info.yaml, line 2: bootloader must be one of "
						 "auto_detect, grub, cboot, jetson-cboot, "
						 "jetson-uefi, rpi_boot, not \"GRUB\"");
	refuses("ecu_id: m\nbootloader:\n", "ecu_info.yaml, line 2: bootloader must be one of "
					    "auto_detect, grub, cboot, jetson-cboot, "
					    "jetson-uefi, rpi_boot, not nothing");
	refuses("ecu_id: m\nformat_version: one\n",
		"ecu_info.yaml, line 2: format_version must be 1");
}

static void wrong_lists_are_named(void **state)
{
	refuses("ecu_id: m\navailable_ecu_ids:\n",
		"ecu_info.yaml, line 2: available_ecu_ids must be a list of ECU ids");
	refuses("ecu_id: m\navailable_ecu_ids: [m, 7]\n",
		"ecu_info.yaml, line 2: each of available_ecu_ids must be a string (put it in "
		"quotes), not 7");
	refuses("ecu_id: m\nsecondaries:\n",
		"ecu_info.yaml, line 2: secondaries must be a list of maps");
	refuses("ecu_id: m\nsecondaries: [s]\n",
		"ecu_info.yaml, line 2: secondaries[0] must be a map");
	refuses("ecu_id: m\nsecondaries:\n- {ecu_id: s, ip_addr: 10.0.0.2}\n- {ecu_id: t}\n",
		"ecu_info.yaml, line 4: secondaries[1].ip_addr is missing");
	refuses("ecu_id: m\nsecondaries:\n- {ecu_id: s, ip_addr: 10.0.0.2, port: 0}\n",
		"ecu_info.yaml, line 3: secondaries[0].port must be a whole number from 1 to "
		"65535, not 0");
}

/* The file is taken, and this is the one thing said about it. */
static void notices(const char *text, const char *sentence)
{
	parse(text);
	assert_true(info.loaded);
	if (notes.n_notices != 1)
		fail_msg("%u notices about:\n%s", notes.n_notices, text);
	assert_string_equal(notes.notices[0], sentence);
}

static void of_two_entries_with_one_id_the_first_counts(void **state)
{
	notices("ecu_id: m\nsecondaries:\n- {ecu_id: s, ip_addr: 10.0.0.2}\n- {ecu_id: s, ip_addr: "
		"10.0.0.3}\n- {ecu_id: t, ip_addr: 10.0.0.4}\n",
		"ecu_info.yaml, line 4: secondaries[1].ecu_id \"s\" is there twice; this entry, "
		"10.0.0.3, is ignored");
	assert_int_equal(info.n_secondaries, 2);
	assert_string_equal(info.secondaries[0].ip_addr, "10.0.0.2");
	assert_string_equal(info.secondaries[1].ecu_id, "t");
}

static void an_ecu_is_not_below_itself(void **state)
{
	notices("ecu_id: m\nsecondaries:\n- {ecu_id: m, ip_addr: 10.0.0.2}\n- {ecu_id: s, ip_addr: "
		"10.0.0.3}\n",
		"ecu_info.yaml, line 3: secondaries[0].ecu_id \"m\" is this ECU's own; the entry "
		"is "
		"ignored");
	assert_int_equal(info.n_secondaries, 1);
	assert_string_equal(info.secondaries[0].ecu_id, "s");
}

static void an_address_that_cannot_be_right_is_noticed(void **state)
{
	notices("ecu_id: m\nsecondaries:\n- {ecu_id: s, ip_addr: 10.0.0.2}\n- {ecu_id: t, ip_addr: "
		"10.0.0.2}\n",
		"ecu_info.yaml, line 4: secondaries[1], ECU \"t\", has the address of ECU \"s\", "
		"10.0.0.2, port 50051");
	assert_int_equal(info.n_secondaries, 2);
	notices("ecu_id: m\nip_addr: 10.0.0.1\nsecondaries:\n- {ecu_id: s, ip_addr: 10.0.0.1}\n",
		"ecu_info.yaml, line 4: secondaries[0], ECU \"s\", has this ECU's own address, "
		"10.0.0.1, port 50051");
	notices("ecu_id: m\nip_addr: 10.0.0.1\nsecondaries:\n- {ecu_id: s, ip_addr: '::1'}\n",
		"ecu_info.yaml, line 4: secondaries[0], ECU \"s\", has this ECU's own address, "
		"::1, "
		"port 50051");
	assert_int_equal(info.n_secondaries, 1);
	parse("ecu_id: m\nip_addr: 10.0.0.1\nsecondaries:\n- {ecu_id: s, ip_addr: 10.0.0.1, port: "
	      "50052}\n- {ecu_id: t, ip_addr: 10.0.0.1, port: 50053}\n");
	assert_int_equal(notes.n_notices, 0);
}

static void every_wrong_key_is_reported(void **state)
{
	parse("ecu_id: 7\n"
	      "ip_addr: here\n"
	      "secondaries:\n"
	      "- {ecu_id: s, ip_addr: there, port: 70000}\n");
	assert_is_default();
	assert_int_equal(notes.n_wrong, 4);
	assert_string_equal(notes.wrong[1],
		"ecu_info.yaml, line 2: ip_addr must be an IP address, not \"here\"");
	assert_string_equal(notes.wrong[2], "ecu_info.yaml, line 4: secondaries[0].ip_addr must be "
					    "an IP address, not \"there\"");
	assert_string_equal(notes.wrong[3], "ecu_info.yaml, line 4: secondaries[0].port must be a "
					    "whole number from 1 to 65535, not 70000");
}

static void what_is_no_map_is_refused(void **state)
{
	refuses("", "ecu_info.yaml, line 1: the file must be a map of keys and values");
	refuses("- ecu_id: m\n",
		"ecu_info.yaml, line 1: the file must be a map of keys and values");
	refuses("ecu_id: {\n",
		"ecu_info.yaml, line 2: this is no YAML: did not find expected node content");
}

static void more_than_the_limits_is_refused(void **state)
{
	AUTO_BUF struct buf b = {0};
	AUTO_BUF struct buf ids = {0};

	assert_int_equal(buf_puts(&b, "ecu_id: m\nsecondaries:\n"), 0);
	for (int i = 0; i <= ECU_SECONDARIES_MAX; i++)
		assert_int_equal(buf_printf(&b, "- {ecu_id: s%d, ip_addr: 10.0.0.%d}\n", i, i), 0);
	refuses(buf_str(&b), "ecu_info.yaml, line 67: secondaries has more than 64 entries");
	assert_int_equal(buf_puts(&ids, "ecu_id: m\navailable_ecu_ids:\n"), 0);
	for (int i = 0; i <= ECU_IDS_MAX; i++)
		assert_int_equal(buf_printf(&ids, "- s%d\n", i), 0);
	refuses(buf_str(&ids),
		"ecu_info.yaml, line 131: available_ecu_ids has more than 128 entries");
	b.len_bytes = 0;
	assert_int_equal(buf_printf(&b, "ecu_id: %0*d x\n", ECU_ID_MAX - 2, 0), 0);
	refuses(buf_str(&b),
		"ecu_info.yaml, line 1: ecu_id must be a string of at most 127 bytes, not "
		"\"0000000000000000000000000000000000000000000000000000000000000000\"");
}

static void a_missing_file_is_the_default_ecu(void **state)
{
	load("/nowhere/ecu_info.yaml");
	assert_is_default();
	assert_int_equal(notes.n_wrong, 1);
	assert_string_equal(
		notes.wrong[0], "Cannot read /nowhere/ecu_info.yaml: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_main_ecu_of_the_examples_loads),
		cmocka_unit_test(the_secondary_ecu_of_the_examples_loads),
		cmocka_unit_test(the_file_in_the_root_of_the_tree_loads),
		cmocka_unit_test(the_file_in_the_root_of_the_tree_explains_every_key),
		cmocka_unit_test(the_file_in_the_root_of_the_tree_names_every_boot_loader),
		cmocka_unit_test(an_id_alone_is_enough),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(an_address_may_be_a_number_or_localhost),
		cmocka_unit_test(unknown_and_repeated_keys_are_noticed_only),
		cmocka_unit_test(a_wrong_value_is_named_with_its_line),
		cmocka_unit_test(wrong_lists_are_named),
		cmocka_unit_test(of_two_entries_with_one_id_the_first_counts),
		cmocka_unit_test(an_ecu_is_not_below_itself),
		cmocka_unit_test(an_address_that_cannot_be_right_is_noticed),
		cmocka_unit_test(every_wrong_key_is_reported),
		cmocka_unit_test(what_is_no_map_is_refused),
		cmocka_unit_test(more_than_the_limits_is_refused),
		cmocka_unit_test(a_missing_file_is_the_default_ecu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
