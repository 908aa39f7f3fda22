/* A fuzz target without a fuzzer:
 *
 *   TARGET FILE|DIRECTORY...   runs each file through it, those of a directory in the order of their names
 *   TARGET                     runs standard input through it
 *   TARGET --seeds DIRECTORY   writes its seed corpus there */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

static const char *seed_directory;
static size_t inputs;

static void die(const char *path) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(2);
}

static void write_seed(const char *name, const void *data, size_t bytes) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/seed-%s", seed_directory, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
        die(path);
    }
}

/* The input lies in memory of just its length, so that valgrind and the sanitizers see a byte too far. */
static void run_file(FILE *file, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    char piece[4096];
    FILE *memory = open_memstream(&text, &bytes);
    if (memory == NULL) {
        die(path);
    }
    for (size_t got; (got = fread(piece, 1, sizeof(piece), file)) > 0;) {
        if (fwrite(piece, 1, got, memory) != got) {
            die(path);
        }
    }
    if (ferror(file) || fclose(memory) != 0) {
        die(path);
    }
    uint8_t *data = malloc(bytes == 0 ? 1 : bytes);
    if (data == NULL) {
        die(path);
    }
    memcpy(data, text, bytes);
    free(text);
    inputs++;
    (void)LLVMFuzzerTestOneInput(data, bytes);
    free(data);
}

static void run_path(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(path);
    }
    if (getenv("FUZZ_VERBOSE") != NULL) {
        fprintf(stderr, "%s\n", path);
    }
    run_file(file, path);
    fclose(file);
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void run_directory(const char *directory) {
    struct dirent **names;
    int count = scandir(directory, &names, is_visible, alphasort);
    if (count < 0) {
        die(directory);
    }
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]->d_name);
        run_path(path);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv) {
    (void)LLVMFuzzerInitialize(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
        seed_directory = argv[2];
        fuzz_seeds(write_seed);
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        struct stat about;
        if (stat(argv[i], &about) != 0) {
            die(argv[i]);
        }
        (S_ISDIR(about.st_mode) ? run_directory : run_path)(argv[i]);
    }
    if (argc == 1) {
        run_file(stdin, "standard input");
    }
    printf("%zu inputs, no crash\n", inputs);
    return 0;
}
