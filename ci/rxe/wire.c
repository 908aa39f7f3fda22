/* The cable between two kernels: a pair of sockets on descriptors 10 and 11, inherited by the command.
 *   wire COMMAND [ARGUMENT]...
 * Datagrams, so that one write is one Ethernet frame. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { END_A = 10, END_B = 11, BUFFER_BYTES = 4 << 20 };

int main(int argc, char **argv) {
    int ends[2], bytes = BUFFER_BYTES;
    if (argc < 2 || socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) != 0) {
        perror("wire: socketpair");
        return 125;
    }
    // Larger buffers lose fewer frames; where the host allows less it gives what it can.
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
        setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    }
    // Both go out of the way first: an end may have got one of the two numbers.
    int a = fcntl(ends[0], F_DUPFD, END_B + 1), b = fcntl(ends[1], F_DUPFD, END_B + 1);
    close(ends[0]);
    close(ends[1]);
    if (a < 0 || b < 0 || dup2(a, END_A) < 0 || dup2(b, END_B) < 0) {
        perror("wire: dup2");
        return 125;
    }
    close(a);
    close(b);
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 125;
}
