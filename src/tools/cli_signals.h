/* Signals that this program waits for or puts off. */
#ifndef IST_TOOLS_CLI_SIGNALS_H
#define IST_TOOLS_CLI_SIGNALS_H

#include <signal.h>
#include <stddef.h>

/* *set: those of `signals` that this process was not told to ignore (by nohup, or by a shell for its background).
 * Why: Linux keeps a blocked signal pending even when it is ignored, so who blocks it would see it after all. */
void ist_cli_signals_heeded(const int *signals, size_t count, sigset_t *set);

#endif
