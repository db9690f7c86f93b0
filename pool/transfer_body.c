/* transfer_body: takes in the body of an answer, decoded and within its limits.
 *
 * A piece is paid for from the memory budget before it is kept. If there is nothing left, the transfer pauses and
 * libcurl brings the same bytes again when it goes on. A coded piece is decoded step by step, each paid for before;
 * when one cannot be, `decoded_len` remembers how far it has come, so that a bomb takes no more than a step beyond what
 * was granted. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "pool/content_decoder.h"
#include "pool/transfer_internal.h"

enum {
    BODY_ROOM_MAX = 1024 * 1024, /* reserved on the word of a Content-Length */
    LENGTH_DIGITS_MAX = 18,      /* of a Content-Length that fits into a curl_off_t */
    BODY_ROOM_STEP = 4096,
    DECODE_STEP = 16 * 1024,
    RATIO_FREE_BYTES = 1024 * 1024, /* decoded bytes that may have any ratio */
    CODED_SLACK = 256 * 1024,       /* what a coding may add, beside a sixteenth */
    DISCARD_MAX = 1024 * 1024,      /* body bytes of a redirect */
    RESULT_BYTES = 1024             /* of a result, beside its body and header */
};

/* ---- what the header says of it */

void transfer_break_protocol(struct transfer *t, const char *how)
{
    t->failure = ST_PROTOCOL_ERROR;
    snprintf(t->refusal, sizeof t->refusal, "%s", how);
}

static void cannot_decode(struct transfer *t, const char *why)
{
    t->failure = ST_DECODE_FAILED;
    snprintf(t->refusal, sizeof t->refusal, "%s", why);
}

static void choose_coding(struct transfer *t)
{
    size_t len = 0;
    const char *value = response_head_value(&t->head, "content-encoding", &len);
    t->coding = CODING_NONE;
    if (!value || !t->accepts_codings || t->discards_body)
        return;
    t->coding = content_coding_of(value, len);
    bool is_repeated = response_head_count(&t->head, "content-encoding") > 1;
    if (memchr(value, ',', len) ||
        (is_repeated && (t->coding != CODING_NONE || response_head_differs(&t->head, "content-encoding"))))
        cannot_decode(t, "the body has more than one content coding");
    else if (t->coding == CODING_UNKNOWN)
        cannot_decode(t, "the body has a content coding that was not accepted");
}

/* libcurl would undo others, too, and none was asked for. */
static bool has_plain_framing(const struct transfer *t)
{
    size_t len = 0;
    const char *value = response_head_value(&t->head, "transfer-encoding", &len);
    return !value || (response_head_count(&t->head, "transfer-encoding") == 1 &&
                      ((len == 7 && strncasecmp(value, "chunked", len) == 0) ||
                       (len == 8 && strncasecmp(value, "identity", len) == 0)));
}

/* libcurl takes a length that is too long for it for none at all, and the number at the beginning of any other text. */
static bool has_plain_length(const struct transfer *t)
{
    size_t len = 0;
    const char *value = response_head_value(&t->head, "content-length", &len);
    if (!value || response_head_count(&t->head, "transfer-encoding") > 0) /* which overrides it */
        return true;
    for (size_t i = 0; i < len; i++)
        if (value[i] < '0' || value[i] > '9')
            return false;
    return len > 0 && len <= LENGTH_DIGITS_MAX;
}

void transfer_begin_body(struct transfer *t)
{
    transfer_enter(t, STAGE_BODY);
    t->discards_body = transfer_will_follow(t);
    choose_coding(t);
    if (!has_plain_framing(t))
        transfer_break_protocol(t, "the answer has a Transfer-Encoding that nobody had asked for");
    if (response_head_differs(&t->head, "content-length")) /* RFC 9112 section 6.3 */
        transfer_break_protocol(t, "the answer has two Content-Lengths that differ");
    if (!has_plain_length(t))
        transfer_break_protocol(t, "the answer's Content-Length is not a number of at most 18 digits");
}

/* ---- what it costs */

static size_t room_left(const struct transfer *t)
{
    size_t max = t->spec.item->max_body_bytes;
    return t->seen_bytes < max ? max - t->seen_bytes : 0;
}

/* How many of the next `len` bytes will be kept. */
static size_t kept_of(const struct transfer *t, size_t len)
{
    size_t room = t->counts_body ? 0 : room_left(t);
    return len < room ? len : room;
}

/* What the bytes will take as they are rendered: about as much, as text or as base64. Text of many escapes takes more,
 * which is seen to when it is rendered. */
static size_t rendered_bytes(size_t len) { return len + len / 3 + 4; }

/* Bytes that will be kept next and were not paid for. */
static size_t due_of(const struct transfer *t, size_t kept) { return kept > t->paid_bytes ? kept - t->paid_bytes : 0; }

static size_t price_of(const struct transfer *t, size_t due)
{
    bool is_first = t->body.len == 0 && t->paid_bytes == 0;
    return due > 0 ? rendered_bytes(due) + (is_first ? RESULT_BYTES + 2 * t->head.text.len : 0) : 0;
}

/* Pays for bytes that will be kept next, as far as that was not done already. */
static bool pay_for(struct transfer *t, size_t kept)
{
    size_t due = due_of(t, kept), price = t->is_exempt ? 0 : price_of(t, due);
    if (price > 0 && !memory_take(t->env->memory, &t->spec.call->memory, price))
        return false;
    t->taken_bytes += price;
    t->paid_bytes += due;
    return true;
}

static bool charge_total(struct transfer *t, size_t bytes)
{
    struct call_share *call = t->spec.call;
    size_t before = atomic_fetch_add_explicit(&call->body_bytes, bytes, memory_order_relaxed);
    t->charged_bytes += bytes;
    if (before + bytes <= call->body_bytes_max)
        return true;
    return false;
}

void transfer_explain_total(const struct call_share *call, char ret_text[static TRANSFER_MESSAGE_SIZE])
{
    snprintf(ret_text, TRANSFER_MESSAGE_SIZE,
             "the bodies of this call exceed %zu bytes together (--fetch-max-total-bytes)", call->body_bytes_max);
}

/* A body that grows by more than text can be compressed is meant to fill memory. What is cut off does not count. */
static bool has_honest_ratio(struct transfer *t)
{
    size_t max = t->spec.item->max_body_bytes, decoded = t->seen_bytes < max ? t->seen_bytes : max;
    if (t->coding == CODING_NONE || t->env->max_ratio == 0 || decoded <= RATIO_FREE_BYTES ||
        decoded <= (uint64_t)t->coded_bytes * t->env->max_ratio)
        return true;
    snprintf(t->refusal, sizeof t->refusal, "the body decodes to more than %u times its size (--fetch-max-ratio)",
             t->env->max_ratio);
    return false;
}

/* ---- keeping it */

/* Room for what comes and a quarter more, so that a body does not take twice what it is charged for. */
static void make_room(struct transfer *t, size_t len)
{
    curl_off_t declared = -1;
    if (t->body.len == 0)
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &declared);
    size_t wanted = t->body.len + len, room = wanted + wanted / 4 + BODY_ROOM_STEP;
    if (declared > 0 && (size_t)declared >= len && (uint64_t)declared <= BODY_ROOM_MAX && t->coding == CODING_NONE)
        room = (size_t)declared;
    t->body.max = room;
    if (wanted > t->body.cap) {
        char *reserved = buf_reserve(&t->body, room - t->body.len);
        (void)reserved; /* a failure is sticky and seen by the append */
    }
}

/* Takes in decoded bytes that were paid for. False: this is the end of the transfer. */
static bool keep(struct transfer *t, const char *bytes, size_t len)
{
    size_t room = room_left(t), kept = kept_of(t, len);
    t->seen_bytes += len;
    t->paid_bytes -= kept;
    if (!has_honest_ratio(t) || !charge_total(t, kept)) {
        t->failure = ST_TOTAL_TOO_LARGE; /* without words of its own: it is the total */
        return false;
    }
    if (kept > 0) {
        make_room(t, kept);
        buf_append(&t->body, bytes, kept);
    }
    if (t->body.failed)
        t->failure = ST_NO_MEMORY;
    t->is_truncated = len > room;
    return !t->body.failed && !t->is_truncated;
}

static size_t discard(struct transfer *t, size_t len)
{
    t->seen_bytes += len;
    if (t->seen_bytes <= DISCARD_MAX)
        return len;
    transfer_break_protocol(t, "the redirect came with a body of more than 1 MiB");
    return CURL_WRITEFUNC_ERROR;
}

static size_t pause_transfer(struct transfer *t)
{
    transfer_pause(t);
    return CURL_WRITEFUNC_PAUSE;
}

static size_t keep_plain(struct transfer *t, const char *bytes, size_t len)
{
    if (!pay_for(t, kept_of(t, len)))
        return pause_transfer(t);
    return keep(t, bytes, len) ? len : CURL_WRITEFUNC_ERROR;
}

void transfer_end_decoding(struct transfer *t)
{
    content_decoder_free(t->decoder);
    t->decoder = NULL;
}

/* A decoder and its first step together: one that holds the first and waits for the second would be in the way of
 * others. False: there is no memory. */
static bool begin_decoding(struct transfer *t)
{
    size_t bytes = t->decoder_bytes ? t->decoder_bytes : content_decoder_bytes(t->coding),
           due = due_of(t, kept_of(t, DECODE_STEP)), price = price_of(t, due);
    if (!memory_take_decoder(t->env->memory, &t->spec.call->memory, bytes + price, &t->is_exempt))
        return false;
    t->taken_bytes += t->is_exempt ? 0 : price;
    t->paid_bytes += due;
    t->decoder = content_decoder_new(t->coding, t->env->memory, bytes, t->is_exempt);
    if (!t->decoder)
        t->failure = ST_NO_MEMORY;
    return true;
}

/* One step. False: this is the end of the transfer, or there was no memory for a window. */
static bool decode(struct transfer *t, const char **bytes, size_t *len, size_t *ret_decoded)
{
    char decoded[DECODE_STEP] UNINITIALIZED;
    size_t before = *len;
    enum decoder_verdict verdict = content_decoder_run(t->decoder, bytes, len, decoded, sizeof decoded, ret_decoded);
    t->coded_bytes += before - *len;
    if (verdict == DECODER_HAS_NO_MEMORY)
        t->failure = ST_NO_MEMORY;
    else if (verdict == DECODER_IS_BROKEN)
        cannot_decode(t, "the coded body is broken, or goes on after its end");
    return verdict == DECODER_GOES_ON && keep(t, decoded, *ret_decoded);
}

/* There is no memory for what a window takes. A decoder that has only just begun can begin again later. */
static bool can_begin_again(const struct transfer *t)
{
    return t->failure == ST_NO_MEMORY && t->decoder && content_decoder_wanted(t->decoder) > 0 && t->seen_bytes == 0 &&
           t->earlier_bytes <= sizeof t->beginning;
}

/* Remembers what of this piece was decoded, as long as that is no more than a frame's header. */
static void remember_beginning(struct transfer *t, const char *bytes, size_t len)
{
    if (t->earlier_bytes + len <= sizeof t->beginning)
        memcpy(t->beginning + t->earlier_bytes, bytes, len);
    t->earlier_bytes += len;
}

/* It will ask for all that it wanted at once: what is given back here must not make it try in vain for ever. */
static size_t begin_again_later(struct transfer *t)
{
    t->decoder_bytes = content_decoder_wanted(t->decoder);
    transfer_end_decoding(t);
    t->failure = ST_OK;
    t->decoded_len = 0;
    t->coded_bytes = t->earlier_bytes;
    return pause_transfer(t);
}

/* What an earlier piece has brought and a decoder of then has read. */
static bool decode_beginning(struct transfer *t)
{
    const char *at = t->beginning;
    size_t left = t->earlier_bytes, decoded;
    t->coded_bytes = 0;
    return left == 0 || decode(t, &at, &left, &decoded);
}

/* More than a body within its limit can take; what keeps nothing is no exception. */
static bool is_too_long(struct transfer *t)
{
    size_t max = t->spec.item->max_body_bytes;
    if (t->coded_bytes <= max + max / 16 + CODED_SLACK)
        return false;
    cannot_decode(t, "the coded body is longer than max_body_bytes and brings less than that");
    return true;
}

static size_t keep_decoded(struct transfer *t, const char *bytes, size_t len)
{
    const char *at = bytes + t->decoded_len;
    size_t left = len - t->decoded_len, decoded = DECODE_STEP;
    if (!t->decoder) {
        if (!begin_decoding(t))
            return pause_transfer(t);
        if (!t->decoder || !decode_beginning(t))
            return can_begin_again(t) ? begin_again_later(t) : CURL_WRITEFUNC_ERROR;
    }
    while (left > 0 || decoded == DECODE_STEP) {
        if (!pay_for(t, kept_of(t, DECODE_STEP))) {
            t->decoded_len = len - left;
            return pause_transfer(t);
        }
        if (!decode(t, &at, &left, &decoded))
            return can_begin_again(t) ? begin_again_later(t) : CURL_WRITEFUNC_ERROR;
    }
    t->decoded_len = 0;
    remember_beginning(t, bytes, len);
    return is_too_long(t) ? CURL_WRITEFUNC_ERROR : len;
}

/* Any return value but the length ends or pauses the transfer. */
size_t transfer_on_body(char *bytes, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t len = size * count;
    curl_loop_brought(t->env->loop);
    if (t->stage < STAGE_BODY)
        transfer_begin_body(t);
    if (t->failure != ST_OK)
        return CURL_WRITEFUNC_ERROR;
    t->rate_bytes += len;
    if (t->discards_body)
        return discard(t, len);
    return t->coding == CODING_NONE ? keep_plain(t, bytes, len) : keep_decoded(t, bytes, len);
}

bool transfer_body_is_whole(const struct transfer *t) { return !t->decoder || content_decoder_is_complete(t->decoder); }
