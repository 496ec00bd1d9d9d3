/* processes prints how many Windows processes there are. */
#include <stdio.h>
#include <windows.h>
#include <tlhelp32.h>

int wmain(void)
{
	HANDLE          snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
	PROCESSENTRY32W entry = { sizeof(entry) };
	int             count = 0;

	for (BOOL more = Process32FirstW(snapshot, &entry); more; more = Process32NextW(snapshot, &entry))
		count++;
	printf("%d\n", count);
	return 0;
}
