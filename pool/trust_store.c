/* trust_store: an X509_STORE, which OpenSSL counts references of and locks. Without the system's bundle (a bare
 * container) it is empty, and every certificate is refused. */
#include "pool/trust_store.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static const char system_bundle[] = "/etc/ssl/certs/ca-certificates.crt"; /* Debian's, from ca-certificates */

/* False: there is none, as in a file of revocation lists alone. OpenSSL works out the extensions of a certificate when
 * it first looks at it: here, before there are threads. */
static bool prepare_certificates(X509_STORE *store)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    bool has_one = false;
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        if (!certificate)
            continue;
        X509_check_purpose(certificate, -1, 0);
        has_one = true;
    }
    return has_one;
}

struct trust_store *trust_store_new(const char *path)
{
    X509_STORE *store = X509_STORE_new();
    if (!store)
        return NULL;
    bool is_loaded = X509_STORE_load_file(store, path[0] ? path : system_bundle) == 1 && prepare_certificates(store);
    ERR_clear_error();
    if (is_loaded || !path[0])
        return (struct trust_store *)(void *)store;
    X509_STORE_free(store);
    return NULL;
}

void trust_store_free(struct trust_store *store) { X509_STORE_free((X509_STORE *)(void *)store); }

void trust_store_use(const struct trust_store *store, void *ssl_ctx)
{
    SSL_CTX_set1_cert_store(ssl_ctx, (X509_STORE *)(uintptr_t)store);
}
