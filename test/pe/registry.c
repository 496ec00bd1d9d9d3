/*
 * Prints how many keys HKEY_LOCAL_MACHINE has in the places that a lean prefix fills late, when they are there; and the
 * name of the time zone before and after. The names are put together here, so that they do not stand in the program.
 */
#include <stdio.h>
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

int main(void)
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

	print_zone();
	for (int i = 0; keys(zones) < 3 && i < 1000; i++)
		Sleep(20);
	printf("%lu zones\n", keys(zones));
	for (int i = 0; i < (int)(sizeof(others) / sizeof(others[0])); i++)
		printf("%lu keys\n", keys(others[i]));
	print_zone();
	return lean;
}
