/* tests/raft/frame_test.c -- frames survive every way of being cut, and no damage passes. */
#include "raft/frame.h"

#include <criterion/criterion.h>

static struct buf sent;
static struct buf got; /* Kind, length and body of every frame that came. */
static struct frame_parser parser;
static int answer;

static void tear_down(void)
{
    buf_free(&sent);
    buf_free(&got);
    frame_parser_free(&parser);
}
TestSuite(frame, .fini = tear_down, .timeout = 10);

static int take(void *arg, uint8_t kind, struct slice body)
{
    (void)arg;
    buf_u8(&got, kind);
    buf_slice(&got, body);
    return answer;
}

static int feed(const uint8_t *data, size_t bytes)
{
    return frame_feed(&parser, (struct slice){data, bytes}, FRAME_BYTES_MAX, take, NULL);
}

static void expect_three(void)
{
    struct reader r = reader_of(buf_bytes(&got));
    cr_expect_eq(read_u8(&r), 1);
    cr_expect(slice_equal(read_slice(&r, 100), slice_str("first")));
    cr_expect_eq(read_u8(&r), 2);
    cr_expect(slice_equal(read_slice(&r, 100), slice_str("")));
    cr_expect_eq(read_u8(&r), 255);
    cr_expect(slice_equal(read_slice(&r, 100), slice_str("third one")));
    cr_expect(reader_done(&r));
}

static void send_three(void)
{
    frame_put(&sent, 1, slice_str("first"));
    frame_put(&sent, 2, slice_str(""));
    size_t at = frame_begin(&sent, 255);
    buf_put(&sent, "third", 5);
    buf_put(&sent, " one", 4);
    frame_end(&sent, at);
}

/* Every cut into three pieces: the seams fall into heads, bodies and between frames. */
Test(frame, frames_survive_every_cut)
{
    send_three();
    for (size_t a = 0; a <= sent.len; a++)
        for (size_t b = a; b <= sent.len; b++) {
            got.len = 0;
            cr_assert_eq(feed(sent.data, a), 0);
            cr_assert_eq(feed(sent.data + a, b - a), 0);
            cr_assert_eq(feed(sent.data + b, sent.len - b), 0);
            expect_three();
        }
}

Test(frame, frames_come_byte_by_byte)
{
    send_three();
    for (size_t i = 0; i < sent.len; i++)
        cr_assert_eq(feed(sent.data + i, 1), 0);
    expect_three();
}

/* Each bit of the stream turned over, fed whole: no frame that differs from what was sent comes
 * out, and an error tells (or the parser waits for bytes that a larger length promised). */
Test(frame, no_flipped_bit_passes)
{
    frame_put(&sent, 7, slice_str("a body"));
    for (size_t bit = 0; bit < sent.len * 8; bit++) {
        sent.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int err = feed(sent.data, sent.len);
        cr_expect(err == ERR_CORRUPT || err == ERR_TOO_BIG || parser.held.len > 0);
        cr_expect_eq(got.len, 0);
        sent.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        frame_parser_free(&parser);
    }
}

Test(frame, a_body_beyond_the_limit_is_refused_by_its_head)
{
    frame_put(&sent, 7, slice_str("0123456789"));
    struct slice head = {sent.data, FRAME_HEAD_BYTES};
    cr_expect_eq(frame_feed(&parser, head, 9, take, NULL), ERR_TOO_BIG);
    frame_parser_free(&parser);
    cr_expect_eq(frame_feed(&parser, head, 10, take, NULL), 0);
}

Test(frame, the_receiver_may_stop_the_parser)
{
    send_three();
    answer = ERR_CLOSED;
    cr_expect_eq(feed(sent.data, sent.len), ERR_CLOSED);
    cr_expect_eq(got.len, 1 + 1 + 5, "only the first frame was given");
}
