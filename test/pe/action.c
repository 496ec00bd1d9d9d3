/* A library with a custom action of an installer: it notes in C:\action.txt that it has run. */
#include <stdio.h>
#include <windows.h>

__declspec(dllexport) UINT WINAPI Note(ULONG session)
{
	FILE *f = fopen("C:\\action.txt", "w");

	if (!f)
		return ERROR_INSTALL_FAILURE;
	fprintf(f, "session %d\n", session != 0);
	fclose(f);
	return ERROR_SUCCESS;
}
