// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A pthread_mutex_t in a Berth region, for peers in C and C++.
 *
 *     pthread_mutex ROLE REGION
 *
 * What holds, as of a mutex of berth_shared: it excludes processes from each other, and whoever locks
 * it after its owner died is told so once (EOWNERDEAD), makes the bytes consistent and says so, or
 * leaves it ENOTRECOVERABLE for all. What does not: the layout of pthread_mutex_t is the C library's,
 * so every process must use the same one of the same word size (bionic has no robust mutexes at all);
 * a thread's death counts, not only a process's; and a peer that writes into the mutex can make the
 * C library loop or follow a list that the peer wrote, so it is for peers that are trusted.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct region {
    pthread_mutex_t mutex;
    char text[64];
};

static int init(struct region *region) {
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (!error) error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!error) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (!error) error = pthread_mutex_init(&region->mutex, &attributes);
    return error;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int fd = open(argv[2], O_RDWR);
    if (fd < 0) return 2;
    struct region *region = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (region == MAP_FAILED) return 2;
    if (strcmp(argv[1], "init") == 0) return init(region);

    int locked = pthread_mutex_lock(&region->mutex);
    if (locked == EOWNERDEAD && strcmp(argv[1], "recover") == 0) {
        strcpy(region->text, "in order");
        pthread_mutex_consistent(&region->mutex);
    }
    if (strcmp(argv[1], "die") == 0) {
        strcpy(region->text, "half");
        raise(SIGKILL);
    }
    const char *found = "free";
    if (locked == EOWNERDEAD) found = "dead";
    if (locked == ENOTRECOVERABLE) found = "unrecoverable";
    printf("%s: %s\n", found, region->text);
    if (locked != ENOTRECOVERABLE) pthread_mutex_unlock(&region->mutex);
    return 0;
}
