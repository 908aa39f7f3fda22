/* `infinistore-bench replay`: plays prefill/decode traffic against a live server and checks every byte
 * that comes back. */
#ifndef IST_TOOLS_REPLAY_H
#define IST_TOOLS_REPLAY_H

/* argv[0] is "replay", the rest its options. Prints the report to stdout, errors to stderr.
 * Returns the program's exit code: 0; 1 when a request failed or a byte was wrong; 2 when an option
 * is wrong. */
int ist_replay_main(int argc, char **argv);

#endif
