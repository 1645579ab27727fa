/* tests/raft/client_form_test.c -- what operators ask of nodes, formed into a cluster or not.
 *
 * Method: as client_test.c, with nodes that join late. */
#include <criterion/criterion.h>

#include "tests/raft/served.h"

static struct served served;
static void set_up(void)
{
    served_set_up_unformed(&served, 1);
}
static void tear_down(void)
{
    served_tear_down(&served);
}
TestSuite(client_form, .init = set_up, .fini = tear_down, .timeout = 20);

struct asked {
    union {
        struct client_status status;
        struct client_form form;
    };
    bool ended;
    int err;
    char text[64];
};

static void asked_end(struct asked *asked, int err, struct slice text)
{
    asked->ended = true;
    asked->err = err;
    if (text.len > 0) memcpy(asked->text, text.data, text.len);
}

static void status_done(struct client_status *req, int err, struct slice text)
{
    asked_end(CONTAINER_OF(req, struct asked, status), err, text);
}

static void form_done(struct client_form *req, int err, struct slice text)
{
    asked_end(CONTAINER_OF(req, struct asked, form), err, text);
}

static bool asked_ended(void *arg)
{
    return ((struct asked *)arg)->ended;
}

Test(client_form, status_and_form_are_answered)
{
    struct asked status = {.status = {.node = 1, .deadline_ms = 1000, .done = status_done}};
    struct asked form = {.form = {.node = 2, .map = slice_str("{}"), .done = form_done}};
    client_status(served.client, &status.status);
    client_form(served.client, &form.form);
    cr_assert(world_run_until(served.world, asked_ended, &status, 1000000));
    cr_assert(world_run_until(served.world, asked_ended, &form, 1000000));
    cr_expect_eq(status.err, 0);
    cr_expect_str_eq(status.text, "{\"node\":2}");
    cr_expect_eq(form.err, 0);
    cr_expect_str_eq(form.text, "{}");
}

Test(client_form, status_of_a_node_that_is_down_says_so)
{
    struct asked status = {.status = {.node = 0, .deadline_ms = 1000, .done = status_done}};
    world_run_for(served.world, 100000);
    served_crash(&served, 1);
    client_status(served.client, &status.status);
    cr_assert(world_run_until(served.world, asked_ended, &status, 1100000));
    cr_expect_eq(status.err, ERR_CONNECT);
}

static void ready_told(void *arg, int err)
{
    *(int *)arg = err;
}

Test(client_form, a_client_is_ready_once_the_nodes_have_joined)
{
    int early = 1, late = 1;
    client_when_ready(served.client, 500, ready_told, &early);
    client_when_ready(served.client, 5000, ready_told, &late);
    world_run_for(served.world, 1000000);
    cr_expect_eq(early, ERR_NOT_FORMED);
    served_join(&served);
    world_run_for(served.world, 1000000);
    cr_expect_eq(late, 0);
    cr_expect_eq(client_partitions(served.client), SERVED_PARTS);
    cr_expect_eq(client_leaders_known(served.client), SERVED_PARTS);
}
