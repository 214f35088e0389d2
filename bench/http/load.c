/* Clients that fetch one file over HTTP/1.1, at once, and compare every octet with it.
 *
 * load ADDRESS PORT PATH FILE CLIENTS REQUESTS KEEP
 *
 * CLIENTS connections are open at a time until REQUESTS answers are in; KEEP 1: they are used again,
 * 0: each is for one request. Prints seconds, octets and answers as JSON; ends with 1 when an answer
 * was wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD 4096

struct client {
    int fd, joining;
    size_t head;        /* octets of the head that are here */
    ssize_t body;       /* octets of the body that are here; -1: the head isn't whole */
    char text[HEAD + 1];
};

static struct sockaddr_in target;
static const char *file;
static size_t size;
static char request[512];
static int keep, epoll, left, started, done;
static unsigned long long octets;
static char buffer[1 << 18];

static void fail(const char *what)
{
    fprintf(stderr, "load: %s (%s)\n", what, strerror(errno));
    exit(1);
}

static void ask(struct client *c)
{
    c->head = 0;
    c->body = -1;
    if (send(c->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        fail("send");
}

static void join(struct client *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS)
        fail("connect");
    c->joining = 1;
    started++;
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e))
        fail("epoll_ctl");
}

static void joined(struct client *c)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if ((errno = error))
        fail("connect");
    c->joining = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e))
        fail("epoll_ctl");
    ask(c);
}

/* One answer is whole: ask again, on this connection or a new one. */
static void next(struct client *c)
{
    done++;
    octets += size;
    if (keep && started < left) {
        started++;
        ask(c);
    } else {
        close(c->fd);
        c->fd = -1;
        if (started < left)
            join(c);
    }
}

static void check(struct client *c, const char *data, size_t count)
{
    if (c->body + count > size || memcmp(data, file + c->body, count))
        fail("the answer differs from the file");
    c->body += count;
}

/* Take octets of the head; return how many of them belong to the body. */
static size_t head(struct client *c, const char *data, size_t count)
{
    size_t take = count < HEAD - c->head ? count : HEAD - c->head;
    memcpy(c->text + c->head, data, take);
    c->text[c->head + take] = 0;
    char *end = strstr(c->text, "\r\n\r\n");
    if (!end) {
        c->head += take;
        if (c->head == HEAD)
            fail("the head is too long");
        return 0;
    }
    size_t length = end + 4 - c->text;
    if (strncmp(c->text, "HTTP/1.", 7) || strncmp(c->text + 8, " 200 ", 5))
        fail("the answer isn't 200");
    c->body = 0;
    return count - (length - c->head);
}

static void readable(struct client *c)
{
    for (int i = 0; i < 4; i++) {
        ssize_t count = recv(c->fd, buffer, sizeof buffer, 0);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0)
            fail("the connection ended too early");
        size_t body = count;
        if (c->body < 0)
            body = head(c, buffer, count);
        if (c->body >= 0)
            check(c, buffer + count - body, body);
        if (c->body == (ssize_t)size) {
            next(c);
            return;
        }
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    if (count != 8)
        fail("load ADDRESS PORT PATH FILE CLIENTS REQUESTS KEEP");
    int clients = atoi(words[5]), fd = open(words[4], O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status))
        fail(words[4]);
    size = status.st_size;
    file = mmap(0, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    target.sin_family = AF_INET;
    target.sin_port = htons(atoi(words[2]));
    inet_pton(AF_INET, words[1], &target.sin_addr);
    left = atoi(words[6]);
    keep = atoi(words[7]);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\n%s\r\n",
             words[3], words[1], keep ? "" : "Connection: close\r\n");
    epoll = epoll_create1(0);
    struct client *all = calloc(clients, sizeof *all);
    double began = now();
    for (int i = 0; i < clients && started < left; i++)
        join(&all[i]);
    struct epoll_event events[128];
    while (done < left) {
        int ready = epoll_wait(epoll, events, 128, 20000);
        if (ready <= 0)
            fail("nothing has come for 20 s");
        for (int i = 0; i < ready; i++)
            if (((struct client *)events[i].data.ptr)->joining)
                joined(events[i].data.ptr);
            else
                readable(events[i].data.ptr);
    }
    double seconds = now() - began;
    printf("{\"seconds\": %.6f, \"octets\": %llu, \"answers\": %d}\n", seconds, octets, done);
    return 0;
}
