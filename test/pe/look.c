/* Says of each path among its arguments whether there is something of that name. */
#include <stdio.h>
#include <windows.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("%s %s\n", GetFileAttributesA(argv[i]) == INVALID_FILE_ATTRIBUTES ? "missing" : "there", argv[i]);
	return 0;
}
