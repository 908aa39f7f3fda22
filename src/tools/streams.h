/* A program's standard streams, for all tools. */
#ifndef IST_TOOLS_STREAMS_H
#define IST_TOOLS_STREAMS_H

/* First of all: a closed standard descriptor would be taken by the next socket, and what is written to it be sent to the
 * server. What takes its place here fails each read or write. */
void ist_streams_occupy(void);

#endif
