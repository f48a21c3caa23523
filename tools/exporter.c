/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest HTTP/1.1 server that a Prometheus scraper needs: one request a
 * connection, one connection at a time, GET /metrics, on the loopback interface
 * alone. Each scrape asks the machine anew, and has its line for no longer than that
 * takes, so that other commands get it in between; while they have it, what the
 * last scrape got is given again if it is young. Only a session that has logged in keeps the line:
 * a login for each scrape would crowd out everything else in the audit log and the events.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/bits.h"
#include "tools/commands.h"
#include "tools/metrics.h"
#include "tools/terminal.h"

#define PORT_DEFAULT 9532u
#define REQUEST_MAX 4096
#define REQUEST_MS 5000
#define BACKLOG 8
#define LINE_MS 4000       /* for each request and for the line: a scraper waits 10 s */
#define AGE_DEFAULT_S 15   /* of what is given again; a scraper's usual interval */
#define AGE_MAX_S 3600ul

struct exporter {
	struct client *c;
	long long age_ms; /* of a result that may be given again */
	char *text;       /* the last result, or NULL */
	size_t len;
	long long at;     /* when it was got */
};

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* A listening socket of 127.0.0.1; *port becomes the one it got. -1 after a sentence. */
static int listen_on(unsigned *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, BACKLOG) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &size) == 0) {
		*port = ntohs(address.sin_port);
		return fd;
	}
	complain("cannot listen on port %u: %s", *port, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool send_all(int fd, const char *data, size_t len)
{
	long long deadline = now_ms() + REQUEST_MS;

	while (len > 0) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR) || now_ms() >= deadline) {
			return false;
		} else {
			poll(&p, 1, 100);
		}
	}
	return true;
}

static void answer(int fd, const char *status, const char *type, const char *body, size_t len, bool head)
{
	char header[256];
	int n = snprintf(header, sizeof header,
			 "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
			 type, len);

	if (send_all(fd, header, (size_t)n) && !head)
		send_all(fd, body, len);
}

static void refuse(int fd, const char *status)
{
	char body[64];
	int n = snprintf(body, sizeof body, "%s\n", status);

	answer(fd, status, "text/plain", body, (size_t)n, false);
}

/* Reads the request's head into @out. False when it does not come, or is too long. */
static bool read_head(int fd, char out[REQUEST_MAX])
{
	long long deadline = now_ms() + REQUEST_MS;
	size_t len = 0;

	while (len < REQUEST_MAX - 1 && now_ms() < deadline && !terminal_interrupted()) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, 100) <= 0)
			continue;
		n = recv(fd, out + len, REQUEST_MAX - 1 - len, 0);
		if (n <= 0)
			return false;
		len += (size_t)n;
		out[len] = '\0';
		if (strstr(out, "\r\n\r\n"))
			return true;
	}
	return false;
}

/* The machine's counters as text; NULL when it does not answer (which has been said). */
static char *collect(struct client *c, size_t *len)
{
	static struct catalog cat;
	static struct sample sample;
	char *text = NULL;
	FILE *out;

	if ((cat.count == 0 && catalog_read(c, &cat) != EXIT_OK) || sample_read(c, NULL, &sample) != EXIT_OK)
		return NULL;
	out = open_memstream(&text, len);
	if (!out)
		return NULL;
	metrics_write(out, &cat, &sample);
	fclose(out);
	return text;
}

/* Opens the line, and a session where there was one. */
static bool take_line(struct client *c)
{
	if (c->fd >= 0)
		return true;
	if (!client_open(c, c->target))
		return false;
	if (!c->log_in || c->log_in(c))
		return true;
	client_close(c);
	return false;
}

/* As collect(), with the line taken and released; once more when it was kept, and has dropped or its session ended. */
static char *collect_on_line(struct client *c, size_t *len)
{
	bool kept = c->fd >= 0;
	char *text = take_line(c) ? collect(c, len) : NULL;

	if (!text && kept) {
		client_close(c);
		text = take_line(c) ? collect(c, len) : NULL;
	}
	if (!text || !c->key)
		client_close(c);
	return text;
}

/* Renews the last result where that can be done; false when there is none that is young enough. */
static bool renew(struct exporter *e)
{
	size_t len;
	char *text = collect_on_line(e->c, &len);

	if (!text)
		return e->text && now_ms() - e->at <= e->age_ms;
	free(e->text);
	e->text = text;
	e->len = len;
	e->at = now_ms();
	return true;
}

static void serve(struct exporter *e, int fd)
{
	char head[REQUEST_MAX], method[8], path[64], version[4];

	if (!read_head(fd, head))
		return;
	if (sscanf(head, "%7s %63s HTTP/%3[0-9.]", method, path, version) != 3) {
		refuse(fd, "400 Bad Request");
	} else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
		refuse(fd, "405 Method Not Allowed");
	} else if (strcmp(path, "/metrics") != 0) {
		refuse(fd, "404 Not Found");
	} else if (!renew(e)) {
		refuse(fd, "503 Service Unavailable");
	} else {
		answer(fd, "200 OK", "text/plain; version=0.0.4; charset=utf-8", e->text, e->len,
		       strcmp(method, "HEAD") == 0);
	}
}

/* @what begins the sentence about a number that is none: "a port is a number". */
static bool read_number(const char *text, const char *what, unsigned long max, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || text[0] == '-' || n > max) {
		complain("%s up to %lu, not %s", what, max, text);
		return false;
	}
	*out = (unsigned)n;
	return true;
}

static void serve_all(struct exporter *e, int listener)
{
	while (!terminal_interrupted()) {
		struct pollfd p = {.fd = listener, .events = POLLIN};
		int fd;

		if (poll(&p, 1, 200) <= 0)
			continue;
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		serve(e, fd);
		close(fd);
	}
}

enum exit_status metrics_serve(struct client *c, int argc, char **argv)
{
	unsigned port = PORT_DEFAULT, age = AGE_DEFAULT_S;
	struct exporter e = {.c = c};
	int listener;

	if ((argc > 0 && !read_number(argv[0], "a port is a number", UINT16_MAX, &port)) ||
	    (argc > 1 && !read_number(argv[1], "an age is a number of seconds", AGE_MAX_S, &age)))
		return EXIT_USAGE;
	e.age_ms = age * 1000ll;
	listener = listen_on(&port);
	if (listener < 0)
		return EXIT_USAGE;
	if (c->json)
		printf("{\"port\": %u}\n", port);
	else
		printf("serving http://127.0.0.1:%u/metrics\n", port);
	fflush(stdout);
	c->timeout_ms = MIN(c->timeout_ms, LINE_MS);
	if (!c->key)
		client_close(c);
	terminal_catch();
	serve_all(&e, listener);
	terminal_release();
	close(listener);
	free(e.text);
	return EXIT_OK;
}
