/* Ends as its argument says, each by an exception that nobody handles. */
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static volatile int zero;

static int deep(volatile char *p)
{
	volatile char page[4096];

	page[0] = p[0];
	return deep(page) + page[1];
}

int main(int argc, char **argv)
{
	static const ULONG_PTR cpp[3] = { 0x19930520 };
	const char *how = argc > 1 ? argv[1] : "";

	if (!strcmp(how, "write"))
		*(volatile int *)0x10 = 1;
	if (!strcmp(how, "alone")) { /* without the program that the registry names for crashes */
		DeleteFileA("C:\\windows\\winbox-crash.exe");
		*(volatile int *)0x10 = 1;
	}
	if (!strcmp(how, "read"))
		return *(volatile int *)0x1234;
	if (!strcmp(how, "execute"))
		((void (*)(void))0x20)();
	if (!strcmp(how, "divide"))
		return 100 / zero;
	if (!strcmp(how, "illegal"))
		__asm__ volatile("ud2");
	if (!strcmp(how, "throw")) /* as the C++ libraries of Microsoft do */
		RaiseException(0xE06D7363, EXCEPTION_NONCONTINUABLE, 3, cpp);
	if (!strcmp(how, "fail")) /* __fastfail, as abort() in programs of today */
		__asm__ volatile("int $0x29" ::"c"(7));
	if (!strcmp(how, "overflow")) {
		char start[2] = { 0 };
		return deep(start);
	}
	return 0;
}
