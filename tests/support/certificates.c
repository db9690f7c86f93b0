/* Every certificate, the authority's too, comes out of issue(): a new key, a plan of what to say, and an issuer whose
 * key signs (none: its own). Only what OpenSSL 3.0 and later take without a deprecation warning is used; anything that
 * fails leaves its reason in OpenSSL's queue of errors, which the public functions empty to stderr. */
#include "tests/support/certificates.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOUR = 3600, DAY = 24 * HOUR /* seconds */, PATH_BYTES = 256 };

struct pair {
    EVP_PKEY *key;
    X509 *certificate;
};

struct certificates {
    struct pair authority;
    char dir[PATH_BYTES];
};

struct plan {
    const char *common_name;
    const char *names; /* subjectAltName; NULL: an authority */
    long from, until;  /* seconds from now */
};

static const struct plan known_authority = { "Twinpool test authority", NULL, -10 * DAY, 10 * DAY };
static const struct plan unknown_authority = { "Twinpool unknown authority", NULL, -10 * DAY, 10 * DAY };

const char *certificates_kind_name(enum certificate_kind kind)
{
    switch (kind) {
    case CERTIFICATE_GOOD:
        return "good";
    case CERTIFICATE_EXPIRED:
        return "expired";
    case CERTIFICATE_NOT_YET_VALID:
        return "not-yet-valid";
    case CERTIFICATE_OTHER_HOST:
        return "other-host";
    case CERTIFICATE_SELF_SIGNED:
        return "self-signed";
    case CERTIFICATE_UNKNOWN_CA:
        return "unknown-ca";
    case CERTIFICATE_KINDS:
        break;
    }
    return "?";
}

static void pair_done(struct pair *pair)
{
    X509_free(pair->certificate);
    EVP_PKEY_free(pair->key);
    *pair = (struct pair){ 0 };
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static bool add_extensions(X509 *certificate, X509 *issuer, const char *names)
{
    if (!add_extension(certificate, issuer, NID_subject_key_identifier, "hash"))
        return false;
    if (issuer != certificate && !add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always"))
        return false;
    if (!names)
        return add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE") &&
               add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    return add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth") &&
           add_extension(certificate, issuer, NID_subject_alt_name, names);
}

static bool set_serial(X509 *certificate)
{
    uint64_t serial = 0;
    return RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1;
}

static bool set_names(X509 *certificate, const X509 *issuer, const char *common_name)
{
    X509_NAME *name = X509_NAME_new();
    bool is_set = name &&
                  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0) &&
                  X509_set_subject_name(certificate, name) == 1 &&
                  X509_set_issuer_name(certificate, issuer == certificate ? name : X509_get_subject_name(issuer)) == 1;
    X509_NAME_free(name);
    return is_set;
}

/* True: the pair is the caller's. */
static bool issue(const struct plan *plan, const struct pair *authority, struct pair *ret_pair)
{
    struct pair pair = { .key = EVP_EC_gen("P-256"), .certificate = X509_new() };
    if (!pair.key || !pair.certificate)
        goto free_pair;
    const struct pair *signer = authority ? authority : &pair;
    if (X509_set_version(pair.certificate, X509_VERSION_3) != 1 || !set_serial(pair.certificate) ||
        !set_names(pair.certificate, signer->certificate, plan->common_name) ||
        !X509_gmtime_adj(X509_getm_notBefore(pair.certificate), plan->from) ||
        !X509_gmtime_adj(X509_getm_notAfter(pair.certificate), plan->until) ||
        X509_set_pubkey(pair.certificate, pair.key) != 1 ||
        !add_extensions(pair.certificate, signer->certificate, plan->names) ||
        X509_sign(pair.certificate, signer->key, EVP_sha256()) == 0)
        goto free_pair;
    *ret_pair = pair;
    return true;

free_pair:
    pair_done(&pair);
    return false;
}

static bool write_pem(const char *dir, const char *file, const X509 *certificate, const EVP_PKEY *key)
{
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *pem = fopen(path, "we");
    if (!pem) {
        perror(path);
        return false;
    }
    bool is_written = PEM_write_X509(pem, certificate) == 1 &&
                      (!key || PEM_write_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) == 1);
    return fclose(pem) == 0 && is_written;
}

/* The last line of a public function. */
static bool tell_errors(bool is_done)
{
    if (!is_done) {
        fprintf(stderr, "cannot make certificates\n");
        ERR_print_errors_fp(stderr);
    }
    return is_done;
}

bool certificates_create(const char *dir, struct certificates **ret_certificates)
{
    struct certificates *certificates = calloc(1, sizeof *certificates);
    if (!certificates || strlen(dir) >= sizeof certificates->dir)
        goto free_certificates;
    strcpy(certificates->dir, dir);
    if (!issue(&known_authority, NULL, &certificates->authority) ||
        !write_pem(dir, "ca.pem", certificates->authority.certificate, NULL))
        goto free_certificates;
    *ret_certificates = certificates;
    return true;

free_certificates:
    certificates_free(certificates);
    return tell_errors(false);
}

void certificates_free(struct certificates *certificates)
{
    if (!certificates)
        return;
    pair_done(&certificates->authority);
    free(certificates);
}

static bool issue_leaf(const struct certificates *certificates, enum certificate_kind kind, const char *names,
                       struct pair *ret_leaf)
{
    struct plan plan = { "Twinpool test leaf", names, -DAY, DAY };
    struct pair stranger = { 0 };
    bool is_issued = false;
    switch (kind) {
    case CERTIFICATE_EXPIRED:
        plan.until = -HOUR;
        break;
    case CERTIFICATE_NOT_YET_VALID:
        plan.from = HOUR;
        break;
    case CERTIFICATE_OTHER_HOST:
        plan.names = "DNS:other.invalid";
        break;
    case CERTIFICATE_SELF_SIGNED:
        return issue(&plan, NULL, ret_leaf);
    case CERTIFICATE_UNKNOWN_CA:
        is_issued = issue(&unknown_authority, NULL, &stranger) && issue(&plan, &stranger, ret_leaf);
        pair_done(&stranger);
        return is_issued;
    case CERTIFICATE_GOOD:
    case CERTIFICATE_KINDS:
        break;
    }
    return issue(&plan, &certificates->authority, ret_leaf);
}

bool certificates_write(const struct certificates *certificates, enum certificate_kind kind, const char *names,
                        const char *file)
{
    struct pair leaf = { 0 };
    bool is_written =
        issue_leaf(certificates, kind, names, &leaf) && write_pem(certificates->dir, file, leaf.certificate, leaf.key);
    pair_done(&leaf);
    return tell_errors(is_written);
}
