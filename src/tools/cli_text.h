/* Figures as people read them. Each writes at most IST_CLI_TEXT_MAX bytes to out, with the NUL, and returns out;
 * what cannot be told (NaN) is "-". */
#ifndef IST_TOOLS_CLI_TEXT_H
#define IST_TOOLS_CLI_TEXT_H

#define IST_CLI_TEXT_MAX 32

/* "0", "0.4", "9,876,543"; from ten millions on "12.3 M", "45.6 G". */
char *ist_cli_text_count(double count, char *out);
/* "4 KiB", "1.5 GiB" */
char *ist_cli_text_bytes(double bytes, char *out);
/* "1.5 GiB/s" */
char *ist_cli_text_bytes_rate(double bytes_per_second, char *out);
/* "0.8 us", "310 us", "2.1 ms", "1.3 s", "250 s" */
char *ist_cli_text_seconds(double seconds, char *out);
/* "97.2 %"; "-" when whole is 0. */
char *ist_cli_text_share(double part, double whole, char *out);

/* The same into memory of its own for each use; it lives as long as the block around it. */
#define IST_CLI_COUNT(count) ist_cli_text_count((count), (char[IST_CLI_TEXT_MAX]){""})
#define IST_CLI_BYTES(bytes) ist_cli_text_bytes((bytes), (char[IST_CLI_TEXT_MAX]){""})
#define IST_CLI_BYTES_RATE(rate) ist_cli_text_bytes_rate((rate), (char[IST_CLI_TEXT_MAX]){""})
#define IST_CLI_SECONDS(seconds) ist_cli_text_seconds((seconds), (char[IST_CLI_TEXT_MAX]){""})
#define IST_CLI_SHARE(part, whole) ist_cli_text_share((part), (whole), (char[IST_CLI_TEXT_MAX]){""})

#endif
