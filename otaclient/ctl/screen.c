/*
 * screen: a page of lines that is redrawn in place on a terminal. Contract: screen.h.
 */
#include "otaclient/ctl/screen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "otaclient/ctl/columns.h"
#include "otaclient/ctl/interrupt.h"

enum {
	WIDTH_UNKNOWN = 80,
	HEIGHT_UNKNOWN = 24,
};

#define BEGIN_PAGE "\033[?25l\033[?7l" /* hide the cursor, cut long lines */
#define END_PAGE   "\033[J\033[?7h\033[?25h"

void screen_init(struct screen *s, FILE *out)
{
	const char *term = getenv("TERM");

	*s = (struct screen){.out = out};
	s->on_terminal = isatty(fileno(out)) && term && term[0] && strcmp(term, "dumb") != 0;
}

void screen_done(struct screen *s)
{
	free(s->shown);
	s->shown = NULL;
}

static struct winsize size_of(const struct screen *s)
{
	struct winsize w = {0};

	if (ioctl(fileno(s->out), TIOCGWINSZ, &w) < 0)
		w = (struct winsize){0};
	if (w.ws_col == 0)
		w.ws_col = WIDTH_UNKNOWN;
	if (w.ws_row == 0)
		w.ws_row = HEIGHT_UNKNOWN;
	return w;
}

unsigned screen_columns(const struct screen *s)
{
	unsigned n = size_of(s).ws_col;

	return n > 1 ? n - 1 : 1;
}

unsigned screen_rows(const struct screen *s)
{
	unsigned n = size_of(s).ws_row;

	return n > 1 ? n - 1 : 1;
}

FILE *screen_begin(struct screen *s)
{
	s->page = open_memstream(&s->text, &s->len_bytes);
	return s->page;
}

/* Rows that @page fills now: a terminal that has become narrower has folded its lines. */
static unsigned rows_of(const struct screen *s, const char *page)
{
	unsigned width = size_of(s).ws_col, rows = 0;

	while (page && *page) {
		size_t len = strcspn(page, "\n");
		char *line = strndup(page, len);
		unsigned columns = line ? columns_of(line) : 0;

		rows += columns > 0 ? (columns + width - 1) / width : 1;
		free(line);
		page += page[len] ? len + 1 : len;
	}
	return rows;
}

static void go_to_begin(const struct screen *s)
{
	unsigned rows = rows_of(s, s->shown);

	fputc('\r', s->out); /* and over what was typed, "^C" for one */
	if (rows > 0)
		fprintf(s->out, "\033[%uA", rows);
}

static void draw(struct screen *s)
{
	fputs(BEGIN_PAGE, s->out);
	go_to_begin(s);
	for (const char *line = s->text; *line;) {
		size_t len = strcspn(line, "\n");

		fwrite(line, 1, len, s->out);
		fputs("\033[K\n", s->out);
		line += line[len] ? len + 1 : len;
	}
	fputs(END_PAGE, s->out);
	fflush(s->out);
}

void screen_end(struct screen *s)
{
	if (fclose(s->page) != 0) {
		free(s->text);
		s->text = NULL;
		return;
	}
	interrupt_hold();
	draw(s);
	interrupt_release();
	free(s->shown);
	s->shown = s->text;
	s->text = NULL;
}

void screen_clear(struct screen *s)
{
	if (!s->shown)
		return;
	interrupt_hold();
	go_to_begin(s);
	fputs("\033[J", s->out);
	fflush(s->out);
	interrupt_release();
	free(s->shown);
	s->shown = NULL;
}
