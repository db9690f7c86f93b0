/* write_args: a task's args for a program: typed, on one line. */
#include "base/json_write.h"
#include "tasks/task.h"

static void write_value(const struct param *param, const struct arg *arg, struct buf *out)
{
    switch (param->kind) {
    case PARAM_INT:
        json_int(out, arg->number);
        break;
    case PARAM_STRING:
        json_string(out, arg->text, arg->text_len);
        break;
    case PARAM_ENUM:
        json_text(out, param->choices[arg->number]);
        break;
    case PARAM_BOOL:
        json_bool(out, arg->number != 0);
        break;
    case PARAM_JSON:
        json_document(out, arg->text, arg->text_len);
        break;
    }
}

void task_write_args(const struct task_input *input, struct buf *out)
{
    if (!input->task->params) {
        if (input->args_len > 0)
            json_document(out, input->args_text, input->args_len);
        else
            buf_lit(out, "{}");
        return;
    }
    bool is_first = true;
    buf_byte(out, '{');
    for (size_t i = 0; input->task->params[i].name; i++) {
        if (!input->args[i].is_set)
            continue;
        if (!is_first)
            buf_byte(out, ',');
        is_first = false;
        json_key(out, input->task->params[i].name);
        write_value(&input->task->params[i], &input->args[i], out);
    }
    buf_byte(out, '}');
}

void task_write_arg_plainly(const struct task_input *input, size_t index, struct buf *out)
{
    const struct param *param = &input->task->params[index];
    const struct arg *arg = &input->args[index];
    if (!arg->is_set)
        return;
    if (param->kind == PARAM_STRING)
        buf_append(out, arg->text, arg->text_len);
    else if (param->kind == PARAM_ENUM)
        buf_str(out, param->choices[arg->number]);
    else
        write_value(param, arg, out);
}
