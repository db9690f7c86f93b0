/* cases: the lab's tables, by what they abuse. The names of the groups have the numbers of the reference list. */
#ifndef TWINPOOL_TESTS_ABUSE_CASES_H
#define TWINPOOL_TESTS_ABUSE_CASES_H

#include "tests/abuse/trial.h"

/* cases_ipv4.c, cases_ipv6.c: where to */
extern const struct trial_group cases_loopback, cases_ipv4, cases_metadata, cases_ipv6;
/* cases_url.c: how it is written */
extern const struct trial_group cases_grammar, cases_schemes, cases_ports;
/* cases_dns.c: what the name says */
extern const struct trial_group cases_dns;
/* cases_redirect.c: where the origin sends us; cases_targets: by a redirect of every kind */
extern const struct trial_group cases_redirects, cases_targets, cases_targets_denied;
/* cases_request.c: what the caller puts into the request */
extern const struct trial_group cases_headers;
/* cases_answer.c: what the origin answers */
extern const struct trial_group cases_sizes, cases_codings, cases_protocol;
/* cases_time.c: and how slowly; these run all at once */
extern const struct trial_group cases_time;
/* cases_policy.c: TLS, the environment, lists of hosts, addresses and ports, the service itself */
extern const struct trial_group cases_tls, cases_tls_trusted, cases_environment, cases_one_allowed, cases_only_hosts,
    cases_denied, cases_self, cases_self_any;

#endif
