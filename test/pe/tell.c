/*
 * Prints one line for each thing that arguments ask for:
 *   user, computer, module, cwd, locale, zone   what Windows says of them
 *   drives                                      the letters of GetLogicalDrives
 *   drive X                                     type, label, serial number, flags and free space of a drive
 *   env NAME, file PATH, write PATH             a variable; whether a file can be opened, or written
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <windows.h>

static void drive(char letter)
{
	char           root[] = "X:\\", label[64] = "", system[32] = "";
	DWORD          serial = 0, longest = 0, flags = 0;
	ULARGE_INTEGER available = { 0 }, total = { 0 }, free = { 0 };
	BOOL           known, sized;

	root[0] = letter;
	known = GetVolumeInformationA(root, label, sizeof(label), &serial, &longest, &flags, system, sizeof(system));
	printf("%c type=%u known=%d", letter, GetDriveTypeA(root), known);
	if (known)
		printf(" label=%s serial=%d readonly=%d system=%s", label, serial != 0, !!(flags & FILE_READ_ONLY_VOLUME), system);
	else
		printf(" error=%lu", GetLastError());
	sized = GetDiskFreeSpaceExA(root, &available, &total, &free);
	printf(" sized=%d total=%llu free=%llu\n", sized, (unsigned long long)total.QuadPart, (unsigned long long)available.QuadPart);
}

static void zone(void)
{
	static const SYSTEMTIME times[2] = { { 2026, 1, 0, 15, 12, 0, 0, 0 }, { 2026, 7, 0, 15, 12, 0, 0, 0 } };
	TIME_ZONE_INFORMATION   info;
	time_t                  summer = 1784116800; /* 2026-07-15 12:00 UTC */
	struct tm              *of_c;

	GetTimeZoneInformation(&info);
	printf("zone bias=%ld", info.Bias);
	for (int i = 0; i < 2; i++) {
		SYSTEMTIME local;
		SystemTimeToTzSpecificLocalTime(&info, (SYSTEMTIME *)&times[i], &local);
		printf(" %02u:%02u", local.wHour, local.wMinute);
	}
	of_c = localtime(&summer);
	printf(" c=%02d:%02d\n", of_c->tm_hour, of_c->tm_min);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char  text[512] = "", *what = argv[i];
		DWORD size = sizeof(text);

		if (!strcmp(what, "user")) {
			GetUserNameA(text, &size);
		} else if (!strcmp(what, "computer")) {
			GetComputerNameA(text, &size);
		} else if (!strcmp(what, "module")) {
			GetModuleFileNameA(NULL, text, size);
		} else if (!strcmp(what, "cwd")) {
			GetCurrentDirectoryA(size, text);
		} else if (!strcmp(what, "locale")) {
			WCHAR      name[LOCALE_NAME_MAX_LENGTH] = L"", date[64] = L"";
			SYSTEMTIME day = { 2026, 3, 0, 9, 0, 0, 0, 0 };
			GetUserDefaultLocaleName(name, LOCALE_NAME_MAX_LENGTH);
			GetDateFormatEx(LOCALE_NAME_USER_DEFAULT, 0, &day, L"dddd, ddMMMM", date, 64, NULL);
			snprintf(text, sizeof(text), "%ls %ls", name, date);
		} else if (!strcmp(what, "drives")) {
			DWORD mask = GetLogicalDrives();
			for (int n = 0, at = 0; n < 26; n++)
				if (mask >> n & 1)
					text[at++] = (char)('A' + n);
		} else if (!strcmp(what, "zone")) {
			zone();
			continue;
		} else if (!strcmp(what, "drive") && i + 1 < argc) {
			drive(argv[++i][0]);
			continue;
		} else if (!strcmp(what, "env") && i + 1 < argc) {
			GetEnvironmentVariableA(argv[++i], text, size);
			what = argv[i];
		} else if ((!strcmp(what, "file") || !strcmp(what, "write")) && i + 1 < argc) {
			BOOL   write = *what == 'w';
			HANDLE file = CreateFileA(argv[++i], write ? GENERIC_WRITE : GENERIC_READ, FILE_SHARE_READ, NULL,
			                          write ? OPEN_ALWAYS : OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
			snprintf(text, sizeof(text), "%lu", file == INVALID_HANDLE_VALUE ? GetLastError() : 0);
			what = argv[i];
		} else {
			return 1;
		}
		printf("%s=%s\n", what, text);
	}
	return 0;
}
