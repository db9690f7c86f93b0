/* version: what --version, /stats and the Server header say; CHANGELOG.md names the same. */
#ifndef TWINPOOL_SERVICE_VERSION_H
#define TWINPOOL_SERVICE_VERSION_H

#define TWINPOOL_VERSION "0.1.0"

#endif
