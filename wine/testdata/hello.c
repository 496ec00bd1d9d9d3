/* hello prints what a program sees of how it was started. */
#include <stdio.h>
#include <windows.h>

int wmain(int argc, wchar_t **argv)
{
	WCHAR path[MAX_PATH];
	char  text[1024];

#define SHOW(label, s) WideCharToMultiByte(CP_UTF8, 0, s, -1, text, sizeof(text), NULL, NULL), printf("%s %s\n", label, text)
	SHOW("command", GetCommandLineW());
	GetModuleFileNameW(NULL, path, MAX_PATH);
	SHOW("module", path);
	GetCurrentDirectoryW(MAX_PATH, path);
	SHOW("folder", path);
	for (int i = 1; i < argc; i++)
		SHOW("argument", argv[i]);
	return argc > 1 && !wcscmp(argv[1], L"fail") ? 7 : 0;
}
