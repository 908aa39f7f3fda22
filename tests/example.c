/* A client in a few lines: what README.md shows. Usage: example [ENDPOINT] */
#include <infinistore/infinistore.h>
#include <stdio.h>

int main(int argc, char **argv) {
    struct ist_client_options options = {.endpoints = argc > 1 ? argv[1] : "127.0.0.1:22345"};
    struct ist_client *client;
    char error[256];
    if (ist_client_new(&options, &client, error, sizeof(error)) != IST_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct ist_put_item puts[] = {
        {.key = {"block/0", 7}, .value = "keys", .value_bytes = 4},
        {.key = {"block/1", 7}, .value = "and values", .value_bytes = 10},
    };
    enum ist_status status = ist_put(client, puts, 2, 0, 0);
    char buffer[64];
    struct ist_get_item get = {.key = {"block/1", 7}, .buffer = buffer, .buffer_bytes = sizeof(buffer)};
    if (status == IST_OK) {
        status = ist_get(client, &get, 1, 0);
    }
    printf("%s: %.*s\n", ist_status_text(status), (int)get.value_bytes, buffer);
    ist_client_free(client);
    return status == IST_OK ? 0 : 1;
}
