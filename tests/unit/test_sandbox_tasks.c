/* sandbox: a process of built-in tasks cannot do anything but compute, and that it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <zlib.h>

#include "tests/unit/run_task.h"
#include "tests/unit/sandbox_rig.h"

static struct sandbox_rules rules;

static int open_group(void **state)
{
    rules = sandbox_rules_for_tasks();
    return open_rig(state);
}

struct attempt {
    const char *what;
    int (*act)(void);
};

/* ---- what is refused: every act returns the error that it met */

static int open_file(void) { return error_of(open("/etc/passwd", O_RDONLY | O_CLOEXEC)); }
static int open_null(void) { return error_of(open("/dev/null", O_WRONLY | O_CLOEXEC)); }
static int make_file(void) { return error_of(open("/tmp/twinpool-sandbox", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); }
static int remove_file(void) { return error_of(unlink("/tmp/twinpool-no-such-file")); }
/* Out of an eventfd, if it were one. */
static int take_wakeup(void) { return error_of(read(STDIN_FILENO, &(char){ 0 }, 1)); }
static int take_wakeup_by_vector(void)
{
    return error_of(syscall(SYS_preadv2, STDIN_FILENO, &(struct iovec){ &(char){ 0 }, 1 }, 1, -1, -1, 0));
}
static int cut_a_file(void) { return error_of(ftruncate(STDERR_FILENO, 0)); } /* the log */
static int fill_a_file(void) { return error_of(fallocate(STDERR_FILENO, 0, 0, 4096)); }
static int make_memory_file(void) { return error_of(memfd_create("x", MFD_CLOEXEC)); }
static int make_pipe(void) { return error_of(pipe2((int[2]){ 0 }, O_CLOEXEC)); }
static int copy_descriptor(void) { return error_of(dup(STDERR_FILENO)); }
static int make_inet_socket(void) { return error_of(socket(AF_INET, SOCK_STREAM, 0)); }
static int make_unix_socket(void) { return error_of(socket(AF_UNIX, SOCK_STREAM, 0)); }
static int make_socket_pair(void) { return error_of(socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 })); }
static int make_ring(void) { return error_of(syscall(SYS_io_uring_setup, 1, NULL)); }
static int make_child(void) { return error_of(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
static int make_child_by_struct(void) { return error_of(syscall(SYS_clone3, NULL, 0)); }
static int start_program(void) { return error_of(execl("/bin/true", "true", NULL)); }
static int make_session(void) { return error_of(setsid()); }
static int leave_group(void) { return error_of(setpgid(0, getppid())); }
static int trace_parent(void) { return error_of(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL)); }
static int signal_parent(void) { return error_of(kill(getppid(), 0)); }
static int signal_all(void) { return error_of(kill(-1, 0)); }
static int make_namespace(void) { return error_of(unshare(CLONE_NEWUSER)); }
static int raise_limit(void) { return error_of(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 })); }
static int remount(void) { return error_of(syscall(SYS_mount, "none", "/", NULL, 0, NULL)); }
static int load_filter(void) { return error_of(syscall(SYS_bpf, 0, NULL, 0)); }
static int unknown_call(void) { return error_of(syscall(5000)); }

static int make_code(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? errno : 0;
}

static int make_code_of_data(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? 1 : error_of(mprotect(at, 4096, PROT_READ | PROT_EXEC));
}

static void *idle(void *context) { return context; }

static int make_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, idle, NULL);
}

static void refused__all_but_computing__fails_with_eperm(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "open a file", open_file },
        { "open a device", open_null },
        { "make a file", make_file },
        { "remove a file", remove_file },
        { "make a memory file", make_memory_file },
        { "take a wake-up", take_wakeup },
        { "take a wake-up by a vector", take_wakeup_by_vector },
        { "cut a file", cut_a_file },
        { "fill a file", fill_a_file },
        { "make a pipe", make_pipe },
        { "copy a descriptor", copy_descriptor },
        { "make a TCP socket", make_inet_socket },
        { "make a local socket", make_unix_socket },
        { "make a socket pair", make_socket_pair },
        { "make a ring", make_ring },
        { "fork", make_child },
        { "fork by clone3", make_child_by_struct },
        { "make a thread", make_thread },
        { "start a program", start_program },
        { "make a session", make_session },
        { "leave the group", leave_group },
        { "trace", trace_parent },
        { "signal another process", signal_parent },
        { "signal all processes", signal_all },
        { "make a namespace", make_namespace },
        { "set a limit", raise_limit },
        { "mount", remount },
        { "bpf", load_filter },
        { "a call that does not exist", unknown_call },
        { "map code", make_code },
        { "make code of data", make_code_of_data },
    };
    need(SANDBOX_SYSCALLS, &rules);
    if (SANDBOX_IS_SANITIZED)
        skip(); /* the rules are looser there */
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        int result = try_under(&rules, attempts[i].act);
        if (result != EPERM)
            fail_msg("%s: %d", attempts[i].what, result);
    }
}

static void refused__in_sanitizer_builds__is_what_matters_most(void **state UNUSED)
{
    need(SANDBOX_SYSCALLS, &rules);
    assert_int_equal(try_under(&rules, make_inet_socket), EPERM);
    assert_int_equal(try_under(&rules, make_child), EPERM);
    assert_int_equal(try_under(&rules, start_program), EPERM);
    assert_int_equal(try_under(&rules, make_session), EPERM);
    assert_int_equal(try_under(&rules, trace_parent), EPERM);
}

static void refused__code__is_allowed_on_demand(void **state UNUSED)
{
    struct sandbox_rules with_code = rules;
    with_code.may_make_code = true;
    need(SANDBOX_SYSCALLS, &rules);
    assert_int_equal(try_under(&with_code, make_code), 0);
    assert_int_equal(try_under(&with_code, make_code_of_data), 0);
}

#ifdef __x86_64__
/* Number 20 is getpid for 32-bit programs and writev for others. */
static int call_as_32_bit(void)
{
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    return 0;
}

static int call_as_x32(void) { return error_of(syscall(0x40000000 + SYS_getpid)); }

static void refused__call_of_another_architecture__ends_the_process(void **state UNUSED)
{
    need(SANDBOX_SYSCALLS, &rules);
    int result = try_under(&rules, call_as_32_bit);
    if (result != BY_SIGNAL + SIGSEGV) /* a kernel without them */
        assert_int_equal(result, BY_SIGNAL + SIGSYS);
    assert_int_equal(try_under(&rules, call_as_x32), BY_SIGNAL + SIGSYS);
}
#endif

/* ---- what goes on working: every act returns 0 */

static int allocate(void)
{
    char *blocks[200];
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        size_t size = (size_t)16 << (i % 20);
        blocks[i] = malloc(size);
        if (blocks[i] == NULL)
            return ENOMEM;
        memset(blocks[i], 1, size);
        char *grown = realloc(blocks[i], size * 3);
        if (grown == NULL)
            return ENOMEM;
        blocks[i] = grown;
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        free(blocks[i]);
    return 0;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int sort_much(void)
{
    enum { COUNT = 1 << 20 };
    int *numbers = malloc(COUNT * sizeof *numbers);
    if (numbers == NULL)
        return ENOMEM;
    for (int i = 0; i < COUNT; i++)
        numbers[i] = (int)((unsigned)i * 2654435761u);
    qsort(numbers, COUNT, sizeof *numbers, compare_ints);
    int result = numbers[0] <= numbers[1] ? 0 : 1;
    free(numbers);
    return result;
}

static int ask_for_the_time(void)
{
    struct timespec now, nap = { .tv_nsec = 1000 };
    struct rusage usage;
    struct sysinfo machine;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0 && time(NULL) > 0 && nanosleep(&nap, NULL) == 0 &&
                   getrusage(RUSAGE_SELF, &usage) == 0 && sysinfo(&machine) == 0 && sched_yield() == 0
               ? 0
               : errno;
}

static int spill_fd, bell_fd;

static void open_descriptors(void)
{
    spill_fd = memfd_create("spill", MFD_CLOEXEC);
    bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static int use_descriptors(void)
{
    char text[8];
    uint64_t one = 1;
    struct pollfd polled = { .fd = STDERR_FILENO, .events = POLLOUT };
    return pwrite(spill_fd, "abc", 3, 4096) == 3 && pread(spill_fd, text, 3, 4096) == 3 &&
                   write(bell_fd, &one, sizeof one) == (ssize_t)sizeof one && poll(&polled, 1, 0) >= 0 &&
                   fprintf(stderr, "%s", "") == 0 && write(STDERR_FILENO, "", 0) == 0
               ? 0
               : errno;
}

static void on_signal(int sig UNUSED) {}

static int handle_signal(void)
{
    return signal(SIGUSR1, on_signal) != SIG_ERR && raise(SIGUSR1) == 0 && kill(getpid(), SIGUSR1) == 0 ? 0 : errno;
}

static int write_to_memory(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);
    if (file == NULL || fprintf(file, "%.3f %s", sqrt(2), strerror(EPERM)) < 0 || fclose(file) != 0)
        return 1;
    free(text);
    return 0;
}

static int hash_and_draw(void)
{
    unsigned char drawn[32], hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    return RAND_bytes(drawn, sizeof drawn) == 1 && EVP_Digest(drawn, sizeof drawn, hash, &len, EVP_sha384(), NULL) == 1
               ? 0
               : 1;
}

static int compress_and_back(void)
{
    unsigned char packed[4096], text[10000] = { 1 };
    uLongf packed_len = sizeof packed, text_len = sizeof text;
    return compress2(packed, &packed_len, text, sizeof text, 9) == Z_OK &&
                   uncompress(text, &text_len, packed, packed_len) == Z_OK
               ? 0
               : 1;
}

static void allowed__computing__works(void **state UNUSED)
{
    static const struct attempt attempts[] = {
        { "allocate", allocate },
        { "sort", sort_much },
        { "time", ask_for_the_time },
        { "descriptors", use_descriptors },
        { "signals", handle_signal },
        { "stdio in memory", write_to_memory },
        { "OpenSSL, not warmed up", hash_and_draw },
        { "zlib", compress_and_back },
    };
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        int result = try_after(&rules, open_descriptors, attempts[i].act);
        if (result != 0)
            fail_msg("%s: %d", attempts[i].what, result);
    }
}

static int give_up(void)
{
    signal(SIGABRT, SIG_DFL); /* sanitizers and cmocka handle it */
    abort();
}

static void allowed__abort__is_seen_as_such(void **state UNUSED)
{
    assert_int_equal(try_under(&rules, give_up), BY_SIGNAL + SIGABRT);
}

/* ---- the tasks themselves */

/* Each task once, with args (and a payload, if it wants one) that make it do something. */
static const struct {
    const char *task, *args, *payload;
    size_t payload_len; /* 0: it is a text */
} samples[] = {
    { "sum_squares", "{\"n\":1000}", NULL, 0 },
    { "primes", "{\"n\":1000}", NULL, 0 },
    { "digest", "{\"algorithm\":\"sha256\"}", "abc", 0 },
    { "digest", "{\"algorithm\":\"sha512\",\"text\":\"abc\"}", NULL, 0 },
    { "digest", "{\"algorithm\":\"blake2b512\",\"text\":\"abc\"}", NULL, 0 },
    { "digest", "{\"algorithm\":\"blake2s256\",\"text\":\"abc\"}", NULL, 0 },
    { "pbkdf2", "{\"password\":\"p\",\"salt_hex\":\"0011223344556677\",\"iterations\":1000}", NULL, 0 },
    { "pbkdf2", "{\"password\":\"p\",\"salt_hex\":\"0011223344556677\",\"iterations\":1000,\"digest\":\"sha512\"}",
      NULL, 0 },
    { "scrypt", "{\"password\":\"p\",\"salt_hex\":\"0011223344556677\",\"n\":1024}", NULL, 0 },
    { "compress", "{\"format\":\"gzip\"}", "abc", 0 },
    { "compress", "{\"format\":\"zstd\"}", "abc", 0 },
    { "decompress", "{\"format\":\"zstd\"}", "\x28\xb5\x2f\xfd\x20\x03\x19\0\0abc", 12 },
    { "regex", "{\"pattern\":\"(?i)B+\",\"text\":\"abbc\"}", NULL, 0 },
    { "stats", "{\"values\":[1,2.5,4]}", NULL, 0 },
    { "jq", "{\"filter\":\".a|test(\\\"x\\\")\",\"input\":{\"a\":\"xy\"}}", NULL, 0 },
};

static size_t sample; /* the one to be run */
static struct task_run outside;

static struct task_run run_sample(void)
{
    const char *payload = samples[sample].payload;
    return run_task(task_table[task_find(samples[sample].task)], samples[sample].args, payload,
                    payload == NULL                   ? 0
                    : samples[sample].payload_len > 0 ? samples[sample].payload_len
                                                      : strlen(payload));
}

/* As a worker does before its first job. */
static void warm_up(void)
{
    for (size_t i = 0; i < task_count; i++)
        if (task_table[i]->warm_up != NULL)
            task_table[i]->warm_up();
}

static int compare_with_outside(void)
{
    struct task_run inside = run_sample();
    bool is_same = inside.status == outside.status && inside.len == outside.len && inside.text != NULL &&
                   memcmp(inside.text, outside.text, inside.len) == 0;
    free(inside.text);
    return is_same ? 0 : 1;
}

static void allowed__every_task__does_the_same_inside(void **state UNUSED)
{
    for (sample = 0; sample < ARRAY_LEN(samples); sample++) {
        assert_true(task_find(samples[sample].task) >= 0);
        outside = run_sample();
        assert_int_equal(outside.status, ST_OK);
        assert_non_null(outside.text);
        int result = try_after(&rules, warm_up, compare_with_outside);
        if (result != 0)
            fail_msg("%s %s: %d", samples[sample].task, samples[sample].args, result);
        free(outside.text);
    }
}

/* A task that was added needs a line in `samples`. */
static void allowed__every_task__has_a_sample(void **state UNUSED)
{
    for (size_t i = 0; i < task_count; i++) {
        bool is_there = false;
        for (size_t k = 0; k < ARRAY_LEN(samples); k++)
            is_there = is_there || strcmp(samples[k].task, task_table[i]->name) == 0;
        if (!is_there)
            fail_msg("no sample of the task %s", task_table[i]->name);
    }
}

/* A jq program that halts is not kept. Of one that is, LeakSanitizer finds no pointer to the start of libjq's stack. */
static int close_group(void **state)
{
    struct task_run run = run_task(task_table[task_find("jq")], "{\"filter\":\"halt\"}", NULL, 0);
    free(run.text);
    return run.status == ST_OK ? close_rig(state) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused__all_but_computing__fails_with_eperm),
        cmocka_unit_test(refused__in_sanitizer_builds__is_what_matters_most),
        cmocka_unit_test(refused__code__is_allowed_on_demand),
#ifdef __x86_64__
        cmocka_unit_test(refused__call_of_another_architecture__ends_the_process),
#endif
        cmocka_unit_test(allowed__computing__works),
        cmocka_unit_test(allowed__abort__is_seen_as_such),
        cmocka_unit_test(allowed__every_task__does_the_same_inside),
        cmocka_unit_test(allowed__every_task__has_a_sample),
    };
    return cmocka_run_group_tests_name("sandbox_tasks", tests, open_group, close_group);
}
