/* A TFTP load: many clients in one process, every byte compared with the file.
 *
 * Prints one line of JSON. Loss is made here, on DATA that arrives and on ACKs that leave, so that
 * every server sees the same; so is delay, on ACKs. Clients behave as RFC 1350, 2347 and 7440 say:
 * a gap in a window is acknowledged once, at once; what times out is sent again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RRQ = 1, DATA = 3, ACK = 4, ERROR = 5, OACK = 6 };

struct file {
    char name[64];
    const uint8_t *data;
    uint64_t size;
};

struct client {
    int fd, connected, tries, gap_told, pending;
    uint32_t blksize, window, in_window;
    uint64_t block;               /* last one that arrived in order */
    double started, deadline, ack_at;
    struct file *file;
    uint8_t out[512];             /* the packet that a timeout sends again */
    size_t out_length;
};

static struct sockaddr_in server;
static struct client *clients;
static struct file *files;
static int epoll_fd, file_count = 1, client_count = 100, total = 0, asked_block = 0;
static int asked_window = 1, limit_tries = 20, begun = 0, done = 0, failed = 0, active = 0;
static int receive_buffer = 0, whole_windows = 0;
static double loss = 0, timeout = 1.0, delay = 0;
static uint64_t blocks = 0, bytes = 0, repeated = 0, resent = 0, wrong = 0;
static double *took, first_worst = 0;
static uint64_t seed = 88172645463325252ULL;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int lost(void) {
    if (loss <= 0) return 0;
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) * (1.0 / 9007199254740992.0) < loss;
}

static uint32_t first_address; // each client has its own address, from this one on

static void begin(struct client *c);

static void end(struct client *c, int ok) {
    if (ok) {
        took[done++] = now() - c->started;
        bytes += c->file->size;
    } else {
        failed++;
    }
    close(c->fd);
    c->fd = -1;
    active--;
    if (begun < total) begin(c);
}

static void transmit(struct client *c) {
    if (c->out[1] == ACK && lost()) return;
    if (c->connected)
        send(c->fd, c->out, c->out_length, 0);
    else
        sendto(c->fd, c->out, c->out_length, 0, (struct sockaddr *)&server, sizeof server);
}

static void acknowledge(struct client *c, double at) {
    c->out[0] = 0, c->out[1] = ACK;
    c->out[2] = c->block >> 8 & 255, c->out[3] = c->block & 255;
    c->out_length = 4;
    c->in_window = 0;
    if (delay > 0) {
        c->pending = 1, c->ack_at = at + delay;
        return;
    }
    transmit(c);
}

static void begin(struct client *c) {
    int number = begun++;
    memset(c, 0, sizeof *c);
    c->file = &files[number % file_count];
    c->blksize = 512, c->window = 1;
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { perror("socket"); exit(1); }
    if (receive_buffer)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (whole_windows)
        setsockopt(c->fd, IPPROTO_UDP, UDP_GRO, &whole_windows, sizeof whole_windows);
    struct sockaddr_in any = {.sin_family = AF_INET};
    if (first_address) any.sin_addr.s_addr = htonl(first_address + number % client_count);
    bind(c->fd, (struct sockaddr *)&any, sizeof any);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    char *p = (char *)c->out;
    p += sprintf(p, "%c%c%s%coctet%c", 0, RRQ, c->file->name, 0, 0);
    if (asked_block) p += sprintf(p, "blksize%c%d%c", 0, asked_block, 0);
    if (asked_window > 1) p += sprintf(p, "windowsize%c%d%c", 0, asked_window, 0);
    c->out_length = p - (char *)c->out;
    c->started = now();
    c->deadline = c->started + timeout;
    active++;
    transmit(c);
}

static void options(struct client *c, const uint8_t *data, size_t length) {
    const char *p = (const char *)data + 2, *stop = (const char *)data + length;
    while (p < stop) {
        const char *value = p + strnlen(p, stop - p) + 1;
        if (value >= stop) break;
        if (!strcasecmp(p, "blksize")) c->blksize = atoi(value);
        if (!strcasecmp(p, "windowsize")) c->window = atoi(value);
        p = value + strnlen(value, stop - value) + 1;
    }
}

/* One block that came in order; true when it is the file's last. */
static int take(struct client *c, const uint8_t *payload, size_t length) {
    uint64_t at = c->block * c->blksize;
    uint64_t due = at > c->file->size ? 0 : c->file->size - at;
    if (due > c->blksize) due = c->blksize;
    if (length != due || memcmp(payload, c->file->data + at, length)) wrong++;
    c->block++, c->in_window++, blocks++;
    c->tries = 0, c->gap_told = 0;
    return length < c->blksize;
}

static void arrived(struct client *c, const uint8_t *data, size_t length, double at) {
    if (length < 4 || data[0]) return;
    c->deadline = at + timeout;
    if (data[1] == ERROR) {
        fprintf(stderr, "error %d: %.*s\n", data[3], (int)length - 4, data + 4);
        end(c, 0);
        return;
    }
    if (data[1] == OACK) {
        if (c->block) return;
        options(c, data, length);
        acknowledge(c, at);
        return;
    }
    if (data[1] != DATA || lost()) return;
    uint16_t number = data[2] << 8 | data[3];
    if (number == (uint16_t)(c->block + 1)) {
        int last = take(c, data + 4, length - 4);
        if (last || c->in_window >= c->window) acknowledge(c, at);
        if (last) {
            if (c->pending) c->pending = 0, transmit(c);
            end(c, 1);
        }
        return;
    }
    if ((uint16_t)(c->block - number) < 32768) repeated++;
    if (!c->gap_told) {
        c->gap_told = c->window > 1;
        acknowledge(c, at);
    }
}

/* Receive a datagram, or several of one size that were sent at once; that size is `step`. */
static ssize_t receive(struct client *c, uint8_t *buffer, size_t room, size_t *step,
                       struct sockaddr_in *from) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec into = {buffer, room};
    struct msghdr message = {.msg_name = c->connected ? 0 : from,
                             .msg_namelen = c->connected ? 0 : sizeof *from,
                             .msg_iov = &into,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(c->fd, &message, 0);
    *step = n > 0 ? n : 1;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); n > 0 && h; h = CMSG_NXTHDR(&message, h))
        if (h->cmsg_level == IPPROTO_UDP && h->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(h), sizeof size);
            *step = size;
        }
    return n;
}

static void readable(struct client *c, double at) {
    static uint8_t buffer[70000];
    for (int i = 0; i < 64; i++) {
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        size_t step = sizeof buffer;
        ssize_t n = whole_windows  ? receive(c, buffer, sizeof buffer, &step, &from)
                    : c->connected ? recv(c->fd, buffer, sizeof buffer, 0)
                                   : recvfrom(c->fd, buffer, sizeof buffer, 0,
                                              (struct sockaddr *)&from, &size);
        if (n < 0) return;
        if (!c->connected) {
            connect(c->fd, (struct sockaddr *)&from, sizeof from);
            c->connected = 1;
            if (at - c->started > first_worst) first_worst = at - c->started;
        }
        int fd = c->fd;
        uint64_t serial = begun;
        size_t place = 0, there = n;
        do {
            arrived(c, buffer + place, there - place < step ? there - place : step, at);
            if (c->fd != fd || (uint64_t)begun != serial) return;
            place += step;
        } while (place < there);
        if (c->window == 1) return;
    }
}

static void timers(double at) {
    for (int i = 0; i < client_count; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0) continue;
        if (c->pending && at >= c->ack_at) c->pending = 0, transmit(c);
        if (at < c->deadline) continue;
        if (++c->tries > limit_tries) {
            end(c, 0);
            continue;
        }
        resent++;
        c->deadline = at + timeout;
        c->gap_told = 0;
        if (c->connected && c->block) acknowledge(c, at);
        else transmit(c);
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return x < y ? -1 : x > y;
}

static void load_files(const char *pattern, const char *folder) {
    files = calloc(file_count, sizeof *files);
    for (int i = 0; i < file_count; i++) {
        char path[512];
        struct stat status;
        snprintf(files[i].name, sizeof files[i].name, pattern, i);
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        int fd = open(path, O_RDONLY);
        if (fd < 0 || fstat(fd, &status)) { perror(path); exit(1); }
        files[i].size = status.st_size;
        if (status.st_size)
            files[i].data = mmap(0, status.st_size, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
    }
}

int main(int argc, char **argv) {
    const char *host = "127.0.0.1", *pattern = "file", *folder = ".";
    int port = 69, option;
    while ((option = getopt(argc, argv, "s:p:f:r:k:n:m:b:w:l:d:t:R:a:g")) != -1) switch (option) {
        case 's': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'f': pattern = optarg; break;
        case 'r': folder = optarg; break;
        case 'k': file_count = atoi(optarg); break;
        case 'n': client_count = atoi(optarg); break;
        case 'm': total = atoi(optarg); break;
        case 'b': asked_block = atoi(optarg); break;
        case 'w': asked_window = atoi(optarg); break;
        case 'l': loss = atof(optarg) / 100; break;
        case 'd': delay = atof(optarg) / 1000; break;
        case 't': timeout = atof(optarg); break;
        case 'a': first_address = ntohl(inet_addr(optarg)); break;
        case 'g': whole_windows = 1; break;
        case 'R': receive_buffer = atoi(optarg); break;
        default: return 2;
    }
    if (total < client_count) total = client_count;
    struct rlimit most = {1 << 16, 1 << 16};
    setrlimit(RLIMIT_NOFILE, &most);
    load_files(pattern, folder);
    server.sin_family = AF_INET, server.sin_port = htons(port);
    inet_pton(AF_INET, host, &server.sin_addr);
    clients = calloc(client_count, sizeof *clients);
    took = calloc(total, sizeof *took);
    epoll_fd = epoll_create1(0);
    double start = now(), looked = start;
    for (int i = 0; i < client_count; i++) begin(&clients[i]);
    double patience = delay > 0 ? delay / 4 : 0.01;
    while (active) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, patience < 0.001 ? 1 : (int)(patience * 1000));
        double at = now();
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->fd >= 0) readable(c, at);
        }
        if (at - looked >= patience) looked = at, timers(at);
    }
    double seconds = now() - start, sum = 0, squares = 0;
    qsort(took, done, sizeof *took, by_value);
    for (int i = 0; i < done; i++) sum += 1 / took[i], squares += 1 / took[i] / took[i];
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"seconds\": %.6f, \"done\": %d, \"failed\": %d, \"wrong\": %lu, \"blocks\": %lu, "
           "\"bytes\": %lu, \"repeated\": %lu, \"client_resent\": %lu, \"jain\": %.4f, "
           "\"took_median\": %.6f, \"took_worst\": %.6f, \"first_worst\": %.6f, "
           "\"load_cpu\": %.6f}\n",
           seconds, done, failed, wrong, blocks, bytes, repeated, resent,
           done ? sum * sum / done / squares : 0, done ? took[done / 2] : 0,
           done ? took[done - 1] : 0, first_worst,
           usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
               (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    return failed || wrong;
}
