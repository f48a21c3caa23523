/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address kinds as types: mixing a guest-physical with a host-physical address
 * does not compile. gpa/gfn: guest physical; hpa/hfn: host physical; gva: guest
 * linear. Frame numbers are 4 KiB units.
 */
#ifndef CORBEL_LIB_ADDR_H
#define CORBEL_LIB_ADDR_H

#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ul
#define PAGE_MASK (PAGE_SIZE - 1)

/* Page orders that x86 maps with one leaf. */
#define ORDER_4K 0
#define ORDER_2M 9
#define ORDER_1G 18

typedef struct { uint64_t v; } gpa_t;
typedef struct { uint64_t v; } hpa_t;
typedef struct { uint64_t v; } gva_t;
typedef struct { uint64_t v; } gfn_t;
typedef struct { uint64_t v; } hfn_t;

static inline gpa_t gpa(uint64_t v) { return (gpa_t){v}; }
static inline hpa_t hpa(uint64_t v) { return (hpa_t){v}; }
static inline gva_t gva(uint64_t v) { return (gva_t){v}; }
static inline gfn_t gfn(uint64_t v) { return (gfn_t){v}; }
static inline hfn_t hfn(uint64_t v) { return (hfn_t){v}; }

static inline gfn_t gpa_to_gfn(gpa_t a) { return (gfn_t){a.v >> PAGE_SHIFT}; }
static inline gpa_t gfn_to_gpa(gfn_t f) { return (gpa_t){f.v << PAGE_SHIFT}; }
static inline hfn_t hpa_to_hfn(hpa_t a) { return (hfn_t){a.v >> PAGE_SHIFT}; }
static inline hpa_t hfn_to_hpa(hfn_t f) { return (hpa_t){f.v << PAGE_SHIFT}; }

#endif
