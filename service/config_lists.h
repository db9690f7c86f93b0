/* config_lists: the kinds of lists among the options. */
#ifndef TWINPOOL_SERVICE_CONFIG_LISTS_H
#define TWINPOOL_SERVICE_CONFIG_LISTS_H

#include "service/config_table.h"

extern const struct config_list config_list_allow, config_list_deny; /* networks */
extern const struct config_list config_list_hosts, config_list_deny_hosts;
extern const struct config_list config_list_ports;
extern const struct config_list config_list_breaker_on;
extern const struct config_list config_list_dns_servers;

#endif
