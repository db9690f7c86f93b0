/* Exports nothing of use. */
#include "include/twinpool/task.h"

extern const int not_a_task;
const int not_a_task = 1;
