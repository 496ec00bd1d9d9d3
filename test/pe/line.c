/*
 * Prints its command line, as it is and as it is split, its user, and its current folder; whether it has a variable of the
 * bridge's; and the type of its standard input.
 */
#include <stdio.h>
#include <windows.h>

int main(int argc, char **argv)
{
	char  user[300] = "", profile[300] = "", folder[MAX_PATH] = "";
	DWORD size = sizeof(user);

	printf("line=%s\n", GetCommandLineA());
	for (int i = 1; i < argc; i++)
		printf("[%s]\n", argv[i]);
	GetUserNameA(user, &size);
	GetEnvironmentVariableA("USERPROFILE", profile, sizeof(profile));
	GetCurrentDirectoryA(sizeof(folder), folder);
	printf("user=%s profile=%s %d folder=%s\n", user, profile, GetFileAttributesA(profile) != INVALID_FILE_ATTRIBUTES, folder);
	if (GetEnvironmentVariableA("WINBOX_COMMAND_LINE", NULL, 0) || GetEnvironmentVariableA("WINBOX_PIPES", NULL, 0))
		printf("a variable is left\n");
	return 0;
}
