/* Tests of pool/trust_store.c: which files it takes, whom it then trusts, and that several threads may share it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/trust_store.h"
#include "tests/support/certificates.h"

/* DIR/ca.pem, and two leaves: one by that authority, one by another. */
static char dir[] = "/tmp/test_trust_store.XXXXXX";
static const char *const files[] = { "ca.pem", "good.pem", "unknown.pem", "bundle.pem", "odd.pem" };

static const char *path_of(const char *file)
{
    static _Thread_local char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return path;
}

static int make_certificates(void **state)
{
    struct certificates *certificates;
    (void)state;
    if (!mkdtemp(dir) || !certificates_create(dir, &certificates))
        return -1;
    bool is_written = certificates_write(certificates, CERTIFICATE_GOOD, "DNS:localhost", "good.pem") &&
                      certificates_write(certificates, CERTIFICATE_UNKNOWN_CA, "DNS:localhost", "unknown.pem");
    certificates_free(certificates);
    return is_written ? 0 : -1;
}

static int remove_certificates(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        unlink(path_of(files[i]));
    return rmdir(dir);
}

static void write_file(const char *file, const char *text)
{
    FILE *out = fopen(path_of(file), "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static char *read_file(const char *file)
{
    static char text[65536];
    FILE *in = fopen(path_of(file), "r");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    return text;
}

enum verdict { REFUSED, ACCEPTED, UNCLEAR };

static enum verdict verify(X509_STORE *store, X509 *leaf)
{
    X509_STORE_CTX *verification = X509_STORE_CTX_new();
    enum verdict verdict = UNCLEAR;
    if (verification && leaf && X509_STORE_CTX_init(verification, store, leaf, NULL) == 1)
        verdict = X509_verify_cert(verification) == 1 ? ACCEPTED : REFUSED;
    X509_STORE_CTX_free(verification);
    return verdict;
}

/* What a context that uses the store says of the leaf. From any thread. */
static enum verdict judge(const struct trust_store *store, const char *file)
{
    FILE *in = fopen(path_of(file), "r");
    X509 *leaf = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    enum verdict verdict = UNCLEAR;
    if (ctx) {
        trust_store_use(store, ctx);
        verdict = verify(SSL_CTX_get_cert_store(ctx), leaf);
    }
    SSL_CTX_free(ctx);
    X509_free(leaf);
    if (in)
        fclose(in);
    return verdict;
}

static void new__pem_file__trusts_its_authority_and_no_other(void **state)
{
    (void)state;
    struct trust_store *store = trust_store_new(path_of("ca.pem"));
    assert_non_null(store);
    assert_int_equal(judge(store, "good.pem"), ACCEPTED);
    assert_int_equal(judge(store, "unknown.pem"), REFUSED);
    assert_int_equal(judge(store, "good.pem"), ACCEPTED); /* a context that is freed takes nothing with it */
    trust_store_free(store);
}

static void new__several_certificates_and_text_between__all_of_them(void **state)
{
    (void)state;
    static char bundle[3 * 65536];
    snprintf(bundle, sizeof bundle, "# an old one\n%s\nthe authority:\n", read_file("unknown.pem"));
    strcat(bundle, read_file("ca.pem"));
    write_file("bundle.pem", bundle);
    struct trust_store *store = trust_store_new(path_of("bundle.pem"));
    assert_non_null(store);
    assert_int_equal(judge(store, "good.pem"), ACCEPTED);
    trust_store_free(store);
}

static void new__system__there_and_does_not_trust_ours(void **state)
{
    (void)state;
    struct trust_store *store = trust_store_new("");
    assert_non_null(store);
    assert_int_equal(judge(store, "good.pem"), REFUSED);
    trust_store_free(store);
}

/* In a child: 0 as promised, 1 not, 77 cannot be tried here. */
static int try_without_system_bundle(void)
{
    if (unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/etc/ssl/certs", "tmpfs", 0, NULL) != 0)
        return 77;
    struct trust_store *store = trust_store_new("");
    return store && judge(store, "good.pem") == REFUSED ? 0 : 1;
}

static void new__system_without_a_bundle__trusts_nobody(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(try_without_system_bundle());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void new__file_without_certificates__null(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "hello\n",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        write_file("odd.pem", texts[i]);
        assert_null(trust_store_new(path_of("odd.pem")));
    }
    assert_null(trust_store_new(path_of("absent.pem")));
    assert_null(trust_store_new(dir));
    assert_null(trust_store_new("/dev/null"));
}

static void new__key_only__null(void **state)
{
    (void)state;
    char *text = strstr(read_file("good.pem"), "-----BEGIN PRIVATE KEY");
    assert_non_null(text);
    char *end = strstr(text, "-----END PRIVATE KEY-----\n");
    assert_non_null(end);
    end[strlen("-----END PRIVATE KEY-----\n")] = '\0';
    write_file("odd.pem", text);
    assert_null(trust_store_new(path_of("odd.pem")));
}

/* Not half of what was meant. */
static void new__second_certificate_broken__null(void **state)
{
    (void)state;
    static char bundle[2 * 65536];
    snprintf(bundle, sizeof bundle, "%s-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n",
             read_file("ca.pem"));
    write_file("odd.pem", bundle);
    assert_null(trust_store_new(path_of("odd.pem")));
}

/* Signed with the leaf's key: who signed it does not matter. */
static void new__revocation_list_only__null(void **state)
{
    (void)state;
    FILE *in = fopen(path_of("good.pem"), "r");
    assert_non_null(in);
    X509 *leaf = PEM_read_X509(in, NULL, NULL, NULL);
    rewind(in);
    EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
    fclose(in);
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    assert_true(leaf && key && crl && now);
    assert_true(X509_CRL_set_version(crl, 1) && X509_CRL_set_issuer_name(crl, X509_get_subject_name(leaf)) &&
                X509_CRL_set1_lastUpdate(crl, now) && X509_CRL_set1_nextUpdate(crl, now) &&
                X509_CRL_sign(crl, key, EVP_sha256()) > 0);
    FILE *out = fopen(path_of("odd.pem"), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509_CRL(out, crl), 1);
    fclose(out);
    ASN1_TIME_free(now);
    X509_CRL_free(crl);
    EVP_PKEY_free(key);
    X509_free(leaf);
    struct trust_store *store = trust_store_new(path_of("odd.pem"));
    trust_store_free(store);
    assert_null(store);
}

static void free__null__a_no_op(void **state)
{
    (void)state;
    trust_store_free(NULL);
}

struct user {
    pthread_t id;
    const struct trust_store *store;
    unsigned wrong;
};

static void *use(void *argument)
{
    struct user *user = argument;
    for (unsigned i = 0; i < 50; i++) {
        user->wrong += judge(user->store, "good.pem") != ACCEPTED;
        user->wrong += judge(user->store, "unknown.pem") != REFUSED;
    }
    return NULL;
}

static void use__from_several_threads__each_context_trusts_it(void **state)
{
    (void)state;
    struct user users[4];
    struct trust_store *store = trust_store_new(path_of("ca.pem"));
    assert_non_null(store);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        users[i] = (struct user){ .store = store };
        assert_int_equal(pthread_create(&users[i].id, NULL, use, &users[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        pthread_join(users[i].id, NULL);
        assert_int_equal(users[i].wrong, 0);
    }
    trust_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new__pem_file__trusts_its_authority_and_no_other),
        cmocka_unit_test(new__several_certificates_and_text_between__all_of_them),
        cmocka_unit_test(new__system__there_and_does_not_trust_ours),
        cmocka_unit_test(new__system_without_a_bundle__trusts_nobody),
        cmocka_unit_test(new__file_without_certificates__null),
        cmocka_unit_test(new__key_only__null),
        cmocka_unit_test(new__second_certificate_broken__null),
        cmocka_unit_test(new__revocation_list_only__null),
        cmocka_unit_test(free__null__a_no_op),
        cmocka_unit_test(use__from_several_threads__each_context_trusts_it),
    };
    return cmocka_run_group_tests_name("trust_store", tests, make_certificates, remove_certificates);
}
