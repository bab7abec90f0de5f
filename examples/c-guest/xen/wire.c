#include "wire.h"

#include <stddef.h>

#include "work.h"
#include "xen.h"

/* A frame's line: mark, kind, base64 of number, checksum and payload, line end: 127 characters at most. */
#define HEAD 8
#define PAYLOAD 85
#define LINE 127
/* Before the command's name: mark, length of the name, length of the payload, checksum. */
#define HEADER 24

static uint8_t buffer[PAYLOAD];
static size_t used;
static uint32_t next_frame;
static uint64_t total;
static uint32_t total_checksum = UINT32_MAX;

/* CRC-32, a bit at a time; begins with and keeps all bits inverted. */
static uint32_t checksum(uint32_t state, const uint8_t *bytes, size_t count)
{
    size_t n;
    int bit;

    for (n = 0; n < count; n++) {
        state ^= bytes[n];
        for (bit = 0; bit < 8; bit++)
            state = state >> 1 ^ (state & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return state;
}

static void put_le(uint8_t *place, uint64_t value, size_t bytes)
{
    size_t n;

    for (n = 0; n < bytes; n++)
        place[n] = (uint8_t)(value >> 8 * n);
}

static uint64_t get_le(const uint8_t *place, size_t bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | place[bytes];
    return value;
}

static size_t base64(char *out, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n, digit, length = 0;

    for (n = 0; n < count; n += 3) {
        size_t group = count - n < 3 ? count - n : 3;
        uint32_t word = (uint32_t)bytes[n] << 16;

        word |= group > 1 ? (uint32_t)bytes[n + 1] << 8 : 0;
        word |= group > 2 ? bytes[n + 2] : 0;
        for (digit = 0; digit < 4; digit++)
            out[length++] = digit <= group ? digits[word >> (18 - 6 * digit) & 63] : '=';
    }
    return length;
}

static void send(char kind, uint32_t number, const uint8_t *payload, size_t count)
{
    uint8_t frame[HEAD + PAYLOAD];
    char line[LINE];
    uint8_t byte = (uint8_t)kind;
    uint32_t state;
    size_t n;

    put_le(frame, number, 4);
    for (n = 0; n < count; n++)
        frame[HEAD + n] = payload[n];
    state = checksum(UINT32_MAX, &byte, 1);
    state = checksum(state, frame, 4);
    put_le(frame + 4, ~checksum(state, payload, count), 4);
    line[0] = '@';
    line[1] = kind;
    n = 2 + base64(line + 2, frame, HEAD + count);
    line[n] = '\n';
    console_write(line, n + 1);
}

static void flush(void)
{
    if (used > 0)
        send('D', next_frame++, buffer, used);
    used = 0;
}

static void put(uint8_t byte)
{
    total++;
    total_checksum = checksum(total_checksum, &byte, 1);
    buffer[used++] = byte;
    if (used == PAYLOAD)
        flush();
}

void wire_text(const char *text)
{
    for (; *text; text++)
        put((uint8_t)*text);
}

/* The decimal digits of `value`, in room for 21 characters. */
static const char *decimal(char *room, uint64_t value)
{
    char *at = room + 20;

    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return at;
}

void wire_number(uint64_t value)
{
    char room[21];

    wire_text(decimal(room, value));
}

static size_t length(const char *text)
{
    size_t n = 0;

    while (text[n])
        n++;
    return n;
}

static size_t append(char *line, size_t at, const char *text)
{
    for (; *text && at < LINE - 1; text++)
        line[at++] = *text;
    return at;
}

static void last_line(const char *name, const char *value)
{
    char line[LINE];
    size_t n = append(line, append(line, append(line, 0, "! "), name), value);

    line[n] = '\n';
    console_write(line, n + 1);
}

void wire_last_number(const char *name, uint64_t value)
{
    char room[21];

    last_line(name, decimal(room, value));
}

void wire_last_words(const char *text)
{
    last_line(text, "");
    last_line("the kernel ends here", "");
}

static void refuse(const char *text)
{
    size_t count = length(text);

    send('F', next_frame, (const uint8_t *)text, count < PAYLOAD ? count : PAYLOAD);
}

static void end(void)
{
    uint8_t sum[12];

    flush();
    put_le(sum, total, 8);
    put_le(sum + 8, ~total_checksum, 4);
    send('E', next_frame, sum, sizeof sum);
}

static int is_text(const uint8_t *bytes, size_t count, const char *text)
{
    size_t n;

    for (n = 0; n < count; n++)
        if (text[n] != (char)bytes[n] || !text[n])
            return 0;
    return !text[count];
}

/* Carries the command out, and answers with why not. */
static const char *carry_out(const uint8_t *name, size_t name_count, const uint8_t *payload, size_t payload_count)
{
    char text[32];
    size_t n;

    if (payload_count >= sizeof text)
        return "the payload is too long for a name";
    for (n = 0; n < payload_count; n++)
        text[n] = (char)payload[n];
    text[n] = 0;
    if (is_text(name, name_count, "pvmmu-smoke"))
        work_smoke();
    else if (is_text(name, name_count, "rules"))
        work_rules(is_text(payload, payload_count, "planted"));
    else if (!is_text(name, name_count, "bench"))
        return "no such command; there are pvmmu-smoke, rules and bench";
    else if (!work_bench(text))
        return "no such workload";
    return NULL;
}

static const char *serve(void)
{
    static const uint8_t mark[8] = {'X', 'E', 'N', 'L', 'A', 'B', 1, 0};
    const uint8_t *module = (const uint8_t *)start_info->mod_start;
    uint64_t name_count, payload_count;
    size_t n;

    if (start_info->mod_len < HEADER)
        return "there is no command in the boot module";
    for (n = 0; n < sizeof mark; n++)
        if (module[n] != mark[n])
            return "the boot module is no request of this version; build lab and kernel together";
    name_count = get_le(module + 8, 4);
    payload_count = get_le(module + 12, 8);
    if (payload_count > start_info->mod_len || name_count + payload_count != start_info->mod_len - HEADER)
        return "the request's lengths and its own do not agree";
    if (get_le(module + 20, 4) != (uint32_t)~checksum(UINT32_MAX, module + HEADER, name_count + payload_count))
        return "the request's checksum does not fit";
    return carry_out(module + HEADER, name_count, module + HEADER + name_count, payload_count);
}

void wire_serve(void)
{
    const char *why;

    send('R', 0, NULL, 0);
    why = serve();
    if (why)
        refuse(why);
    else
        end();
}
