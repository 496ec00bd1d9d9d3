/*
 * Prints how many keys HKEY_LOCAL_MACHINE has in the places that a lean prefix fills late, and the name of the time zone before
 * and after. With "parent", a process of its own does; that one, or any with an argument, also counts the zones by the function
 * that gives them, from a key that was opened when the process started. The names are put together here, so that they do not
 * stand in the program. With "key NAME" it is only said how many keys that one has. The exit code is 1 if the prefix is lean.
 */
#define _WIN32_WINNT 0x0a00
#include <stdio.h>
#include <string.h>
#include <windows.h>

/* keys counts those below a key, in the name of which each ~ is left out. */
static DWORD keys(const char *hidden)
{
	char  name[100], *to = name;
	DWORD n = 0;
	HKEY  key;

	for (; *hidden; hidden++)
		if (*hidden != '~')
			*to++ = *hidden;
	*to = 0;
	if (RegOpenKeyExA(HKEY_LOCAL_MACHINE, name, 0, KEY_READ | KEY_WOW64_64KEY, &key))
		return 0;
	RegQueryInfoKeyA(key, NULL, NULL, NULL, &n, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
	RegCloseKey(key);
	return n;
}

static void print_zone(void)
{
	TIME_ZONE_INFORMATION zone;

	GetTimeZoneInformation(&zone);
	printf("%ls\n", zone.StandardName);
}

/* print_zones calls EnumDynamicTimeZoneInformation. */
static void print_zones(void)
{
	const char  parts[] = "EnumDynamic~TimeZoneInformation";
	char        name[sizeof(parts)], *to = name;
	char        zone[1024];
	DWORD(WINAPI * next)(DWORD, void *);
	DWORD n = 0;

	for (const char *s = parts; *s; s++)
		if (*s != '~')
			*to++ = *s;
	*to = 0;
	next = (void *)GetProcAddress(GetModuleHandleA("kernelbase.dll"), name);
	while (next && !next(n, zone))
		n++;
	printf("%lu zones\n", n);
}

static DWORD child(void)
{
	STARTUPINFOA        start = { .cb = sizeof(start) };
	PROCESS_INFORMATION info;
	char                line[] = "registry.exe child";
	DWORD               code = 9;

	if (CreateProcessA("D:\\registry.exe", line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &info)) {
		WaitForSingleObject(info.hProcess, INFINITE);
		GetExitCodeProcess(info.hProcess, &code);
	}
	return code;
}

int main(int argc, char **argv)
{
	static const char zones[] = "Software\\Microsoft\\Windows NT\\CurrentVersion\\Time~ Zones";
	static const char *const others[] = {
		"Software\\Cl~asses\\CL~SID", "Software\\Cl~asses\\In~terface", "Software\\Cl~asses\\Wow6432Node\\CL~SID",
		"Software\\Cl~asses\\Wow6432Node\\In~terface", "Software\\Cl~asses", "Software\\Cl~asses\\MIM~E\\Database\\Charset", "Software\\Cl~asses\\Type~lib",
		"Software\\Cl~asses\\Media~Foundation\\Transforms", "Software\\Cl~asses\\Direct~Show\\MediaObjects",
		"Software\\Microsoft\\Windows\\CurrentVersion\\Tele~phony\\Country List",
		"Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\Folder~Descriptions",
		"Software\\Microsoft\\Crypto~graphy\\OID", "Software\\Microsoft\\Crypto~graphy\\Providers\\Trust",
	};
	int lean = GetFileAttributesA("C:\\windows\\winbox") != INVALID_FILE_ATTRIBUTES;

	if (argc > 2) {
		printf("%lu keys\n", keys(argv[2]));
		return lean;
	}
	if (argc > 1 && !strcmp(argv[1], "parent"))
		return child();
	print_zone();
	printf("%lu zones\n", keys(zones));
	for (int i = 0; i < (int)(sizeof(others) / sizeof(others[0])); i++)
		printf("%lu keys\n", keys(others[i]));
	print_zone();
	if (argc > 1)
		print_zones();
	return lean;
}
