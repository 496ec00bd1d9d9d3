/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of the exceptions of Windows programs, by a program of Windows' and by a library of Linux': it needs nothing of either. */
#ifndef WINBOX_FREESTANDING_EXCEPTION_H
#define WINBOX_FREESTANDING_EXCEPTION_H

/* exception_words says in plain words what an exception is. */
static inline const char *exception_words(unsigned code)
{
	switch (code) {
	case 0x80000001: return "guard page violation";
	case 0x80000002: return "misaligned data";
	case 0x80000003: return "breakpoint";
	case 0xc0000005: return "access violation";
	case 0xc0000006: return "page could not be read";
	case 0xc0000008: return "invalid handle";
	case 0xc000001d: return "illegal instruction";
	case 0xc0000025: return "continued after a fatal exception";
	case 0xc0000026: return "invalid exception handler";
	case 0xc000008c: return "array bounds exceeded";
	case 0xc000008d: return "floating-point denormal operand";
	case 0xc000008e: return "floating-point division by zero";
	case 0xc000008f: return "floating-point inexact result";
	case 0xc0000090: return "floating-point invalid operation";
	case 0xc0000091: return "floating-point overflow";
	case 0xc0000092: return "floating-point stack check";
	case 0xc0000093: return "floating-point underflow";
	case 0xc0000094: return "integer division by zero";
	case 0xc0000095: return "integer overflow";
	case 0xc0000096: return "privileged instruction";
	case 0xc00000fd: return "stack overflow";
	case 0xc0000374: return "heap corruption";
	case 0xc0000409: return "stack buffer overrun";
	case 0xc0000420: return "assertion failure";
	case 0xe06d7363: return "unhandled C++ exception";
	case 0xe0434352: return "unhandled .NET exception";
	case 0x0eedfade: return "unhandled Delphi exception";
	}
	return "unhandled exception";
}

/* put_character gives a unit of UTF-16 in UTF-8, but for pairs of surrogates. Names are a program's own choice: control characters
 * must not reach a terminal. */
static inline void put_character(char to[4], unsigned c)
{
	unsigned n = 0;

	if (c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0) || (c >= 0xd800 && c < 0xe000))
		c = '?';
	if (c < 0x80) {
		to[n++] = (char)c;
	} else if (c < 0x800) {
		to[n++] = (char)(0xc0 | c >> 6);
		to[n++] = (char)(0x80 | (c & 0x3f));
	} else {
		to[n++] = (char)(0xe0 | c >> 12);
		to[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		to[n++] = (char)(0x80 | (c & 0x3f));
	}
	to[n] = 0;
}

#endif
