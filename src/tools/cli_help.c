#include "tools/cli_help.h"

static const char whole[] =
    "Usage: infinistore-cli [OPTION]... COMMAND [ARGUMENT]...\n"
    "Puts, gets and looks around in an InfiniStore.\n"
    "\n"
    "Commands:\n"
    "  put KEY [FILE|-]     store FILE's bytes (default: standard input) under KEY\n"
    "  get KEY [FILE|-]     write KEY's value to FILE (default: standard output)\n"
    "  exists KEY...        tell which of the keys are present\n"
    "  match KEY...         tell how many of the first keys are present\n"
    "  rm KEY...            remove keys\n"
    "  purge                remove everything\n"
    "  stat                 show the server's figures; --watch: a live view of them\n"
    "  ping                 measure the time to the server and back\n"
    "  help [COMMAND]       more about a command\n"
    "\n"
    "Options of all commands:\n"
    "  -e, --endpoint LIST    where the server is: HOST, HOST:PORT, [IPV6]:PORT or\n"
    "                         unix:PATH; of several, separated by commas, the first\n"
    "                         that answers (default: $INFINISTORE_ENDPOINT, else\n"
    "                         127.0.0.1:22345)\n"
    "  -t, --timeout SECONDS  give up after this time (default: 5 to connect, 30 for\n"
    "                         a request); decimals are fine\n"
    "      --transport HOW    tcp (default), rdma, auto (RDMA where there is some);\n"
    "                         with --dev-name NAME, --ib-port N, --hint-gid-index N,\n"
    "                         --link-type IB|Ethernet, --poll-us N\n"
    "  -j, --json             answer with a JSON object\n"
    "  -h, --help             show this, or the help of the command\n"
    "  -V, --version          show the version\n"
    "\n"
    "Keys are 1 to 1,024 bytes; -x, --hex takes and shows them as hex digits. What\n"
    "follows -- is no option, also when it begins with a hyphen.\n"
    "\n"
    "Exit codes: 0 done; 1 not found, not all present, or not stored; 2 wrong usage;\n"
    "3 the server cannot be reached or failed; 4 a local file or stream failed.\n"
    "\n"
    "Examples:\n"
    "  echo hello | infinistore-cli put greeting\n"
    "  infinistore-cli get greeting\n"
    "  infinistore-cli -e 10.0.0.7 exists greeting && echo it is there\n"
    "  infinistore-cli stat --watch\n";

static const char put[] =
    "Usage: infinistore-cli put [OPTION]... KEY [FILE|-]\n"
    "Stores the bytes of FILE, or of standard input, under KEY. What was there is\n"
    "replaced; until all bytes are in, readers see the old value.\n"
    "\n"
    "      --if-absent  leave a key that is present as it is, and exit with 1\n"
    "  -x, --hex        KEY is written as hex digits\n"
    "\n"
    "Exits with 1 when nothing was stored: the key is present (--if-absent), the\n"
    "value is empty or larger than the pool, or the pool is full of what is in use.\n";

static const char get[] =
    "Usage: infinistore-cli get [OPTION]... KEY [FILE|-]\n"
    "Writes KEY's value to FILE, or to standard output. FILE is replaced when all\n"
    "bytes are there, and untouched on any failure. A value that could upset the\n"
    "terminal is not printed there unless you give -.\n"
    "\n"
    "  -x, --hex   KEY is written as hex digits\n"
    "\n"
    "With --json the value is \"value\" when it is UTF-8, else \"value_base64\".\n"
    "Exits with 1 when there is no such key.\n";

static const char exists[] =
    "Usage: infinistore-cli exists [OPTION]... KEY...\n"
    "Tells of each key whether it is present. Changes nothing in the store, not even\n"
    "what it evicts next.\n"
    "\n"
    "  -x, --hex   keys are written, and shown, as hex digits\n"
    "\n"
    "Exits with 1 unless all are present.\n";

static const char match[] =
    "Usage: infinistore-cli match [OPTION]... KEY...\n"
    "Tells how many of the first keys are present: the first hole ends the count.\n"
    "\n"
    "      --last   tell the index (from 0) of the last key present, holes or not;\n"
    "               -1 when none is\n"
    "  -x, --hex    keys are written, and shown, as hex digits\n"
    "\n"
    "Exits with 1 when none is present.\n";

static const char rm[] = "Usage: infinistore-cli rm [OPTION]... KEY...\n"
                         "Removes keys and tells how many. Gets that are running finish.\n"
                         "\n"
                         "  -x, --hex   keys are written as hex digits\n"
                         "\n"
                         "Exits with 1 when one of them was not there.\n";

static const char purge[] = "Usage: infinistore-cli purge [OPTION]...\n"
                            "Removes everything and tells how many keys went. It does not ask again.\n";

static const char stat[] =
    "Usage: infinistore-cli stat [OPTION]...\n"
    "Shows the server's figures since its start.\n"
    "\n"
    "  -w, --watch[=SECONDS]  show a live view, redrawn every SECONDS (default 1),\n"
    "                         until q or Ctrl-C; where standard output is no\n"
    "                         terminal, a line (with --json: an object) each time\n"
    "\n"
    "With --json the metrics have the names that GET /metrics shows. Colours are\n"
    "left out when NO_COLOR is set.\n";

static const char ping[] = "Usage: infinistore-cli ping [OPTION]...\n"
                           "Measures the time to the server's engine and back.\n"
                           "\n"
                           "  -c, --count N           how often (default 1); 0: until Ctrl-C\n"
                           "  -i, --interval SECONDS  the time between two (default 1); 0: at once\n"
                           "\n"
                           "Exits with 3 unless all were answered.\n";

static const char help[] = "Usage: infinistore-cli help [COMMAND]\n"
                           "Shows the help of the program, or of a command.\n";

const char *ist_cli_help(enum ist_cli_command command) {
    switch (command) {
    case IST_CLI_NO_COMMAND: return whole;
    case IST_CLI_PUT: return put;
    case IST_CLI_GET: return get;
    case IST_CLI_EXISTS: return exists;
    case IST_CLI_MATCH: return match;
    case IST_CLI_RM: return rm;
    case IST_CLI_PURGE: return purge;
    case IST_CLI_STAT: return stat;
    case IST_CLI_PING: return ping;
    case IST_CLI_HELP: return help;
    }
    return whole;
}
