/*
 * screen: a few lines that are redrawn in place on a terminal. Contract: screen.h.
 */
#include "otaclient/ctl/screen.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	WIDTH_UNKNOWN = 80,
	HEIGHT_UNKNOWN = 24,
};

void screen_init(struct screen *s, FILE *out)
{
	*s = (struct screen){.out = out, .on_terminal = isatty(fileno(out))};
}

static struct winsize size_of(const struct screen *s)
{
	struct winsize w = {0};

	if (ioctl(fileno(s->out), TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
		w = (struct winsize){.ws_col = WIDTH_UNKNOWN, .ws_row = HEIGHT_UNKNOWN};
	return w;
}

unsigned screen_width(const struct screen *s)
{
	return s->on_terminal ? size_of(s).ws_col : 0;
}

FILE *screen_begin(struct screen *s)
{
	s->page = open_memstream(&s->text, &s->len_bytes);
	return s->page;
}

static unsigned lines_of(const struct screen *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->len_bytes; i++)
		n += s->text[i] == '\n';
	return n;
}

/* What scrolled out of the terminal cannot be drawn over, so then the whole of it is cleared. */
static void redraw(struct screen *s)
{
	unsigned lines = lines_of(s);

	if (s->lines >= size_of(s).ws_row)
		fputs("\033[H\033[J", s->out);
	else if (s->lines > 0)
		fprintf(s->out, "\033[%uA\r\033[J", s->lines);
	s->lines = lines;
	fwrite(s->text, 1, s->len_bytes, s->out);
}

void screen_end(struct screen *s, unsigned long stage, uint64_t now_ms)
{
	if (fclose(s->page) == 0) {
		if (s->on_terminal) {
			redraw(s);
		} else if (s->shown_ms == 0 || stage != s->stage ||
			   now_ms - s->shown_ms >= SCREEN_PLAIN_MS) {
			fwrite(s->text, 1, s->len_bytes, s->out);
			s->shown_ms = now_ms;
			s->stage = stage;
		}
		fflush(s->out);
	}
	free(s->text);
	s->text = NULL;
}
