/* lifecycle: the phases of a front end's life. It only ever moves forward. */
#ifndef TWINPOOL_SERVICE_LIFECYCLE_H
#define TWINPOOL_SERVICE_LIFECYCLE_H

enum lifecycle {
    LIFECYCLE_RUNNING,
    LIFECYCLE_HANDING_OVER, /* another front end accepts; who is connected is served, and each answer says
                               Connection: close */
    LIFECYCLE_LEAVING,      /* SIGTERM came: readiness is 503, everything else goes on for drain_delay_ms */
    LIFECYCLE_DRAINING,     /* new work gets 503 draining, work in flight goes on for grace_ms, health routes answer */
    LIFECYCLE_STOPPING,     /* work in flight was given up (503 draining); its answers are being sent */
    LIFECYCLE_STOPPED       /* loops end */
};

#endif
