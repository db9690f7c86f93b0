/* The test name server's zone: two lists under one lock, searched from end to end.
 *
 * A rule is what the test said about a name; "*.rest" is a rule like any other, looked for when the name itself has
 * none. An entry of `asked` is what clients said: how often a name was in the question, and how often of each type
 * since its rule last changed, which is what NAME_ALTERNATE and NAME_ONCE_SILENT go by. The epoch ties the two: a rule
 * gets a new one with each change of behaviour, and an entry that finds another one than it knows begins to count anew.
 */
#include "tests/support/name_zone.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/support/name_wire.h"

enum {
    RULES_MAX = 4096,
    ASKED_MAX = 4096,   /* names beyond count in the total only, and each of their queries is a first one */
    RECORDS_MAX = 2000, /* of a name: as many AAAA records behind a chain of CNAMEs fit into a message */
    CHAIN_MAX = 16      /* CNAMEs in an answer; here ends a chain that leads back to itself */
};

#define EVERY_RECORD SIZE_MAX /* instead of a turn */

enum turn { TURN_A, TURN_AAAA, TURN_CNAME, TURN_OTHER, TURNS };

struct rule {
    SLIST_ENTRY(rule) link;
    char name[NAME_WIRE_TEXT_SIZE];
    enum name_behaviour behaviour;
    uint32_t parameter;
    uint64_t epoch;
    struct name_wire_record *records;
    size_t record_count;
};

struct asked {
    SLIST_ENTRY(asked) link;
    char name[NAME_WIRE_TEXT_SIZE];
    uint64_t queries;
    uint64_t epoch; /* of the rule that `turns` counts for */
    size_t turns[TURNS];
};

struct name_zone {
    pthread_mutex_t lock; /* guards all of the below */
    SLIST_HEAD(rule_list, rule) rules;
    SLIST_HEAD(asked_list, asked) asked;
    size_t rule_count, asked_count;
    uint64_t epoch; /* the latest one given to a rule */
    uint64_t total_queries;
};

/* ---- the lists, with the lock held */

static struct rule *find_exact(const struct name_zone *zone, const char *name)
{
    struct rule *rule;
    SLIST_FOREACH(rule, &zone->rules, link)
    if (strcmp(rule->name, name) == 0)
        break;
    return rule;
}

/* That of the name, else of the wildcard with the longest rest. */
static struct rule *find_rule(const struct name_zone *zone, const char *name)
{
    struct rule *rule = find_exact(zone, name);
    for (const char *rest = strchr(name, '.'); rest && !rule; rest = strchr(rest + 1, '.')) {
        char wildcard[NAME_WIRE_TEXT_SIZE];
        snprintf(wildcard, sizeof wildcard, "*%s", rest);
        rule = find_exact(zone, wildcard);
    }
    return rule;
}

static struct rule *find_or_add_rule(struct name_zone *zone, const char *name)
{
    struct rule *rule = find_exact(zone, name);
    if (rule || zone->rule_count == RULES_MAX || !(rule = calloc(1, sizeof *rule)))
        return rule;
    strcpy(rule->name, name);
    rule->epoch = ++zone->epoch;
    SLIST_INSERT_HEAD(&zone->rules, rule, link);
    zone->rule_count++;
    return rule;
}

static void remove_rule(struct name_zone *zone, struct rule *rule)
{
    SLIST_REMOVE(&zone->rules, rule, rule, link);
    zone->rule_count--;
    free(rule->records);
    free(rule);
}

static struct asked *find_asked(const struct name_zone *zone, const char *name)
{
    struct asked *asked;
    SLIST_FOREACH(asked, &zone->asked, link)
    if (strcmp(asked->name, name) == 0)
        break;
    return asked;
}

/* NULL: no room to count this name. */
static struct asked *count_query(struct name_zone *zone, const char *name)
{
    struct asked *asked = find_asked(zone, name);
    zone->total_queries++;
    if (!asked) {
        if (zone->asked_count == ASKED_MAX || !(asked = calloc(1, sizeof *asked)))
            return NULL;
        strcpy(asked->name, name);
        SLIST_INSERT_HEAD(&zone->asked, asked, link);
        zone->asked_count++;
    }
    asked->queries++;
    return asked;
}

static enum turn turn_of(unsigned type)
{
    switch (type) {
    case NAME_A:
        return TURN_A;
    case NAME_AAAA:
        return TURN_AAAA;
    case NAME_CNAME:
        return TURN_CNAME;
    default:
        return TURN_OTHER;
    }
}

/* How many queries of this name and type the rule has seen before. */
static size_t take_turn(struct asked *asked, const struct rule *rule, unsigned type)
{
    if (!asked || !rule)
        return 0;
    if (asked->epoch != rule->epoch)
        memset(asked->turns, 0, sizeof asked->turns);
    asked->epoch = rule->epoch;
    return asked->turns[turn_of(type)]++;
}

/* ---- answers, with the lock held */

/* The rule's records of a type: all of them, or the one whose turn it is. Returns the last one put, NULL: it has none.
 */
static const struct name_wire_record *put_records(struct buf *message, const struct rule *rule, unsigned type,
                                                  size_t owner, size_t turn)
{
    size_t count = 0, index = 0;
    const struct name_wire_record *put = NULL;
    for (size_t i = 0; i < rule->record_count; i++)
        count += rule->records[i].type == type;
    for (size_t i = 0; i < rule->record_count; i++) {
        const struct name_wire_record *record = &rule->records[i];
        if (record->type == type && (turn == EVERY_RECORD || index++ == turn % count)) {
            name_wire_put_answer(message, owner, record);
            put = record;
        }
    }
    return put;
}

static void put_no_such_name(struct buf *message)
{
    name_wire_set_rcode(message, NAME_WIRE_NXDOMAIN);
    name_wire_put_soa(message);
}

/* What the zone knows, along the CNAMEs. */
static void put_knowledge(struct buf *message, const struct name_zone *zone, const struct rule *rule, unsigned type,
                          size_t turn)
{
    if (!rule || rule->record_count == 0) {
        put_no_such_name(message);
        return;
    }
    size_t owner = NAME_WIRE_HEADER_BYTES;
    for (unsigned links = 0; rule && links < CHAIN_MAX; links++) {
        char target[NAME_WIRE_TEXT_SIZE];
        if (put_records(message, rule, type, owner, turn))
            return;
        const struct name_wire_record *cname =
            put_records(message, rule, NAME_CNAME, owner, turn == EVERY_RECORD ? 0 : turn);
        if (!cname)
            break;
        owner = message->len - cname->len;
        rule = name_wire_read(cname->data, cname->len, 0, target) ? find_rule(zone, target) : NULL;
    }
    name_wire_put_soa(message);
}

static bool behave(struct name_zone *zone, const struct name_wire_query *query, bool is_udp, struct name_reply *reply)
{
    struct buf *message = &reply->message;
    struct asked *asked = count_query(zone, query->name);
    const struct rule *rule = find_rule(zone, query->name);
    const size_t turn = take_turn(asked, rule, query->type);
    const enum name_behaviour behaviour = rule ? rule->behaviour : NAME_NORMAL;
    switch (behaviour) {
    case NAME_SILENT:
        return false;
    case NAME_GARBAGE:
        buf_clear(message);
        buf_lit(message, "no DNS message, whatever else it may be"); /* where QR would be, it says "query" */
        return true;
    case NAME_MALFORMED:
        name_wire_put_answer(message, message->len, &(struct name_wire_record){ .type = NAME_A, .len = 4 });
        break;
    case NAME_SERVFAIL:
        name_wire_set_rcode(message, NAME_WIRE_SERVFAIL);
        break;
    case NAME_REFUSED:
        name_wire_set_rcode(message, NAME_WIRE_REFUSED);
        break;
    case NAME_NXDOMAIN:
        put_no_such_name(message);
        break;
    case NAME_EMPTY:
        name_wire_put_soa(message);
        break;
    case NAME_ALTERNATE:
        put_knowledge(message, zone, rule, query->type, turn);
        break;
    case NAME_ONCE_SILENT:
        if (turn == 0)
            return false;
        put_knowledge(message, zone, rule, query->type, EVERY_RECORD);
        break;
    case NAME_NORMAL:
    case NAME_DELAY:
    case NAME_TRUNCATED:
    case NAME_WRONG_ID:
        put_knowledge(message, zone, rule, query->type, EVERY_RECORD);
        break;
    }
    name_wire_finish(message, query, is_udp, behaviour == NAME_TRUNCATED);
    if (behaviour == NAME_WRONG_ID)
        name_wire_change_id(message);
    if (behaviour == NAME_DELAY)
        reply->delay_ms = rule->parameter;
    return true;
}

/* ---- for the server */

bool name_zone_answer(struct name_zone *zone, const uint8_t *bytes, size_t len, bool is_udp,
                      struct name_reply *ret_reply)
{
    struct name_wire_query query;
    struct buf *message = &ret_reply->message;
    *ret_reply = (struct name_reply){ .message = BUF_INIT(NAME_WIRE_MESSAGE_MAX) };
    enum name_wire_verdict verdict = name_wire_read_query(bytes, len, &query);
    bool answers = verdict != NAME_WIRE_NOT_FOR_SERVER;
    if (answers)
        name_wire_begin(message, &query);
    switch (verdict) {
    case NAME_WIRE_NOT_FOR_SERVER:
        break;
    case NAME_WIRE_OTHER_OPCODE:
        name_wire_set_rcode(message, NAME_WIRE_NOTIMP);
        break;
    case NAME_WIRE_BAD_QUERY:
        name_wire_set_rcode(message, NAME_WIRE_FORMERR);
        break;
    case NAME_WIRE_QUERY:
        pthread_mutex_lock(&zone->lock);
        answers = behave(zone, &query, is_udp, ret_reply);
        pthread_mutex_unlock(&zone->lock);
        break;
    }
    return answers && !message->failed;
}

struct name_zone *name_zone_new(void)
{
    struct name_zone *zone = calloc(1, sizeof *zone);
    if (zone)
        pthread_mutex_init(&zone->lock, NULL);
    return zone;
}

void name_zone_free(struct name_zone *zone)
{
    if (!zone)
        return;
    while (!SLIST_EMPTY(&zone->rules))
        remove_rule(zone, SLIST_FIRST(&zone->rules));
    while (!SLIST_EMPTY(&zone->asked)) {
        struct asked *asked = SLIST_FIRST(&zone->asked);
        SLIST_REMOVE_HEAD(&zone->asked, link);
        free(asked);
    }
    pthread_mutex_destroy(&zone->lock);
    free(zone);
}

/* ---- for the test */

static bool read_value(enum name_type type, const char *value, struct name_wire_record *record)
{
    char unused[NAME_WIRE_TEXT_SIZE];
    record->type = type;
    switch (type) {
    case NAME_A:
        record->len = sizeof(struct in_addr);
        return inet_pton(AF_INET, value, record->data) == 1;
    case NAME_AAAA:
        record->len = sizeof(struct in6_addr);
        return inet_pton(AF_INET6, value, record->data) == 1;
    case NAME_CNAME:
        record->len = name_wire_write(value, record->data);
        return name_wire_normalise(value, unused);
    }
    return false;
}

static bool append_record(struct rule *rule, const struct name_wire_record *record)
{
    if (rule->record_count == RECORDS_MAX)
        return false;
    struct name_wire_record *records = reallocarray(rule->records, rule->record_count + 1, sizeof *records);
    if (!records)
        return false;
    records[rule->record_count++] = *record;
    rule->records = records;
    return true;
}

bool name_zone_add(struct name_zone *zone, const char *name, enum name_type type, const char *value, uint32_t ttl_s)
{
    char key[NAME_WIRE_TEXT_SIZE];
    struct name_wire_record record = { .ttl_s = ttl_s };
    if (!name_wire_normalise(name, key) || !read_value(type, value, &record))
        return false;
    pthread_mutex_lock(&zone->lock);
    struct rule *rule = find_or_add_rule(zone, key);
    bool is_added = rule && append_record(rule, &record);
    pthread_mutex_unlock(&zone->lock);
    return is_added;
}

bool name_zone_behave(struct name_zone *zone, const char *name, enum name_behaviour behaviour, uint32_t parameter)
{
    char key[NAME_WIRE_TEXT_SIZE];
    if (!name_wire_normalise(name, key))
        return false;
    pthread_mutex_lock(&zone->lock);
    struct rule *rule = find_or_add_rule(zone, key);
    if (rule) {
        rule->behaviour = behaviour;
        rule->parameter = parameter;
        rule->epoch = ++zone->epoch;
    }
    pthread_mutex_unlock(&zone->lock);
    return rule != NULL;
}

void name_zone_clear(struct name_zone *zone, const char *name)
{
    char key[NAME_WIRE_TEXT_SIZE];
    if (!name_wire_normalise(name, key))
        return;
    pthread_mutex_lock(&zone->lock);
    struct rule *rule = find_exact(zone, key);
    if (rule)
        remove_rule(zone, rule);
    pthread_mutex_unlock(&zone->lock);
}

uint64_t name_zone_queries(struct name_zone *zone, const char *name)
{
    char key[NAME_WIRE_TEXT_SIZE];
    if (!name_wire_normalise(name, key))
        return 0;
    pthread_mutex_lock(&zone->lock);
    const struct asked *asked = find_asked(zone, key);
    uint64_t queries = asked ? asked->queries : 0;
    pthread_mutex_unlock(&zone->lock);
    return queries;
}

uint64_t name_zone_total_queries(struct name_zone *zone)
{
    pthread_mutex_lock(&zone->lock);
    uint64_t queries = zone->total_queries;
    pthread_mutex_unlock(&zone->lock);
    return queries;
}
