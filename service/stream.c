/* stream: libmicrohttpd asks for the bytes when the socket takes some. When there are none, the connection is suspended
 * (returning nothing would have libmicrohttpd ask again and again) and resumed by exchange_stream_more(). */
#include "service/stream.h"

#include <stdlib.h>

#include "service/loop.h"
#include "service/request.h"
#include "service/response.h"

enum { STREAM_BLOCK_BYTES = 32 * 1024 };

struct stream {
    struct request *request; /* NULL: it is over */
    const struct stream_source *source;
    void *owner;
    bool is_idle, is_over;
};

static ssize_t read_source(void *cls, uint64_t position, char *buffer, size_t len)
{
    struct stream *stream = cls;
    struct request *request = stream->request;
    (void)position;
    if (request == NULL)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t filled = stream->source->read(stream->owner, buffer, len, &stream->is_over);
    request->sending_since_ns = request->connection->loop->now_ns; /* the client has taken all before */
    if (filled > 0)
        return (ssize_t)filled;
    if (stream->is_over)
        return MHD_CONTENT_READER_END_OF_STREAM;
    stream->is_idle = true;
    connection_suspend(request->connection);
    return 0;
}

/* libmicrohttpd drops the response after it has told of the request's end. */
static void free_stream(void *cls)
{
    struct stream *stream = cls;
    if (stream->request != NULL)
        stream_end(stream);
    free(stream);
}

void exchange_stream(struct exchange *x, unsigned http_status, const char *content_type,
                     const struct stream_source *source, void *owner)
{
    struct request *request = request_of(x);
    struct stream *stream = calloc(1, sizeof *stream);
    struct MHD_Response *response = NULL;
    if (stream != NULL) {
        *stream = (struct stream){ .request = request, .source = source, .owner = owner };
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_source, stream, free_stream);
    }
    request->stream = response != NULL ? stream : NULL;
    response_finish(x, http_status, content_type, response);
    if (response == NULL) {
        free(stream);
        source->release(owner); /* the connection is closed */
    }
}

void exchange_stream_more(struct exchange *x)
{
    struct request *request = request_of(x);
    struct stream *stream = request->stream;
    if (stream == NULL || !stream->is_idle)
        return; /* libmicrohttpd asks by itself */
    stream->is_idle = false;
    request->sending_since_ns = request->connection->loop->now_ns;
    connection_resume(request->connection);
}

bool stream_is_open(const struct stream *stream) { return !stream->is_over; }
bool stream_is_idle(const struct stream *stream) { return stream->is_idle; }

void stream_end(struct stream *stream)
{
    stream->request->stream = NULL;
    stream->request = NULL;
    stream->source->release(stream->owner);
}
