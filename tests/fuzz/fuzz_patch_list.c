/*
 * fuzz_patch_list: any bytes as patches.txt. What is accepted is written and read back the same, every patch is found
 * at its content, and every refusal has a sentence.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "common/image/patch_list.h"
#include "common/image/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REST "dd0eed717ffeaf2a95fd774108263053c866c40a82e34e58ca796eea42b7727"

static struct file_table *make_table(void)
{
	static const char files[] = "0644,0,0,1,b" REST ",'/b',2000,,zst\n0644,0,0,1,a" REST
				    ",'/a',1000,,\n0644,0,0,1,e" REST ",'/e',,,";
	struct file_table *t = file_table_new();

	assert(t && list_text_read_regulars(files, strlen(files), "files", t, NULL) == 0);
	assert(file_table_seal(t, NULL) == 0);
	return t;
}

static void check_list(const struct file_table *t, const struct patch_list *list)
{
	assert(list->first[0] == 0 && list->first[t->n_contents] == list->n_patches);
	for (uint32_t c = 0; c < t->n_contents; c++)
		for (uint32_t i = list->first[c]; i < list->first[c + 1]; i++) {
			const struct patch *p = &list->patches[i];
			AUTO_PATCH_LIST struct patch_list *again = NULL;
			AUTO_BUF struct buf b = {0};

			assert(p->content == c && p->base < list->n_bases);
			assert(p->size_bytes > 0 && p->size_bytes < t->contents[c].size_bytes);
			assert(patch_list_find_base(list, &list->bases[p->base].digest) == p->base);
			assert(patch_list_write(&b, &t->contents[c].digest, &list->bases[p->base],
				       p->size_bytes, &p->digest) == 0);
			assert(patch_list_read(b.data, b.len_bytes, "again", t, &again, NULL) == 0);
			assert(again->n_patches == 1 && again->patches[0].content == c);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_PATCH_LIST struct patch_list *list = NULL;
	struct ota_err err = {0};
	int r = patch_list_read((const char *)data, size, "list", t, &list, &err);

	if (r == 0) {
		check_list(t, list);
		return 0;
	}
	assert(r == -EBADMSG && err.code == OTA_E_OTA_IMAGE_INVALID);
	assert(err.msg[0] && utf8_is_valid(err.msg, strlen(err.msg)));
	return 0;
}
