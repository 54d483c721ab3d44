/* A disk that needs two milliseconds more for each synchronisation, as a cloud volume does:
 * preloaded into the databases and, for SQLite, into the benchmark itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

#define SLOWLY(name)                                                  \
    int name(int fd) {                                                \
        static int (*real)(int);                                      \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);      \
        usleep(2000);                                                 \
        return real(fd);                                              \
    }

SLOWLY(fsync)
SLOWLY(fdatasync)
