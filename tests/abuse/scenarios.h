/* scenarios: abuse that takes more than one request; cmocka tests. */
#ifndef TWINPOOL_TESTS_ABUSE_SCENARIOS_H
#define TWINPOOL_TESTS_ABUSE_SCENARIOS_H

void rebinding__every_answer__origin_or_refused(void **state);
void rebinding__fifty_at_once__origin_or_refused(void **state);
void rebinding__behind_a_redirect__origin_or_refused(void **state);
void rebinding__with_a_kept_connection__refused(void **state);
void explain__names__asks_nobody(void **state);
void silent_names__two_hundred_at_once__others_go_on(void **state);
void post__connection_lost__sent_once(void **state);
void cdn_loop__names_twinpool__refused(void **state);
void bombs__after_all__memory_is_bounded(void **state);

#endif
