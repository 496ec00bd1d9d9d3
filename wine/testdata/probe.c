/*
 * probe prints what the boot of Windows fills: the shared page, the volatile registry, the environment, and what the
 * documented calls make of them. One fact a line, so that two boots can be compared.
 */
#include <stdio.h>
#include <windows.h>
#include <winternl.h>

static void print(const WCHAR *s)
{
	char text[4096];

	WideCharToMultiByte(CP_UTF8, 0, s, -1, text, sizeof(text), NULL, NULL);
	fputs(text, stdout);
}

static void dump_key(HKEY root, const WCHAR *path, const char *label)
{
	HKEY  key;
	WCHAR name[256];

	if (RegOpenKeyExW(root, path, 0, KEY_READ, &key)) {
		printf("key %s\\", label);
		print(path);
		printf(" is missing\n");
		return;
	}
	printf("key %s\\", label);
	print(path);
	printf("\n");
	for (DWORD i = 0;; i++) {
		BYTE  data[4096] = { 0 };
		DWORD length = 256, size = sizeof(data) - 2, type;
		if (RegEnumValueW(key, i, name, &length, NULL, &type, data, &size))
			break;
		printf("value %s\\", label);
		print(path);
		printf(" ");
		print(name);
		printf(" type %lu ", type);
		if (type == REG_SZ || type == REG_EXPAND_SZ)
			print((WCHAR *)data);
		else
			for (DWORD j = 0; j < size && j < 64; j++)
				printf("%02x", data[j]);
		printf("\n");
	}
	for (DWORD i = 0;; i++) {
		WCHAR below[1024];
		DWORD length = 256;
		if (RegEnumKeyExW(key, i, name, &length, NULL, NULL, NULL, NULL))
			break;
		lstrcpyW(below, path);
		lstrcatW(below, L"\\");
		lstrcatW(below, name);
		dump_key(root, below, label);
	}
	RegCloseKey(key);
}

static void dump_page(void)
{
	const BYTE *page = (const BYTE *)0x7ffe0000;

	for (unsigned at = 0; at < 0x730; at += 4) {
		/* The clocks run: InterruptTime, SystemTime, TimeZoneBias (it has a time stamp); TickCount. */
		if ((at >= 0x008 && at < 0x02c) || (at >= 0x320 && at < 0x330) || at == 0)
			continue;
		if (*(const DWORD *)(page + at))
			printf("page %03x %08lx\n", at, *(const DWORD *)(page + at));
	}
}

int wmain(void)
{
	static const WCHAR *const names[] = { L"NetBIOS", L"DnsHostname", L"DnsDomain", L"DnsFullyQualified",
		L"PhysicalNetBIOS", L"PhysicalDnsHostname", L"PhysicalDnsDomain", L"PhysicalDnsFullyQualified" };
	OSVERSIONINFOEXW version = { sizeof(version) };
	SYSTEM_INFO      info;
	MEMORYSTATUSEX   memory = { sizeof(memory) };
	WCHAR            buffer[1024];
	DWORD            size;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	GetVersionExW((OSVERSIONINFOW *)&version);
	printf("GetVersionEx %lu.%lu.%lu product %u suite %x ", version.dwMajorVersion, version.dwMinorVersion,
	       version.dwBuildNumber, version.wProductType, version.wSuiteMask);
	print(version.szCSDVersion);
	RtlGetVersion((RTL_OSVERSIONINFOW *)&version);
	printf("\nRtlGetVersion %lu.%lu.%lu\n", version.dwMajorVersion, version.dwMinorVersion, version.dwBuildNumber);

	GetSystemInfo(&info);
	printf("GetSystemInfo processors %lu architecture %u level %u revision %04x page %lu granularity %lx mask %llx lowest %p highest %p\n",
	       info.dwNumberOfProcessors, info.wProcessorArchitecture, info.wProcessorLevel, info.wProcessorRevision,
	       info.dwPageSize, info.dwAllocationGranularity, (unsigned long long)info.dwActiveProcessorMask,
	       info.lpMinimumApplicationAddress, info.lpMaximumApplicationAddress);
	GlobalMemoryStatusEx(&memory);
	printf("memory %llu\n", memory.ullTotalPhys >> 20);
	for (DWORD i = 0; i < 64; i++)
		if (IsProcessorFeaturePresent(i))
			printf("feature %lu\n", i);
	printf("xstate %llx\n", (unsigned long long)GetEnabledXStateFeatures());

	for (int i = 0; i < 8; i++) {
		size = 1024;
		buffer[0] = 0;
		GetComputerNameExW(i, buffer, &size);
		printf("name ");
		print(names[i]);
		printf(" ");
		print(buffer);
		printf("\n");
	}
	size = 1024;
	GetUserNameW(buffer, &size);
	printf("user ");
	print(buffer);
	GetSystemDirectoryW(buffer, 1024);
	printf("\nsystem ");
	print(buffer);
	GetTempPathW(1024, buffer);
	printf("\ntemp ");
	print(buffer);
	printf("\n");

	ULONGLONG ticks = GetTickCount64();
	FILETIME  before, after;
	GetSystemTimeAsFileTime(&before);
	Sleep(200);
	GetSystemTimeAsFileTime(&after);
	printf("ticks %s\n", GetTickCount64() - ticks >= 150 ? "run" : "stand still");
	printf("time %s\n", CompareFileTime(&before, &after) < 0 ? "runs" : "stands still");

	dump_page();
	WCHAR *environment = GetEnvironmentStringsW();
	for (WCHAR *s = environment; *s; s += lstrlenW(s) + 1) {
		printf("environment ");
		print(s);
		printf("\n");
	}
	dump_key(HKEY_LOCAL_MACHINE, L"HARDWARE", "HKLM");
	dump_key(HKEY_LOCAL_MACHINE, L"System\\CurrentControlSet\\Control\\ComputerName", "HKLM");
	dump_key(HKEY_LOCAL_MACHINE, L"System\\CurrentControlSet\\Control\\Session Manager\\Environment", "HKLM");
	dump_key(HKEY_LOCAL_MACHINE, L"System\\CurrentControlSet\\Services\\Tcpip\\Parameters", "HKLM");
	dump_key(HKEY_LOCAL_MACHINE, L"Software\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList", "HKLM");
	dump_key(HKEY_CURRENT_USER, L"Volatile Environment", "HKCU");
	dump_key(HKEY_CURRENT_USER, L"Environment", "HKCU");
	dump_key(HKEY_DYN_DATA, L"PerfStats", "DYN");
	dump_key(HKEY_DYN_DATA, L"Config Manager", "DYN");
	fflush(stdout);
	return 0;
}
