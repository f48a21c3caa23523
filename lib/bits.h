/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bits, fields, alignment and little-endian access to byte buffers. Everything
 * hardware or a guest reads is built from these, never from C bit-fields.
 */
#ifndef CORBEL_LIB_BITS_H
#define CORBEL_LIB_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BIT(n) (1ull << (n))
/* Mask of bits hi..lo, both included. */
#define MASK(hi, lo) ((~0ull >> (63 - (hi))) & (~0ull << (lo)))
#define FIELD(v, hi, lo) (((v)&MASK(hi, lo)) >> (lo))

/* What two CPUs write often lies this far apart. */
#define CACHE_LINE 64

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/* What is rare, apart from a path that is short without it: that one then saves no registers for it. */
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* These evaluate an argument twice: no calls, no shared variables in them. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* @align is a power of two. */
static inline uint64_t align_down(uint64_t v, uint64_t align) { return v & ~(align - 1); }
static inline uint64_t align_up(uint64_t v, uint64_t align) { return (v + align - 1) & ~(align - 1); }
static inline bool is_aligned(uint64_t v, uint64_t align) { return (v & (align - 1)) == 0; }

/* Index of the lowest or highest set bit; @v is not 0. */
static inline unsigned bit_lowest(uint64_t v) { return (unsigned)__builtin_ctzll(v); }
/* By XOR, which compilers make one BSR of. */
static inline unsigned bit_highest(uint64_t v) { return 63u ^ (unsigned)__builtin_clzll(v); }

/* __builtin_: the bare machine's build is freestanding, where a plain memcpy is a call even for two bytes. */
static inline uint16_t get_le16(const void *p) { uint16_t v; __builtin_memcpy(&v, p, sizeof v); return v; }
static inline uint32_t get_le32(const void *p) { uint32_t v; __builtin_memcpy(&v, p, sizeof v); return v; }
static inline uint64_t get_le64(const void *p) { uint64_t v; __builtin_memcpy(&v, p, sizeof v); return v; }
static inline void put_le16(void *p, uint16_t v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void put_le32(void *p, uint32_t v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void put_le64(void *p, uint64_t v) { __builtin_memcpy(p, &v, sizeof v); }

static inline uint16_t get_be16(const void *p) { return __builtin_bswap16(get_le16(p)); }
static inline uint32_t get_be32(const void *p) { return __builtin_bswap32(get_le32(p)); }
static inline uint64_t get_be64(const void *p) { return __builtin_bswap64(get_le64(p)); }
static inline void put_be16(void *p, uint16_t v) { put_le16(p, __builtin_bswap16(v)); }
static inline void put_be32(void *p, uint32_t v) { put_le32(p, __builtin_bswap32(v)); }
static inline void put_be64(void *p, uint64_t v) { put_le64(p, __builtin_bswap64(v)); }

#endif
