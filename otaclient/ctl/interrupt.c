/*
 * interrupt: end at once when a signal says so. Contract: interrupt.h.
 *
 * Lock: held around every page; whoever ends the program takes it and never gives it back.
 */
#include "otaclient/ctl/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *last_words;
static int end_code;
static sigset_t awaited;

void interrupt_hold(void)
{
	pthread_mutex_lock(&lock);
}

void interrupt_release(void)
{
	pthread_mutex_unlock(&lock);
}

void interrupt_say(const char *sentence)
{
	interrupt_hold();
	last_words = sentence;
	interrupt_release();
}

static void say(int fd, const char *text)
{
	/* The program is about to end; whom could it tell that this did not work? */
	if (write(fd, text, strlen(text)) < 0)
		return;
}

static void *await_signal(void *arg)
{
	int sig;

	(void)arg;
	if (sigwait(&awaited, &sig) != 0)
		return NULL;
	interrupt_hold();
	if (isatty(STDOUT_FILENO))
		say(STDOUT_FILENO, "\r\033[K"); /* the "^C" */
	if (last_words)
		say(STDERR_FILENO, last_words);
	_exit(end_code);
}

int interrupt_start(const char *sentence, int exit_code)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	pthread_t thread;
	int r;

	sigemptyset(&awaited);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction now;

		/* nohup, and shells that start it in the background, have it ignore some */
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(&awaited, signals[i]);
	}
	last_words = sentence;
	end_code = exit_code;
	r = pthread_sigmask(SIG_BLOCK, &awaited, NULL);
	if (r == 0)
		r = pthread_create(&thread, NULL, await_signal, NULL);
	if (r == 0)
		pthread_detach(thread);
	return -r;
}

int interrupt_pause_ms(int fd, int ms)
{
	struct pollfd reader = {.fd = fd};
	int r = poll(&reader, 1, ms);

	if (r > 0 && (reader.revents & (POLLERR | POLLHUP)))
		return -EPIPE;
	return 0;
}
