/*
 * Prints what is in a registry value and in a file on drive C:, and with an
 * argument puts that in both; then waits for the end of its standard input and
 * prints them again.
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static const char key[] = "Software\\winbox test", value[] = "value", file[] = "C:\\users\\winbox test.txt";

static void show(const char *when)
{
	char in_registry[64] = "", in_file[64] = "";
	DWORD size = sizeof(in_registry) - 1;
	FILE *f = fopen(file, "r");

	RegGetValueA(HKEY_CURRENT_USER, key, value, RRF_RT_REG_SZ, NULL, in_registry, &size);
	if (f) {
		fgets(in_file, sizeof(in_file), f);
		fclose(f);
	}
	printf("%s registry=%s file=%s\n", when, in_registry, in_file);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	show("before");
	if (argc > 1) {
		FILE *f = fopen(file, "w");

		if (RegSetKeyValueA(HKEY_CURRENT_USER, key, value, REG_SZ, argv[1], strlen(argv[1]) + 1) || !f)
			return 2;
		fputs(argv[1], f);
		fclose(f);
	}
	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	show("after");
	return 0;
}
