/* The file for the results of a long run: opened before it, so that a path that cannot be written is known at once and not
 * after hours; what the file holds is replaced at the end only. */
#ifndef IST_TOOLS_RESULTS_H
#define IST_TOOLS_RESULTS_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* NULL: it cannot be written; errno says why. The caller closes it. */
static inline FILE *ist_results_open(const char *path) {
    return fopen(path, "ae");
}

/* The results follow; what was there is gone. False: errno says why. */
static inline bool ist_results_begin(FILE *file) {
    struct stat about;
    return fstat(fileno(file), &about) == 0 &&
           (!S_ISREG(about.st_mode) || ftruncate(fileno(file), 0) == 0);
}

#endif
