/* Makes a window, and says whose the desktop window is. */
#include <stdio.h>
#include <windows.h>

int main(void)
{
	char name[MAX_PATH] = "nobody";
	DWORD id = 0, size = sizeof(name);
	HWND window = CreateWindowA("STATIC", "text", WS_OVERLAPPEDWINDOW, 0, 0, 100, 100, NULL, NULL, NULL, NULL);

	GetWindowThreadProcessId(GetDesktopWindow(), &id);
	QueryFullProcessImageNameA(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id), 0, name, &size);
	printf("window=%d desktop=%s\n", window != NULL, name);
	return 0;
}
