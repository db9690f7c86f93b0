#include "tasks/subject.h"

enum status subject_take(const struct task_input *input, const struct arg *arg, const char *name,
                         struct task_output *output, struct subject *ret_subject)
{
    if (arg->is_set == (input->payload != NULL))
        return task_fail(output, ST_INVALID_ARGS, "give either %s or a binary body%s", name,
                         arg->is_set ? ", not both" : "");
    if (arg->is_set)
        *ret_subject = (struct subject){ .bytes = arg->text, .len = arg->text_len };
    else
        *ret_subject = (struct subject){ .bytes = input->payload, .len = input->payload_len };
    return ST_OK;
}
