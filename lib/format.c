/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounded formatter. One pass: literal bytes are copied, a conversion is
 * parsed into struct spec and printed by kind. The meaning of flags, width and
 * precision is that of C11 7.21.6.1, so that the compiler's format checks hold;
 * the tests compare every supported form with the host's snprintf. Differences:
 * %p is always 0x and hex digits, a NULL string prints (null), width and
 * precision stop at FIELD_MAX, an unknown conversion is printed as it stands.
 */
#include "lib/format.h"

#include <stdint.h>

#include "lib/bits.h"

#define FIELD_MAX 4095
#define DIGITS_MAX 20 /* of 2^64 - 1 in decimal */
#define NO_PRECISION (-1)

enum length { LEN_INT, LEN_CHAR, LEN_SHORT, LEN_LONG, LEN_LLONG, LEN_SIZE };

struct spec {
	bool left, zero, upper;
	int width;
	int precision; /* NO_PRECISION when not given */
	enum length length;
};

struct out {
	char *buf;
	size_t size;
	size_t len; /* of the whole text, stored or not */
};

/* va_list may be an array type; a struct passes by pointer in every ABI. */
struct args {
	va_list ap;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_run(struct out *o, char c, int count)
{
	for (int i = 0; i < count; i++)
		put(o, c);
}

static void put_text(struct out *o, const struct spec *s, const char *text, int len)
{
	int pad = s->width - len;

	if (!s->left)
		put_run(o, ' ', pad);
	for (int i = 0; i < len; i++)
		put(o, text[i]);
	if (s->left)
		put_run(o, ' ', pad);
}

/* Reads at most precision bytes: a string with a precision need not end in NUL. */
static void put_string(struct out *o, const struct spec *s, const char *text)
{
	int len = 0;

	if (!text)
		text = "(null)";
	while ((s->precision == NO_PRECISION || len < s->precision) && text[len] != '\0')
		len++;
	put_text(o, s, text, len);
}

/* Writes the digits of @v backwards, ending before @end; returns how many. */
static int digits(char *end, uint64_t v, bool hex, bool upper)
{
	const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	int n = 0;

	for (; v != 0; n++) {
		*--end = set[hex ? v & 15 : v % 10];
		v = hex ? v >> 4 : v / 10;
	}
	return n;
}

/* @prefix: "", "-" or "0x"; it stands before the zeros and after the blanks. */
static void put_number(struct out *o, const struct spec *s, uint64_t v, bool hex, const char *prefix)
{
	char text[DIGITS_MAX];
	int n = digits(text + sizeof text, v, hex, s->upper);
	int prefix_len = (int)strlen(prefix);
	int zeros, pad;

	if (s->precision != NO_PRECISION)
		zeros = s->precision - n;
	else if (s->zero && !s->left)
		zeros = MAX(s->width - prefix_len - n, 1 - n);
	else
		zeros = 1 - n;
	zeros = MAX(zeros, 0);
	pad = s->width - prefix_len - zeros - n;

	if (!s->left)
		put_run(o, ' ', pad);
	for (int i = 0; i < prefix_len; i++)
		put(o, prefix[i]);
	put_run(o, '0', zeros);
	for (int i = 0; i < n; i++)
		put(o, text[DIGITS_MAX - n + i]);
	if (s->left)
		put_run(o, ' ', pad);
}

static uint64_t next_unsigned(struct args *a, enum length length)
{
	switch (length) {
	case LEN_CHAR:
		return (unsigned char)va_arg(a->ap, unsigned);
	case LEN_SHORT:
		return (unsigned short)va_arg(a->ap, unsigned);
	case LEN_LONG:
		return va_arg(a->ap, unsigned long);
	case LEN_LLONG:
		return va_arg(a->ap, unsigned long long);
	case LEN_SIZE:
		return va_arg(a->ap, size_t);
	case LEN_INT:
	default:
		return va_arg(a->ap, unsigned);
	}
}

static int64_t next_signed(struct args *a, enum length length)
{
	switch (length) {
	case LEN_CHAR:
		return (signed char)va_arg(a->ap, int);
	case LEN_SHORT:
		return (short)va_arg(a->ap, int);
	case LEN_LONG:
		return va_arg(a->ap, long);
	case LEN_LLONG:
		return va_arg(a->ap, long long);
	case LEN_SIZE:
		return va_arg(a->ap, ptrdiff_t);
	case LEN_INT:
	default:
		return va_arg(a->ap, int);
	}
}

static void put_signed(struct out *o, const struct spec *s, int64_t v)
{
	/* Negated as unsigned: -INT64_MIN does not fit the signed type. */
	uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	put_number(o, s, magnitude, false, v < 0 ? "-" : "");
}

/* A number or '*' at *p. Negative only from '*'. */
static int parse_field(const char **p, struct args *a)
{
	int v = 0;

	if (**p == '*') {
		(*p)++;
		v = va_arg(a->ap, int);
		return v < -FIELD_MAX ? -FIELD_MAX : MIN(v, FIELD_MAX);
	}
	for (; **p >= '0' && **p <= '9'; (*p)++)
		v = MIN(v * 10 + (**p - '0'), FIELD_MAX);
	return v;
}

static enum length parse_length(const char **p)
{
	char c = **p;

	if (c != 'l' && c != 'h' && c != 'z')
		return LEN_INT;
	(*p)++;
	if (c == 'z')
		return LEN_SIZE;
	if (**p != c)
		return c == 'l' ? LEN_LONG : LEN_SHORT;
	(*p)++;
	return c == 'l' ? LEN_LLONG : LEN_CHAR;
}

static struct spec parse_spec(const char **p, struct args *a)
{
	struct spec s = {.precision = NO_PRECISION};

	for (; **p == '-' || **p == '0'; (*p)++) {
		s.left |= **p == '-';
		s.zero |= **p == '0';
	}
	s.width = parse_field(p, a);
	if (s.width < 0) {
		s.left = true;
		s.width = -s.width;
	}
	if (**p == '.') {
		(*p)++;
		s.precision = parse_field(p, a);
		if (s.precision < 0)
			s.precision = NO_PRECISION;
	}
	s.length = parse_length(p);
	return s;
}

/* Prints one conversion; false when @kind is none that we know. */
static bool convert(struct out *o, struct spec *s, char kind, struct args *a)
{
	char c;

	switch (kind) {
	case 'd':
	case 'i':
		put_signed(o, s, next_signed(a, s->length));
		return true;
	case 'u':
		put_number(o, s, next_unsigned(a, s->length), false, "");
		return true;
	case 'X':
		s->upper = true;
		put_number(o, s, next_unsigned(a, s->length), true, "");
		return true;
	case 'x':
		put_number(o, s, next_unsigned(a, s->length), true, "");
		return true;
	case 'p':
		put_number(o, s, (uintptr_t)va_arg(a->ap, void *), true, "0x");
		return true;
	case 's':
		put_string(o, s, va_arg(a->ap, const char *));
		return true;
	case 'c':
		c = (char)va_arg(a->ap, int);
		put_text(o, s, &c, 1);
		return true;
	case '%':
		put(o, '%');
		return true;
	default:
		return false;
	}
}

size_t format_v(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.buf = buf, .size = size};
	struct args a;

	va_copy(a.ap, ap);
	while (*fmt != '\0') {
		const char *start = fmt;
		struct spec s;

		if (*fmt++ != '%') {
			put(&o, *start);
			continue;
		}
		s = parse_spec(&fmt, &a);
		if (*fmt != '\0' && convert(&o, &s, *fmt, &a)) {
			fmt++;
			continue;
		}
		for (; start != fmt; start++)
			put(&o, *start);
	}
	va_end(a.ap);
	if (size > 0)
		buf[MIN(o.len, size - 1)] = '\0';
	return o.len;
}

size_t format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = format_v(buf, size, fmt, ap);
	va_end(ap);
	return len;
}
