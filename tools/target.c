/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target with a slash or one that names a file is a device, else it is
 * HOST:PORT. A device's settings are kept and put back when we leave, and it is
 * locked meanwhile, for two readers of one line would each get parts of the replies.
 */
#include "tools/target.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define HOST_MAX 256
#define LOCK_RETRY_MS 20

static struct termios saved;
static int saved_fd = -1;

/* Waits for whoever has the device: an exporter's scrape is over soon. */
static bool lock_within(int fd, int timeout_ms)
{
	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += LOCK_RETRY_MS) {
		if (errno != EWOULDBLOCK || waited >= timeout_ms)
			return false;
		poll(NULL, 0, LOCK_RETRY_MS);
	}
	return true;
}

static int open_device(const char *path, int timeout_ms, char *why, size_t size)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t) != 0) {
		snprintf(why, size, "cannot open %s: %s", path,
			 errno == ENOTTY ? "it is no serial device" : strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (!lock_within(fd, timeout_ms)) {
		snprintf(why, size, "cannot open %s: another corbelctl has it", path);
		close(fd);
		return -1;
	}
	/* Not before: whoever had it has put the settings back. */
	tcgetattr(fd, &t);
	saved = t;
	saved_fd = fd;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	t.c_cflag &= ~(tcflag_t)CRTSCTS;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	cfsetispeed(&t, B115200);
	cfsetospeed(&t, B115200);
	tcsetattr(fd, TCSANOW, &t);
	tcflush(fd, TCIFLUSH);
	return fd;
}

/* Splits HOST:PORT; brackets around an IPv6 address are taken off. */
static bool split_address(const char *target, char host[HOST_MAX], const char **port)
{
	const char *colon = strrchr(target, ':');
	size_t len;

	if (!colon || colon[1] == '\0')
		return false;
	*port = colon + 1;
	len = (size_t)(colon - target);
	if (len >= 2 && target[0] == '[' && colon[-1] == ']') {
		target++;
		len -= 2;
	}
	if (len >= HOST_MAX)
		return false;
	memcpy(host, target, len);
	host[len] = '\0';
	if (len == 0)
		strncpy(host, "localhost", HOST_MAX);
	return true;
}

/* Connects within the time; 0 or an errno. */
static int connect_within(int fd, const struct addrinfo *a, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t len = sizeof error;

	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (poll(&p, 1, timeout_ms) == 0)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

static int open_socket(const char *target, int timeout_ms, char *why, size_t size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	const char *port, *reason;
	char host[HOST_MAX];
	int error, fd = -1, one = 1;

	if (!split_address(target, host, &port)) {
		snprintf(why, size, "%s is neither a serial device nor host:port", target);
		return -1;
	}
	error = getaddrinfo(host, port, &hints, &list);
	if (error) {
		snprintf(why, size, "cannot find %s: %s", target, gai_strerror(error));
		return -1;
	}
	reason = "no address";
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
		error = fd < 0 ? errno : connect_within(fd, a, timeout_ms);
		if (error == 0)
			break;
		reason = strerror(error);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	if (fd < 0)
		snprintf(why, size, "cannot connect to %s: %s", target, reason);
	else
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

int target_open(const char *target, int timeout_ms, char *why, size_t size)
{
	if (strchr(target, '/') || access(target, F_OK) == 0)
		return open_device(target, timeout_ms, why, size);
	return open_socket(target, timeout_ms, why, size);
}

void target_close(int fd)
{
	if (fd == saved_fd) {
		tcsetattr(fd, TCSADRAIN, &saved);
		saved_fd = -1;
	}
	close(fd);
}
