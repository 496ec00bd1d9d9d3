/*
 * Writes a count into a file, put in place by a rename, and into many registry
 * values, again and again until the end of its standard input. Prints what was
 * in the file at the start, and every now and then the count.
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static const char key[] = "Software\\WinboxTest", file[] = "C:\\users\\count.txt", draft[] = "C:\\users\\count.new";
static volatile LONG ended;

static DWORD WINAPI wait_for_end(void *unused)
{
	while (getchar() != EOF)
		;
	ended = 1;
	return 0;
}

int main(void)
{
	char line[128] = "";
	FILE *f = fopen(file, "r");
	int i, count;

	if (f) {
		fgets(line, sizeof(line), f);
		fclose(f);
	}
	printf("start %s", *line ? line : "nothing\n");
	CreateThread(NULL, 0, wait_for_end, NULL, 0, NULL);
	for (count = 1; !ended; count++) {
		snprintf(line, sizeof(line), "%d and the same again %d\n", count, count);
		f = fopen(draft, "w");
		if (!f || fputs(line, f) < 0 || fclose(f) || !MoveFileExA(draft, file, MOVEFILE_REPLACE_EXISTING))
			return 2;
		for (i = 0; i < 20; i++) {
			char name[32];

			snprintf(name, sizeof(name), "value %d", i);
			if (RegSetKeyValueA(HKEY_CURRENT_USER, key, name, REG_SZ, line, strlen(line) + 1) ||
			    RegSetKeyValueA(HKEY_LOCAL_MACHINE, key, name, REG_SZ, line, strlen(line) + 1))
				return 3;
		}
		if (count % 5 == 1) {
			printf("%d\n", count);
			fflush(stdout);
		}
	}
	printf("ended\n");
	return 0;
}
