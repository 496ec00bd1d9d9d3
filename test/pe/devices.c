/* Asks drivers, in the order of the arguments, and says after each whether the service manager runs. */
#include <stdio.h>
#include <string.h>
#include <winsock2.h>
#include <iphlpapi.h>
#include <tlhelp32.h>

static int services(void)
{
	PROCESSENTRY32 entry = { .dwSize = sizeof(entry) };
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
	int found = 0;

	for (BOOL ok = Process32First(all, &entry); ok; ok = Process32Next(all, &entry))
		found += !_stricmp(entry.szExeFile, "services.exe");
	CloseHandle(all);
	return found;
}

static void ask(const char *what)
{
	if (!strcmp(what, "drives"))
		printf("drives %lx", GetLogicalDrives() & 0xc);
	if (!strcmp(what, "type"))
		printf("type %u", GetDriveTypeA("C:\\"));
	if (!strcmp(what, "volume")) {
		char system[50] = "";
		DWORD serial = 0;
		BOOL ok = GetVolumeInformationA("D:\\", NULL, 0, &serial, NULL, NULL, system, sizeof(system));
		printf("volume %d %lx %s", ok, serial, system);
	}
	if (!strcmp(what, "no volume"))
		printf("volume %d", GetVolumeInformationA("Q:\\", NULL, 0, NULL, NULL, NULL, NULL, 0));
	if (!strcmp(what, "name")) {
		char name[100] = "";
		GetVolumeNameForVolumeMountPointA("D:\\", name, sizeof(name));
		printf("name %s", name);
	}
	if (!strcmp(what, "adapters")) {
		ULONG size = 0;
		printf("adapters %lu", GetAdaptersAddresses(AF_UNSPEC, 0, NULL, NULL, &size));
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		ask(argv[i]);
		printf(" services %d\n", services());
	}
	return 0;
}
