/* certificates: a throw-away certificate authority and certificates for servers, as PEM files in a directory.
 *
 * Everything is made anew each time: EC P-256 keys, an authority valid from ten days ago to ten days ahead, leaves
 * valid for a day on either side of now (but for the kinds that are not). A function that returns false has said why on
 * stderr. Not thread-safe: one thread per authority. */
#ifndef TWINPOOL_TESTS_CERTIFICATES_H
#define TWINPOOL_TESTS_CERTIFICATES_H

#include <stdbool.h>

#include "base/attrs.h"

/* What is wrong with a leaf, one thing each; apart from that it is good. */
enum certificate_kind {
    CERTIFICATE_GOOD,
    CERTIFICATE_EXPIRED,       /* an hour ago */
    CERTIFICATE_NOT_YET_VALID, /* for another hour */
    CERTIFICATE_OTHER_HOST,    /* for "other.invalid" only, whatever `names` says */
    CERTIFICATE_SELF_SIGNED,
    CERTIFICATE_UNKNOWN_CA, /* by an authority that is written nowhere */
    CERTIFICATE_KINDS       /* how many there are */
};
/* "good", "expired", "not-yet-valid", "other-host", "self-signed", "unknown-ca". */
const char *certificates_kind_name(enum certificate_kind kind);

struct certificates; /* an authority and where its files go; opaque */

/* Makes an authority and writes its certificate to DIR/ca.pem: what a client has to trust. The directory is the
 * caller's and is there already. True: free *ret_certificates with certificates_free(); else it is untouched. */
bool certificates_create(const char *dir, struct certificates **ret_certificates) NONNULL MUST_CHECK;
void certificates_free(struct certificates *certificates); /* leaves the files; NULL is a no-op */

/* Writes a leaf and its private key, both to the one file DIR/FILE. `names` is what it is good for, in OpenSSL's words
 * for subjectAltName: "DNS:localhost,DNS:*.origin.test,IP:127.0.0.1,IP:::1". */
bool certificates_write(const struct certificates *certificates, enum certificate_kind kind, const char *names,
                        const char *file) NONNULL MUST_CHECK;

#endif
