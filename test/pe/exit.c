/*
 * Ends with the exit code that its first argument is, or crashes: "crash" reads from address 0, "divide" divides by 0,
 * "failfast" raises what abort raises on Windows.
 */
#include <stdlib.h>
#include <string.h>
#include <windows.h>

int main(int argc, char **argv)
{
	volatile int zero = 0;
	int *volatile nowhere = NULL;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "crash"))
		return *nowhere;
	if (!strcmp(argv[1], "divide"))
		return 100 / zero;
	if (!strcmp(argv[1], "failfast"))
		RaiseException(0xc0000409, EXCEPTION_NONCONTINUABLE, 0, NULL);
	ExitProcess(strtoul(argv[1], NULL, 0));
}
