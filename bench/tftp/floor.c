/* How little a TFTP server can cost here: pybootd's design in C, without all that makes it a server.
 *
 * floor PORT FOLDER: packets made once, a connected socket for each transfer, epoll told once of
 * each arrival, a turn's packets sent at its end, a window in one call (UDP_SEGMENT). No timers, no
 * retransmission, no checks, no log; names, blksize and windowsize are believed. What it costs is
 * the kernel's price.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RRQ = 1, DATA = 3, ACK = 4, OACK = 6, MOST = 65536, KEPT = 256, SEGMENTS = 64 };

struct cut {                      /* a file cut for one block size */
    char name[64];
    uint32_t stride;
    uint64_t last, octets;
    uint8_t *packets;
};

struct transfer {
    struct cut *cut;
    uint64_t base;                /* the first block that is not acknowledged; the OACK is 0 */
    uint32_t window, step;        /* blocks in one window, blocks in one call */
};

static struct cut cuts[KEPT];
static struct transfer transfers[MOST]; /* by descriptor */
static int cut_count, epoll_fd, posted[MOST], posted_count;
static const char *folder;

static struct cut *cut_for(const char *name, uint32_t size) {
    for (int i = 0; i < cut_count; i++)
        if (cuts[i].stride == size + 4 && !strcmp(cuts[i].name, name)) return &cuts[i];
    char path[512];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) || cut_count == KEPT) { perror(path); exit(1); }
    struct cut *cut = &cuts[cut_count++];
    snprintf(cut->name, sizeof cut->name, "%s", name);
    cut->stride = size + 4;
    cut->last = status.st_size / size + 1;
    cut->octets = status.st_size + cut->last * 4;
    uint8_t *p = cut->packets = malloc(cut->octets);
    for (uint64_t block = 1; block <= cut->last; block++, p += cut->stride) {
        p[0] = 0, p[1] = DATA, p[2] = block >> 8 & 255, p[3] = block & 255;
        if (read(fd, p + 4, size) < 0) { perror(path); exit(1); }
    }
    close(fd);
    return cut;
}

static uint64_t window_end(struct transfer *t) {
    uint64_t ahead = t->base + t->window;
    return ahead > t->cut->last + 1 ? t->cut->last + 1 : ahead;
}

static void send_window(int fd) {
    struct transfer *t = &transfers[fd];
    struct cut *cut = t->cut;
    for (uint64_t block = t->base, end = window_end(t); block < end; block += t->step) {
        uint64_t stop = block + t->step < end ? block + t->step : end;
        uint64_t from = (block - 1) * cut->stride, to = (stop - 1) * cut->stride;
        if (to > cut->octets) to = cut->octets;
        if (write(fd, cut->packets + from, to - from) < 0) perror("write");
    }
}

static const char *next(const char *p) { return p + strlen(p) + 1; }

static void request(int listening) {
    char data[1024] = {0}, answer[256] = {0, OACK}, *out = answer + 2;
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    ssize_t got = recvfrom(listening, data, sizeof data - 3, 0, (struct sockaddr *)&peer, &length);
    if (got < 4 || data[1] != RRQ) return;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || fd >= MOST) { perror("socket"); exit(1); }
    uint32_t size = 512, window = 1;
    for (const char *p = next(next(data + 2)); p < data + got; p = next(next(p))) {
        int asked = atoi(next(p));
        if (!strcasecmp(p, "blksize")) size = asked;
        else if (!strcasecmp(p, "windowsize")) window = asked;
        else continue;
        out += sprintf(out, "%s%c%d%c", p, 0, asked, 0);
    }
    connect(fd, (struct sockaddr *)&peer, length);
    struct transfer *t = &transfers[fd];
    *t = (struct transfer){cut_for(data + 2, size), 1, window, 1};
    int stride = t->cut->stride, most = 65507 / stride < SEGMENTS ? 65507 / stride : SEGMENTS;
    if (window > 1 && most > 1 && !setsockopt(fd, SOL_UDP, UDP_SEGMENT, &stride, sizeof stride))
        t->step = most;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    if (out == answer + 2) {
        posted[posted_count++] = fd;
        return;
    }
    t->base = 0;
    if (write(fd, answer, out - answer) < 0) perror("write");
}

static void acknowledged(int fd) {
    struct transfer *t = &transfers[fd];
    uint8_t data[512];
    if (read(fd, data, sizeof data) < 4 || data[1] != ACK) return;
    uint16_t number = data[2] << 8 | data[3];
    uint64_t end = t->base ? window_end(t) : 1;
    if (number != (uint16_t)(end - 1)) return;
    t->base = end;
    if (end <= t->cut->last) posted[posted_count++] = fd;
    else close(fd);
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: floor PORT FOLDER\n"), 2;
    folder = argv[2];
    struct rlimit most = {MOST, MOST};
    setrlimit(RLIMIT_NOFILE, &most);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    int listening = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(listening, (struct sockaddr *)&own, sizeof own)) return perror("bind"), 1;
    epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listening}, events[512];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listening, &event);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 512, -1);
        posted_count = 0;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listening) request(listening);
            else acknowledged(events[i].data.fd);
        }
        for (int i = 0; i < posted_count; i++) send_window(posted[i]);
    }
}
