/* resolver: a table of names, each being asked for or answered.
 *
 * A and AAAA are two queries, so that a name server that drops one of them does not cost the other: once one family has
 * an address, the other gets RESOLUTION_DELAY_MS more (RFC 8305 section 3). c-ares reports its sockets to the loop and
 * is given a tick for its own time-outs. It cannot cancel one query; a name nobody waits for any more is simply
 * answered into the cache. */
#include "pool/resolver.h"

#include <ares.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/clock.h"

enum {
    BUCKETS = 4096,
    TICK_MS = 50,
    RESOLUTION_DELAY_MS = 50,
    QUERY_TIMEOUT_MS = 1000, /* of the first try; c-ares doubles it */
    QUERY_TRIES = 3,
    TTL_MAX_S = 300,
    NO_NAME_TTL_S = 5,
    FAILURE_TTL_S = 1,
    CONFIG_LOOK_S = 5
};

static const char config_path[] = "/etc/resolv.conf";

struct host_name {
    struct resolver *resolver;
    struct host_name *next;               /* in its bucket */
    TAILQ_ENTRY(host_name) answered_link; /* while nobody waits for it and it is not being asked for */
    TAILQ_HEAD(, resolver_wait) waits;
    struct timer delay;
    unsigned queries;   /* under way */
    bool is_asking;     /* no answer yet */
    bool is_delivering; /* to those who wait: it is not asked for again meanwhile */
    bool is_listed;     /* among the answered */
    int failures[2];    /* c-ares' codes of A and AAAA */
    int ttl_s;          /* the least of all records */
    uint64_t until_ns;  /* the answer holds */
    struct resolver_answer answer;
    struct sockaddr_storage *addresses;
    size_t capacity;
    char name[];
};

struct resolver {
    struct curl_loop *loop;
    char *servers;
    ares_channel channel;
    struct timer tick;
    unsigned queries; /* under way */
    struct timespec config_time;
    uint64_t config_look_ns; /* not before this is the configuration looked at again */
    uint32_t seed;
    struct host_name *buckets[BUCKETS];
    TAILQ_HEAD(, host_name) answered; /* the oldest first */
    size_t count;
    struct resolver_answer localhost;
    struct sockaddr_storage loopback[2];
    _Atomic uint64_t query_count, hits, shared, failure_count;
};

static void count(_Atomic uint64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* ---- c-ares */

static void on_ready(void *user, int fd, uint32_t events)
{
    struct resolver *resolver = user;
    bool is_readable = (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0, is_writable = (events & EPOLLOUT) != 0;
    ares_process_fd(resolver->channel, is_readable ? fd : ARES_SOCKET_BAD, is_writable ? fd : ARES_SOCKET_BAD);
}

static void on_socket_state(void *user, ares_socket_t fd, int is_readable, int is_writable)
{
    struct resolver *resolver = user;
    uint32_t events = (is_readable ? EPOLLIN : 0u) | (is_writable ? EPOLLOUT : 0u);
    bool ignored = curl_loop_watch(resolver->loop, fd, events, on_ready, resolver);
    (void)ignored; /* no memory: the query ends by its time-out */
}

static void set_tick(struct resolver *resolver)
{
    bool ignored = resolver->queries == 0 || resolver->tick.position != 0 ||
                   timers_set(&resolver->loop->timers, &resolver->tick, clock_now_ns() + TICK_MS * NS_PER_MS);
    (void)ignored; /* no memory: those who wait have time-outs of their own */
}

static void on_tick(struct timer *timer)
{
    struct resolver *resolver = (struct resolver *)(void *)((char *)timer - offsetof(struct resolver, tick));
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_tick(resolver);
}

static bool open_channel(struct resolver *resolver)
{
    struct ares_options options = { .timeout = QUERY_TIMEOUT_MS,
                                    .tries = QUERY_TRIES,
                                    .sock_state_cb = on_socket_state,
                                    .sock_state_cb_data = resolver };
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE /* the cache is ours */
    mask |= ARES_OPT_QUERY_CACHE;
#endif
#ifdef ARES_OPT_UDP_MAX_QUERIES /* a fresh source port now and then */
    options.udp_max_queries = 100;
    mask |= ARES_OPT_UDP_MAX_QUERIES;
#endif
    if (ares_init_options(&resolver->channel, &options, mask) != ARES_SUCCESS)
        return false;
    if (!resolver->servers[0] || ares_set_servers_ports_csv(resolver->channel, resolver->servers) == ARES_SUCCESS)
        return true;
    ares_destroy(resolver->channel);
    return false;
}

static struct timespec time_of_config(void)
{
    struct stat status = { 0 };
    return stat(config_path, &status) == 0 ? status.st_mtim : (struct timespec){ 0 };
}

/* A changed configuration takes effect when no query is under way. */
static void look_at_config(struct resolver *resolver, uint64_t now_ns)
{
    if (resolver->servers[0] || resolver->queries > 0 || now_ns < resolver->config_look_ns)
        return;
    resolver->config_look_ns = now_ns + CONFIG_LOOK_S * NS_PER_SEC;
    struct timespec changed = time_of_config();
    if (changed.tv_sec == resolver->config_time.tv_sec && changed.tv_nsec == resolver->config_time.tv_nsec)
        return;
    ares_channel old = resolver->channel;
    if (!open_channel(resolver)) {
        resolver->channel = old;
        return;
    }
    resolver->config_time = changed;
    ares_destroy(old);
}

/* ---- the table */

static struct host_name **bucket_of(struct resolver *resolver, const char *name)
{
    uint32_t hash = resolver->seed;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    hash ^= hash >> 15;
    return &resolver->buckets[hash % BUCKETS];
}

static struct host_name *find(struct resolver *resolver, const char *name)
{
    struct host_name *found = *bucket_of(resolver, name);
    while (found && strcmp(found->name, name) != 0)
        found = found->next;
    return found;
}

static void unlist(struct host_name *name)
{
    if (name->is_listed)
        TAILQ_REMOVE(&name->resolver->answered, name, answered_link);
    name->is_listed = false;
}

static void free_name(struct host_name *name)
{
    timers_cancel(&name->resolver->loop->timers, &name->delay);
    free(name->addresses);
    free(name);
}

/* One of the answered. */
static void forget(struct host_name *name)
{
    struct resolver *resolver = name->resolver;
    struct host_name **link = bucket_of(resolver, name->name);
    while (*link != name)
        link = &(*link)->next;
    *link = name->next;
    TAILQ_REMOVE(&resolver->answered, name, answered_link);
    resolver->count--;
    free_name(name);
}

/* It may be forgotten when others need the place. */
static void list(struct host_name *name)
{
    struct resolver *resolver = name->resolver;
    if (name->is_listed || name->is_asking || name->queries > 0 || !TAILQ_EMPTY(&name->waits))
        return;
    if (resolver->count > RESOLVER_NAMES_MAX && !TAILQ_EMPTY(&resolver->answered))
        forget(TAILQ_FIRST(&resolver->answered));
    name->is_listed = true; /* now: its answer is still being looked at */
    TAILQ_INSERT_TAIL(&resolver->answered, name, answered_link);
}

static void on_delay(struct timer *timer);

static struct host_name *add(struct resolver *resolver, const char *text)
{
    size_t size = strlen(text) + 1;
    struct host_name *name = calloc(1, sizeof *name + size);
    if (!name)
        return NULL;
    name->resolver = resolver;
    name->delay.on_due = on_delay;
    TAILQ_INIT(&name->waits);
    memcpy(name->name, text, size);
    struct host_name **bucket = bucket_of(resolver, text);
    name->next = *bucket;
    *bucket = name;
    resolver->count++;
    return name;
}

/* ---- answers */

static void add_address(struct host_name *name, const struct sockaddr *address, socklen_t len)
{
    if (name->answer.count == RESOLVER_ADDRESSES_MAX || len > sizeof *name->addresses)
        return;
    if (name->answer.count == name->capacity) {
        size_t capacity = name->capacity ? 2 * name->capacity : 2;
        struct sockaddr_storage *grown = reallocarray(name->addresses, capacity, sizeof *grown);
        if (!grown)
            return;
        name->addresses = grown;
        name->answer.addresses = grown;
        name->capacity = capacity;
    }
    struct sockaddr_storage *copy = &name->addresses[name->answer.count++];
    memset(copy, 0, sizeof *copy);
    memcpy(copy, address, len);
}

static void note_ttl(struct host_name *name, int ttl_s)
{
    if (ttl_s < name->ttl_s)
        name->ttl_s = ttl_s > 0 ? ttl_s : 0;
}

static bool is_about_the_name(int code)
{
    return code == ARES_ENOTFOUND || code == ARES_ENODATA || code == ARES_EBADNAME;
}

static void describe_failure(struct host_name *name)
{
    int a = name->failures[0], aaaa = name->failures[1];
    int worst = is_about_the_name(a) ? aaaa : a;
    struct resolver_answer *answer = &name->answer;
    answer->status = ST_DNS_FAILED;
    answer->is_retriable = !is_about_the_name(worst);
    if (a == ARES_ENOTFOUND || aaaa == ARES_ENOTFOUND) {
        answer->message = "there is no such name";
        answer->is_retriable = false;
    } else if (a == ARES_EBADNAME) {
        answer->message = "the name cannot be one in the DNS";
    } else if (!answer->is_retriable) {
        answer->message = "the name has no address";
    } else if (worst == ARES_ETIMEOUT) {
        answer->message = "no name server answered";
    } else if (worst == ARES_ENOMEM) {
        answer->status = ST_NO_MEMORY;
        answer->message = "no memory for the look-up";
    } else { /* ARES_ECONNREFUSED stands for SERVFAIL and REFUSED of all servers, too */
        answer->message = "the name servers failed";
    }
}

static void deliver(struct host_name *name)
{
    if (!name->is_asking)
        return;
    name->is_asking = false;
    timers_cancel(&name->resolver->loop->timers, &name->delay);
    int ttl_s = name->ttl_s < TTL_MAX_S ? name->ttl_s : TTL_MAX_S;
    if (name->answer.count > 0) {
        name->answer.status = ST_OK;
    } else {
        describe_failure(name);
        count(&name->resolver->failure_count);
        ttl_s = name->answer.is_retriable ? FAILURE_TTL_S : NO_NAME_TTL_S;
    }
    name->until_ns = clock_now_ns() + (uint64_t)ttl_s * NS_PER_SEC;
    struct resolver_wait *wait;
    name->is_delivering = true;
    while ((wait = TAILQ_FIRST(&name->waits)) != NULL) {
        resolver_leave(wait);
        wait->on_answer(wait, &name->answer);
    }
    name->is_delivering = false;
    list(name);
}

static void on_delay(struct timer *timer)
{
    deliver((struct host_name *)(void *)((char *)timer - offsetof(struct host_name, delay)));
}

/* One of the two families is settled. */
static void on_family(struct host_name *name, unsigned family, int code, struct ares_addrinfo *result)
{
    struct resolver *resolver = name->resolver;
    resolver->queries--;
    name->queries--;
    name->failures[family] = code;
    for (struct ares_addrinfo_node *node = result ? result->nodes : NULL; node; node = node->ai_next) {
        add_address(name, node->ai_addr, (socklen_t)node->ai_addrlen);
        note_ttl(name, node->ai_ttl);
    }
    for (struct ares_addrinfo_cname *alias = result ? result->cnames : NULL; alias; alias = alias->next)
        note_ttl(name, alias->ttl);
    if (result)
        ares_freeaddrinfo(result);
    if (name->queries == 0 ||
        (name->answer.count > 0 && name->is_asking &&
         !timers_set(&resolver->loop->timers, &name->delay, clock_now_ns() + RESOLUTION_DELAY_MS * NS_PER_MS)))
        deliver(name);
    list(name); /* the second one may have come after the answer was delivered */
}

static void on_a(void *user, int code, int timeouts, struct ares_addrinfo *result)
{
    (void)timeouts;
    on_family(user, 0, code, result);
}

static void on_aaaa(void *user, int code, int timeouts, struct ares_addrinfo *result)
{
    (void)timeouts;
    on_family(user, 1, code, result);
}

static void query(struct host_name *name)
{
    struct resolver *resolver = name->resolver;
    unlist(name);
    name->is_asking = true;
    name->answer = (struct resolver_answer){ .addresses = name->addresses };
    name->ttl_s = TTL_MAX_S;
    name->queries = 2; /* before the first call, which may answer at once */
    resolver->queries += 2;
    count(&resolver->query_count);
    struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM };
    hints.ai_family = AF_INET6;
    ares_getaddrinfo(resolver->channel, name->name, NULL, &hints, on_aaaa, name);
    hints.ai_family = AF_INET;
    ares_getaddrinfo(resolver->channel, name->name, NULL, &hints, on_a, name);
    set_tick(resolver);
}

static bool is_localhost(const char *name)
{
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.')
        len--;
    static const size_t local = sizeof "localhost" - 1;
    return len >= local && strncasecmp(name + len - local, "localhost", local) == 0 &&
           (len == local || name[len - local - 1] == '.');
}

static void make_localhost(struct resolver *resolver)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    memcpy(&resolver->loopback[0], &in, sizeof in);
    memcpy(&resolver->loopback[1], &in6, sizeof in6);
    resolver->localhost =
        (struct resolver_answer){ .status = ST_OK, .is_own = true, .count = 2, .addresses = resolver->loopback };
}

const struct resolver_answer *resolver_ask(struct resolver *resolver, const char *name, struct resolver_wait *wait)
{
    static const struct resolver_answer no_memory = { .status = ST_NO_MEMORY, .message = "no memory for the look-up" };
    if (is_localhost(name))
        return &resolver->localhost;
    uint64_t now_ns = clock_now_ns();
    struct host_name *found = find(resolver, name);
    if (found && !found->is_asking && now_ns < found->until_ns) {
        count(&resolver->hits);
        return &found->answer;
    }
    look_at_config(resolver, now_ns);
    if (!found && !(found = add(resolver, name)))
        return &no_memory;
    if (found->is_asking)
        count(&resolver->shared);
    else if (found->queries == 0 && !found->is_delivering)
        query(found);
    if (!found->is_asking)
        return &found->answer;
    wait->name = found;
    TAILQ_INSERT_TAIL(&found->waits, wait, link);
    return NULL;
}

void resolver_leave(struct resolver_wait *wait)
{
    if (wait->name)
        TAILQ_REMOVE(&wait->name->waits, wait, link);
    wait->name = NULL;
}

/* ---- life */

struct resolver *resolver_new(struct curl_loop *loop, const char *servers)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver)
        return NULL;
    resolver->loop = loop;
    resolver->tick.on_due = on_tick;
    TAILQ_INIT(&resolver->answered);
    make_localhost(resolver);
    if (getrandom(&resolver->seed, sizeof resolver->seed, 0) != (ssize_t)sizeof resolver->seed)
        resolver->seed = 2166136261u;
    resolver->servers = strdup(servers);
    resolver->config_time = time_of_config();
    if (resolver->servers && open_channel(resolver))
        return resolver;
    free(resolver->servers);
    free(resolver);
    return NULL;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    ares_destroy(resolver->channel); /* ends the queries */
    timers_cancel(&resolver->loop->timers, &resolver->tick);
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct host_name *name = resolver->buckets[i], *next; name; name = next) {
            next = name->next;
            free_name(name);
        }
    free(resolver->servers);
    free(resolver);
}

struct resolver_stats resolver_get_stats(const struct resolver *resolver)
{
    return (struct resolver_stats){
        .queries = atomic_load_explicit(&resolver->query_count, memory_order_relaxed),
        .hits = atomic_load_explicit(&resolver->hits, memory_order_relaxed),
        .shared = atomic_load_explicit(&resolver->shared, memory_order_relaxed),
        .failures = atomic_load_explicit(&resolver->failure_count, memory_order_relaxed),
    };
}
