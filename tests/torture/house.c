/* What is tortured, as a library of its own, so that its calls can be told from those of who drives it: the daemon, whose
 * main() has another name here, and the client. */
int torture_house_main(int argc, char **argv);

__attribute__((visibility("default"))) int torture_daemon(int argc, char **argv);
int torture_daemon(int argc, char **argv) {
    return torture_house_main(argc, argv);
}
