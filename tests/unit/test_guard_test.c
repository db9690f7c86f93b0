/* Tests of pool/guard_test.c: does it notice a libcurl that does not call our checks? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ares.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <string.h>

#include "pool/guard_test.h"

#undef curl_easy_setopt

static CURLoption lost; /* the option that our libcurl forgets; 0: none */

/* Takes the place of libcurl's function, because a program's own definition comes first. */
CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    static CURLcode (*real)(CURL *, CURLoption, ...);
    va_list arguments;
    va_start(arguments, option);
    void *value = va_arg(arguments, void *); /* a long, or a pointer */
    va_end(arguments);
    if (!real) {
        void *found = dlsym(RTLD_NEXT, "curl_easy_setopt");
        memcpy(&real, &found, sizeof real);
    }
    return option == lost ? CURLE_OK : real(easy, option, value);
}

static void run__libcurl_as_it_is__holds(void **state)
{
    (void)state;
    const char *what;
    lost = 0;
    assert_int_equal(guard_test_run(&what), GUARD_HOLDS);
}

static void run__no_socket_check__broken(void **state)
{
    (void)state;
    const char *what;
    lost = CURLOPT_OPENSOCKETFUNCTION;
    assert_int_equal(guard_test_run(&what), GUARD_BROKEN);
    assert_non_null(strstr(what, "OPENSOCKETFUNCTION"));
}

static void run__no_check_of_kept_connections__broken(void **state)
{
    (void)state;
    const char *what;
    lost = CURLOPT_PREREQFUNCTION;
    assert_int_equal(guard_test_run(&what), GUARD_BROKEN);
    assert_non_null(strstr(what, "PREREQFUNCTION"));
}

static int start(void **state)
{
    (void)state;
    return curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK && ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS ? 0
                                                                                                                 : -1;
}

static int stop(void **state)
{
    (void)state;
    ares_library_cleanup();
    curl_global_cleanup();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__libcurl_as_it_is__holds),
        cmocka_unit_test(run__no_socket_check__broken),
        cmocka_unit_test(run__no_check_of_kept_connections__broken),
    };
    return cmocka_run_group_tests_name("guard_test", tests, start, stop);
}
