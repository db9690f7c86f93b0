/* What cppcheck is told, since release 2.10 does not know __VA_OPT__ and none reads system headers: what the macros stand
 * for as far as it has to know. */
#define __VA_OPT__(...) __VA_ARGS__
#define TAILQ_HEAD(type, item) struct type { struct item *first; }
#define TAILQ_FOREACH(item, head, link) for (item = (head)->first; item; item = item->link.next)
#define LIBCURL_VERSION_NUM 0x075801
