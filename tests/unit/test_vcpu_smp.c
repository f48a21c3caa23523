/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of tests/tsan/tsan_vcpu.c under ASan and UBSan, whose view of memory
 * ThreadSanitizer does not have: the same source twice, one test.
 */
#include "tests/tsan/tsan_vcpu.c"
